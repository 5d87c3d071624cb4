"""Seeded building blocks: autoregressive noise and regime chains."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def ar1(rng: np.random.Generator, size: int, time_constant: float) -> Floats:
    """Draw a stationary first-order autoregression of unit variance.

    Args:
        size: number of steps.
        time_constant: steps after which the correlation has fallen to 1/e.

    Returns:
        (size,).
    """
    memory = float(np.exp(-1.0 / time_constant))
    shocks = rng.standard_normal(size)
    shocks[1:] *= np.sqrt(1.0 - memory**2)
    return np.fromiter(itertools.accumulate(shocks.tolist(), lambda x, shock: memory * x + shock), np.float64, size)


def mixture(rng: np.random.Generator, size: int, weights: Floats, time_constants: Floats) -> Floats:
    """Draw the sum of independent :func:`ar1` with the given variances."""
    parts = (np.sqrt(weight) * ar1(rng, size, float(tau)) for weight, tau in zip(weights, time_constants, strict=True))
    return np.asarray(sum(parts))


def regime_chain(rng: np.random.Generator, size: int, n_states: int, mean_length: float) -> npt.NDArray[np.int64]:
    """Draw a chain that stays in a state for a geometric time and then jumps to one of the others.

    Args:
        size: number of steps.
        n_states: number of equally likely states.
        mean_length: mean stay, steps.

    Returns:
        (size,) state numbers.
    """
    leaves = rng.random(size) < 1.0 / mean_length
    jumps = rng.integers(1, n_states, size) if n_states > 1 else np.zeros(size, np.int64)
    first = int(rng.integers(n_states))
    return np.asarray((first + np.cumsum(np.where(leaves, jumps, 0))) % n_states, np.int64)


def harmonics(phase: Floats, count: int) -> Floats:
    """Columns 1, cos, sin, cos 2x, ... of a phase in 0..1; (T, 1 + 2 count)."""
    angle = 2.0 * np.pi * phase
    waves: list[Any] = [np.ones_like(angle)]
    for k in range(1, count + 1):
        waves += [np.cos(k * angle), np.sin(k * angle)]
    return np.stack(waves, axis=-1)
