"""What the rows of a run settle at, as the bound sees them: what happened, or what could be expected."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.economics.reserve import ReserveProduct
from minesim.economics.tariff import KWH_PER_MWH
from minesim.envs.core import World
from minesim.errors import ScenarioError
from minesim.scenario import TraceTable
from minesim.units import SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

HOURS_PER_DAY: Final = 24.0
PRICE_FEATURES: Final = ("price_last_usd_per_mwh", "price_h00_usd_per_mwh", "price_mean_24h_usd_per_mwh")


@dataclass(frozen=True)
class ReserveGroup:
    """Called rows under one standing offer.

    Attributes:
        fixed_row: row at whose start the offer was made; the load before it limits the offer.
        held_rows: rows from then to the first call in which an offer that is not held is penalised.
        before_call: the last row before the first of the calls; its load is what they are measured against.
        paid_rows: called rows.
        due_rows: those among them in which the whole offer must have been shed from the first minute on.
    """

    fixed_row: int
    held_rows: Ints
    before_call: int
    paid_rows: Ints
    due_rows: Ints


@dataclass(frozen=True)
class MarketRows:
    """Rows of one run, (T,) unless said.

    Attributes:
        hours: length of the rows inside the horizon, h.
        revenue_usd_per_ths_h: gross revenue.
        energy_usd_per_kwh: all-in price.
        charge_usd_per_kw: coincident-peak charge.
        demand_usd_per_kw: demand rate, 0 where the row does not close inside the horizon.
        month: number of the billing month.
        carried_kw: month's peak carried in.
        load_before_kw: site power that an offer in the first row refers to.
        steps_per_row: control steps in a row.
        reserve_usd_per_kwh: reserve price of rows in which an offer can stand, 0 in the others.
        called: whether reserve is called.
        groups: called rows by offer.
        product: reserve product, None without.
    """

    hours: Floats
    revenue_usd_per_ths_h: Floats
    energy_usd_per_kwh: Floats
    charge_usd_per_kw: Floats
    demand_usd_per_kw: Floats
    month: Ints
    carried_kw: float
    load_before_kw: float
    steps_per_row: int
    reserve_usd_per_kwh: Floats
    called: Flags
    groups: tuple[ReserveGroup, ...]
    product: ReserveProduct | None

    @functools.cached_property
    def months(self) -> tuple[tuple[Ints, float, float], ...]:
        """Rows, rate and carried peak of each billing month that charges demand."""
        result = []
        for number in np.unique(self.month):
            rows = np.flatnonzero((self.month == number) & (self.demand_usd_per_kw > 0.0))
            if len(rows):
                carried = self.carried_kw if number == self.month[0] else 0.0
                result.append((rows, float(self.demand_usd_per_kw[rows[0]]), carried))
        return tuple(result)


def market_rows(world: World, start_row: int, options: dict[str, Any]) -> MarketRows:
    """What really happens in a run.

    Args:
        world: compiled traces and site.
        start_row: first row.
        options: reset options ``running`` and ``month_peak_frac``, as the environment takes them.
    """
    table, dt_ctrl_s = world.table, world.config.dt_ctrl_s
    steps = world.steps_per_row
    rows = slice(start_row, start_row + -(-world.horizon_steps // steps))
    count = rows.stop - rows.start
    done = np.minimum(world.horizon_steps - np.arange(count) * steps, steps)

    def column(name: str) -> Floats:
        return table.column(name)[rows]

    rated_kw = world.params.curves.power_rated_site_w * 1e-3
    running = float(options.get("running", 1.0))
    given = options.get("month_peak_frac")
    carried_kw = 0.0 if column("month_fraction")[0] < 1.0 / 31.0 else rated_kw * running
    if given is not None:
        carried_kw = float(given) * rated_kw
    product = world.scenario.tariff.reserve
    called = (column("reserve_call") > 0.5) & (product is not None)
    price = np.maximum(column("reserve_price_usd_per_mw_h"), 0.0) / KWH_PER_MWH
    hour_opens = hour_starts(table, rows)
    standing, groups = _standing_offers(called, hour_opens, product, table.dt_s)
    return MarketRows(
        hours=done * dt_ctrl_s / SECONDS_PER_HOUR,
        revenue_usd_per_ths_h=column("hash_revenue_usd_per_ths_day") / HOURS_PER_DAY,
        energy_usd_per_kwh=column("energy_price_usd_per_mwh") / KWH_PER_MWH,
        charge_usd_per_kw=np.where(done == steps, column("cp_charge_usd_per_kw"), 0.0),
        demand_usd_per_kw=np.where(done == steps, column("demand_rate_usd_per_kw"), 0.0),
        month=column("billing_month").astype(np.int64),
        carried_kw=carried_kw,
        load_before_kw=rated_kw * running,
        steps_per_row=steps,
        reserve_usd_per_kwh=np.where(standing & (product is not None), price, 0.0),
        called=called,
        groups=groups,
        product=product,
    )


def hour_starts(table: TraceTable, rows: slice) -> Flags:
    """Whether a clock hour starts with each row."""
    seconds = table.start_utc[rows].astype("datetime64[s]").astype(np.int64)
    return np.asarray(seconds % int(SECONDS_PER_HOUR) == 0)


def _standing_offers(
    called: Flags, hour_opens: Flags, product: ReserveProduct | None, row_s: float
) -> tuple[Flags, tuple[ReserveGroup, ...]]:
    """Rows in which an offer can stand, and the called rows by the row in which their offer was fixed."""
    standing = np.zeros(len(called), bool)
    if product is None:
        return standing, ()
    by_offer: dict[int, list[int]] = {}
    due: dict[int, list[int]] = {}
    fixed, since_s, recalled_s = -1, 0.0, np.inf
    in_grace = np.zeros(len(called), bool)
    for t, is_called in enumerate(called):
        if hour_opens[t] and not is_called:
            fixed = t
        standing[t] = fixed >= 0
        if is_called and fixed >= 0:
            by_offer.setdefault(fixed, []).append(t)
            if since_s >= product.response_min * 60.0:
                due.setdefault(fixed, []).append(t)
        in_grace[t] = recalled_s < product.restore_min * 60.0
        since_s = since_s + row_s if is_called else 0.0
        recalled_s = 0.0 if is_called else recalled_s + row_s
    groups = tuple(
        ReserveGroup(
            fixed_row=at,
            held_rows=np.array([t for t in range(at, paid[0]) if not in_grace[t]], np.int64),
            before_call=paid[0] - 1,
            paid_rows=np.array(paid),
            due_rows=np.array(due.get(at, []), np.int64),
        )
        for at, paid in by_offer.items()
    )
    return standing, groups


@dataclass(frozen=True)
class Forecasts:
    """What could be known of each row of the table at its start, (T,) each.

    Attributes:
        energy_usd_per_kwh: the price where it is known, else a forecast fitted on training rows.
        revenue_usd_per_ths_h: at the newest known coin price, difficulty and fees.
        charge_usd_per_kw: predicted probability of a charged peak times its charge.
        call_chance: share of rows with a call, by the training rows.
    """

    energy_usd_per_kwh: Floats
    revenue_usd_per_ths_h: Floats
    charge_usd_per_kw: Floats
    call_chance: float


def forecasts(world: World) -> Forecasts:
    """Predict every row from what the market channels say at its start.

    A price that is known only after its hour is predicted by least squares from the newest known price, the same hour
    of the latest known day and the mean of the last 24 known hours, fitted on the training split (all rows where the
    scenario has none).
    """
    table = world.table
    at = {channel.name: index for index, channel in enumerate(table.market_channels)}

    def seen(name: str) -> Floats:
        channel = table.market_channels[at[name]]
        return np.asarray(channel.decode(table.market[:, at[name]].astype(np.float64), xp=NUMPY))

    try:
        train = table.rows_of_split("train")
    except ScenarioError:
        train = slice(0, table.size)
    price = table.column("energy_price_usd_per_mwh")
    known = seen("price_known_h") > 0.0
    if not known.all():
        inputs = np.stack([np.ones(table.size), *(seen(name) for name in PRICE_FEATURES)], axis=-1)
        weights, *_ = np.linalg.lstsq(inputs[train], price[train], rcond=None)
        price = np.where(known, price, inputs @ weights)
    return Forecasts(
        energy_usd_per_kwh=price / KWH_PER_MWH,
        revenue_usd_per_ths_h=seen("hash_revenue_usd_per_ths_day") / HOURS_PER_DAY,
        charge_usd_per_kw=seen("peak_probability") * seen("cp_rate_usd_per_kw"),
        call_chance=float((table.column("reserve_call")[train] > 0.5).mean()),
    )


def expected_rows(happened: MarketRows, expected: Forecasts, start_row: int) -> MarketRows:
    """The rows of a run as they could be expected; weather, months, carried peak and reserve prices stay."""
    rows = slice(start_row, start_row + len(happened.hours))
    closes = happened.demand_usd_per_kw >= 0.0
    return replace(
        happened,
        revenue_usd_per_ths_h=expected.revenue_usd_per_ths_h[rows],
        energy_usd_per_kwh=expected.energy_usd_per_kwh[rows],
        charge_usd_per_kw=np.where(closes, expected.charge_usd_per_kw[rows], 0.0),
    )
