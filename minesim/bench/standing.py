"""Where every agent stands on a scenario: against always-stock, the best validated rule and the bounds; and the claims.

The best validated rule is the rule with the highest profit on the validation weeks, so no test week has a say in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

from minesim.bench.scorecard import players, values
from minesim.bench.statistics import FloatArray, Interval, holm, paired_interval
from minesim.errors import ParamsError, explain

RULE = "rule"


@dataclass(frozen=True)
class Claim:
    """A comparison that was fixed before the test run; ``p_adjusted`` is corrected for the number of claims."""

    scenario: str
    agent: str
    against: str
    difference: Interval
    p_adjusted: float

    @property
    def holds(self) -> bool:
        """Whether the gain is clear of zero after the correction."""
        return self.difference.estimate > 0.0 and self.p_adjusted < 1.0 - self.difference.level


def has_scales(card: xr.Dataset) -> bool:
    """Whether a scorecard tells profits at several cost scales and on validation weeks."""
    return "profit_scaled_usd" in card and "validation_scaled_usd" in card


def at_scale(card: xr.Dataset, agent: str, scenario: str, scale: float) -> FloatArray:
    """Profit of an agent at a cost scale, USD, (weeks, seeds)."""
    return card["profit_scaled_usd"].sel(agent=agent, scenario=scenario, scale=scale).to_numpy()


def limit_at_scale(card: xr.Dataset, name: str, scenario: str, scale: float) -> FloatArray | None:
    """``bound`` or ``informed`` at a cost scale, USD, (weeks, seeds); None where it was not computed."""
    found = card[f"{name}_usd"].sel(scenario=scenario, scale=scale).to_numpy()
    return found if np.isfinite(found).all() else None


def best_validated(card: xr.Dataset, scenario: str, scale: float = 1.0, kind: str = RULE) -> str:
    """The agent of a kind with the highest validation profit at a cost scale.

    Raises:
        ParamsError: no agent of that kind was validated there.
    """
    mine = card["kind"].to_numpy() == kind
    judged = card["validation_scaled_usd"].sel(scenario=scenario, scale=scale).to_numpy()
    judged = np.where(mine & np.isfinite(judged), judged, -np.inf)
    if not np.isfinite(judged).any():
        raise ParamsError(explain(f"no agent of kind {kind!r} was validated on {scenario!r}"))
    return str(card["agent"].to_numpy()[int(np.argmax(judged))])


def claims(card: xr.Dataset) -> list[Claim]:
    """The champion against the best validated rule on the scenarios declared beforehand."""
    champion = str(card.attrs.get("champion", ""))
    declared = [name for name in json.loads(str(card.attrs.get("declared", "[]"))) if name in card["scenario"]]
    found = []
    for scenario in declared:
        if champion in players(card, scenario):
            rule = best_validated(card, scenario)
            gain = paired_interval(values(card, champion, scenario), values(card, rule, scenario))
            found.append((scenario, rule, gain))
    adjusted = holm([gain.p_value for _, _, gain in found]) if found else []
    return [Claim(scenario, champion, rule, gain, p) for (scenario, rule, gain), p in zip(found, adjusted, strict=True)]


def broken_bounds(card: xr.Dataset) -> list[tuple[str, str, float, float]]:
    """Agents above the bound on some draw: (agent, scenario, scale, largest excess in USD); an empty list is right."""
    found = []
    for scenario in (str(name) for name in card["scenario"].to_numpy()):
        for scale in (float(value) for value in card["scale"].to_numpy()):
            limit = limit_at_scale(card, "bound", scenario, scale)
            if limit is None:
                continue
            for agent in players(card, scenario):
                excess = float((at_scale(card, agent, scenario, scale) - limit).max())
                if excess > 0.0:
                    found.append((agent, scenario, scale, excess))
    return found
