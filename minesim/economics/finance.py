"""Money over years, and the price of stopping: discounting, resale, restarts and repairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from minesim.arrays import Array, Namespace
from minesim.errors import ParamsError, explain

RESALE_DECLINE_PER_YEAR: Final = (1.1, 1.5)
"""Continuous decline of machine prices in the bear stretches of 2021-2023 (Hashrate Index; own arithmetic)."""


def annuity_factor(rate_per_year: Array, years: Array, *, xp: Namespace) -> Array:
    """Present value of one USD a year, paid at each year's end: ``(1 - (1 + r)^-n) / r``, ``n`` at rate zero."""
    log_growth = xp.log(1.0 + rate_per_year)
    zero = xp.abs(rate_per_year) < 1e-9
    safe = xp.where(zero, xp.ones_like(rate_per_year), rate_per_year)
    return xp.where(zero, years + 0.0 * rate_per_year, -xp.expm1(-years * log_growth) / safe)


def npv_usd(cash_flow_usd: Array, rate_per_year: float, *, dt_years: float, xp: Namespace) -> Array:
    """Net present value of evenly spaced cash flows; the first is now.

    Args:
        cash_flow_usd: shape ``(..., T)``, USD, outlays negative.
        rate_per_year: discount rate, effective per year.
        dt_years: time between flows.

    Returns:
        Shape ``(...)``, USD of now.
    """
    position = xp.cumsum(xp.ones_like(cash_flow_usd), axis=-1) - 1.0
    log_growth = xp.log(xp.ones_like(cash_flow_usd) * (1.0 + rate_per_year))
    return xp.sum(cash_flow_usd * xp.exp(-position * dt_years * log_growth), axis=-1)


def payback_years(outlay_usd: Array, cash_flow_usd: Array, *, dt_years: float, xp: Namespace) -> Array:
    """Time until summed cash flows cover the outlay, undiscounted, linear within a period.

    Args:
        outlay_usd: paid at the start, USD, shape ``(...)``.
        cash_flow_usd: flow of each period, ``(..., T)``.
        dt_years: length of a period.

    Returns:
        Years, shape ``(...)``; infinite when the flows never cover it.
    """
    total = xp.cumsum(cash_flow_usd, axis=-1)
    covered = total >= outlay_usd[..., None]
    first = xp.argmax(xp.where(covered, xp.ones_like(total), xp.zeros_like(total)), axis=-1)
    index = first[..., None]
    after = xp.take_along(total, index, -1)[..., 0]
    flow = xp.take_along(cash_flow_usd, index, -1)[..., 0]
    ever = xp.max(total, axis=-1) >= outlay_usd
    safe_flow = xp.where(ever, flow, xp.ones_like(flow))
    years = (xp.cast(first, after) + 1.0 - (after - outlay_usd) / safe_flow) * dt_years
    return xp.where(ever, years, xp.zeros_like(years) + float("inf"))


def resale_usd(price_usd: Array, age_years: Array, decline_per_year: Array | float = 1.3, *, xp: Namespace) -> Array:
    """Price of a used machine: ``price x exp(-decline x age)``.

    The default lies between the 1.1 and 1.5 per year of the bear stretches of 2021-2023 (see
    :data:`RESALE_DECLINE_PER_YEAR`); in those years the price followed hashprice, not age.
    """
    return price_usd * xp.exp(-decline_per_year * age_years)


def depreciation_usd(
    price_usd: Array, dt_s: Array | float, decline_per_year: Array | float = 1.3, *, xp: Namespace
) -> Array:
    """Loss of resale value over ``dt_s`` of a machine that is worth ``price_usd`` now, USD."""
    return -price_usd * xp.expm1(-decline_per_year * dt_s / SECONDS_PER_YEAR * xp.ones_like(price_usd))


SECONDS_PER_YEAR: Final = 365.25 * 86400.0


@dataclass(frozen=True)
class StopCosts:
    """What stopping a miner costs beyond the lost hashes.

    Attributes:
        per_stop_usd: wear and handling per cold stop and miner (assumed; results that hang on it are repeated at 0,
            0.5, 1, 2 and 4 times it).
        restart_failure_probability: of a cold restart, per miner (assumed; failures after curtailment are documented,
            Compass 2023, their rate is not).
        repair_usd: labour and parts of a hashboard repair: inspection 30 + hard repair 150 + two chips at 25 (IceRiver
            price list; parts of other makers assumed alike).
        downtime_days: until a miner is back from repair (14, untraceable report; weak).
        sensitivity: the multiples of ``per_stop_usd`` at which results are repeated.
    """

    per_stop_usd: float = 0.10
    restart_failure_probability: float = 0.0005
    repair_usd: float = 230.0
    downtime_days: float = 14.0
    sensitivity: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)

    def __post_init__(self) -> None:
        for field, high in (
            ("per_stop_usd", 1e4),
            ("restart_failure_probability", 1.0),
            ("repair_usd", 1e5),
            ("downtime_days", 365.0),
        ):
            value = getattr(self, field)
            if not 0.0 <= value <= high:
                raise ParamsError(explain(f"{field} is {value}", allowed=f"0 to {high}", origin="StopCosts"))


def expected_stop_cost_usd(
    stops: Array,
    costs: StopCosts,
    *,
    margin_usd_per_day: Array | float = 0.0,
    failure_probability: Array | float | None = None,
) -> Array:
    """Expected cost of cold stops: wear, and repair and lost margin in case the restart fails.

    Args:
        stops: number of miners stopped (or stops of one), any shape.
        costs: see there.
        margin_usd_per_day: revenue less energy of one running miner, USD per day, lost during a repair.
        failure_probability: per stop, where it is modelled (by temperature, say); None takes the one of ``costs``.

    Returns:
        USD, shape of ``stops``.
    """
    chance = costs.restart_failure_probability if failure_probability is None else failure_probability
    return stops * (costs.per_stop_usd + chance * (costs.repair_usd + costs.downtime_days * margin_usd_per_day))


def break_even_probability(cost_usd: Array, saving_usd: Array) -> Array:
    """Probability of an event above which acting on each warning pays: cost of acting over what it saves.

    >>> round(break_even_probability(100.0, 18_900.0), 4)
    0.0053
    """
    return cost_usd / saving_usd
