"""A tuned setting as a file: what to set on which unit, in which air, until when, and what to expect of it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from minesim.errors import DataFileError, ParamsError, explain
from minesim.tuning.device import Vector
from minesim.tuning.objective import TuningLimits
from minesim.tuning.problem import Measurement, TuningProblem

FORMAT: Final = 1
VALID_DAYS: Final = 180.0
"""Assumed: boards age by 0.15 % of need in that time, a fifth of what is kept from the error limit."""
AMBIENT_REACH_K: Final = 10.0
"""A setting tuned in one air is trusted that much colder; never hotter than it was tuned in (assumed)."""


@dataclass(frozen=True)
class Profile:
    """A tuned setting.

    Attributes:
        model, serial: device and unit it is meant for.
        setting: knobs by name, in the units of their names.
        expected: what was measured at it (hashrate_ths, power_w, efficiency_j_per_th, error_ratio, temp_hot_c).
        temp_amb_min_c, temp_amb_max_c: air it is meant for, degC.
        limits: that it was tuned under.
        made_at, expires_at: ISO times, UTC.
        provenance: how it was found.
    """

    model: str
    serial: str
    setting: Mapping[str, float]
    expected: Mapping[str, float]
    temp_amb_min_c: float
    temp_amb_max_c: float
    limits: TuningLimits
    made_at: str
    expires_at: str
    provenance: str

    def values(self) -> Vector:
        """The setting in the order of the knobs, (D,)."""
        return np.array(list(self.setting.values()))

    def save(self, path: Path) -> None:
        """Write it as JSON, readable and complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.part")
        beside.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=False), encoding="utf-8")
        beside.replace(path)


def make_profile(
    problem: TuningProblem, setting: Vector, measured: Measurement, made_at: dt.datetime, provenance: str
) -> Profile:
    """Make the profile of a measured setting.

    Args:
        problem: the unit, in the air that it was measured in.
        setting: (D,), on the grid.
        measured: the trial at it.
        made_at: now, with a time zone.
        provenance: method and number of trials.

    Raises:
        ParamsError: the trial tripped or broke a limit.
    """
    if not np.isfinite(problem.measured_score(measured)):
        raise ParamsError(
            explain(f"a trial that broke a limit makes no profile of {problem.serial}", fix="Choose another setting.")
        )
    return Profile(
        model=problem.device.model,
        serial=problem.serial,
        setting=dict(zip(problem.names, map(float, problem.check(setting)), strict=True)),
        expected={
            "hashrate_ths": measured.hashrate_ths,
            "power_w": measured.power_w,
            "efficiency_j_per_th": measured.power_w / measured.hashrate_ths,
            "error_ratio": max(measured.error_ratio),
            "temp_hot_c": max(measured.temp_c),
        },
        temp_amb_min_c=problem.temp_amb_c - AMBIENT_REACH_K,
        temp_amb_max_c=problem.temp_amb_c,
        limits=problem.limits,
        made_at=made_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        expires_at=(made_at + dt.timedelta(days=VALID_DAYS)).astimezone(dt.UTC).isoformat(timespec="seconds"),
        provenance=provenance,
    )


def read_profile(path: Path) -> Profile:
    """Read a profile.

    Raises:
        DataFileError: missing, unreadable or of another format.
    """
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        form = plain.pop("format")
        profile = Profile(**{**plain, "limits": TuningLimits(**plain["limits"])})
        times = dt.datetime.fromisoformat(profile.made_at), dt.datetime.fromisoformat(profile.expires_at)
        ranged = profile.temp_amb_min_c <= profile.temp_amb_max_c and times[0] < times[1]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataFileError(explain(f"{path.name} is not a readable profile ({error})")) from error
    if form != FORMAT or not ranged:
        raise DataFileError(
            explain(f"{path.name} has format {form}, or an empty range", allowed=f"format {FORMAT}", origin=str(path))
        )
    return profile


def setting_for(problem: TuningProblem, profile: Profile, now: dt.datetime) -> Vector:
    """The profile's setting for a unit on the bench, (D,), or a refusal.

    Args:
        problem: the unit that it is to be applied to, in its present air and under its present limits.
        profile: the profile.
        now: with a time zone.

    Raises:
        ParamsError: another model or unit, expired, other air, looser limits, other knobs, or out of bounds.
    """
    wrong = ""
    if profile.model != problem.device.model:
        wrong = f"it is for {profile.model}, this is {problem.device.model}"
    elif profile.serial != problem.serial:
        wrong = f"it is for {profile.serial}, this is {problem.serial}"
    elif now >= dt.datetime.fromisoformat(profile.expires_at):
        wrong = f"it expired at {profile.expires_at}"
    elif not profile.temp_amb_min_c <= problem.temp_amb_c <= profile.temp_amb_max_c:
        low_c, high_c = profile.temp_amb_min_c, profile.temp_amb_max_c
        wrong = f"it is for air of {low_c:g} to {high_c:g} C, this is {problem.temp_amb_c:g} C"
    elif profile.limits != problem.limits:
        wrong = f"it was tuned under {profile.limits}, in force is {problem.limits}"
    elif tuple(profile.setting) != problem.names:
        wrong = f"it sets {', '.join(profile.setting)}, the unit has {', '.join(problem.names)}"
    if wrong:
        raise ParamsError(explain(f"the profile is refused: {wrong}", fix="Tune the unit as it is now."))
    return problem.check(profile.values())
