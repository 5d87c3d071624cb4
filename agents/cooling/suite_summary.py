"""What the cooling benchmark says, in numbers, with intervals over weeks; everybody on the same weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.cooling.contenders import RULE
from agents.cooling.knowledge import Floats
from agents.cooling.suite import Chosen, fined
from agents.cooling.suite_settings import SuiteSettings
from minesim.bench.statistics import BLOCK_WEEKS, Comparison, Estimate, compare, resampled_means, tail_share
from minesim.scenario.climates import Climate

LEVEL = 0.95
HOT_SPOTS_LEAST: Final = 1e-4
"""Share of steps, an hour a year, from which on hot spots can be said to become fewer (assumed)."""


@dataclass(frozen=True)
class Row:
    """Somebody in a climate.

    Attributes:
        name, kind, params: who, and what was chosen on validation weeks.
        means: of every measure over the test weeks.
        cooling_saved: energy of room fans, pad and coil, against the compliant fixed speed.
        energy_saved: of these and the miners' fans together, against it.
        hot_spots_less: against it as well; NaN where it has hardly any (:data:`HOT_SPOTS_LEAST`).
        against_best: cost, USD a week, less that of the best rule; None for the rule itself.
        cooling_saved_best, energy_saved_best: energies as above, against the best rule.
    """

    name: str
    kind: str
    params: dict[str, float]
    means: dict[str, float]
    cooling_saved: Estimate
    energy_saved: Estimate
    hot_spots_less: float
    against_best: Comparison | None
    cooling_saved_best: Estimate
    energy_saved_best: Estimate


@dataclass(frozen=True)
class ClimateSummary:
    """A climate.

    Attributes:
        weeks: test weeks.
        best_rule: of the least fined cost on validation weeks.
        rows: everybody.
    """

    weeks: int
    best_rule: str
    rows: tuple[Row, ...]


def block_weeks(climate: Climate) -> int:
    """Weeks resampled together: neighbours are alike, parts of a split that lie apart are not."""
    return BLOCK_WEEKS if len(climate.splits["test"]) == 1 else 1


def saved(mine: Floats, others: Floats, block: int) -> Estimate:
    """One less the ratio of two means over the same weeks."""
    if len(mine) < 3:
        return Estimate(float(1.0 - mine.mean() / others.mean()), np.nan, np.nan)
    above, below = resampled_means([mine, others], block_weeks=block)
    tail = tail_share(len(mine), block, LEVEL)
    low, high = np.quantile(1.0 - above / below, [tail, 1.0 - tail])
    return Estimate(float(1.0 - mine.mean() / others.mean()), float(low), float(high))


def cooling_kwh(who: Chosen) -> Floats:
    """Energy of room fans, pad and coil, kWh, by test week."""
    return np.asarray(who.test["cooling_kwh"], np.float64)


def air_kwh(who: Chosen) -> Floats:
    """Energy that moves and treats air, room and miners' fans together, kWh, by test week."""
    return np.asarray(who.test["cooling_kwh"] + who.test["miner_fans_kwh"], np.float64)


def summarise(settings: SuiteSettings, found: Mapping[str, Sequence[Chosen]]) -> dict[str, ClimateSummary]:
    """All numbers of a finished benchmark, by climate."""
    return {name: _climate(settings, name, chosen) for name, chosen in found.items()}


def _climate(settings: SuiteSettings, name: str, chosen: Sequence[Chosen]) -> ClimateSummary:
    bench = settings.bench
    by_name = {who.name: who for who in chosen}
    rules = {
        who.name: fined(who.validation, bench.fine_usd)
        for who in chosen
        if who.kind == RULE and who.validation is not None
    }
    best = by_name[min(rules, key=rules.__getitem__)]
    block = block_weeks(settings.world(name).climate)
    costs = {who.name: np.asarray(who.test["cost_usd"], np.float64) for who in chosen}
    against = {item.agent: item for item in compare(costs, best.name, block_weeks=block)}
    compliant = by_name[bench.compliant]
    rows = [_row(who, compliant, best, against.get(who.name), block) for who in chosen]
    return ClimateSummary(len(compliant.test["week"]), best.name, tuple(rows))


def _row(who: Chosen, compliant: Chosen, best: Chosen, against: Comparison | None, block: int) -> Row:
    spots, spots_before = float(who.test["hot_spots"].mean()), float(compliant.test["hot_spots"].mean())
    return Row(
        name=who.name,
        kind=who.kind,
        params=who.params,
        means={str(name): float(values.mean()) for name, values in who.test.data_vars.items()},
        cooling_saved=saved(cooling_kwh(who), cooling_kwh(compliant), block),
        energy_saved=saved(air_kwh(who), air_kwh(compliant), block),
        hot_spots_less=1.0 - spots / spots_before if spots_before > HOT_SPOTS_LEAST else float("nan"),
        against_best=against,
        cooling_saved_best=saved(cooling_kwh(who), cooling_kwh(best), block),
        energy_saved_best=saved(air_kwh(who), air_kwh(best), block),
    )
