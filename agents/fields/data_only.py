"""Estimators that know no physics: interpolation along the aisles, and Gaussian processes of places and inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from agents.fields.aisles import COARSE, aisle_of, coarse_places_m, is_hot
from agents.fields.protocol import FieldRecord, Floats, GridEstimate
from minesim.errors import MissingExtraError, explain

NOISE_K: Final = 0.5
"""Deviation of a reading that interpolation smooths over (assumed: noise, bias and what is local)."""
SEARCH_STEPS: Final = 40
"""Steps of the search for the likeliest parameters, at most."""
RISE_K: Final = 4.0
"""Deviation of the rise over outdoors within hot or cold aisles (assumed)."""


@dataclass(frozen=True)
class AisleRbf:
    """Thin-plate splines through the readings of each aisle, row by row; the rise of the last hour is the forecast.

    Its deviation is what leaving sensors out shows.
    """

    name: str = "aisle RBF"
    smoothing: float = 0.1

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`."""
        from scipy.interpolate import RBFInterpolator

        known, train = record.telemetry, record.train
        rise = known.readings_c[:train] - known.temp_amb_c[:train, None]
        cells, places = coarse_places_m(record), known.places_m
        of_cell, of_sensor = aisle_of(known.plan, cells[:, 1]), aisle_of(known.plan, places[:, 1])
        air, spread = np.empty((train, len(cells))), np.empty(len(cells))

        def along(kept: Any, at_m: Floats) -> Floats:
            spline = RBFInterpolator(places[kept, :1], rise[:, kept].T, smoothing=self.smoothing)
            found: Floats = spline(at_m[:, :1]).T
            return found

        for aisle in np.unique(of_cell):
            here = np.flatnonzero(of_sensor == aisle)
            air[:, of_cell == aisle] = along(here, cells[of_cell == aisle])
            left_out = [rise[:, [s]] - along(here[here != s], places[[s]]) for s in here[1:-1]]
            spread[of_cell == aisle] = np.sqrt(np.mean(np.square(left_out)))
        later = np.broadcast_to(air[-12:].mean(axis=0), (record.rows - train, len(cells)))
        field = np.concatenate([air, later]) + known.temp_amb_c[:, None]
        wandering = np.sqrt(((air - air.mean(axis=0)) ** 2).mean(axis=0))
        deviation = np.broadcast_to(spread, field.shape).copy()
        deviation[train:] = np.sqrt(spread**2 + 2.0 * wandering**2)
        shape = (record.rows, *COARSE)
        return GridEstimate(field.reshape(shape), deviation.reshape(shape))


@dataclass(frozen=True)
class Kriging:
    """A Gaussian process over x, y, hot or cold, and everything known about a row; exact, of a sample of readings.

    Its covariance is a product of one Matern 3/2 kernel of places (a length along x and one across, hot and cold
    aisles apart) and one squared exponential of the inputs (a common length, each scaled to unit spread). Lengths,
    spread and noise are the likeliest on a smaller sample, with priors of a factor of e about what one would guess.
    Needs ``minesim[bo]`` (BoTorch).
    """

    name: str = "Gaussian process"
    sample: int = 1200
    sample_search: int = 400

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`.

        Raises:
            MissingExtraError: BoTorch is not installed.
        """
        known, train = record.telemetry, record.train
        features = record.features
        scale = features[:train].std(axis=0)
        features = (features / np.where(scale > 0.0, scale, 1.0))[:, scale > 0.0]
        plan, size = known.plan, np.array([known.plan.length_m, known.plan.width_m])

        def spots(places: Floats) -> Floats:
            return np.column_stack([places / size, is_hot(plan, aisle_of(plan, places[:, 1]))])

        sensors, cells = spots(known.places_m), spots(coarse_places_m(record))
        rise, hot = known.readings_c[:train] - known.temp_amb_c[:train, None], sensors[:, 2] > 0.0
        of_hot, of_cold = rise[:, hot].mean(), rise[:, ~hot].mean()
        row, sensor = np.divmod(rng.permutation(rise.size)[: self.sample], rise.shape[1])
        at = np.column_stack([sensors[sensor], features[row]])
        seen = rise[row, sensor] - np.where(hot, of_hot, of_cold)[sensor]
        process = _process(at, seen, self.sample_search)
        air, spread = np.empty((record.rows, len(cells))), np.empty((record.rows, len(cells)))
        for r, of_row in enumerate(features):
            air[r], spread[r] = process(np.column_stack([cells, np.tile(of_row, (len(cells), 1))]))
        air += np.where(cells[:, 2] > 0.0, of_hot, of_cold) + known.temp_amb_c[:, None]
        shape = (record.rows, *COARSE)
        return GridEstimate(air.reshape(shape), spread.reshape(shape))


def _process(at: Floats, seen: Floats, search: int) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Fit a Gaussian process of zero mean; see :class:`Kriging`.

    Args:
        at: x, y, hot or cold, and inputs of the readings, (N, 3 + F).
        seen: readings about their mean, (N,), K.
        search: of them, how many its parameters are fitted to.

    Returns:
        Mean and standard deviation (without noise), K, at points (K, 3 + F).
    """
    try:
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from gpytorch import settings
        from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
        from gpytorch.likelihoods import GaussianLikelihood
        from gpytorch.means import ZeroMean
        from gpytorch.mlls import ExactMarginalLogLikelihood
        from gpytorch.priors import LogNormalPrior
    except ImportError as error:
        raise MissingExtraError(
            explain(f"the Gaussian process needs BoTorch ({error})", fix="Run: pip install 'minesim[bo]'")
        ) from error

    def about(guess: Any, spread: float) -> Any:
        """A factor of ``exp(spread)`` about the likeliest value."""
        return LogNormalPrior(torch.log(torch.tensor(guess)) + spread**2, spread)

    points, values = torch.as_tensor(at), torch.as_tensor(seen)[:, None]
    in_room, of_input = [0.3, 0.5, 1.0], (at.shape[1] - 3) ** 0.5
    places = MaternKernel(1.5, ard_num_dims=3, active_dims=(0, 1, 2), lengthscale_prior=about(in_room, 1.0))
    inputs = RBFKernel(active_dims=tuple(range(3, at.shape[1])), lengthscale_prior=about(of_input, 1.0))
    kernel = ScaleKernel(places * inputs, outputscale_prior=about(RISE_K**2, 2.0))
    noise = GaussianLikelihood(noise_prior=about(NOISE_K**2, 2.0))
    model = SingleTaskGP(
        points[:search],
        values[:search],
        likelihood=noise,
        covar_module=kernel,
        mean_module=ZeroMean(),
        outcome_transform=None,
    )
    places.lengthscale, inputs.lengthscale = torch.tensor(in_room), of_input
    kernel.outputscale, noise.noise = RISE_K**2, NOISE_K**2
    fit_gpytorch_mll(ExactMarginalLogLikelihood(noise, model), optimizer_kwargs={"options": {"maxiter": SEARCH_STEPS}})
    model.set_train_data(points, values[:, 0], strict=False)  # type: ignore[operator]  # GPyTorch has no types
    model.eval()

    def estimate(where: Floats) -> tuple[Floats, Floats]:
        exact = settings.max_cholesky_size(len(at)), settings.max_root_decomposition_size(len(at))
        with torch.no_grad(), settings.fast_pred_var(), exact[0], exact[1]:
            found = model(torch.as_tensor(where))
            return found.mean.numpy(), found.variance.clamp_min(1e-6).sqrt().numpy()

    return estimate
