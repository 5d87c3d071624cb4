"""Is a difference of profit above or below zero? Intervals that may be looked at after every period.

A plain 95 % interval that is looked at daily is wrong far more often than 5 % of the time. A confidence sequence covers
the mean at all times at once, so a rollout may stop, advance or turn back at any look.

Used here: the sequential t-test as a mixture of likelihood ratios (mSPRT) over effect sizes that are normal around
zero, with unknown level and variance. It is exact for independent normal values of equal variance, needs no bound on
the values, and has a closed form, also for "after against before". Two things are not as assumed and widen the
interval: periods that follow one another are somewhat alike (long-run variance of a first-order autoregression with the
measured correlation of neighbours), and periods with a candidate may scatter more than those before (Welch's variance).

Own code, because no kept library has it: ``confseq`` knows bounded values and values of known scale, ``statsmodels``
tests of fixed sample size. Error rates and power are measured in docs/rollout.md.

References: Lindon, Ham, Tingley and Bojinov (2022), "Anytime-valid linear models and regression adjusted causal
inference in randomized experiments", arXiv:2210.08589; Wang and Ramdas (2025), "Anytime-valid t-tests and confidence
sequences for Gaussian means with unknown variance", Sequential Analysis 44(1), arXiv:2310.03722; Johari, Koomen,
Pekelis and Walsh (2022), "Always valid inference: continuous monitoring of A/B tests", Operations Research 70(3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minesim.errors import ParamsError, explain

FloatArray = NDArray[np.float64]

PRIOR_PRECISION = 1.0
"""Effects of about one standard deviation of a period are looked for; narrowest then near 10 to 30 periods."""
CORRELATION_MAX = 0.9


@dataclass(frozen=True)
class Anytime:
    """A mean with an interval that holds at all looks at once, in the unit of the values; infinite while unknown.

    Attributes:
        estimate: mean, or difference of means; NaN without values.
        low, high: ends of the interval.
        count: values so far (of the later group).
    """

    estimate: float
    low: float
    high: float
    count: int


def anytime_mean(values: Sequence[float], alpha: float) -> Anytime:
    """Mean of a growing sequence.

    Args:
        values: in order of time.
        alpha: how often the interval may ever miss the mean, 0 to 1.

    Raises:
        ParamsError: alpha out of range, or a value that is not a number.
    """
    data = _checked(values, alpha)
    count = data.size
    if count < 2:
        return _unknown(float(data.mean()) if count else math.nan, count)
    rest = data - data.mean()
    half = _half_width(float(count), count - 1, float(rest @ rest), alpha) * math.sqrt(_alikeness(rest))
    return Anytime(float(data.mean()), float(data.mean()) - half, float(data.mean()) + half, count)


def anytime_difference(before: Sequence[float], after: Sequence[float], alpha: float) -> Anytime:
    """Mean of a growing sequence less the mean of an earlier one that is over.

    Args:
        before: earlier values, in order of time; their number was not chosen by their looks.
        after: later values, in order of time.
        alpha: how often the interval may ever miss the difference, 0 to 1.

    Raises:
        ParamsError: alpha out of range, or a value that is not a number.
    """
    old, new = _checked(before, alpha), _checked(after, alpha)
    if not old.size or not new.size:
        return _unknown(math.nan, new.size)
    estimate = float(new.mean() - old.mean())
    if old.size < 2 or new.size < 2:
        return _unknown(estimate, new.size)
    old_rest, new_rest = old - old.mean(), new - new.mean()
    old_squares, new_squares = float(old_rest @ old_rest), float(new_rest @ new_rest)
    dof = old.size + new.size - 2
    pooled = (old_squares + new_squares) / dof
    half = _half_width(old.size * new.size / (old.size + new.size), dof, old_squares + new_squares, alpha)
    if pooled > 0.0:
        welch = old_squares / (old.size - 1) / old.size * _alikeness(old_rest) + new_squares / (
            new.size - 1
        ) / new.size * _alikeness(new_rest)
        half *= math.sqrt(max(1.0, welch / (pooled * (1.0 / old.size + 1.0 / new.size))))
    return Anytime(estimate, estimate - half, estimate + half, new.size)


def _half_width(information: float, dof: int, squares: float, alpha: float) -> float:
    """Half width: where the mixture's likelihood ratio reaches 1 / alpha (Lindon et al., a single coefficient).

    Args:
        information: of the coefficient: n for a mean, n m / (n + m) for a difference.
        dof: degrees of freedom of the residuals.
        squares: sum of the squared residuals.
        alpha: of the interval.
    """
    shrunk = PRIOR_PRECISION / (information + PRIOR_PRECISION)
    keep = math.exp((2.0 * math.log(alpha) + math.log(shrunk)) / (dof + 1))
    if keep <= shrunk:
        return math.inf
    return math.sqrt(squares * (1.0 - keep) / (information * (keep - shrunk)))


def _alikeness(rest: FloatArray) -> float:
    """Long-run variance of a first-order autoregression over its variance, at least 1."""
    squares = float(rest @ rest)
    if squares == 0.0:
        return 1.0
    correlation = min(CORRELATION_MAX, max(0.0, float(rest[1:] @ rest[:-1]) / squares))
    return (1.0 + correlation) / (1.0 - correlation)


def _unknown(estimate: float, count: int) -> Anytime:
    return Anytime(estimate, -math.inf, math.inf, count)


def _checked(values: Sequence[float], alpha: float) -> FloatArray:
    if not 0.0 < alpha < 1.0:
        raise ParamsError(explain(f"alpha is {alpha}", allowed="between 0 and 1"))
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        at = int(np.argmin(np.isfinite(data)))
        raise ParamsError(explain(f"value {at} is {data[at]}", allowed="finite numbers", fix="Leave the period out."))
    return data
