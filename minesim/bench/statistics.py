"""Intervals and p-values for weekly results: block bootstrap over weeks, paired on identical draws, Holm-corrected.

Weekly profits of one site are few (26 in half a year), skewed and correlated (price regimes, monthly charges), so
weeks are resampled in blocks. The plain percentile interval is too narrow for few blocks; its quantiles are therefore
moved out as far as Student's t lies outside the normal distribution (Hesterberg's expanded percentile), which keeps
the interval within what the data can produce: a rule that never loses a week gets no loss for a lower end.

Measured coverage of the nominal 95 % interval, 26 weeks in blocks of 4, 1,000 synthetic series each: 97 % for
independent normal weeks, 95 % for AR(1) weeks (0.3), 90 to 91 % for strongly right-skewed ones, where misses are nearly
all on the upper side (0.7 to 1.3 % below instead of 2.5 %). The plain percentile interval has 91, 86 and 83 %.

References: Hesterberg (2015), "What teachers should know about the bootstrap", The American Statistician 69(4),
doi:10.1080/00031305.2015.1089789; Politis and Romano (1992) for circular blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minesim.errors import ParamsError, explain

FloatArray = NDArray[np.float64]

BLOCK_WEEKS = 4
"""Weeks of one block: a month, the period of a demand charge (assumed; the tests measure coverage with it)."""
RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        estimate: mean over weeks and seeds, in the unit of the values.
        low, high: interval ends; NaN when there are too few weeks to say.
        p_value: two-sided, of "the true mean is zero"; NaN when there are too few weeks.
        level: confidence level, e.g. 0.95.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    level: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval (False when there is none)."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN where there are too few cases to say."""

    value: float
    low: float
    high: float


def block_indices(weeks: int, block_weeks: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw week indices in blocks of neighbours, shape (resamples, weeks).

    Blocks wrap from the last week to the first, so that every week is drawn equally often.

    References: Politis and Romano (1992), "A circular block-resampling procedure for stationary data".
    """
    blocks = -(-weeks // block_weeks)
    first = rng.integers(0, weeks, size=(resamples, blocks, 1))
    return ((first + np.arange(block_weeks)).reshape(resamples, -1)[:, :weeks]) % weeks


def mean_interval(
    values: FloatArray,
    *,
    block_weeks: int = BLOCK_WEEKS,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of ``values`` by block bootstrap over weeks (and over seeds, if there are several).

    Args:
        values: shape (weeks,) or (weeks, seeds); weeks in order of time.
        block_weeks: weeks of one block; shortened to a third of the weeks when there are few.
        level: confidence level.
        resamples: bootstrap draws.
        seed: seed of the draws; the same seed gives every comparison the same draws.

    Raises:
        ParamsError: no values, or a value that is not a number.
    """
    from scipy import stats

    table = _checked_table(values)
    weeks = len(table)
    estimate = float(table.mean())
    if weeks < 3:
        return Interval(estimate, np.nan, np.nan, np.nan, level)
    (means,) = resampled_means([table], block_weeks=block_weeks, resamples=resamples, seed=seed)
    blocks = weeks / _block(weeks, block_weeks)
    student, widen = stats.t(blocks - 1.0), np.sqrt(blocks / (blocks - 1.0))
    tail = tail_share(weeks, block_weeks, level)
    low, high = np.quantile(means, [tail, 1.0 - tail])
    beyond = min(int((means <= 0.0).sum()), int((means >= 0.0).sum()))
    p_value = 2.0 * float(student.cdf(stats.norm.ppf((beyond + 1) / (resamples + 1)) / widen))
    spread = float(means.std()) * widen
    if beyond == 0 and spread > 0.0:
        # The draws resolve no smaller p than this; a mean many spreads from zero is told apart by Student's t.
        p_value = min(p_value, 2.0 * float(student.sf(abs(estimate) / spread)))
    p_value = min(1.0, p_value)
    return Interval(estimate, float(low), float(high), p_value, level)


def resampled_means(
    tables: Sequence[FloatArray], *, block_weeks: int = BLOCK_WEEKS, resamples: int = RESAMPLES, seed: int = 0
) -> list[FloatArray]:
    """Means of several tables over the same draws of weeks and seeds, (resamples,) each, so that they stay paired.

    Args:
        tables: shape (weeks,) or (weeks, seeds), all alike.
        block_weeks, resamples, seed: as for :func:`mean_interval`.

    Raises:
        ParamsError: no values, a value that is not a number, or shapes that cannot be paired.
    """
    checked = [_checked_table(table) for table in tables]
    weeks, seeds = checked[0].shape
    for table in checked:
        if table.shape != (weeks, seeds):
            raise ParamsError(
                explain(
                    f"cannot pair values of shape {table.shape} with others of shape {(weeks, seeds)}",
                    allowed="the same weeks and seeds for all",
                )
            )
    rng = np.random.default_rng(seed)
    week_index = block_indices(weeks, _block(weeks, block_weeks), resamples, rng)
    if seeds == 1:
        return [table[week_index, 0].mean(axis=1) for table in checked]
    seed_index = rng.integers(0, seeds, size=(resamples, seeds))
    means = []
    for table in checked:
        by_week = table[:, seed_index].mean(axis=2).T
        means.append(np.take_along_axis(by_week, week_index, axis=1).mean(axis=1))
    return means


def tail_share(weeks: int, block_weeks: int, level: float) -> float:
    """Share of draws beyond either end of an interval, expanded for the number of blocks (Hesterberg 2015)."""
    from scipy import stats

    blocks = weeks / _block(weeks, block_weeks)
    widen = np.sqrt(blocks / (blocks - 1.0))
    return float(stats.norm.cdf(stats.t(blocks - 1.0).ppf((1.0 - level) / 2.0) * widen))


def _block(weeks: int, block_weeks: int) -> int:
    return max(1, min(block_weeks, weeks // 3))


def _checked_table(values: FloatArray) -> FloatArray:
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size == 0:
        raise ParamsError(
            explain(f"values have shape {np.shape(values)}", allowed="(weeks,) or (weeks, seeds), not empty")
        )
    if not np.isfinite(table).all():
        week, run = np.argwhere(~np.isfinite(table))[0]
        raise ParamsError(
            explain(f"the value of week {week}, seed {run} is {table[week, run]}", allowed="finite numbers")
        )
    return table


def paired_interval(values: FloatArray, baseline: FloatArray, **options: float) -> Interval:
    """Interval of the mean difference ``values - baseline``, week by week and seed by seed.

    Args:
        values, baseline: same shape, (weeks,) or (weeks, seeds), of the same weeks and seeds in the same order.
        options: as for :func:`mean_interval`.

    Raises:
        ParamsError: the shapes differ, so the two are not of the same draws.
    """
    if np.shape(values) != np.shape(baseline):
        raise ParamsError(
            explain(
                f"cannot pair values of shape {np.shape(values)} with a baseline of shape {np.shape(baseline)}",
                allowed="the same weeks and seeds for both",
            )
        )
    return mean_interval(np.asarray(values) - np.asarray(baseline), **options)  # type: ignore[arg-type]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm's step-down, valid under any dependence), in the given order.

    NaN stays NaN and still counts as a comparison.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    References: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = p.size - np.arange(p.size)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class Comparison:
    """One agent against a baseline: the paired interval and the p-value corrected for the number of comparisons."""

    agent: str
    baseline: str
    difference: Interval
    p_adjusted: float


def compare(values: Mapping[str, FloatArray], baseline: str, **options: float) -> list[Comparison]:
    """Compare every other agent with ``baseline``; p-values are Holm-corrected for the number of comparisons made.

    Args:
        values: agent -> (weeks,) or (weeks, seeds), on identical weeks and seeds.
        baseline: one of the agents.
        options: as for :func:`mean_interval`.

    Raises:
        ParamsError: unknown baseline, or shapes that cannot be paired.
    """
    if baseline not in values:
        raise ParamsError(explain(f"no agent {baseline!r} to compare with", allowed=", ".join(values)))
    others = [agent for agent in values if agent != baseline]
    intervals = [paired_interval(values[agent], values[baseline], **options) for agent in others]
    adjusted = holm([interval.p_value for interval in intervals]) if intervals else []
    return [
        Comparison(agent, baseline, interval, p) for agent, interval, p in zip(others, intervals, adjusted, strict=True)
    ]
