"""Named observation channels: unit, bounds and the transform between physical value and float32 number."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minesim.arrays import NUMPY, Array, Namespace, namespace_of
from minesim.errors import TelemetryError, explain, nearest


def symlog(x: Array, *, xp: Namespace) -> Array:
    """Symmetric logarithm ``sign(x) log(1 + |x|)``: linear near zero, finite for price spikes of either sign."""
    return xp.sign(x) * xp.log(xp.abs(x) + 1.0)


def symexp(y: Array, *, xp: Namespace) -> Array:
    """Inverse of :func:`symlog`."""
    return xp.sign(y) * xp.expm1(xp.abs(y))


@dataclass(frozen=True)
class Channel:
    """One named quantity of an observation.

    Attributes:
        name: what it is, with its unit as suffix, e.g. ``price_last_usd_per_mwh``.
        low, high: physical bounds; a value outside is clipped, so that observations stay inside the space.
        scale: divisor applied after the transform, so that typical values are of order one.
        log: whether the value passes through :func:`symlog` first (prices).
        size: 1 for a site quantity, the number of cohorts for a per-cohort quantity.
    """

    name: str
    low: float
    high: float
    scale: float = 1.0
    log: bool = False
    size: int = 1

    def encode(self, value: Array, *, xp: Namespace) -> Array:
        """Physical value -> observation number (same shape)."""
        clipped = xp.clip(value, self.low, self.high)
        return (symlog(clipped, xp=xp) if self.log else clipped) / self.scale

    def decode(self, number: Array, *, xp: Namespace) -> Array:
        """Observation number -> physical value (same shape)."""
        value = number * self.scale
        return symexp(value, xp=xp) if self.log else value


@dataclass(frozen=True)
class ObservationSchema:
    """The channels of an observation vector, in order."""

    channels: tuple[Channel, ...]

    @functools.cached_property
    def slices(self) -> dict[str, slice]:
        """Channel name -> its slice of the last axis."""
        result: dict[str, slice] = {}
        offset = 0
        for channel in self.channels:
            result[channel.name] = slice(offset, offset + channel.size)
            offset += channel.size
        return result

    @functools.cached_property
    def by_name(self) -> dict[str, Channel]:
        """Channel name -> channel."""
        return {channel.name: channel for channel in self.channels}

    @property
    def size(self) -> int:
        """Length of the observation vector."""
        return sum(channel.size for channel in self.channels)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of every number, shape (size,), float32."""
        return _bound(self.channels, "low"), _bound(self.channels, "high")

    def read(self, observation: Array, name: str) -> Array:
        """Physical value of channel ``name``: shape (..., channel size) from observations (..., size).

        Raises:
            TelemetryError: no such channel (nearest names suggested).
        """
        if name not in self.slices:
            raise TelemetryError(
                explain(f"no observation channel {name!r}", fix=nearest(name, self.slices), origin="observation schema")
            )
        return self.by_name[name].decode(observation[..., self.slices[name]], xp=namespace_of(observation))


def _bound(channels: Iterable[Channel], side: str) -> np.ndarray:
    parts = [
        np.full(c.size, c.encode(np.float64(c.low if side == "low" else c.high), xp=NUMPY), np.float64)
        for c in channels
    ]
    return np.concatenate(parts).astype(np.float32)
