"""Where each site of a core is, to come back to or to branch from: rows can be picked, repeated and put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minesim.arrays import Array, namespace_of
from minesim.errors import ParamsError, explain
from minesim.site import map_arrays

Ints = NDArray[np.int64]


class CoreSnapshot(NamedTuple):
    """Memory of B sites of a :class:`minesim.envs.core.SiteCore`; all else follows from it and from the world.

    Draws are a function of noise seed and step count, so sites that go on from equal rows meet the same draws whatever
    batch they are in.

    Attributes:
        seeds, episode, noise_seed: what episodes are drawn from, (B,).
        start_row: row of the traces that the episode began at, (B,).
        step_count: control steps done, (B,).
        carry: what a step hands on to the next (:class:`minesim.envs.core.SiteCarry`).
    """

    seeds: Ints
    episode: Ints
    noise_seed: Ints
    start_row: Ints
    step_count: Ints
    carry: Any

    @property
    def num_envs(self) -> int:
        """B."""
        return len(self.seeds)

    def rows(self, index: Sequence[int] | Ints) -> CoreSnapshot:
        """The sites ``index``, in that order; a site may be named more than once."""
        chosen = np.asarray(index, np.int64)
        return CoreSnapshot(*(map_arrays(lambda x: _site_axis_take(x, chosen), part) for part in self))

    @classmethod
    def join(cls, parts: Sequence[CoreSnapshot]) -> CoreSnapshot:
        """Sites of several snapshots of equal worlds in one, in order; they may be at different steps.

        Raises:
            ParamsError: no parts.
        """
        if not parts:
            raise ParamsError(explain("there are no snapshots to join", allowed="one or more"))
        return cls(*(map_arrays(lambda *xs: _site_axis_concat(xs), *column) for column in zip(*parts, strict=True)))


def _site_axis(x: Array) -> int:
    """Hashboards come before sites: (K, B, M), else (B,) or (B, M)."""
    return 1 if x.ndim == 3 else 0


def _site_axis_take(x: Array, index: Ints) -> Array:
    return x[:, index] if _site_axis(x) == 1 else x[index]


def _site_axis_concat(xs: Sequence[Array]) -> Array:
    return namespace_of(xs[0]).concat(list(xs), _site_axis(xs[0]))
