"""The best safe setting of a unit by dense search on the noise-free twin: the yardstick of regret."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minesim.errors import ParamsError, explain
from minesim.tuning.device import Vector
from minesim.tuning.problem import TuningProblem

SPREAD_POINTS, ROUNDS, PARENTS, CHILDREN = 8192, 12, 24, 96
FIRST_REACH, LAST_REACH = 0.15, 0.01
"""Standard deviation of the moves of the first and of the last round, as a share of a knob's range."""


@dataclass(frozen=True)
class SafeOptimum:
    """The best safe setting that was found.

    Attributes:
        setting: on the grid, (D,).
        score: its objective without noise.
    """

    setting: Vector
    score: float


def safe_optimum(problem: TuningProblem) -> SafeOptimum:
    """Search the grid of settings on the real unit, without noise.

    Evenly spread settings first, then rounds of ever smaller moves around the best, then single steps of each knob and
    pair of knobs until none helps. Deterministic.

    Raises:
        ParamsError: no setting is safe.
    """
    rng = np.random.default_rng(0)
    lower, upper = problem.lower, problem.upper
    spread = rng.uniform(lower, upper, (SPREAD_POINTS, len(lower)))
    best, scores = _best(problem, np.vstack([spread, problem.presets(), problem.known_good()]))
    if not len(best):
        raise ParamsError(
            explain(
                f"no setting of {problem.serial} is safe at {problem.temp_amb_c:g} C",
                allowed=f"up to {problem.limits.temp_max_c:g} C and {problem.limits.error_max:.1%} errors",
                fix="Lower the ambient temperature or widen the limits.",
            )
        )
    for reach in np.geomspace(FIRST_REACH, LAST_REACH, ROUNDS):
        moves = rng.standard_normal((CHILDREN, len(best), len(lower))) * reach * (upper - lower)
        children = np.clip(best + moves, lower, upper).reshape(-1, len(lower))
        best, scores = _best(problem, np.vstack([best, children]))
    steps = np.array([knob.step for knob in problem.device.knobs])
    single = np.vstack([np.eye(len(steps)), -np.eye(len(steps))]) * steps
    moves = np.vstack([single, (single[:, None] + single[None]).reshape(-1, len(steps))])
    while True:
        near = np.clip(best[0] + moves, lower, upper)
        found, found_scores = _best(problem, np.vstack([best[:1], near]))
        if found_scores[0] <= scores[0]:
            return SafeOptimum(best[0], float(scores[0]))
        best, scores = found, found_scores


def _best(problem: TuningProblem, settings: Vector) -> tuple[Vector, Vector]:
    """The best safe settings and their scores, falling."""
    settings = np.unique(problem.snap(settings), axis=0)
    scores = np.where(problem.safe(settings), problem.score(problem.truth(settings)), -np.inf)
    order = np.argsort(-scores)[:PARENTS]
    order = order[np.isfinite(scores[order])]
    return settings[order], scores[order]


def regret(problem: TuningProblem, setting: Vector, optimum: SafeOptimum) -> float:
    """What a setting gives up against the safe optimum, as a share of stock revenue (profit) or of the optimum.

    A setting that is not safe has an infinite regret.
    """
    if not problem.safe(setting)[0]:
        return float("inf")
    gap = optimum.score - float(problem.score(problem.truth(setting))[0])
    scale = problem.stock_revenue_usd_per_day if problem.objective.kind == "profit" else abs(optimum.score)
    return gap / scale
