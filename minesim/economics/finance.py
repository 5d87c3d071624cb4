"""Money over years, and the price of stopping: discounting, resale, restarts and repairs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from minesim.arrays import Array, Namespace
from minesim.errors import ParamsError, explain, nearest

SECONDS_PER_YEAR: Final = 365.25 * 86400.0
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


INSPECTION_USD: Final = 30.0
BOARD_REPAIR_USD: Final[Mapping[str, float]] = MappingProxyType({"medium": 100.0, "hard": 150.0})
CHIP_USD: Final = (20.0, 25.0)
FAN_USD: Final = 25.0
CONTROL_BOARD_USD: Final = 65.0
"""IceRiver's repair price list; prices of other makers were not found and are assumed alike."""
REPAIR_DAYS: Final = 14.0
"""Mean time until a failed miner is back: an untraceable report, weak."""
STOP_COST_SCALES: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the assumed cost of a stop at which results that hang on it are repeated."""


def board_repair_usd(difficulty: str, chips: Array | float) -> Array:
    """Price of repairing a hashboard: inspection, labour and replaced chips (dearest chip of the list).

    >>> board_repair_usd("hard", 2)
    230.0

    Args:
        difficulty: ``medium`` or ``hard``.
        chips: replaced chips, any shape.

    Raises:
        ParamsError: another difficulty.
    """
    if difficulty not in BOARD_REPAIR_USD:
        raise ParamsError(explain(f"no repair {difficulty!r}", fix=nearest(difficulty, BOARD_REPAIR_USD)))
    return INSPECTION_USD + BOARD_REPAIR_USD[difficulty] + CHIP_USD[1] * chips


def failed_restart_usd(
    repair_usd: Array, margin_usd_per_day: Array, downtime_days: Array | float = REPAIR_DAYS
) -> Array:
    """Cost of one miner that does not come back from a stop: repair and lost margin; shapes broadcast.

    Args:
        repair_usd: see :func:`board_repair_usd`.
        margin_usd_per_day: revenue less energy of the running miner, USD per day.
        downtime_days: until it runs again.
    """
    return repair_usd + downtime_days * margin_usd_per_day


def expected_stop_cost_usd(
    stops: Array, wear_usd: Array | float, failure_probability: Array | float, failed_usd: Array | float
) -> Array:
    """Expected cost of cold stops: ``stops x (wear + probability x cost of a failed restart)``; shapes broadcast.

    Args:
        stops: number of stopped miners.
        wear_usd: wear per stop and miner (assumed, see :data:`STOP_COST_SCALES`).
        failure_probability: of a restart (assumed; failures after curtailment are documented, their rate is not).
        failed_usd: see :func:`failed_restart_usd`.
    """
    return stops * (wear_usd + failure_probability * failed_usd)


def break_even_probability(cost_usd: Array, saving_usd: Array) -> Array:
    """Probability of an event above which acting on each warning pays: cost of acting over what it saves.

    >>> round(break_even_probability(100.0, 18_900.0), 4)
    0.0053
    """
    return cost_usd / saving_usd
