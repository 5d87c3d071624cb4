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
"""Length scale of what bends, in ranges of a knob or decades of fan speed; assumed."""
LENGTH_AMBIENT: Final = 2.0
"""The same along ambient temperature, in units of 30 K, of levels too; assumed."""
TEMP_NOISE_K: Final = 0.4
"""Standard deviation of a reading in whole degrees."""
POWER, HASH, TEMPS = 0, 1, 2
"""Outcomes before the margins: log power, log clean hashrate, and the readings from the third on."""


@dataclass(frozen=True)
class Columns:
    """Where a feature row keeps what: scaled knobs, air, fans, then what the catalog expects, sensors and channels."""

    knobs: int
    sensors: int
    channels: int

    @property
    def ambient(self) -> int:
        """Scaled ambient temperature."""
        return self.knobs

    @property
    def fans(self) -> int:
        """Expected fan speed, decades."""
        return self.knobs + 1

    @property
    def outcomes(self) -> int:
        """Their number."""
        return TEMPS + self.sensors + self.channels

    @property
    def temps(self) -> slice:
        """Outcomes that are readings."""
        return slice(TEMPS, TEMPS + self.sensors)

    @property
    def margins(self) -> slice:
        """Outcomes that are logarithms of a channel's rail over the onset of errors."""
        return slice(TEMPS + self.sensors, self.outcomes)

    def means(self, outcomes: slice) -> slice:
        """Catalog's expectation of outcomes."""
        first = self.knobs + 2
        return slice(first + outcomes.start, first + outcomes.stop)

    def mean(self, outcome: int) -> int:
        """Catalog's expectation of one outcome."""
        return self.knobs + 2 + outcome

    @property
    def wear(self) -> int:
        """Expected wear, USD a day."""
        return self.mean(self.outcomes)

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
    device = problem.device
    return Columns(len(device.knobs), len(device.sensors), len(device.channels))


def scaled_ambient(problem: TuningProblem) -> float:
    """Ambient temperature as features carry it."""
    return (problem.temp_amb_c - 20.0) / 30.0


def features(problem: TuningProblem, settings: Vector) -> Tensor:
    """Feature rows of settings (N, D) in the problem's ambient."""
    nominal = problem.nominal(settings)
    parts = (
        (settings - problem.lower) / (problem.upper - problem.lower),
        np.full(len(settings), scaled_ambient(problem)),
        np.log10(nominal.fan_duty),
        np.log(nominal.power_w),
        np.log(nominal.hashrate_clean_ths),
        nominal.temp_c,
        np.log1p(nominal.margin_rel),
        problem.wear_usd_per_day(nominal),
        nominal.share_at_risk,
        nominal.load_ratio,
    )
    return torch.as_tensor(np.column_stack(parts), dtype=torch.double)


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
        x, at = self.x.numpy(), self.columns
        tripped = np.array([m.tripped for _, m in told])
        errors = np.array([m.error_ratio for _, m in told])
        kept = np.clip(1.0 - (x[:, at.risk] * errors).sum(axis=1), 0.02, 1.0)

        watts = np.array([m.power_w for _, m in told])
        hashes = np.array([m.hashrate_ths for _, m in told])
        power = np.where(tripped, x[:, at.mean(POWER)], np.log(np.where(tripped, 1.0, watts)))
        clean = np.log(np.maximum(np.where(tripped, 1.0, hashes) / kept, 1e-12))
        clean = np.where(tripped, x[:, at.mean(HASH)], clean)
        # Counted errors are subtracted from the hashrate, so their noise comes in with them.
        clean_var = HASHRATE_NOISE**2 + (0.1 * (1.0 - kept)) ** 2
        temps = np.array([m.temp_c for _, m in told])

        self._scales, self._sds, shifts = _prior(problem, belief)
        values, variances = (
            [power, clean, *temps.T],
            [
                np.where(tripped, VAGUE, POWER_NOISE**2),
                np.where(tripped, VAGUE, clean_var),
                *[np.where(tripped, VAGUE, TEMP_NOISE_K**2)] * at.sensors,
            ],
        )
        self._bounds: list[tuple[Vector, Vector]] = []
        for channel, outcome in enumerate(range(at.margins.start, at.margins.stop)):
            mean = x[:, at.mean(outcome)] + shifts[outcome]
            reading, noise, bounded = margin_readings(errors[:, channel])
            value, variance = gaussian_sites(mean, self._cov(outcome, x, x), reading, noise, bounded)
            self._bounds.append((reading[bounded], x[bounded]))
            values.append(value)
            variances.append(variance)
        self.model = Processes(
            self.x,
            scales=torch.as_tensor(self._scales),
            sds=torch.as_tensor(self._sds),
            mean_columns=torch.arange(at.mean(0), at.mean(at.outcomes)),
            shifts=torch.as_tensor(shifts),
            values=torch.as_tensor(np.array(values)),
            variances=torch.as_tensor(np.array(variances)),
        )

    def _cov(self, outcome: int, left: Vector, right: Vector) -> Vector:
        """Prior covariance of an outcome at feature rows, (L, R)."""
        from scipy.spatial.distance import cdist

        cov = np.zeros((len(left), len(right)))
        for sds, scales in zip(self._sds, self._scales, strict=True):
            used = np.flatnonzero(scales[outcome])
            scale = scales[outcome, used]
            cov += sds[outcome] ** 2 * np.exp(
                -0.5 * cdist(left[:, used] * scale, right[:, used] * scale, "sqeuclidean")
            )
        return cov

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
        margins = self.columns.margins
        least = forecast.mean[:, margins] - sigmas * forecast.spread[:, margins]
        rows = forecast.x.numpy()
        for channel, (reading, seen) in enumerate(self._bounds):
            if not len(reading):
                continue
            outcome = margins.start + channel
            variance = (self._sds[:, outcome] ** 2).sum()
            drift = np.sqrt(2.0 * np.maximum(variance - self._cov(outcome, rows, seen), 0.0))
            column = self.columns.mean(outcome)
            there = rows[:, column, None] + (reading - seen[:, column]) - sigmas * drift
            least[:, channel] = np.maximum(least[:, channel], there.max(axis=1))
        return least

    def outcome(self, samples: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Good hashrate (TH/s), power (W) and wear (USD a day) of samples (..., N, M) at feature rows (..., N, F)."""
        errors = stability.error_ratio_at(samples[..., self.columns.margins].expm1(), xp=torch_namespace())
        kept = (1.0 - (x[..., self.columns.risk] * errors).sum(dim=-1)).clamp_min(0.0)
        return samples[..., HASH].exp() * kept, samples[..., POWER].exp(), x[..., self.columns.wear]

    def score(self, samples: Tensor, x: Tensor) -> Tensor:
        """The objective of samples, (..., N)."""
        score: Tensor = self.problem.objective.score(*self.outcome(samples, x))
        return score

    def mean_score(self, forecast: Forecast) -> Vector:
        """The objective at the means of the outcomes, (N,)."""
        return self.score(torch.as_tensor(forecast.mean), forecast.x).numpy()

    def lesson(self) -> Lesson:
        """What the unit turned out to be."""
        at, x = self.forecast(self.x), self.x.numpy()
        margins = at.mean[:, self.columns.margins] - x[:, self.columns.means(self.columns.margins)]
        weight = 1.0 / at.spread[:, self.columns.margins] ** 2
        power = at.mean[:, POWER] - x[:, self.columns.mean(POWER)]
        means = (margins * weight).sum(axis=0) / weight.sum(axis=0)
        return Lesson(self.problem.device.model, tuple(map(float, means)), float(power.mean()))


def _prior(problem: TuningProblem, belief: Belief) -> tuple[Vector, Vector, Vector]:
    """Scales (2, M, F), standard deviations (2, M) and shifts (M,) of deviations: levels first, then bends."""
    device, at = problem.device, columns(problem)
    scales = np.zeros((2, at.outcomes, at.load + 1))
    scales[:, :, at.ambient] = 1.0 / LENGTH_AMBIENT
    everything = range(at.knobs)
    for outcome, own in enumerate([*[everything] * at.margins.start, *device.channel_knobs]):
        columns_used = [at.fans if knob == device.fan_knob else knob for knob in own]
        scales[1, outcome, columns_used] = 1.0 / LENGTH
    levels = [
        belief.log_power_sd,
        belief.log_hash_sd,
        *[belief.temp_sd_k] * at.sensors,
        *[belief.margin_sd] * at.channels,
    ]
    bends = [
        belief.log_power_bend,
        belief.log_hash_bend,
        *[belief.temp_bend_k] * at.sensors,
        *[belief.margin_bend] * at.channels,
    ]
    shifts = [belief.log_power_shift, 0.0, *[0.0] * at.sensors, *[belief.margin_shift] * at.channels]
    return scales, np.array([levels, bends]), np.array(shifts)


def _measured_features(problem: TuningProblem, trials: Sequence[Trial]) -> Tensor:
    """Feature rows of trials, each in the air that it was made in, (N, F)."""
    airs = np.array([t.temp_amb_c for t in trials])
    settings = np.array([t.setting for t in trials])
    order = np.argsort(airs, kind="stable")
    parts = [features(problem.at(float(air)), settings[airs == air]) for air in np.unique(airs)]
    return torch.cat(parts)[np.argsort(order)]
