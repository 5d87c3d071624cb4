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

import gpytorch
import numpy as np
import torch
from botorch.models import ModelListGP, SingleTaskGP
from gpytorch.kernels import RBFKernel, ScaleKernel
from torch import Tensor

from agents.bo.beliefs import VAGUE, Belief, Lesson, gaussian_sites, margin_readings
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
CHUNK: Final = 128
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


def features(problem: TuningProblem, settings: Vector) -> Tensor:
    """Feature rows of settings (N, D) in the problem's ambient."""
    nominal = problem.nominal(settings)
    scaled = (settings - problem.lower) / (problem.upper - problem.lower)
    ambient = np.full((len(settings), 1), (problem.temp_amb_c - 20.0) / 30.0)
    expected = np.column_stack(
        [np.log(nominal.power_w), np.log(nominal.hashrate_clean_ths), nominal.temp_c.max(axis=1)]
    )
    wear = problem.wear_usd_per_day(nominal)[:, None]
    parts = [scaled, ambient, expected, nominal.margin_rel, wear, nominal.share_at_risk, nominal.load_ratio[:, None]]
    return torch.as_tensor(np.hstack(parts), dtype=torch.double)


class CatalogMean(gpytorch.means.Mean):
    """The catalog's expectation, which a feature column carries, plus a constant."""

    def __init__(self, column: int, shift: float) -> None:
        super().__init__()
        self.column, self.shift = column, shift

    def forward(self, x: Tensor) -> Tensor:
        """Mean of rows (..., N, F)."""
        return x[..., self.column] + self.shift


class Surrogate:
    """What is believed of a unit after some trials.

    Args:
        problem: the unit.
        trials: with measurements.
        belief: before the first of them.
    """

    def __init__(self, problem: TuningProblem, trials: Sequence[Trial], belief: Belief) -> None:
        self.problem, self.columns = problem, columns(problem)
        told = [(t, t.measured) for t in trials if t.measured is not None]
        self.measured = tuple(m for _, m in told)
        self.x = torch.cat([features(problem.at(t.temp_amb_c), np.array([t.setting])) for t, _ in told])
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

        self.belief = belief
        self._bounds: list[tuple[tuple[int, ...], Vector, Vector]] = []
        knobs = (*range(self.columns.knobs), self.columns.ambient)
        models = [
            self._process(
                0, knobs, LENGTH, belief.log_power_sd, power, _or_vague(POWER_NOISE**2, tripped), belief.log_power_shift
            ),
            self._process(1, knobs, LENGTH, belief.log_hash_sd, clean, np.where(tripped, VAGUE, clean_var), 0.0),
            self._process(2, knobs, LENGTH, belief.temp_sd_k, temps, _or_vague(TEMP_NOISE_K**2, tripped), 0.0),
        ]
        for channel, own in enumerate(problem.device.channel_knobs):
            dims = (*own, self.columns.ambient)
            mean = x[:, self.columns.mean(BASE + channel)] + belief.margin_shift
            distance = (x[:, None, dims] - x[None, :, dims]) / self._lengths(dims, LENGTH_MARGIN)
            cov = belief.margin_sd**2 * np.exp(-0.5 * (distance**2).sum(axis=-1))
            reading, noise, bounded = margin_readings(errors[:, channel])
            value, variance = gaussian_sites(mean, cov, reading, noise, bounded)
            self._bounds.append((dims, reading[bounded], x[bounded]))
            models.append(
                self._process(
                    BASE + channel, dims, LENGTH_MARGIN, belief.margin_sd, value, variance, belief.margin_shift
                )
            )
        self.model = ModelListGP(*models)
        self.model.eval()

    def _lengths(self, dims: Sequence[int], length: float) -> Vector:
        return np.array([LENGTH_AMBIENT if d == self.columns.ambient else length for d in dims])

    def _process(
        self,
        outcome: int,
        dims: Sequence[int],
        length: float,
        sd: float,
        values: Vector,
        variances: Vector,
        shift: float,
    ) -> SingleTaskGP:
        kernel = ScaleKernel(RBFKernel(ard_num_dims=len(dims), active_dims=tuple(dims)))
        kernel.base_kernel.lengthscale = torch.as_tensor(self._lengths(dims, length), dtype=torch.double)
        kernel.outputscale = sd**2
        process = SingleTaskGP(
            self.x,
            torch.as_tensor(values, dtype=torch.double)[:, None],
            torch.as_tensor(variances, dtype=torch.double)[:, None],
            mean_module=CatalogMean(self.columns.mean(outcome), shift),
            covar_module=kernel,
            outcome_transform=None,
        )
        return process.eval()

    def marginals(self, x: Tensor) -> tuple[Vector, Vector]:
        """Mean and standard deviation of each outcome at feature rows, (N, M) each."""
        means, variances = [], []
        with torch.no_grad():
            # The library computes whole covariances even where only their diagonal is asked for.
            for part in x.split(CHUNK):
                posteriors = [m.posterior(part) for m in self.model.models]
                means.append(torch.cat([p.mean for p in posteriors], dim=-1))
                variances.append(torch.cat([p.variance for p in posteriors], dim=-1))
        return torch.cat(means).numpy(), torch.cat(variances).clamp_min(0.0).sqrt().numpy()

    def least_margins(self, x: Tensor, mean: Vector, spread: Vector, sigmas: float) -> Vector:
        """Lower bounds of the margins at feature rows, ``sigmas`` standard deviations down, (N, C).

        The better of two: the process's own, and, from each reading without errors ("at least so much there"), that
        much less what the catalog says is lost on the way and less the standard deviation of the unit's deviation along
        it; the noise of the reading is in the bound already. The second is what lets the safe set grow before any error
        has been seen: a normal stand-in forgets that the reading was a bound.

        Args:
            x: feature rows.
            mean, spread: their marginals.
            sigmas: how many.
        """
        least = mean[:, BASE:] - sigmas * spread[:, BASE:]
        rows = x.numpy()
        for channel, (dims, reading, seen) in enumerate(self._bounds):
            if not len(reading):
                continue
            squared = np.zeros((len(rows), len(reading)))
            for dim, length in zip(dims, self._lengths(dims, LENGTH_MARGIN), strict=True):
                squared += ((rows[:, dim, None] - seen[None, :, dim]) / length) ** 2
            drift = self.belief.margin_sd * np.sqrt(-2.0 * np.expm1(-0.5 * squared))
            column = self.columns.mean(BASE + channel)
            there = rows[:, column, None] - seen[None, :, column] + reading - sigmas * drift
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

    def mean_score(self, x: Tensor) -> Vector:
        """The objective at the means of the outcomes, (N,)."""
        means, _ = self.marginals(x)
        return self.score(torch.as_tensor(means), x).numpy()

    def lesson(self) -> Lesson:
        """What the unit turned out to be."""
        means, spreads = self.marginals(self.x)
        margins = (
            means[:, BASE:] - self.x.numpy()[:, [self.columns.mean(BASE + c) for c in range(self.columns.channels)]]
        )
        weight = 1.0 / spreads[:, BASE:] ** 2
        power = means[:, 0] - self.x.numpy()[:, self.columns.mean(0)]
        return Lesson(tuple((margins * weight).sum(axis=0) / weight.sum(axis=0)), float(power.mean()))


def _or_vague(variance: float, tripped: np.ndarray) -> Vector:
    return np.where(tripped, VAGUE, variance)
