"""What a benchmark's page tells beyond profit: regret against the bounds, behaviour beside the mission's targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from minesim.bench.metrics import BY_NAME
from minesim.bench.regret import Regret, gain_pct, ratio_interval, regret
from minesim.bench.scorecard import players, values
from minesim.bench.standing import at_scale, best_validated, limit_at_scale
from minesim.bench.statistics import Interval

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
NOT_APPLICABLE = "n/a"


@dataclass(frozen=True)
class StandingRow:
    """An agent against the best validated rule and the bounds; text as shown, intervals as small print."""

    agent: str
    over_stock: tuple[str, str]
    over_rule: tuple[str, str]
    regret: tuple[str, str]
    information: str
    skill: str


@dataclass(frozen=True)
class TargetRow:
    """A metric of the mission: its target beside what every agent reached."""

    label: str
    units: str
    target: str
    reached: Sequence[str]


@dataclass(frozen=True)
class Overview:
    """One scenario's part.

    Attributes:
        rule: the best validated rule.
        standing: a row an agent.
        bound, informed: mean of the bounds, USD a week, as text; a dash where they were not computed.
        agents: columns of ``targets``.
        targets: a row a metric.
    """

    rule: str
    standing: Sequence[StandingRow]
    bound: str
    informed: str
    agents: Sequence[str]
    targets: Sequence[TargetRow]


def percent(value: float, digits: int = 1, signed: bool = False) -> str:
    """A percentage with a true minus sign, ``n/a`` where there is no number.

    >>> percent(-3.21), percent(4.0, signed=True)
    ('\N{MINUS SIGN}3.2 %', '+4.0 %')
    """
    if np.isnan(value):
        return NOT_APPLICABLE
    if np.isinf(value):
        return f"{MINUS if value < 0 else ''}\N{INFINITY}"
    sign = MINUS if round(value, digits) < 0 else "+" if signed and round(value, digits) > 0 else ""
    return f"{sign}{abs(value):,.{digits}f} %"


def _with_range(item: Interval, signed: bool = False) -> tuple[str, str]:
    if np.isnan(item.estimate):
        return NOT_APPLICABLE, ""
    ends = "" if np.isnan(item.low) else f"{percent(item.low, signed=signed)} to {percent(item.high, signed=signed)}"
    return percent(item.estimate, signed=signed), ends


def regret_of(card: xr.Dataset, scenario: str, agent: str, reference: str, scale: float = 1.0) -> Regret | None:
    """Regret of an agent relative to the room above a reference; None where no bound was computed."""
    bound = limit_at_scale(card, "bound", scenario, scale)
    if bound is None:
        return None
    mine, other, stock = (at_scale(card, name, scenario, scale) for name in (agent, reference, "always_stock"))
    return regret(mine, bound, other, stock, limit_at_scale(card, "informed", scenario, scale))


def overview(card: xr.Dataset, scenario: str, baseline: str) -> Overview:
    """Everything beyond profit for one scenario.

    Args:
        card: with scales, bounds and validation (see :mod:`minesim.bench.standing`).
        scenario: its name.
        baseline: agent that all are compared with.
    """
    agents, rule = players(card, scenario), best_validated(card, scenario)
    base = values(card, baseline, scenario)
    best = values(card, rule, scenario)
    standing = []
    for agent in agents:
        mine = values(card, agent, scenario)
        found = regret_of(card, scenario, agent, rule)
        standing.append(
            StandingRow(
                agent=agent,
                over_stock=(NONE, "baseline") if agent == baseline else _with_range(gain_pct(mine, base), True),
                over_rule=(NONE, "best rule") if agent == rule else _with_range(gain_pct(mine, best), True),
                regret=(NOT_APPLICABLE, "") if found is None else _with_range(found.regret_pct),
                information=NOT_APPLICABLE if found is None else percent(found.information_pct.estimate),
                skill=NOT_APPLICABLE if found is None else percent(found.skill_pct.estimate),
            )
        )
    limits = [limit_at_scale(card, name, scenario, 1.0) for name in ("bound", "informed")]
    told = [NONE if limit is None else f"${float(limit.mean()):,.0f}" for limit in limits]
    return Overview(rule, standing, told[0], told[1], agents, _targets(card, scenario, agents, baseline))


def _targets(card: xr.Dataset, scenario: str, agents: Sequence[str], baseline: str) -> list[TargetRow]:
    rows = []
    for metric in BY_NAME.values():
        if not metric.target:
            continue
        relative = "vs always_stock" in metric.target
        reached = []
        for agent in agents:
            table = values(card, agent, scenario, metric.name)
            if relative:
                change = _change_pct(table, values(card, baseline, scenario, metric.name))
                reached.append(NONE if agent == baseline else percent(change, signed=True))
            else:
                reached.append(_mean_text(card, agent, scenario, metric.name))
        rows.append(TargetRow(metric.label, metric.units, metric.target.replace("_", " "), reached))
    return rows


def _change_pct(table: np.ndarray, base: np.ndarray) -> float:
    """Change of the mean against the baseline's, per cent; weeks without a value (nothing was used) left out."""
    both = np.isfinite(table) & np.isfinite(base)
    if not both.any() or not base[both].mean() > 0.0:
        return float("nan")
    return float(100.0 * (table[both].mean() / base[both].mean() - 1.0))


def _mean_text(card: xr.Dataset, agent: str, scenario: str, name: str) -> str:
    """A ratio metric over all weeks is the ratio of the sums of its parts."""
    parts = BY_NAME[name].parts
    if parts is not None:
        above, below = (values(card, agent, scenario, part) for part in parts)
        whole = np.isfinite(above) & np.isfinite(below)
        if not whole.all():
            return NOT_APPLICABLE
        ratio = ratio_interval(above, below)
        # Scores are defined within 0 to 1; a ratio of sums may leave that where single weeks do.
        return NOT_APPLICABLE if np.isnan(ratio.estimate) else f"{min(max(ratio.estimate, 0.0), 1.0):.2f}"
    table = values(card, agent, scenario, name)
    return f"{float(np.nanmean(table)):.3g}" if np.isfinite(table).any() else NOT_APPLICABLE
