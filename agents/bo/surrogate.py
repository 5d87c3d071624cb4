"""Gaussian processes of a unit's deviation from its catalog curve.

One process for each outcome that is smooth by itself: logarithm of power, logarithm of the clean hashrate, hottest
reading, and the margin of each error channel. Their prior means are the catalog's; errors, hashrate and the objective
follow from them by the formulas of the twin. Scales are fixed by the assumed spread of units rather than fitted, so
that five trials are as sound a basis as fifty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from agents.bo.beliefs import VAGUE, Belief, Lesson, gaussian_sites, margin_readings
from agents.bo.process import Processes
from agents.bo.study import Trial
from minesim.arrays import torch_namespace
from minesim.physics import stability
from minesim.tuning.device import Vector
from minesim.tuning.problem import HASHRATE_NOISE, POWER_NOISE, TuningProblem

LENGTH: Final = 1.5
"""Length scale of power, hashrate and temperature, in ranges of a knob; assumed (leakage and cooling bend slowly)."""
LENGTH_MARGIN: Final = 3.0
"""Length scale of margins: a board's need for voltage is nearly one number; assumed."""
LENGTH_AMBIENT: Final = 2.0
"""The same along ambient temperature, in units of 30 K; assumed."""
TEMP_NOISE_K: Final = 0.4
"""Standard deviation of a reading in whole degrees."""
BASE: Final = 3
"""Outcomes before the margins: log power, log clean hashrate, hottest reading."""


@dataclass(frozen=True)
class Columns:
    """Where a feature row keeps what: D scaled knobs, ambient, then what the catalog expects, for C channels."""

    knobs: int
    channels: int

    @property
    def ambient(self) -> int:
        """Scaled ambient temperature."""
        return self.knobs

    def mean(self, outcome: int) -> int:
        """Catalog's expectation of an outcome (log power, log hashrate, temperature, margins)."""
        return self.knobs + 1 + outcome

    @property
    def wear(self) -> int:
        """Expected wear, USD a day."""
        return self.knobs + 1 + BASE + self.channels

    @property
    def risk(self) -> slice:
        """Share of the hashrate at risk in each channel."""
        return slice(self.wear + 1, self.wear + 1 + self.channels)

    @property
    def load(self) -> int:
        """Load of the supply over its limit."""
        return self.wear + 1 + self.channels


def columns(problem: TuningProblem) -> Columns:
    """The layout for a problem."""
    return Columns(len(problem.device.knobs), len(problem.device.channels))


def scaled_ambient(problem: TuningProblem) -> float:
    """Ambient temperature as features carry it."""
    return (problem.temp_amb_c - 20.0) / 30.0


def features(problem: TuningProblem, settings: Vector) -> Tensor:
    """Feature rows of settings (N, D) in the problem's ambient."""
    nominal = problem.nominal(settings)
    scaled = (settings - problem.lower) / (problem.upper - problem.lower)
    ambient = np.full((len(settings), 1), scaled_ambient(problem))
    expected = np.column_stack(
        [np.log(nominal.power_w), np.log(nominal.hashrate_clean_ths), nominal.temp_c.max(axis=1)]
    )
    wear = problem.wear_usd_per_day(nominal)[:, None]
    parts = [scaled, ambient, expected, nominal.margin_rel, wear, nominal.share_at_risk, nominal.load_ratio[:, None]]
    return torch.as_tensor(np.hstack(parts), dtype=torch.double)


@dataclass(frozen=True)
class Forecast:
    """What is believed of settings, for N of them and M outcomes.

    Attributes:
        x: feature rows, (N, F).
        mean, spread: mean and standard deviation of each outcome, (N, M).
    """

    x: Tensor
    mean: Vector
    spread: Vector

    def at(self, chosen: Vector) -> Forecast:
        """Some of the settings, by mask or index."""
        return Forecast(self.x[torch.as_tensor(chosen)], self.mean[chosen], self.spread[chosen])


class Surrogate:
    """What is believed of a unit after some trials.

    Args:
        problem: the unit.
        trials: with measurements.
        belief: before the first of them.
    """

    def __init__(self, problem: TuningProblem, trials: Sequence[Trial], belief: Belief) -> None:
        self.problem, self.columns, self.belief = problem, columns(problem), belief
        told = [(t, t.measured) for t in trials if t.measured is not None]
        self.measured = tuple(m for _, m in told)
        self.x = _measured_features(problem, [t for t, _ in told])
        x = self.x.numpy()
        tripped = np.array([m.tripped for _, m in told])
        errors = np.array([m.error_ratio for _, m in told])
        risk = x[:, self.columns.risk]
        kept = np.clip(1.0 - (risk * errors).sum(axis=1), 0.02, 1.0)

        expected = x[:, [self.columns.mean(i) for i in range(BASE)]]
        watts = np.array([m.power_w for _, m in told])
        hashes = np.array([m.hashrate_ths for _, m in told])
        power = np.where(tripped, expected[:, 0], np.log(np.where(tripped, 1.0, watts)))
        clean = np.where(tripped, expected[:, 1], np.log(np.maximum(np.where(tripped, 1.0, hashes) / kept, 1e-12)))
        temps = np.array([max(m.temp_c) for _, m in told])
        # Counted errors are subtracted from the hashrate, so their noise comes in with them.
        clean_var = HASHRATE_NOISE**2 + (0.1 * (1.0 - kept)) ** 2

        knobs = range(self.columns.knobs)
        self._scales = np.zeros((BASE + self.columns.channels, x.shape[1]))
        self._scales[:, self.columns.ambient] = 1.0 / LENGTH_AMBIENT
        self._scales[:BASE, knobs] = 1.0 / LENGTH
        sds = np.array(
            [belief.log_power_sd, belief.log_hash_sd, belief.temp_sd_k, *[belief.margin_sd] * errors.shape[1]]
        )
        shifts = np.array([belief.log_power_shift, 0.0, 0.0, *[belief.margin_shift] * errors.shape[1]])
        values, variances = (
            [power, clean, temps],
            [
                np.where(tripped, VAGUE, POWER_NOISE**2),
                np.where(tripped, VAGUE, clean_var),
                np.where(tripped, VAGUE, TEMP_NOISE_K**2),
            ],
        )
        self._bounds: list[tuple[Vector, Vector]] = []
        for channel, own in enumerate(problem.device.channel_knobs):
            scales = self._scales[BASE + channel]
            scales[list(own)] = 1.0 / LENGTH_MARGIN
            mean = x[:, self.columns.mean(BASE + channel)] + belief.margin_shift
            cov = belief.margin_sd**2 * np.exp(-0.5 * _squared(x, x, scales))
            reading, noise, bounded = margin_readings(errors[:, channel])
            value, variance = gaussian_sites(mean, cov, reading, noise, bounded)
            self._bounds.append((reading[bounded], x[bounded]))
            values.append(value)
            variances.append(variance)
        self.model = Processes(
            self.x,
            scales=torch.as_tensor(self._scales),
            sds=torch.as_tensor(sds),
            mean_columns=torch.tensor([self.columns.mean(i) for i in range(len(sds))]),
            shifts=torch.as_tensor(shifts),
            values=torch.as_tensor(np.array(values)),
            variances=torch.as_tensor(np.array(variances)),
        )

    def forecast(self, x: Tensor) -> Forecast:
        """What is believed of feature rows."""
        mean, variance = self.model.marginals(x)
        return Forecast(x, mean.numpy(), variance.sqrt().numpy())

    def least_margins(self, forecast: Forecast, sigmas: float) -> Vector:
        """Lower bounds of the margins, ``sigmas`` standard deviations down, (N, C).

        The better of two: the process's own, and, from each reading without errors ("at least so much there"), that
        much less what the catalog says is lost on the way and less the standard deviation of the unit's deviation along
        it; the noise of the reading is in the bound already. The second is what lets the safe set grow before any error
        has been seen: a normal stand-in forgets that the reading was a bound.
        """
        least = forecast.mean[:, BASE:] - sigmas * forecast.spread[:, BASE:]
        rows = forecast.x.numpy()
        for channel, (reading, seen) in enumerate(self._bounds):
            if not len(reading):
                continue
            squared = _squared(rows, seen, self._scales[BASE + channel])
            drift = self.belief.margin_sd * np.sqrt(-2.0 * np.expm1(-0.5 * squared))
            column = self.columns.mean(BASE + channel)
            there = rows[:, column, None] + (reading - seen[:, column]) - sigmas * drift
            least[:, channel] = np.maximum(least[:, channel], there.max(axis=1))
        return least

    def outcome(self, samples: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Good hashrate (TH/s), power (W) and wear (USD a day) of samples (..., N, M) at feature rows (..., N, F)."""
        errors = stability.error_ratio_at(samples[..., BASE:], xp=torch_namespace())
        kept = (1.0 - (x[..., self.columns.risk] * errors).sum(dim=-1)).clamp_min(0.0)
        return samples[..., 1].exp() * kept, samples[..., 0].exp(), x[..., self.columns.wear]

    def score(self, samples: Tensor, x: Tensor) -> Tensor:
        """The objective of samples, (..., N)."""
        return self.problem.objective.score(*self.outcome(samples, x))

    def mean_score(self, forecast: Forecast) -> Vector:
        """The objective at the means of the outcomes, (N,)."""
        return self.score(torch.as_tensor(forecast.mean), forecast.x).numpy()

    def lesson(self) -> Lesson:
        """What the unit turned out to be."""
        at = self.forecast(self.x)
        expected = self.x.numpy()[:, [self.columns.mean(BASE + c) for c in range(self.columns.channels)]]
        margins = at.mean[:, BASE:] - expected
        weight = 1.0 / at.spread[:, BASE:] ** 2
        power = at.mean[:, 0] - self.x.numpy()[:, self.columns.mean(0)]
        return Lesson(tuple((margins * weight).sum(axis=0) / weight.sum(axis=0)), float(power.mean()))


def _measured_features(problem: TuningProblem, trials: Sequence[Trial]) -> Tensor:
    """Feature rows of trials, each in the air that it was made in, (N, F)."""
    airs = np.array([t.temp_amb_c for t in trials])
    settings = np.array([t.setting for t in trials])
    order = np.argsort(airs, kind="stable")
    parts = [features(problem.at(float(air)), settings[airs == air]) for air in np.unique(airs)]
    return torch.cat(parts)[np.argsort(order)]


def _squared(left: Vector, right: Vector, scales: Vector) -> Vector:
    """Squared distances of feature rows in units of the lengths, (L, R)."""
    from scipy.spatial.distance import cdist

    used = np.flatnonzero(scales)
    return np.asarray(cdist(left[:, used] * scales[used], right[:, used] * scales[used], "sqeuclidean"))
