"""The site's meter: energy of the running demand interval, the month's peak, the standing reserve offer.

Everything here is known to a real site from its own meter and its own offers, so it may be observed; what it costs is
settled elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from minesim.arrays import Array, Namespace
from minesim.economics import reserve
from minesim.economics.reserve import ReserveState


@dataclass(frozen=True)
class MeterState:
    """Meter readings, all (B,) in double precision.

    Attributes:
        interval_kwh: energy in the running demand interval.
        month_peak_kw: highest closed demand interval of the billing month.
        billing_month: number of the month that the peak belongs to.
        reserve: the standing offer and what it is measured against.
    """

    interval_kwh: Array
    month_peak_kw: Array
    billing_month: Array
    reserve: ReserveState


def carried_peak_kw(meter: MeterState, billing_month: Array, *, xp: Namespace) -> Array:
    """The month's peak so far, kW, (B,): forgotten when the billing month changes."""
    if not xp.maybe_any(billing_month != meter.billing_month):
        return meter.month_peak_kw
    return meter.month_peak_kw * xp.cast(billing_month == meter.billing_month, meter.month_peak_kw)


def interval_energy_kwh(meter: MeterState, energy_kwh: Array, interval_start: Array) -> Array:
    """Energy of the running demand interval after a step, kWh, (B,).

    Args:
        meter: before the step.
        energy_kwh: of the step, (B,).
        interval_start: 1 where a demand interval starts with this step (it counts from zero), else 0, (B,).
    """
    return meter.interval_kwh - meter.interval_kwh * interval_start + energy_kwh


def initial_meter(power_kw: Array, month_peak_kw: Array, billing_month: Array, *, xp: Namespace) -> MeterState:
    """A meter at the start of a demand interval; ``month_peak_kw`` is carried in, all (B,)."""
    return MeterState(
        interval_kwh=xp.zeros_like(power_kw),
        month_peak_kw=month_peak_kw,
        billing_month=billing_month,
        reserve=reserve.initial_state(power_kw * 1e-3, xp=xp),
    )
