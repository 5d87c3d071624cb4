"""Look for a better order of the miners in a hall: swaps of two groups, the best first, until none helps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minesim.placement.judge import Floats, Judge, Orders, Settings, Verdict

TOLERANCE_USD: float = 1.0
"""A swap that saves less than this in a year is not worth the carrying (assumed)."""
ROUNDS: int = 4
"""Settings and order are chosen in turn, at most so often."""


@dataclass(frozen=True)
class Placed:
    """An order, what it is cooled with, and what it costs.

    Attributes:
        order: for each group of the layout, whose miners stand there, (M,).
        settings: cheapest for it.
        verdict: of this one order.
    """

    order: Orders
    settings: Settings
    verdict: Verdict

    @property
    def usd_per_year(self) -> float:
        """Cost of cooling, USD a year."""
        return float(self.verdict.usd_per_year[0])

    @property
    def broken(self) -> float:
        """Share of hours with a limit broken."""
        return float(self.verdict.broken[0])


def placed(judge: Judge, order: Orders, settings: Settings | None = None) -> Placed:
    """An order with the settings that suit it, or with given ones."""
    settings = judge.settings_for(order) if settings is None else settings
    return Placed(order, settings, judge.judge(order[None], settings))


def swaps(order: Orders, models: Sequence[str], count: Floats) -> Orders:
    """All orders in which two groups of as many miners, but of other models, have changed places, (N, M)."""
    found = []
    for a, b in itertools.combinations(range(len(order)), 2):
        if count[a] == count[b] and models[order[a]] != models[order[b]]:
            other = order.copy()
            other[[a, b]] = order[[b, a]]
            found.append(other)
    return np.array(found, np.int64).reshape(-1, len(order))


def improve(
    judge: Judge,
    start: Placed,
    models: Sequence[str],
    *,
    hold: bool = False,
    on_swap: Callable[[Placed], None] = lambda _: None,
) -> Placed:
    """Swap groups while that helps by more than :data:`TOLERANCE_USD` a year, then choose settings anew, and again.

    It ends where no swap of two helps; a better order that takes several swaps at once may exist.

    Args:
        judge: of the hall.
        start: from where.
        models: of the groups as they stand.
        hold: keep the settings of the start.
        on_swap: called after each swap that is taken.
    """
    best = start
    for _ in range(ROUNDS):
        before = best
        while len(others := swaps(best.order, models, judge.hall.miners.count)):
            verdict = judge.judge(others, best.settings)
            n = verdict.best()
            if not verdict.better(n, best.verdict, TOLERANCE_USD):
                break
            best = Placed(others[n], best.settings, Verdict(*(part[n : n + 1] for part in verdict)))
            on_swap(best)
        if hold or np.array_equal(best.order, before.order):
            break
        best = placed(judge, best.order)
    return best


def random_orders(count: Floats, number: int, rng: np.random.Generator) -> Orders:
    """Orders drawn at random among groups of as many miners, (N, M)."""
    orders = np.tile(np.arange(len(count)), (number, 1))
    for size in np.unique(count):
        places = np.flatnonzero(count == size)
        for n in range(number):
            orders[n, places] = rng.permutation(places)
    return orders
