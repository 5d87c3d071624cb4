"""The regression gate: does an agent earn significantly less than in an earlier scorecard, on the same draws?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from minesim.bench.scorecard import HEADLINE, players, values
from minesim.bench.statistics import Interval, holm, paired_interval
from minesim.errors import DataFileError, ParamsError, explain

LEVEL = 0.05
ROUNDING_USD = 0.01
"""A mean weekly loss up to this is rounding, not a regression."""


@dataclass(frozen=True)
class Change:
    """One agent on one scenario against the earlier run, USD a week; ``p_adjusted`` is corrected for all changes."""

    agent: str
    scenario: str
    difference: Interval
    p_adjusted: float

    @property
    def regressed(self) -> bool:
        """Whether the loss is larger than rounding and significant."""
        return self.difference.estimate < -ROUNDING_USD and self.p_adjusted < LEVEL


def read_baseline(path: Path) -> dict[str, Any]:
    """A ``scorecard.json`` of an earlier run.

    Raises:
        DataFileError: missing, unreadable, or not a scorecard.
    """
    if not path.exists():
        raise DataFileError(
            explain(f"there is no baseline {str(path)!r}", fix="Keep the scorecard.json of a run that you trust.")
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scenarios = content["scenarios"]
        for name, scenario in scenarios.items():
            for agent, weekly in scenario["weekly"].items():
                if np.ndim(weekly[HEADLINE]) != 2:
                    raise DataFileError(explain(f"{path.name}: {agent} on {name} has no weekly {HEADLINE}"))
    except (ValueError, KeyError, AttributeError, TypeError, UnicodeDecodeError) as error:
        raise DataFileError(
            explain(f"{path.name} is not a scorecard ({type(error).__name__}: {error})", allowed="a scorecard.json")
        ) from error
    return dict(content)


def changes(card: xr.Dataset, baseline: dict[str, Any]) -> list[Change]:
    """Compare every agent on every scenario that both have.

    Args:
        card: the new scorecard.
        baseline: from :func:`read_baseline`.

    Raises:
        ParamsError: nothing is in both, or weeks or seeds differ, so that the two cannot be paired.
    """
    found: list[tuple[str, str, Interval]] = []
    seeds = [int(seed) for seed in card["seed"].to_numpy()]
    for scenario in (str(name) for name in card["scenario"].to_numpy()):
        old = baseline["scenarios"].get(scenario)
        if old is None:
            continue
        starts = card["week_start"].sel(scenario=scenario).to_numpy().astype("datetime64[s]").astype(str).tolist()
        if old["week_start"] != starts or [int(seed) for seed in baseline["seeds"]] != seeds:
            raise ParamsError(
                explain(
                    f"the baseline of {scenario!r} is of other weeks or seeds",
                    allowed=f"weeks from {starts[0]} to {starts[-1]}, seeds {seeds}",
                    fix="Make a new baseline with the same suite.",
                )
            )
        for agent in players(card, scenario):
            if agent in old["weekly"]:
                before = np.asarray(old["weekly"][agent][HEADLINE], np.float64)
                found.append((agent, scenario, paired_interval(values(card, agent, scenario), before)))
    if not found:
        raise ParamsError(
            explain(
                "the baseline has no agent and scenario in common with this run",
                allowed=", ".join(baseline["scenarios"]) or "a scenario of this run",
            )
        )
    adjusted = holm([item.p_value for _, _, item in found])
    return [Change(agent, scenario, item, p) for (agent, scenario, item), p in zip(found, adjusted, strict=True)]
