"""The gates of a promotion: each a check with a number, a bar and a verdict; a check that cannot be made is not passed.

A policy comes onto a site only if it earns more than what runs there now, by a good part of what could be earned, is
hardly worse than the best rule anywhere, and does not pay for it with hardware, heat or stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from minesim.bench.gate import ROUNDING_USD
from minesim.bench.regret import ROOM_MIN, gain_pct, profit_at_scale
from minesim.bench.scorecard import players, values
from minesim.bench.standing import best_validated, limit_at_scale
from minesim.bench.statistics import FloatArray, paired_interval
from minesim.control.envelope import limits
from minesim.errors import ParamsError, explain
from minesim.promote.rehearsal import BROKEN, Rehearsed

CLOSED_MIN = 0.25
"""Share of the way from the incumbent to the clairvoyant bound."""
WORSE_MAX = 0.005
"""Share of the best rule's profit that may be missing on any scenario."""
COST_SCALE = 4.0
"""Times the assumed cost of stops and wear at which the gain must still be one: the largest scale of the benchmark."""
STOCK = "always_stock"
DAYS_PER_WEEK = 7.0


@dataclass(frozen=True)
class Gate:
    """A check.

    Attributes:
        name: short.
        what: is measured, in words.
        value: the number; NaN where it could not be measured.
        bar: what it is held against.
        at_least: whether the value must reach the bar; else it must not exceed it.
        unit: of both.
        note: what else there is to say.
        strict: whether the bar itself is not enough.
    """

    name: str
    what: str
    value: float
    bar: float
    at_least: bool
    unit: str
    note: str = ""
    strict: bool = False

    @property
    def passed(self) -> bool:
        """Whether the check was made and holds."""
        if math.isnan(self.value):
            return False
        if self.strict and self.value == self.bar:
            return False
        return self.value >= self.bar if self.at_least else self.value <= self.bar


@dataclass(frozen=True)
class Margin:
    """How much of a secondary metric a policy may use; all sizes but the chip's limit are assumed.

    Attributes:
        name: of the gate.
        what: is measured, in words.
        measure: from the values of the agent and of the incumbent, (weeks, seeds) each, to a number.
        metric: of the scorecard.
        bar: largest number.
        unit: of the number.
    """

    name: str
    what: str
    measure: Callable[[FloatArray, FloatArray], float]
    metric: str
    bar: float
    unit: str


def _mean(table: FloatArray) -> float:
    """Mean of what there is; NaN where there is nothing."""
    return float(np.nanmean(table)) if np.isfinite(table).any() else math.nan


def _increase(agent: FloatArray, incumbent: FloatArray) -> float:
    return _mean(agent) - _mean(incumbent)


def _over_limit(agent: FloatArray, incumbent: FloatArray) -> float:
    """How far the hottest chip was above the soft limit on hardware; a site may be hotter than that already."""
    return float(agent.max() - max(incumbent.max(), limits("bridge").temp_chip_soft_c))


MARGINS: tuple[Margin, ...] = (
    Margin("stops", "stops of a miner and day", lambda a, b: _mean(a) / DAYS_PER_WEEK, "stops_per_miner", 2.0, "1"),
    Margin("trips", "protective trips a week more than the incumbent's", _increase, "trips", 0.0, "1"),
    Margin("heat", "hottest chip over its limit, or over the incumbent's", _over_limit, "temp_chip_max_c", 0.0, "K"),
    Margin("violations", "share of steps with a constraint cost", lambda a, b: _mean(a), "violation_share", 0.02, "1"),
    Margin("stability", "instability of hashrate", lambda a, b: _mean(a), "hashrate_rel_sd", 0.10, "1"),
    Margin(
        "efficiency",
        "energy per hash over the incumbent's",
        lambda a, b: _mean(a) / _mean(b) - 1.0,
        "efficiency_j_per_th",
        0.02,
        "1",
    ),
)


def scorecard_gates(
    card: xr.Dataset, agent: str, incumbent: str, scenario: str, alike: Sequence[str], *, gain: float | None = None
) -> list[Gate]:
    """All gates that a scorecard decides.

    Args:
        card: with the seeds that the policy drove.
        agent: to be promoted.
        incumbent: what runs now.
        scenario: that the bundle is for; both have a result there.
        alike: scenarios that the bundle could act in, ``scenario`` among them.
        gain: share of the incumbent's profit that the lower end of the gain must reach; None for any gain.

    Raises:
        ParamsError: agent and incumbent are the same.
    """
    if agent == incumbent:
        raise ParamsError(
            explain(f"{agent!r} cannot be promoted over itself", fix="Name another incumbent with --incumbent.")
        )
    played = [name for name in alike if agent in players(card, name)]
    shared = [name for name in played if incumbent in players(card, name)]
    gates = [
        _gain(card, agent, incumbent, [scenario], "gain", f"on {scenario}"),
        _closed(card, agent, incumbent, [scenario], "closed", f"on {scenario}"),
    ]
    if len(shared) > 1:
        over = f"over {len(shared)} scenarios"
        gates += [
            _gain(card, agent, incumbent, shared, "gain_suite", over),
            _closed(card, agent, incumbent, shared, "closed_suite", over),
        ]
    if gain is not None:
        gates.append(_gain_share(card, agent, incumbent, scenario, gain))
    gates.append(_worst(card, agent, played))
    gates.append(_at_higher_cost(card, agent, incumbent, scenario))
    for margin in MARGINS:
        both = [values(card, name, scenario, margin.metric) for name in (agent, incumbent)]
        gates.append(Gate(margin.name, margin.what, margin.measure(*both), margin.bar, False, margin.unit))
    return gates


def _pooled(card: xr.Dataset, agent: str, scenarios: Sequence[str]) -> FloatArray:
    """Mean profit over scenarios, USD a week, (weeks, seeds)."""
    return np.asarray(np.mean([values(card, agent, name) for name in scenarios], axis=0), np.float64)


def _gain(card: xr.Dataset, agent: str, incumbent: str, scenarios: Sequence[str], name: str, where: str) -> Gate:
    found = paired_interval(_pooled(card, agent, scenarios), _pooled(card, incumbent, scenarios))
    note = f"estimate {found.estimate:,.0f}, interval {found.low:,.0f} to {found.high:,.0f} USD a week"
    if math.isnan(found.low):
        note = f"only {card.sizes['week']} test weeks: run a suite with at least 3"
    what = f"lower end of the 95 % interval of the paired gain over {incumbent} {where}"
    return Gate(name, what, found.low, 0.0, True, "USD/week", note, strict=True)


def _gain_share(card: xr.Dataset, agent: str, incumbent: str, scenario: str, gain: float) -> Gate:
    found = gain_pct(values(card, agent, scenario), values(card, incumbent, scenario))
    note = f"estimate {found.estimate:.1f} %, interval {found.low:.1f} to {found.high:.1f} %"
    if math.isnan(found.low):
        note = f"{incumbent} earns nothing there, or there are fewer than 3 test weeks"
    what = f"lower end of the 95 % interval of the gain, share of {incumbent}'s profit on {scenario}"
    return Gate("gain_share", what, found.low / 100.0, gain, True, "1", note)


def _closed(card: xr.Dataset, agent: str, incumbent: str, scenarios: Sequence[str], name: str, where: str) -> Gate:
    def gate(value: float, note: str) -> Gate:
        what = f"(agent - {incumbent}) / (bound - {incumbent}) {where}"
        return Gate(name, what, value, CLOSED_MIN, True, "1", note)

    bounds = [limit_at_scale(card, "bound", item, 1.0) for item in scenarios]
    missing = [item for item, bound in zip(scenarios, bounds, strict=True) if bound is None]
    if missing:
        return gate(math.nan, f"no bound for {', '.join(missing)}: run the benchmark again with bounds=true")
    bound = np.mean([item for item in bounds if item is not None], axis=0)
    mine, theirs = _pooled(card, agent, scenarios), _pooled(card, incumbent, scenarios)
    excess = max(
        float((values(card, agent, item) - limit).max())
        for item, limit in zip(scenarios, bounds, strict=True)
        if limit is not None
    )
    if excess > 0.0:
        return gate(math.nan, f"the agent lies {excess:,.2f} USD above the bound on some week: the bound is in error")
    room = float((bound - theirs).mean())
    if room < ROOM_MIN * abs(float(theirs.mean())):
        return gate(math.nan, f"{incumbent} lies within {ROOM_MIN:.0%} of the bound: nothing to be gained")
    note = f"bound {bound.mean():,.0f}, agent {mine.mean():,.0f}, {incumbent} {theirs.mean():,.0f} USD a week"
    return gate(float((mine - theirs).mean()) / room, note)


def _worst(card: xr.Dataset, agent: str, scenarios: Sequence[str]) -> Gate:
    """The scenario on which the agent stays furthest behind the best rule, which validation weeks chose."""
    lag, note = -math.inf, ""
    for scenario in scenarios:
        try:
            rule = best_validated(card, scenario)
        except ParamsError as error:
            lag, note = math.nan, str(error)
            break
        best, mine = (float(values(card, name, scenario).mean()) for name in (rule, agent))
        behind = (best - mine) / abs(best) if best != 0.0 else math.nan
        if math.isnan(behind) or behind > lag:
            lag, note = behind, f"on {scenario}: {mine:,.0f}, {rule} {best:,.0f} USD a week"
        if math.isnan(behind):
            break
    what = f"profit behind the best validated rule, on the worst of {len(scenarios)} scenarios"
    return Gate("worst_scenario", what, lag, WORSE_MAX, False, "1", note)


def _at_higher_cost(card: xr.Dataset, agent: str, incumbent: str, scenario: str) -> Gate:
    def profit(name: str) -> FloatArray:
        terms = {key: values(card, name, scenario, key) for key in ("profit_usd", "wear_usd", "restart_usd")}
        return np.asarray(profit_at_scale(terms, COST_SCALE))

    value = float((profit(agent) - profit(incumbent)).mean())
    stress = [_mean(values(card, name, scenario, "hardware_stress_usd")) for name in (agent, incumbent)]
    note = f"hardware stress {stress[0]:,.0f} USD a week, {incumbent} {stress[1]:,.0f}"
    what = f"mean gain if stops and wear cost {COST_SCALE:g} times what is assumed"
    return Gate("stress", what, value, 0.0, True, "USD/week", note, strict=True)


def rehearsal_gates(done: Mapping[str, Rehearsed], agent: str, incumbent: str, rule: str, bounds: str) -> list[Gate]:
    """The gates that the rehearsal decides.

    Args:
        done: name -> result, all on the same weeks.
        agent, incumbent: to be promoted, and what runs now.
        rule: the best validated rule.
        bounds: name of the limits.
    """
    mine = done[agent]
    weeks = len(mine.profit_usd)
    where = f"in {weeks} validation weeks under limits={bounds}"
    counted = ", ".join(f"{name} {count}" for name, count in mine.broken.items() if count)
    profit = {name: float(item.profit_usd.mean()) for name, item in done.items()}
    behind = (profit[rule] - profit[agent]) / abs(profit[rule]) if profit[rule] != 0.0 else math.nan
    return [
        Gate(
            "envelope",
            f"limits broken {where}",
            float(mine.total),
            0.0,
            False,
            "1",
            counted or f"none of {', '.join(BROKEN)}",
        ),
        Gate(
            "rehearsal",
            f"mean gain over {incumbent} {where}",
            profit[agent] - profit[incumbent],
            -ROUNDING_USD,
            True,
            "USD/week",
            f"{profit[agent]:,.0f}, {incumbent} {profit[incumbent]:,.0f} USD a week",
        ),
        Gate(
            "rehearsal_rule",
            f"profit behind the best validated rule {where}",
            behind,
            WORSE_MAX,
            False,
            "1",
            f"{profit[agent]:,.0f}, {rule} {profit[rule]:,.0f} USD a week",
        ),
    ]


def int8_gate(short: Rehearsed, exact: Rehearsed) -> Gate:
    """Whether what the scorecard says of a network still holds for its weights in 8 bits.

    Args:
        short, exact: in 8 bits and in float32, on the same weeks.
    """
    full, loss = float(exact.profit_usd.mean()), float((exact.profit_usd - short.profit_usd).mean())
    share = loss / abs(full) if full != 0.0 else math.nan
    what = "profit that 8 bits cost in the rehearsal"
    return Gate("int8", what, share, WORSE_MAX, False, "1", f"{loss:,.2f} of {full:,.0f} USD a week")
