"""The overclocking task: what a tuner sees after each trial, what its action means, what it is paid and charged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from minesim.errors import ParamsError, explain
from minesim.tuning.device import Vector
from minesim.tuning.problem import Measurement, TuningProblem

ERROR_FLOOR: Final = 1e-4
"""Errors are seen as ``1 + log10(share + floor) / 4``: 0 for none, 1 for all."""


@dataclass(frozen=True)
class OverclockTask:
    """Weights and length of a tuning campaign.

    Attributes:
        trials: trials an episode has.
        horizon_days: how long the best setting is kept, and so what finding it is worth.
        reward_usd: dollars that a reward of 1 stands for.
    """

    trials: int = 30
    horizon_days: float = 30.0
    reward_usd: float = 10.0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ParamsError(explain(f"trials is {self.trials}", allowed="1 or more"))
        if not (self.horizon_days > 0.0 and self.reward_usd > 0.0):
            raise ParamsError(
                explain(
                    f"horizon_days is {self.horizon_days} and reward_usd is {self.reward_usd}", allowed="both above 0"
                )
            )


def channel_names(problem: TuningProblem) -> tuple[str, ...]:
    """Names of the numbers of an observation, in order; scales in docs/envs/overclock.md."""
    return (
        *problem.names,
        "hashrate",
        "power",
        "temp_hot_c",
        *(f"errors_{channel}" for channel in problem.device.channels),
        "tripped",
        "best_profit",
        "trials_left",
        "temp_amb_c",
        "power_price_usd_per_mwh",
    )


def channel_bounds(problem: TuningProblem) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest numbers of an observation, float32."""
    knobs, channels = len(problem.names), len(problem.device.channels)
    low = [-1.0] * knobs + [0.0] * (3 + channels + 1) + [-2.0, 0.0, -1.0, -10.0]
    high = [1.0] * knobs + [2.0] * 3 + [1.0] * (channels + 1) + [2.0, 1.0, 2.0, 10.0]
    return np.array(low, np.float32), np.array(high, np.float32)


def observe(
    problem: TuningProblem, setting: Vector, measured: Measurement, best_usd_per_day: float, trials_left: float
) -> np.ndarray:
    """What a tuner sees after a trial, float32.

    Args:
        problem: the unit.
        setting: that was tried, (D,).
        measured: what came back; hashrate and power count as none after a trip.
        best_usd_per_day: best measured profit within the limits so far; minus infinity if there is none.
        trials_left: share of the episode's trials.
    """
    stock = problem.nominal(problem.stock())
    scaled = 2.0 * (setting - problem.lower) / (problem.upper - problem.lower) - 1.0
    best = best_usd_per_day / problem.stock_revenue_usd_per_day
    values = [
        *scaled,
        0.0 if measured.tripped else measured.hashrate_ths / stock.hashrate_ths[0],
        0.0 if measured.tripped else measured.power_w / stock.power_w[0],
        max(measured.temp_c) / 100.0,
        *(1.0 + math.log10(error + ERROR_FLOOR) / 4.0 for error in measured.error_ratio),
        float(measured.tripped),
        best if math.isfinite(best) else -2.0,
        trials_left,
        problem.temp_amb_c / 30.0,
        problem.objective.power_price_usd_per_mwh / 100.0,
    ]
    low, high = channel_bounds(problem)
    return np.clip(np.array(values, np.float32), low, high)


def setting_of(problem: TuningProblem, action: np.ndarray) -> Vector:
    """The setting that an action in [-1, 1] (D,) means: knobs from lowest to highest, the rail kept in its slope."""
    share = 0.5 * (np.clip(action, -1.0, 1.0) + 1.0)
    return problem.nearest_allowed(problem.lower + share * (problem.upper - problem.lower))


def reward_terms(task: OverclockTask, measured: Measurement, gain_usd_per_day: float) -> dict[str, float]:
    """Reward terms of a trial, USD.

    Args:
        task: weights.
        measured: what the trial cost.
        gain_usd_per_day: by how much the best setting so far became better on the real unit, 0 or more.
    """
    return {"trial": -measured.cost_usd, "gain": task.horizon_days * gain_usd_per_day}
