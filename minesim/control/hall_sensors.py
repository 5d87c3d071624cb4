"""What a site in a hall reports beside its miners, and how it is observed: air sensors, cooling power, settings.

The channels follow those of :mod:`minesim.control.observe`, so an agent of the whole site sees both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minesim.arrays import Array, Namespace
from minesim.control import observe
from minesim.control.channels import Channel, ObservationSchema
from minesim.control.observe import Encoding
from minesim.control.telemetry import Telemetry

COOLING = "power_cooling_frac"


@dataclass(frozen=True)
class HallTelemetry(Telemetry):
    """A site's reading with that of its hall.

    Attributes:
        temp_air_c: air sensors, degC, (B, S).
        power_cooling_w: fans of the room, pump and coil, metered, W, (B,).
        settings: of the plant as they were sent, -1 to 1, (B, A).
    """

    temp_air_c: Array
    power_cooling_w: Array
    settings: Array


def hall_channels(sensors: Sequence[str], settings: Sequence[str]) -> tuple[Channel, ...]:
    """Channels of a hall: one a sensor, cooling power over that of all room fans, and the plant's settings."""
    return (
        *(Channel(f"temp_{name}_c", -60.0, 90.0, scale=50.0) for name in sensors),
        Channel(COOLING, 0.0, 10.0),
        *(Channel(name, -1.0, 1.0) for name in settings),
    )


def schema(cohorts: int, channels: Sequence[Channel]) -> ObservationSchema:
    """Market, site, cohort and hall channels."""
    return ObservationSchema((*observe.schema(cohorts).channels, *channels))


def encoding(channels: Sequence[Channel], rated_w: float) -> Encoding:
    """The encoding of :func:`hall_channels`; ``rated_w`` is the power of all room fans at full speed."""
    low, high = ObservationSchema(tuple(channels)).bounds()
    factor = [1.0 / (c.scale * (rated_w if c.name == COOLING else 1.0)) for c in channels]
    return Encoding(np.array(factor), low.astype(np.float64), high.astype(np.float64))


def observe_hall(telemetry: HallTelemetry, scaling: Encoding, like: Array, *, xp: Namespace) -> Array:
    """Numbers of :func:`hall_channels`, (B, n), in the dtype of ``like``."""
    raw = xp.concat([telemetry.temp_air_c, telemetry.power_cooling_w[..., None], telemetry.settings], -1)
    return xp.cast(xp.clip(raw * scaling.factor, scaling.low, scaling.high), like)
