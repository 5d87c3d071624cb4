"""A tuning study: settings asked for, measurements told, a state on disk after each, whoever carries the trials out.

The same study drives the twin and, later, hardware: it never evaluates anything itself.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minesim.errors import DataFileError, ParamsError, explain
from minesim.tuning.device import Vector
from minesim.tuning.problem import Measurement, TuningProblem

FORMAT = 1


@dataclass(frozen=True)
class Trial:
    """A setting that was asked for.

    Attributes:
        number: counts from 0.
        setting: on the grid, D numbers in the knobs' units.
        temp_amb_c: air that it was asked for, degC.
        measured: what came back; None while it is out.
    """

    number: int
    setting: tuple[float, ...]
    temp_amb_c: float
    measured: Measurement | None = None


class Method(Protocol):
    """Chooses settings: a pure function of problem, history and seed, so that a resumed study goes on alike."""

    @property
    def name(self) -> str:
        """As it is called in tables."""
        ...

    def propose(self, problem: TuningProblem, trials: Sequence[Trial], count: int, seed: int) -> Vector:
        """Settings to try next, (count, D); trials without a measurement are out."""
        ...

    def recommend(self, problem: TuningProblem, trials: Sequence[Trial]) -> Vector:
        """The setting to keep, (D,)."""
        ...


class Study:
    """The history of one unit's tuning.

    Args:
        problem: the unit; its ambient is that of the next trials.
        method: who chooses.
        seed: of the method's own draws.
        trials: an earlier history.
    """

    def __init__(self, problem: TuningProblem, method: Method, seed: int = 0, trials: Sequence[Trial] = ()) -> None:
        self.problem, self.method, self.seed = problem, method, seed
        self.trials: tuple[Trial, ...] = tuple(trials)

    @property
    def told(self) -> tuple[Trial, ...]:
        """Trials with a measurement."""
        return tuple(trial for trial in self.trials if trial.measured is not None)

    @property
    def out(self) -> tuple[Trial, ...]:
        """Trials that were asked for and not told."""
        return tuple(trial for trial in self.trials if trial.measured is None)

    def ask(self, count: int = 1) -> tuple[Trial, ...]:
        """Settings to try next, to be carried out side by side.

        Raises:
            ParamsError: ``count`` below 1.
        """
        if count < 1:
            raise ParamsError(explain(f"{count} trials asked for", allowed="1 or more"))
        settings = self.method.propose(self.problem, self.trials, count, self.seed)
        first = len(self.trials)
        new = tuple(
            Trial(first + i, tuple(float(v) for v in self.problem.check(row)), self.problem.temp_amb_c)
            for i, row in enumerate(settings)
        )
        self.trials += new
        return new

    def tell(self, number: int, measured: Measurement) -> None:
        """Take a measurement in; a refused one leaves the study as it was.

        Raises:
            ParamsError: a trial that was never asked or is told already, or a reading that cannot be.
        """
        if not 0 <= number < len(self.trials):
            raise ParamsError(
                explain(f"trial {number} was never asked for", allowed=f"0 to {len(self.trials) - 1}", fix="Ask first.")
            )
        trial = self.trials[number]
        if trial.measured is not None:
            raise ParamsError(explain(f"trial {number} has been told already", fix="Tell each trial once."))
        self._check(number, measured)
        done = replace(trial, measured=measured)
        self.trials = (*self.trials[:number], done, *self.trials[number + 1 :])

    def _check(self, number: int, measured: Measurement) -> None:
        channels = len(self.problem.device.channels)
        numbers = {
            "hours": measured.hours,
            "cost_usd": measured.cost_usd,
            "wear_usd_per_day": measured.wear_usd_per_day,
        }
        if not measured.tripped:
            numbers |= {"hashrate_ths": measured.hashrate_ths, "power_w": measured.power_w}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise ParamsError(
                    explain(f"{name} of trial {number} is {value}", allowed="a finite number", fix="Repeat the trial.")
                )
        if not measured.tripped and not (measured.power_w > 0.0 and measured.hashrate_ths >= 0.0):
            raise ParamsError(
                explain(
                    f"trial {number} measured {measured.hashrate_ths} TH/s at {measured.power_w} W",
                    allowed="power above 0 and no negative hashrate",
                )
            )
        if not measured.temp_c or not all(map(math.isfinite, measured.temp_c)):
            raise ParamsError(explain(f"temp_c of trial {number} is {measured.temp_c}", allowed="finite readings"))
        if len(measured.error_ratio) != channels or not all(0.0 <= e <= 1.0 for e in measured.error_ratio):
            raise ParamsError(
                explain(
                    f"error_ratio of trial {number} is {measured.error_ratio}",
                    allowed=f"{channels} numbers between 0 and 1",
                )
            )

    def move_to(self, temp_amb_c: float) -> None:
        """Ask the next trials for other air; what was learned stays."""
        self.problem = self.problem.at(temp_amb_c)

    def recommend(self) -> Vector:
        """The setting to keep by what is known, (D,).

        Raises:
            ParamsError: nothing has been measured.
        """
        if not self.told:
            raise ParamsError(explain("no trial has been measured", fix="Ask, measure and tell first."))
        return self.method.recommend(self.problem, self.trials)

    def to_json(self) -> dict[str, Any]:
        """The whole state as plain values."""
        return {
            "format": FORMAT,
            "problem": self.problem.fingerprint,
            "serial": self.problem.serial,
            "knobs": list(self.problem.names),
            "method": self.method.name,
            "seed": self.seed,
            "temp_amb_c": self.problem.temp_amb_c,
            "trials": [
                {
                    "number": trial.number,
                    "setting": list(trial.setting),
                    "temp_amb_c": trial.temp_amb_c,
                    "measured": None if trial.measured is None else trial.measured.to_json(),
                }
                for trial in self.trials
            ],
        }

    def save(self, path: Path) -> None:
        """Write the state whole, or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        beside = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.to_json(), file, indent=1, allow_nan=False)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def load_study(path: Path, problem: TuningProblem, method: Method) -> Study:
    """Take a saved study up again.

    Args:
        path: written by :meth:`Study.save`.
        problem: the same unit, objective and limits; its ambient is kept.
        method: the same method.

    Raises:
        DataFileError: unreadable, or not a study.
        ParamsError: a study of another problem or method.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        facts = (state["format"], state["problem"], state["method"], state["serial"], state["seed"])
        trials = tuple(_trial_of(item, number) for number, item in enumerate(state["trials"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            explain(f"{path.name} is not a readable study ({error})", fix="Delete it to begin anew.")
        ) from error
    form, fingerprint, name, serial, seed = facts
    if form != FORMAT:
        raise DataFileError(explain(f"{path.name} has format {form}", allowed=str(FORMAT)))
    if fingerprint != problem.fingerprint:
        raise ParamsError(
            explain(
                f"the state is of another problem ({serial}, or other bounds, objective, limits or costs)",
                allowed=problem.serial,
                origin=str(path),
                fix="Choose another folder, or the settings that it was begun with.",
            )
        )
    if name != method.name:
        raise ParamsError(explain(f"the state is of method {name!r}", allowed=repr(method.name), origin=str(path)))
    study = Study(problem, method, seed, tuple(replace(trial, measured=None) for trial in trials))
    for trial in trials:
        if trial.measured is not None:
            study.tell(trial.number, trial.measured)
    return study


def _trial_of(item: Mapping[str, Any], number: int) -> Trial:
    if item["number"] != number:
        raise ValueError(f"trial {item['number']} in place of {number}")
    measured = None if item["measured"] is None else Measurement.from_json(item["measured"])
    return Trial(number, tuple(map(float, item["setting"])), float(item["temp_amb_c"]), measured)


def best_measured(problem: TuningProblem, trials: Sequence[Trial]) -> Vector:
    """The setting with the best measured score within the limits; the known-good one if there is none, (D,)."""
    told = [(problem.measured_score(t.measured), t.setting) for t in trials if t.measured is not None]
    score, setting = max(told, default=(-math.inf, ()))
    return problem.known_good() if score == -math.inf else np.array(setting)
