"""How far an agent stays behind what could be earned, as ratios of means with intervals, and at other costs of stops.

A ratio of means over weeks and seeds, not a mean of weekly ratios: a week in which nothing could be earned would
otherwise count as much as one that decides the year. Numerator and denominator are resampled together, so their weeks
stay paired. Where a denominator is too small to divide by, the answer is "n/a" (NaN), never a large number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minesim.bench.statistics import (
    BLOCK_WEEKS,
    RESAMPLES,
    FloatArray,
    Interval,
    mean_interval,
    resampled_means,
    tail_share,
)
from minesim.errors import ParamsError, explain

PERCENT = 100.0
ROOM_MIN = 0.01
"""Regret is n/a where the bound lies less than this share of always-stock's profit above the reference."""


def profit_at_scale(terms: Mapping[Any, Any], scale: float) -> Any:
    """Profit if wear and stops cost ``scale`` times what was simulated: both enter it linearly, so one run is enough.

    A policy does not see these costs, so its run stays the same; what is tuned or planned for them is not (bounds, a
    rule's parameters).

    Args:
        terms: ``profit_usd``, ``wear_usd``, ``restart_usd`` of a run, as numbers, arrays or a Dataset.
        scale: factor on the assumed costs.

    Returns:
        Profit, USD, in the kind of the terms.

    >>> profit_at_scale({"profit_usd": 100.0, "wear_usd": 5.0, "restart_usd": 10.0}, 2.0)
    85.0
    """
    return terms["profit_usd"] + (1.0 - scale) * (terms["wear_usd"] + terms["restart_usd"])


def not_applicable(level: float = 0.95) -> Interval:
    """The answer where a ratio means nothing."""
    return Interval(np.nan, np.nan, np.nan, np.nan, level)


def ratio_interval(
    above: FloatArray,
    below: FloatArray,
    *,
    below_min: float = 0.0,
    factor: float = 1.0,
    block_weeks: int = BLOCK_WEEKS,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of ``factor x mean(above) / mean(below)`` by the paired block bootstrap.

    Args:
        above, below: same shape, (weeks,) or (weeks, seeds), of the same weeks and seeds in the same order.
        below_min: a mean of ``below`` not above it gives n/a.
        factor: 100 for per cent.
        block_weeks, level, resamples, seed: as for :func:`minesim.bench.statistics.mean_interval`.

    Returns:
        The ratio with its interval; the p-value is that of "the mean of ``above`` is zero". All NaN where the ratio is
        n/a. Without ends, and without p-value, where there are fewer than 3 weeks; with an infinite end where so many
        draws of ``below`` are not positive that the data set no limit there.

    Raises:
        ParamsError: shapes that cannot be paired, or a value that is not a number.
    """
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if above.shape != below.shape:
        raise ParamsError(
            explain(
                f"cannot divide values of shape {above.shape} by others of shape {below.shape}",
                allowed="the same weeks and seeds for both",
            )
        )
    options: dict[str, Any] = {"block_weeks": block_weeks, "resamples": resamples, "seed": seed}
    top = mean_interval(above, level=level, **options)
    bottom = mean_interval(below, level=level, **options).estimate
    if not bottom > max(below_min, 0.0):
        return not_applicable(level)
    estimate = factor * top.estimate / bottom
    weeks = len(above)
    if weeks < 3:
        return Interval(estimate, np.nan, np.nan, np.nan, level)
    tops, bottoms = resampled_means([above, below], **options)
    # A draw whose denominator vanishes sets no limit on the side that its numerator points to; nothing stays nothing.
    endless = np.where(tops == 0.0, 0.0, np.copysign(np.inf, factor * tops))
    ratios = np.where(bottoms > 0.0, factor * tops / np.where(bottoms > 0.0, bottoms, 1.0), endless)
    tail = tail_share(weeks, block_weeks, level)
    low, high = np.quantile(ratios, [tail, 1.0 - tail], method="inverted_cdf")
    return Interval(estimate, float(low), float(high), top.p_value, level)


def gain_pct(agent: FloatArray, reference: FloatArray, **options: Any) -> Interval:
    """Gain of an agent over a reference (always-stock, the best rule), per cent of the reference's mean profit.

    Args:
        agent, reference: profit, USD, (weeks,) or (weeks, seeds), paired.
        options: as for :func:`ratio_interval`.

    Returns:
        Per cent; n/a where the reference earns nothing on average.
    """
    return ratio_interval(np.asarray(agent) - np.asarray(reference), reference, factor=PERCENT, **options)


@dataclass(frozen=True)
class Regret:
    """How much of the room between a reference and the clairvoyant bound an agent leaves, per cent.

    0 is the bound, 100 is no better than the reference, above 100 is worse than it. Every field is n/a where the bound
    lies less than 1 % of always-stock's profit above the reference.

    Attributes:
        regret_pct: (bound - agent) / (bound - reference).
        information_pct: (bound - informed bound) / (bound - reference): not to be had by anybody who cannot see the
            future; n/a without an informed bound.
        skill_pct: (informed bound - agent) / (bound - reference): the rest; the two add up to the regret. Below 0 where
            the agent beats the informed plan, which is then no bound for it.
        room_pct: (bound - reference) / always-stock's profit, whether n/a or not.
    """

    regret_pct: Interval
    information_pct: Interval
    skill_pct: Interval
    room_pct: Interval


def regret(
    agent: FloatArray,
    bound: FloatArray,
    reference: FloatArray,
    stock: FloatArray,
    informed: FloatArray | None = None,
    *,
    room_min: float = ROOM_MIN,
    **options: Any,
) -> Regret:
    """Regret of an agent against the clairvoyant bound, relative to a reference, and what it is made of.

    Args:
        agent: profit, USD, (weeks,) or (weeks, seeds); so are the others, all of the same weeks and seeds.
        bound: clairvoyant bound.
        reference: the best rule (what an agent has to beat), or always-stock.
        stock: always-stock.
        informed: bound that knows only what could be known.
        room_min: least room, as a share of the size of ``stock``'s mean profit.
        options: as for :func:`ratio_interval`.

    Raises:
        ParamsError: shapes that cannot be paired, or a value that is not a number.
    """
    agent, bound, reference, stock = (np.asarray(part, np.float64) for part in (agent, bound, reference, stock))
    for part in (bound, reference, stock, agent if informed is None else np.asarray(informed)):
        if part.shape != agent.shape:
            raise ParamsError(
                explain(
                    f"cannot pair values of shape {part.shape} with an agent's of shape {agent.shape}",
                    allowed="the same weeks and seeds for all",
                )
            )
    room = bound - reference
    least = room_min * abs(float(stock.mean()))

    def share(of: FloatArray) -> Interval:
        return ratio_interval(of, room, below_min=least, factor=PERCENT, **options)

    none = not_applicable(options.get("level", 0.95))
    return Regret(
        regret_pct=share(bound - agent),
        information_pct=none if informed is None else share(bound - informed),
        skill_pct=none if informed is None else share(informed - agent),
        room_pct=ratio_interval(room, stock, factor=PERCENT, **options),
    )
