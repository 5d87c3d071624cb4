"""Fit a network of few weights to recorded steps of workload by nonlinear least squares.

Gauss and Newton's steps (scipy's trust region, with a loss that forgives outliers) need the derivative of every
prediction by every weight. For some hundred weights one pass over all weights' neighbours at once, each moved a little,
costs less than automatic differentiation.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
import torch

from agents.pinn.miner_response_record import TEMPS, StepRecords
from agents.pinn.steady import Floats

SD_TEMP_K: Final = 0.5
"""Standard deviation of temperature readings: noise and whole degrees."""
SD_POWER: Final = 0.01
"""Of power, relative to stock power: noise and what its estimate misses (assumed)."""
MOVE: Final = 1e-5
"""Of a weight, for a derivative; in double precision the error is of the same order."""
CHUNK: Final = 4096
"""Recorded steps times weights that are predicted at once."""


class Predictor(Protocol):
    """A network whose weights are given to each call."""

    def predict(self, weights: torch.Tensor, inputs: torch.Tensor, readings: torch.Tensor) -> torch.Tensor:
        """Readings after the step, (K, N, F, C), from weights (K, P), inputs (N, T, 7), readings before."""
        ...


class Fitted(NamedTuple):
    """Weights, (P,), their standard errors with priors, (P,), and evaluations that it took."""

    weights: Floats
    sd: Floats
    evaluations: int


def tensors(records: StepRecords) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, (N, T, 7), and readings up to the step, (N, H + 1, 5), in double precision."""
    return torch.as_tensor(records.inputs), torch.as_tensor(records.readings[:, : records.before + 1])


def predicted(network: Predictor, weights: Floats, records: StepRecords) -> Floats:
    """Readings after the step as a network predicts them, (N, F, C)."""
    with torch.no_grad():
        seen: Floats = network.predict(torch.as_tensor(weights)[None], *tensors(records))[0].numpy()
    return seen


def fit(network: Predictor, first: Floats, prior_sd: Floats, records: StepRecords, evaluations: int) -> Fitted:
    """Fit weights.

    Args:
        network: whose.
        first: weights to begin with, which are also the prior's mean, (P,).
        prior_sd: standard deviation of the prior, (P,).
        records: to learn from.
        evaluations: at most.
    """
    from scipy.optimize import least_squares

    inputs, before = tensors(records)

    def scaled(weights: Floats) -> Floats:
        """Predictions in standard deviations, (K, everything)."""
        with torch.no_grad():
            seen = network.predict(torch.as_tensor(weights), inputs, before).numpy()
        return np.asarray((seen / _sd(seen.shape[-1], records.rated_w)).reshape(len(weights), -1))

    channels = predicted(network, first, records).shape[-1]
    wanted = (records.readings_after[..., :channels] / _sd(channels, records.rated_w)).reshape(-1)
    rows = max(1, CHUNK // len(records))

    def missed(weights: Floats) -> Floats:
        return np.concatenate([scaled(weights[None])[0] - wanted, (weights - first) / prior_sd])

    def slopes(weights: Floats) -> Floats:
        moved = weights + MOVE * np.eye(len(weights))
        centre = scaled(weights[None])
        parts = [(scaled(moved[i : i + rows]) - centre) / MOVE for i in range(0, len(weights), rows)]
        return np.concatenate([np.concatenate(parts).T, np.diag(1.0 / prior_sd)])

    found = least_squares(missed, first, jac=slopes, method="trf", loss="soft_l1", max_nfev=evaluations, ftol=1e-3)
    covariance = np.linalg.inv(found.jac.T @ found.jac)
    return Fitted(found.x, np.sqrt(np.diag(covariance)), int(found.nfev))


def _sd(channels: int, rated_w: float) -> Floats:
    sd = np.full(channels, SD_TEMP_K)
    sd[len(TEMPS) :] = SD_POWER * rated_w
    return sd
