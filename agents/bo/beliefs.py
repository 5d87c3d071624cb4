"""What is believed of a unit before its first trial, and what tuned units teach about the next one of their model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.physics import stability
from minesim.tuning.device import Vector
from minesim.tuning.problem import ERROR_NOISE_ABS, ERROR_NOISE_REL, TuningProblem

SEEN_FROM: Final = 4.0 * ERROR_NOISE_ABS
"""A share of errors below this is not told from none: it says only that the margin is not small."""
SURELY_NOT: Final = 4.0 * ERROR_NOISE_ABS
"""The real share of errors is no more than this above such a reading but for four standard deviations."""
MARGIN_NOISE: Final = 0.001
"""Least standard deviation of a margin that is read from errors."""
SETTLED: Final = 1e-5
"""Change of a mean over a sweep, in standard deviations of the prior, below which readings count as settled."""
VAGUE: Final = 1e2
"""Variance of a reading that says nothing."""


@dataclass(frozen=True)
class Belief:
    """Deviation of a unit from the catalog, by outcome: mean, standard deviation, and how far it bends.

    A deviation is a level, which is the same for all settings, and a bend, which differs from setting to setting.

    Attributes:
        margin_shift, margin_sd, margin_bend: logarithm of a channel's rail over the onset of errors.
        log_power_shift, log_power_sd, log_power_bend: logarithm of power.
        log_hash_sd, log_hash_bend: logarithm of the clean hashrate.
        temp_sd_k, temp_bend_k: readings, K.
    """

    margin_shift: float
    margin_sd: float
    margin_bend: float
    log_power_shift: float = 0.0
    log_power_sd: float = 0.035
    log_power_bend: float = 0.02
    log_hash_sd: float = 0.003
    log_hash_bend: float = 0.004
    temp_sd_k: float = 3.0
    temp_bend_k: float = 2.5


def catalog_belief(problem: TuningProblem) -> Belief:
    """What the catalog and the assumed spread of units say."""
    return Belief(margin_shift=0.0, margin_sd=problem.margin_sd, margin_bend=problem.device.need_bend)


@dataclass(frozen=True)
class Lesson:
    """What one tuned unit turned out to be: its deviations, averaged over its measured settings.

    Attributes:
        model: hardware model of the unit.
        margins: of each channel.
        log_power: of power.
    """

    model: str
    margins: tuple[float, ...]
    log_power: float


def taught_belief(problem: TuningProblem, lessons: Sequence[Lesson]) -> Belief:
    """The belief about the next unit, given tuned ones of its model or of others with the same chip.

    What the models of a chip share, and what the units of a model share besides, are normal deviations from the
    catalog; they are conditioned on the units' means. What is left of them and the spread between units and boards
    stays as uncertainty.
    """
    belief = catalog_belief(problem)
    if not lessons:
        return belief
    s = problem.spread
    age_var = (s.quality_per_year * s.age_max_years) ** 2 / 12.0
    board_var, unit_var = s.quality_board**2, s.quality_unit**2 + age_var
    own = np.array([lesson.model == problem.device.model for lesson in lessons])
    same = np.array([[a.model == b.model for b in lessons] for a in lessons])
    each = np.array([unit_var + board_var / len(lesson.margins) for lesson in lessons])
    margins = np.array([np.mean(lesson.margins) for lesson in lessons])
    shift, left = _shared(margins, each, same, own, s.quality_chip**2, s.quality_model**2)
    power_unit_var = belief.log_power_sd**2 - min(s.power_shared**2, 0.5 * belief.log_power_sd**2)
    powers = np.array([lesson.log_power for lesson in lessons])
    power_shift, power_left = _shared(
        powers, np.full(len(lessons), power_unit_var), same, own, s.power_chip**2, s.power_model**2
    )
    return replace(
        belief,
        margin_shift=shift,
        margin_sd=math.sqrt(left + unit_var + board_var),
        log_power_shift=power_shift,
        log_power_sd=math.sqrt(power_left + power_unit_var),
    )


def _shared(
    values: Vector, var_each: Vector, same: np.ndarray, own: np.ndarray, var_chip: float, var_model: float
) -> tuple[float, float]:
    """Posterior mean and variance of what the next unit's model deviates by.

    Args:
        values: what L tuned units deviated by, (L,).
        var_each: variance of a unit about its model, (L,).
        same: whether two units are of one model, (L, L).
        own: whether a unit is of the next unit's model, (L,).
        var_chip, var_model: variances of what a chip's models share, and of what a model's units share besides.
    """
    seen = var_chip + var_model * same + np.diag(var_each)
    gain = np.linalg.solve(seen, var_chip + var_model * own)
    return float(gain @ values), float(var_chip + var_model - gain @ (var_chip + var_model * own))


def margin_readings(error_ratio: Vector) -> tuple[Vector, Vector, np.ndarray]:
    """What counted errors say about margins.

    Args:
        error_ratio: (N,).

    Returns:
        Logarithm of the rail over the onset, its variance, and whether it is only a lower bound, (N,) each.
    """
    bounded = error_ratio < SEEN_FROM
    errors = np.clip(np.where(bounded, error_ratio + SURELY_NOT, error_ratio), SURELY_NOT, 0.95)
    margin = np.log1p(stability.margin_at(errors, xp=NUMPY))
    nudge = 0.05 * errors
    slope = (np.log1p(stability.margin_at(errors + nudge, xp=NUMPY)) - margin) / nudge
    noise = np.hypot(ERROR_NOISE_ABS, ERROR_NOISE_REL * errors) * np.abs(slope)
    return np.asarray(margin), np.asarray(noise**2 + MARGIN_NOISE**2), np.asarray(bounded)


def gaussian_sites(
    prior_mean: Vector, prior_cov: Vector, reading: Vector, variance: Vector, bounded: np.ndarray, sweeps: int = 4
) -> tuple[Vector, Vector]:
    """Stand-ins for one-sided readings: values and variances that a Gaussian process takes like any others.

    A reading without errors says "at least so much margin". By expectation propagation each such reading becomes the
    normal reading that moves the process to the same mean and variance.

    Args:
        prior_mean, prior_cov: of the process at the readings, (N,), (N, N).
        reading, variance, bounded: from :func:`margin_readings`.
        sweeps: passes over the readings, at most.

    Returns:
        Values and variances, (N,).

    References:
        Rasmussen and Williams, Gaussian Processes for Machine Learning, sec. 3.6 (probit likelihood).
    """
    from scipy.special import log_ndtr

    precision = np.where(bounded, 0.0, 1.0 / variance)
    shift = np.where(bounded, 0.0, (reading - prior_mean) / variance)
    root = np.sqrt(precision)
    inner = np.linalg.solve(np.eye(len(root)) + root[:, None] * prior_cov * root, root[:, None] * prior_cov)
    cov = prior_cov - prior_cov * root @ inner
    mean = cov @ shift
    for _ in range(sweeps):
        before = mean
        for i in np.flatnonzero(bounded):
            mean_i, var_i = float(mean[i]), float(cov[i, i])
            cavity_precision = 1.0 / var_i - precision[i]
            if cavity_precision <= 0.0:
                continue
            cavity_var = 1.0 / cavity_precision
            cavity_mean = cavity_var * (mean_i / var_i - shift[i])
            scale = math.sqrt(cavity_var + variance[i])
            z = (cavity_mean - (reading[i] - prior_mean[i])) / scale
            ratio = math.exp(-0.5 * z * z - 0.5 * math.log(2.0 * math.pi) - float(log_ndtr(z)))
            new_mean = cavity_mean + cavity_var * ratio / scale
            new_var = cavity_var - cavity_var**2 * ratio * (z + ratio) / scale**2
            more = max(1.0 / new_var - cavity_precision, 0.0) - precision[i]
            pull = new_mean / new_var - cavity_mean * cavity_precision - shift[i]
            precision[i] += more
            shift[i] += pull
            column = cov[:, i] / (1.0 + more * var_i)
            mean = mean + column * (pull - more * mean_i)
            cov = cov - more * np.outer(column, cov[i])
        if np.abs(mean - before).max() < SETTLED * math.sqrt(float(prior_cov.max())):
            break
    sure = precision > 1.0 / VAGUE
    safe_precision = np.where(sure, precision, 1.0)
    value = np.where(sure, prior_mean + shift / safe_precision, prior_mean)
    return value, np.where(sure, 1.0 / safe_precision, VAGUE)
