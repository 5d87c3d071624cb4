"""Settings worth a closer look: inside a trust region, and safe by what is believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from agents.bo.study import Trial
from agents.bo.surrogate import POWER, Forecast, Surrogate, features, scaled_ambient
from minesim.arrays import NUMPY
from minesim.physics import stability
from minesim.tuning.device import Vector
from minesim.tuning.problem import TuningProblem

Weigh = Callable[[Forecast], Vector]

SIGMAS: Final = 3.0
"""How many standard deviations of the belief must lie between a setting and every limit."""
CAUTION_MARGIN, CAUTION_K = 0.004, 1.0
"""How much better than a setting that broke a limit another must be by the catalog: margin, and K."""
TRIP_GUARD_C: Final = 3.0
"""Kept below the temperature of a trip, beside the standard deviations."""
REACH_FIRST, REACH_MIN, REACH_MAX = 0.25, 0.06, 0.6
"""Half width of the trust region, as a share of each knob's range."""
WIDEN, NARROW, FAILURES = 1.5, 1.5, 3
WORTH: Final = 0.002
"""A gain below this share of stock revenue (or of the score) is no success."""
POINTS, ROUNDS, PARENTS, CHILDREN = 2048, 4, 32, 24


def reach(problem: TuningProblem, trials: Sequence[Trial]) -> float:
    """Half width of the trust region after a history: wider on success, narrower after three failures in a row."""
    width, failures, best = REACH_FIRST, 0, -math.inf
    scale = problem.stock_revenue_usd_per_day if problem.objective.kind == "profit" else None
    for trial in trials:
        if trial.measured is None:
            continue
        score = problem.measured_score(trial.measured)
        least = WORTH * (scale if scale is not None else abs(best))
        if best == -math.inf or score > best + least:
            width, failures = (width if best == -math.inf else min(width * WIDEN, REACH_MAX)), 0
        else:
            failures += 1
            if failures == FAILURES:
                width, failures = max(width / NARROW, REACH_MIN), 0
        best = max(best, score)
    return width


def surely_safe(surrogate: Surrogate, forecast: Forecast, sigmas: float = SIGMAS) -> np.ndarray:
    """Whether settings keep every limit with ``sigmas`` standard deviations to spare, (N,)."""
    problem, at = surrogate.problem, surrogate.columns
    high = forecast.mean + sigmas * forecast.spread
    margins = (surrogate.least_margins(forecast, sigmas) >= least_margin(problem)).all(axis=1)
    cool = high[:, at.temps].max(axis=1) < min(hottest_c(problem), problem.device.trip_c - TRIP_GUARD_C)
    x, power = forecast.x.numpy(), high[:, POWER]
    load = np.log(x[:, at.load]) + power - x[:, at.mean(POWER)]
    powered = (load < 0.0) & (power <= math.log(problem.power_max_w))
    return np.asarray(margins & cool & powered & ~troubled(surrogate, x))


def least_margin(problem: TuningProblem) -> float:
    """Logarithm of the rail over the onset of errors at which the limit of errors is reached."""
    return math.log1p(float(stability.margin_at(np.float64(problem.limits.error_max), xp=NUMPY)))


def hottest_c(problem: TuningProblem) -> float:
    """Temperature below which readings, which are whole degrees, keep their limit, degC."""
    return math.floor(problem.limits.temp_max_c) + 0.5


def troubled(surrogate: Surrogate, rows: Vector) -> np.ndarray:
    """Whether the catalog sees feature rows as no better than a setting that broke a limit, (N,).

    Plain caution beside the belief, in case it is wrong: in the channel that made errors a row needs more margin, the
    board that was too hot must be cooler, and after a trip without either it needs more margin in every channel.
    """
    problem, at = surrogate.problem, surrogate.columns
    margins, temps = at.means(at.margins), at.means(at.temps)
    bad = np.zeros(len(rows), dtype=bool)
    for measured, there in zip(surrogate.measured, surrogate.x.numpy(), strict=True):
        wrong = np.array(measured.error_ratio) > problem.limits.error_max
        hot = np.array(measured.temp_c) > problem.limits.temp_max_c
        if measured.tripped and not (wrong.any() or hot.any()):
            wrong[:] = True
        bad |= (wrong & (rows[:, margins] < there[margins] + CAUTION_MARGIN)).any(axis=1)
        bad |= (hot & (rows[:, temps] > there[temps] - CAUTION_K)).any(axis=1)
    return bad


def pool(
    surrogate: Surrogate,
    centre: Vector,
    width: float,
    rng: np.random.Generator,
    size: int,
    waiting: Vector,
    weigh: Weigh | None = None,
) -> Vector:
    """The best settings by the means of the belief, among those that are surely safe, (n <= size, D).

    Evenly spread settings of the trust region first, then rounds of small moves around the best of them. Settings that
    have been measured or are out are left out: what noise hides there, their neighbours tell as well.

    Args:
        surrogate: what is believed.
        centre: of the trust region, (D,).
        width: its half width, as a share of each knob's range.
        rng: draws.
        size: how many to return at most.
        waiting: settings that are out, (n, D).
        weigh: replaces the objective: called with what is believed of N settings, returns (N,).
    """
    problem = surrogate.problem
    span = problem.upper - problem.lower
    low, high = np.maximum(problem.lower, centre - width * span), np.minimum(problem.upper, centre + width * span)
    score = weigh or surrogate.mean_score
    moved = rng.uniform(low, high, (POINTS, len(low)))
    # Half of the points move in a few knobs only: close settings are where a small safe set still has some.
    stay = rng.uniform(size=moved.shape) < rng.choice([0.0, 0.5], size=(POINTS, 1))
    settings = np.where(stay, centre, moved)
    settings = np.vstack([centre, settings])
    best = np.empty((0, len(low)))
    for i in range(ROUNDS):
        settings = np.unique(problem.snap(np.vstack([settings, best])), axis=0)
        settings = settings[problem.allowed(settings) & ~_known(settings, surrogate, waiting)]
        forecast = surrogate.forecast(features(problem, settings))
        safe = surely_safe(surrogate, forecast)
        settings = settings[safe]
        if not len(settings):
            return best
        order = np.argsort(-score(forecast.at(safe)))
        best = settings[order[:size]]
        parents = best[:PARENTS]
        scale = 0.3 * width / 2.0**i
        settings = np.clip(
            (parents[None] + rng.standard_normal((CHILDREN, *parents.shape)) * scale * span).reshape(-1, len(low)),
            low,
            high,
        )
    return best


def _known(settings: Vector, surrogate: Surrogate, waiting: Vector) -> np.ndarray:
    """Whether settings have been measured in the present ambient, or are out, (N,)."""
    from scipy.spatial.distance import cdist

    problem, knobs = surrogate.problem, surrogate.columns.knobs
    seen = surrogate.x[surrogate.x[:, surrogate.columns.ambient] == scaled_ambient(problem)][:, :knobs].numpy()
    span = problem.upper - problem.lower
    seen = np.vstack([seen, (waiting - problem.lower) / span])
    apart = cdist((settings - problem.lower) / span, seen, "chebyshev")
    return np.asarray((apart < 1e-6).any(axis=1))
