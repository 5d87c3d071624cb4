"""Observations: named float32 numbers from telemetry history, own writes, own meter and known market data.

The twin and a bridge to hardware call the same function, so that what is trained is what is deployed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves
from minesim.control.channels import Channel, ObservationSchema
from minesim.control.envelope import ControlHistory
from minesim.control.market import MARKET_CHANNELS
from minesim.control.meter import MeterState
from minesim.control.telemetry import MINER_READINGS, NO_ANSWER_AGE_S, Telemetry

FAULT_AGE_S = 900.0
"""A reading older than this is shown as a fault."""

SITE_CHANNELS: tuple[Channel, ...] = (
    Channel("site_power_frac", 0.0, 2.0),
    Channel("month_peak_frac", 0.0, 2.0),
    Channel("interval_power_frac", 0.0, 2.0),
    Channel("reserve_held_frac", 0.0, 2.0),
    Channel("temp_intake_c", -60.0, 90.0, scale=50.0),
)
"""Quantities of the whole site; powers as a share of the fleet's rated power."""

COHORT_CHANNELS: tuple[Channel, ...] = (
    Channel("hashing", 0.0, 1.0),
    Channel("level", 0.0, 2.0),
    Channel("power_frac", 0.0, 2.0),
    Channel("hashrate_frac", 0.0, 2.0),
    Channel("temp_chip_c", -60.0, 150.0, scale=100.0),
    Channel("temp_board_c", -60.0, 150.0, scale=100.0),
    Channel("fan_duty", 0.0, 1.0),
    Channel("stops_today", 0.0, 24.0, scale=6.0),
    Channel("hours_since_change", 0.0, 24.0, scale=24.0),
    Channel("fault", 0.0, 1.0),
)
"""Quantities of each cohort; powers and hashrates as a share of the model's rating."""


@cache
def schema(cohorts: int) -> ObservationSchema:
    """Market, site and cohort channels of a site with ``cohorts`` cohorts."""
    per_cohort = tuple(Channel(c.name, c.low, c.high, scale=c.scale, log=c.log, size=cohorts) for c in COHORT_CHANNELS)
    return ObservationSchema(MARKET_CHANNELS + SITE_CHANNELS + per_cohort)


@dataclass(frozen=True)
class Encoding:
    """From raw readings to observation numbers: factor, then lower and upper bound, (n,) each.

    The site and cohort channels of :func:`schema`, in order; the factor holds the rating that a share refers to as well
    as the channel's scale.
    """

    factor: Array
    low: Array
    high: Array


def encoding(curves: FleetCurves) -> Encoding:
    """The encoding of a fleet, in numpy double precision."""
    cohorts, rated_w = len(curves.models), curves.power_rated_site_w
    channels = schema(cohorts).channels[len(MARKET_CHANNELS) :]
    low, high = ObservationSchema(channels).bounds()
    raw_per_unit = {
        "site_power_frac": 1.0 / rated_w,
        "month_peak_frac": 1e3 / rated_w,
        "interval_power_frac": 1e3 / rated_w,
        "reserve_held_frac": 1e6 / rated_w,
        "level": 1.0 / curves.power_rated_w,
        "power_frac": 1.0 / curves.power_rated_w,
        "hashrate_frac": 1.0 / curves.hashrate_rated_ths,
        "hours_since_change": 1.0 / 3600.0,
    }
    factor = [np.broadcast_to(raw_per_unit.get(c.name, 1.0) / c.scale, c.size) for c in channels]
    return Encoding(np.concatenate(factor), low.astype(np.float64), high.astype(np.float64))


def last_good(reading: Telemetry, before: Telemetry, *, xp: Namespace) -> Telemetry:
    """Fill what a sensor did not deliver with its last good value; ages stay, so that a fault remains visible."""
    silent = reading.temp_chip_c != reading.temp_chip_c
    if not xp.maybe_any(silent):
        return reading
    filled = {name: xp.where(silent, getattr(before, name), getattr(reading, name)) for name in MINER_READINGS}
    return replace(reading, **filled)


def without_answer(reading: Telemetry, before: Telemetry, fault: Array, *, xp: Namespace) -> Telemetry:
    """What :func:`last_good` makes of a complete reading of which some miners, where ``fault`` is 1, did not come."""
    kept = {name: xp.blend(fault, getattr(before, name), getattr(reading, name)) for name in MINER_READINGS}
    return replace(reading, **kept, age_s=reading.age_s + fault * (NO_ANSWER_AGE_S - reading.age_s))


def interval_kw_per_kwh(interval_elapsed_s: Array, *, xp: Namespace) -> Array:
    """Mean power of the running demand interval per energy in it, 1/h: 0 at its first moment."""
    return xp.above(interval_elapsed_s, 0.0) * 3600.0 / xp.maximum(interval_elapsed_s, 1.0)


def observe(
    telemetry: Telemetry,
    history: ControlHistory,
    meter: MeterState,
    market: Array,
    kw_per_kwh: Array,
    scaling: Encoding,
    *,
    xp: Namespace,
) -> Array:
    """Assemble the observation in the order of :func:`schema`.

    Args:
        telemetry: latest good readings (:func:`last_good`).
        history: own writes.
        meter: own meter.
        market: encoded market features, (B, C) float32.
        kw_per_kwh: from :func:`interval_kw_per_kwh`, (B,).
        scaling: from :func:`encoding`, in the dtype of the telemetry.
        xp: namespace of the arrays.

    Returns:
        Observation, (B, n), in the dtype of ``market``.
    """
    like = telemetry.power_site_w
    raw = xp.concat(
        [
            like[..., None],
            xp.cast(meter.month_peak_kw, like)[..., None],
            xp.cast(meter.interval_kwh * kw_per_kwh, like)[..., None],
            xp.cast(meter.reserve.offered_mw, like)[..., None],
            telemetry.temp_intake_c[..., None],
            telemetry.hashing,
            history.command_w,
            telemetry.power_w,
            telemetry.hashrate_ths,
            telemetry.temp_chip_c,
            telemetry.temp_board_c,
            telemetry.fan_duty,
            history.stops_today,
            history.since_write_s,
            xp.above(telemetry.age_s, FAULT_AGE_S),
        ],
        -1,
    )
    own = xp.clip(raw * scaling.factor, scaling.low, scaling.high)
    return xp.concat([market, xp.cast(own, market)], -1)
