"""Which settings no other beats in all merits."""

from __future__ import annotations

import numpy as np


def pareto_front(values: np.ndarray) -> np.ndarray:
    """Which rows (N, M) no other row beats in all of M merits, (N,).

    >>> pareto_front(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist()
    [True, True, False]
    """
    better = np.asarray((values[None] >= values[:, None]).all(axis=2) & (values[None] > values[:, None]).any(axis=2))
    return np.asarray(~better.any(axis=1))
