"""Money: what a control step of a site earned and cost, term by term, from its settlement row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from minesim.arrays import Array, Namespace
from minesim.control import meter as metering
from minesim.control.meter import MeterState
from minesim.economics import reserve, tariff
from minesim.economics.reserve import ReserveProduct
from minesim.units import SECONDS_PER_DAY, SECONDS_PER_HOUR


@dataclass(frozen=True)
class SettlementRow:
    """What a demand interval settles at, each (B,) in double precision; names as in the compiled trace table."""

    hash_revenue_usd_per_ths_day: Array
    energy_price_usd_per_mwh: Array
    demand_rate_usd_per_kw: Array
    billing_month: Array
    cp_charge_usd_per_kw: Array
    reserve_price_usd_per_mw_h: Array
    reserve_call: Array


@dataclass(frozen=True)
class Money:
    """Terms of a step, USD, each (B,); costs are positive numbers and are subtracted in ``profit_usd``."""

    revenue_usd: Array
    energy_usd: Array
    demand_usd: Array
    coincident_usd: Array
    reserve_usd: Array
    wear_usd: Array
    restart_usd: Array

    @property
    def profit_usd(self) -> Array:
        """Revenue and reserve income less all costs."""
        costs = self.energy_usd + self.demand_usd + self.coincident_usd + self.wear_usd + self.restart_usd
        return self.revenue_usd + self.reserve_usd - costs


def settle(
    meter: MeterState,
    row: SettlementRow,
    paid_hashrate_ths: Array,
    power_kw: Array,
    wear_usd: Array,
    restart_usd: Array,
    reserve_request_mw: Array | None,
    product: ReserveProduct | None,
    interval_start: Array,
    interval_end: Array,
    hour_start: Array,
    dt_s: float,
    interval_s: float,
    *,
    xp: Namespace,
) -> tuple[MeterState, Money]:
    """Settle one control step.

    Args:
        meter: at the start of the step.
        row: the settlement row that the step lies in.
        paid_hashrate_ths: hashrate that is paid (after developer fee, pool fee and rejects), TH/s, (B,).
        power_kw: mean power at the meter, kW, (B,).
        wear_usd, restart_usd: from the twin, USD, (B,).
        reserve_request_mw: offer for the hour, MW, (B,); used where an hour starts.
        product: the reserve product, None where the tariff has none.
        interval_start, interval_end: 1 where a demand interval starts or ends with this step, else 0, (B,).
        hour_start: 1 where a clock hour starts with this step, else 0, (B,).
        dt_s: control step, s.
        interval_s: demand interval, s.
        xp: namespace of the arrays.

    Returns:
        Meter at the end and the money terms.
    """
    energy_kwh = power_kw * (dt_s / SECONDS_PER_HOUR)
    interval_kwh = metering.interval_energy_kwh(meter, energy_kwh, interval_start)
    # Peaks count closed intervals only: 0 while one runs adds nothing to them.
    closed_kw = interval_kwh * interval_end * (SECONDS_PER_HOUR / interval_s)
    demand_usd, peak_kw = tariff.demand_increment_usd(
        closed_kw, metering.carried_peak_kw(meter, row.billing_month, xp=xp), row.demand_rate_usd_per_kw, xp=xp
    )
    reserve_usd = 0.0 * power_kw
    standing = meter.reserve
    if product is not None and reserve_request_mw is not None:
        load_mw = power_kw * 1e-3
        offered = reserve.fix_offer_mw(
            reserve_request_mw, standing.offered_mw, hour_start=hour_start, called=row.reserve_call, xp=xp
        )
        standing = replace(standing, offered_mw=offered)
        paid = reserve.settle(
            load_mw, row.reserve_call, row.reserve_price_usd_per_mw_h, standing, product, dt_s=dt_s, xp=xp
        )
        reserve_usd = paid.income_usd - paid.unheld_penalty_usd - paid.shortfall_penalty_usd
        standing = reserve.advance(load_mw, row.reserve_call, standing, dt_s=dt_s, xp=xp)
    money = Money(
        revenue_usd=paid_hashrate_ths * row.hash_revenue_usd_per_ths_day * (dt_s / SECONDS_PER_DAY),
        energy_usd=tariff.energy_cost_usd(energy_kwh, row.energy_price_usd_per_mwh),
        demand_usd=demand_usd,
        coincident_usd=tariff.coincident_peak_usd(closed_kw, row.cp_charge_usd_per_kw),
        reserve_usd=reserve_usd,
        wear_usd=wear_usd,
        restart_usd=restart_usd,
    )
    return MeterState(interval_kwh, peak_kw, row.billing_month, standing), money
