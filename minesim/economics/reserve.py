"""Selling load as reserve: hold the offered MW, drop it when called, be paid or penalised.

The rules are those of a 10-minute reserve by a load that does not follow set points (ERCOT ECRS): the offer is fixed
at the start of an hour, paid by the hour for the part that is really held, and when called the load must have fallen
by the offered MW below its level just before the call within ``response_min``. Response time and prices have sources;
the penalty of a part that is not held, the grace after a call and the process of calls are **assumed** (the claw-back
formulas of ERCOT were not found).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from minesim.arrays import Array, Namespace
from minesim.errors import ParamsError, explain, pick
from minesim.units import SECONDS_PER_HOUR

LONG_AGO_MIN: Final = 1.0e6
"""Minutes since the last recall of a site that was never called."""


@dataclass(frozen=True)
class ReserveProduct:
    """The rules of one reserve product.

    Attributes:
        name: what it is called in reports.
        response_min: minutes from the call until the load must have fallen (ECRS: 10, NPRR1148).
        shortfall_penalty_usd_per_mwh: penalty per MWh that was called and not delivered. 1150 and 2300 are the PJM
            figures of 2027/28 for pre-emergency and emergency events (RTO Insider 2026); ERCOT's was not found.
        unheld_penalty_factor: penalty of a MW-h that was offered and not held while no call was on, in multiples of
            the reserve price, on top of not being paid (assumed).
        restore_min: minutes after a recall in which a load that has not come back is unpaid but not penalised
            (assumed; a miner needs minutes to hash again).
        max_share: largest share of the load that may be offered (loads carried up to 50 % of ERCOT's responsive
            reserve in 2010; a share for one site is assumed).
        source: where the numbers come from.
    """

    name: str
    response_min: float = 10.0
    shortfall_penalty_usd_per_mwh: float = 1150.0
    unheld_penalty_factor: float = 1.0
    restore_min: float = 30.0
    max_share: float = 1.0
    source: str = "assumed"

    def __post_init__(self) -> None:
        for field, low, high, unit in (
            ("response_min", 0.0, 60.0, "min"),
            ("shortfall_penalty_usd_per_mwh", 0.0, 1e5, "USD/MWh"),
            ("unheld_penalty_factor", 0.0, 100.0, "times the price"),
            ("restore_min", 0.0, 600.0, "min"),
            ("max_share", 0.0, 1.0, "of the load"),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                raise ParamsError(
                    explain(f"{field} is {value} {unit}", allowed=f"{low} to {high} {unit}", origin=self.name)
                )


ECRS_LIKE: Final = ReserveProduct(
    name="ecrs_like",
    source="10 min: NPRR1148; 1150 USD/MWh: PJM pre-emergency penalty 2027/28, RTO Insider (2026); the rest assumed",
)


@dataclass(frozen=True)
class ReserveState:
    """What a settlement sub-interval must remember; every array has the shape of the site batch (``B`` or scalar).

    Attributes:
        offered_mw: MW sold for the current hour.
        baseline_mw: mean load of the last sub-interval without a call, MW; frozen during a call.
        minutes_since_call: minutes that the call has lasted at the start of the sub-interval, 0 when it begins there.
        minutes_since_recall: minutes since the last call ended, at the start of the sub-interval; 0 during a call.
    """

    offered_mw: Array
    baseline_mw: Array
    minutes_since_call: Array
    minutes_since_recall: Array


@dataclass(frozen=True)
class ReserveOutcome:
    """The money and the deficits of one sub-interval, each with the shape of the site batch.

    Attributes:
        income_usd: reserve payment.
        unheld_mw, unheld_penalty_usd: offered but not held while no call was on, and its penalty.
        shortfall_mwh, shortfall_penalty_usd: called, due and not delivered, and its penalty.
    """

    income_usd: Array
    unheld_mw: Array
    unheld_penalty_usd: Array
    shortfall_mwh: Array
    shortfall_penalty_usd: Array


def initial_state(load_mw: Array, *, xp: Namespace) -> ReserveState:
    """A site that sold nothing, was never called and draws ``load_mw`` (any shape, MW)."""
    zero = xp.zeros_like(load_mw)
    return ReserveState(zero, load_mw, zero, zero + LONG_AGO_MIN)


def offer_of_share_mw(share: Array, load_mw: Array, product: ReserveProduct, *, xp: Namespace) -> Array:
    """MW offered when ``share`` (0..1) of what the product admits of the load ``load_mw`` is asked for."""
    return xp.clip(share, 0.0, 1.0) * product.max_share * xp.maximum(load_mw, 0.0)


def fix_offer_mw(requested_mw: Array, offered_mw: Array, *, hour_start: Array, called: Array, xp: Namespace) -> Array:
    """Take a new offer at the start of an hour, else keep the one that stands.

    An offer that is being called stands until the call ends, so nobody can escape a call at the full hour.

    Args:
        requested_mw, offered_mw: the wish and the standing offer, MW, same shape.
        hour_start: 1 (or true) in the first sub-interval of a clock hour.
        called: 1 (or true) while a call is on.

    Returns:
        The offer that holds in this sub-interval, MW.
    """
    free = (hour_start > 0.5) & (called < 0.5)
    return xp.where(free, xp.maximum(requested_mw, 0.0), offered_mw)


def settle(
    load_mw: Array,
    called: Array,
    price_usd_per_mw_h: Array,
    state: ReserveState,
    product: ReserveProduct,
    *,
    dt_s: float,
    xp: Namespace,
) -> ReserveOutcome:
    """Pay and penalise one sub-interval; ``state`` is that of its start, with the offer of its hour.

    No call: ``min(offered, load)`` is held and paid; the rest is unpaid and, outside the grace after a recall, costs
    ``unheld_penalty_factor`` times the price. Call: until ``response_min`` has passed the whole offer is paid; from
    then on ``load - (baseline - offered)``, limited to 0..offered, is the shortfall: unpaid and penalised per MWh.

    Args:
        load_mw: mean load of the sub-interval, MW.
        called: 1 (or true) when a call is on during the sub-interval.
        price_usd_per_mw_h: reserve price, USD per MW and hour.
        state, product: see there.
        dt_s: length of the sub-interval, s (300 in the twin).

    Returns:
        Money and deficits, shape of ``load_mw``.
    """
    hours = dt_s / SECONDS_PER_HOUR
    is_called = called > 0.5
    is_due = is_called & (state.minutes_since_call >= product.response_min)
    in_grace = state.minutes_since_recall < product.restore_min
    none = xp.zeros_like(load_mw)
    offered = state.offered_mw + none
    gap_mw = xp.maximum(offered - load_mw, 0.0)
    unheld_mw = xp.where(is_called, none, gap_mw)
    undelivered_mw = xp.minimum(xp.maximum(load_mw - (state.baseline_mw - offered), 0.0), offered)
    shortfall_mw = xp.where(is_due, undelivered_mw, none)
    price = xp.maximum(price_usd_per_mw_h + none, 0.0)
    return ReserveOutcome(
        income_usd=price * (offered - unheld_mw - shortfall_mw) * hours,
        unheld_mw=unheld_mw,
        unheld_penalty_usd=xp.where(in_grace, none, product.unheld_penalty_factor * price * unheld_mw * hours),
        shortfall_mwh=shortfall_mw * hours,
        shortfall_penalty_usd=product.shortfall_penalty_usd_per_mwh * shortfall_mw * hours,
    )


def advance(load_mw: Array, called: Array, state: ReserveState, *, dt_s: float, xp: Namespace) -> ReserveState:
    """Carry the state over one sub-interval; the next one fixes its own offer with :func:`fix_offer_mw`.

    Args:
        load_mw: mean load of the sub-interval that ends, MW.
        called: 1 (or true) when a call was on during it.
        state: state at its start.
        dt_s: its length, s.
    """
    minutes = dt_s / 60.0
    is_called = called > 0.5
    none = xp.zeros_like(load_mw)
    return ReserveState(
        offered_mw=state.offered_mw,
        baseline_mw=xp.where(is_called, state.baseline_mw, load_mw),
        minutes_since_call=xp.where(is_called, state.minutes_since_call + minutes, none),
        minutes_since_recall=xp.where(is_called, none, xp.minimum(state.minutes_since_recall + minutes, LONG_AGO_MIN)),
    )


@dataclass(frozen=True)
class CallRegime:
    """An assumed market regime of reserve prices and calls.

    Attributes:
        name: of the regime.
        price_per_energy_price: mean ratio of the reserve price to the (non-negative) energy price. The reserve price
            moves one to one with the energy price (slope of RRS 2011-2017, Zarnikau 2019); the ratio makes the mean
            agree with the published average.
        price_log_std, price_corr_h: spread and correlation time of the logarithm of that ratio (assumed).
        calls_h_per_month: mean hours under call in a 30-day month (Marathon 2023: 5 to 10; 2024 assumed).
        call_price_ref_usd_per_mwh: a call is likelier in proportion to the energy price over this, between 0.1 and
            20 times the base rate (assumed; chosen so that the mean factor is one on the prices of the regime).
        short_call_h, short_call_share: that share of calls lasts at most that long (ECRS: 2 h, 80 %, NPRR1148).
        source: of the numbers.
    """

    name: str
    price_per_energy_price: float
    price_log_std: float
    price_corr_h: float
    calls_h_per_month: float
    call_price_ref_usd_per_mwh: float
    short_call_h: float = 2.0
    short_call_share: float = 0.8
    source: str = "assumed"


ECRS_2023: Final = CallRegime(
    name="ecrs_2023",
    price_per_energy_price=0.957,
    price_log_std=0.5,
    price_corr_h=6.0,
    calls_h_per_month=7.5,
    call_price_ref_usd_per_mwh=68.0,
    source="mean 76.77 USD/MW-h (market monitor 2024, RTO Insider 2025) over a mean day-ahead price of 80.23 USD/MWh, "
    "HB_HUBAVG 2023-06-10 to 12-31; calls: Marathon 2023, 5 to 10 h a month; spread assumed",
)
ECRS_2024: Final = CallRegime(
    name="ecrs_2024",
    price_per_energy_price=0.301,
    price_log_std=0.5,
    price_corr_h=6.0,
    calls_h_per_month=2.0,
    call_price_ref_usd_per_mwh=32.0,
    source="mean 9.62 USD/MW-h (market monitor, RTO Insider 2025) over a mean real-time price of about 32 USD/MWh; "
    "calls and spread assumed",
)
CALL_REGIMES: Final = (ECRS_2023, ECRS_2024)


def call_regime(name: str) -> CallRegime:
    """Find an assumed regime by name: ``ecrs_2023`` or ``ecrs_2024``.

    Raises:
        ParamsError: no such regime (nearest names suggested).
    """
    return pick("reserve regime", name, {regime.name: regime for regime in CALL_REGIMES})


@dataclass(frozen=True)
class ReserveTrace:
    """Reserve price (USD/MW-h) and call (0 or 1), each ``(T,)`` float64."""

    reserve_price_usd_per_mw_h: np.ndarray
    reserve_call: np.ndarray


def assumed_call_process(
    price_usd_per_mwh: np.ndarray, *, regime: CallRegime, rng: np.random.Generator, dt_s: float = 900.0
) -> ReserveTrace:
    """Draw reserve prices and calls that go with an energy price; **assumed**, no such public record was found.

    Price: energy price (not below zero) x ratio x exp(noise), the noise an hourly first-order autoregression of mean
    effect one. Calls: at each row with no call on, one starts with a probability in proportion to the energy price
    of that row; its length is exponential. All random numbers are drawn before the price is looked at, so row t
    depends on the prices of rows up to t only, and rows before a changed price stay as they were.

    Args:
        price_usd_per_mwh: energy price, shape ``(T,)``, finite.
        regime: see :class:`CallRegime`.
        rng: source of all randomness.
        dt_s: length of a row, s; the first row begins a clock hour.

    Returns:
        Prices and calls, ``(T,)`` each.

    Raises:
        ParamsError: the price is not a finite series, or ``dt_s`` does not divide an hour.
    """
    price = np.asarray(price_usd_per_mwh, dtype=np.float64)
    if price.ndim != 1 or not np.isfinite(price).all():
        raise ParamsError(
            explain(
                f"energy price of shape {price.shape} with {np.count_nonzero(~np.isfinite(price))} not finite",
                allowed="one finite series (T,)",
                origin="assumed_call_process",
            )
        )
    if dt_s <= 0.0 or SECONDS_PER_HOUR % dt_s:
        raise ParamsError(explain(f"dt_s is {dt_s} s", allowed="a divisor of 3600 s", origin="assumed_call_process"))
    rows = price.size
    dt_h = dt_s / SECONDS_PER_HOUR
    hours = -(-rows * int(dt_s) // int(SECONDS_PER_HOUR))
    shocks = rng.standard_normal(hours)
    luck = rng.random(rows)
    length_h = rng.exponential(regime.short_call_h / -np.log1p(-regime.short_call_share), rows)

    memory = np.exp(-1.0 / regime.price_corr_h)
    level = np.empty(hours)
    previous = 0.0
    for hour, shock in enumerate(shocks):
        previous = shock if hour == 0 else memory * previous + np.sqrt(1.0 - memory**2) * shock
        level[hour] = previous
    noise = np.exp(regime.price_log_std * level - 0.5 * regime.price_log_std**2)
    hour_of_row = (np.arange(rows) * dt_h).astype(np.int64)
    reserve_price = np.maximum(price, 0.0) * regime.price_per_energy_price * noise[hour_of_row]

    length_rows = np.ceil(length_h / dt_h).astype(np.int64)
    mean_length_h = regime.short_call_h / -np.log1p(-regime.short_call_share) + 0.5 * dt_h
    share = regime.calls_h_per_month / 720.0
    base_per_h = share / ((1.0 - share) * mean_length_h)
    chance = 1.0 - np.exp(-base_per_h * dt_h * np.clip(price / regime.call_price_ref_usd_per_mwh, 0.1, 20.0))
    call = np.zeros(rows)
    row = 0
    for start in np.flatnonzero(luck < chance):
        if start >= row:
            row = int(start + length_rows[start])
            call[start:row] = 1.0
    return ReserveTrace(reserve_price, call)
