"""Seeded building blocks: autoregressive noise and regime chains.

Each array comes from a stream of its own (``spawn``), so that a longer series begins like a shorter one of its seed.
"""

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
    streams = rng.spawn(len(weights))
    parts = (
        np.sqrt(weight) * ar1(stream, size, float(tau))
        for stream, weight, tau in zip(streams, weights, time_constants, strict=True)
    )
    return np.asarray(sum(parts))


def regime_chain(rng: np.random.Generator, size: int, n_states: int, mean_length: float) -> npt.NDArray[np.int64]:
    """Draw a chain that stays in a state for a geometric time and then tries to move to a neighbouring one.

    Steps beyond the lowest or highest state are folded back, so that all states are equally likely in the long run.

    Args:
        size: number of steps.
        n_states: number of ordered states.
        mean_length: mean stay, steps (at the two ends about twice that).

    Returns:
        (size,) state numbers.
    """
    first = int(rng.integers(2 * n_states))
    when, where = rng.spawn(2)
    leaves = when.random(size) < 1.0 / mean_length
    direction = 2 * where.integers(0, 2, size) - 1
    place = (first + np.cumsum(np.where(leaves, direction, 0))) % (2 * n_states)
    return np.asarray(np.where(place < n_states, place, 2 * n_states - 1 - place), np.int64)


def harmonics(phase: Floats, count: int) -> Floats:
    """Columns 1, cos, sin, cos 2x, ... of a phase in 0..1; (T, 1 + 2 count)."""
    angle = 2.0 * np.pi * phase
    waves: list[Any] = [np.ones_like(angle)]
    for k in range(1, count + 1):
        waves += [np.cos(k * angle), np.sin(k * angle)]
    return np.stack(waves, axis=-1)
