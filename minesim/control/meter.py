"""The site's meter: energy of the running demand interval, the month's peak, the standing reserve offer.

Everything here is known to a real site from its own meter and its own offers, so it may be observed; what it costs is
settled elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from minesim.arrays import Array, Namespace
from minesim.economics import reserve
from minesim.economics.reserve import ReserveState
from minesim.units import SECONDS_PER_HOUR


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


def new_month(meter: MeterState, billing_month: Array, *, xp: Namespace) -> MeterState:
    """Forget the peak when the billing month changes."""
    same = billing_month == meter.billing_month
    return replace(meter, month_peak_kw=xp.where(same, meter.month_peak_kw, 0.0), billing_month=billing_month)


def add_energy(meter: MeterState, power_kw: Array, dt_s: float, interval_start: Array, *, xp: Namespace) -> MeterState:
    """Count the energy of a step; an interval that starts here starts from zero.

    Args:
        meter: before the step.
        power_kw: mean power of the step, kW, (B,).
        dt_s: length of the step, s.
        interval_start: true where a demand interval starts with this step, (B,).
        xp: namespace of the arrays.
    """
    before_kwh = xp.where(interval_start, 0.0, meter.interval_kwh)
    return replace(meter, interval_kwh=before_kwh + power_kw * (dt_s / SECONDS_PER_HOUR))


def initial_meter(power_kw: Array, month_peak_kw: Array, billing_month: Array, *, xp: Namespace) -> MeterState:
    """A meter at the start of a demand interval; ``month_peak_kw`` is carried in, all (B,)."""
    return MeterState(
        interval_kwh=xp.zeros_like(power_kw),
        month_peak_kw=month_peak_kw,
        billing_month=billing_month,
        reserve=reserve.initial_state(power_kw * 1e-3, xp=xp),
    )
