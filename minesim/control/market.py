"""Market observations: what a site knows of prices, coin and calendar at a moment, and nothing later.

:func:`market_features` works on time-indexed arrays with the limit of knowledge of each series as an explicit input,
so that the twin (years at once) and a live bridge (the last days and the published hours ahead) run the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.control.channels import Channel
from minesim.economics.chain import hashprice_usd_per_phs_day
from minesim.errors import TraceError, explain
from minesim.units import SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRICE_HOURS: Final = 24
"""Hours of the price window ``price_h00`` to ``price_h23``."""
KNOWN_HOURS_MAX: Final = 36
PEAK_AHEAD_H: Final = 4
TH_PER_PH: Final = 1000.0
_HOURS_PER_WEEK: Final = 168.0


def _price(name: str) -> Channel:
    return Channel(name, -2000.0, 20000.0, scale=5.0, log=True)


MARKET_CHANNELS: Final[tuple[Channel, ...]] = (
    _price("price_last_usd_per_mwh"),
    *(_price(f"price_h{hour:02d}_usd_per_mwh") for hour in range(PRICE_HOURS)),
    Channel("price_known_h", 0.0, float(KNOWN_HOURS_MAX), scale=24.0),
    _price("price_mean_24h_usd_per_mwh"),
    Channel("hash_revenue_usd_per_ths_day", 0.0, 10.0, scale=0.1),
    Channel("temp_amb_c", -60.0, 60.0, scale=30.0),
    Channel("rel_humidity_pct", 0.0, 100.0, scale=100.0),
    Channel("hour_sin", -1.0, 1.0),
    Channel("hour_cos", -1.0, 1.0),
    Channel("week_sin", -1.0, 1.0),
    Channel("week_cos", -1.0, 1.0),
    Channel("month_fraction", 0.0, 1.0),
    Channel("demand_rate_usd_per_kw", 0.0, 200.0, scale=20.0),
    Channel("peak_probability", 0.0, 1.0, scale=0.1),
    Channel("peak_probability_next_4h", 0.0, 1.0, scale=0.1),
    Channel("cp_rate_usd_per_kw", 0.0, 1000.0, scale=20.0),
    Channel("reserve_price_usd_per_mw_h", 0.0, 20000.0, scale=5.0, log=True),
    Channel("reserve_call", 0.0, 1.0),
    Channel("carbon_last_g_per_kwh", 0.0, 2000.0, scale=500.0),
)
"""Channels of the market part of an observation, in order."""


@dataclass(frozen=True)
class KnownSeries:
    """A series on the rows of the grid, and how much of it is known when.

    Attributes:
        values: one number a row (T,).
        known_end: (T,) integer; at the start of row ``t`` exactly the rows ``[0, known_end[t])`` are known. A series
            that is known ahead may have ``known_end[t] > t + 1``.
    """

    values: Floats
    known_end: Ints

    def latest(self, rows: Ints, *, empty: float = 0.0) -> Floats:
        """Value of the newest known row not later than each of ``rows``; ``empty`` while nothing is known."""
        index = np.minimum(self.known_end[rows] - 1, rows)
        return np.where(index >= 0, self.values[np.maximum(index, 0)], empty)

    def ahead(self, rows: Ints, steps: int, *, day_rows: int, empty: float = 0.0) -> Floats:
        """Value ``steps`` rows after each of ``rows`` where known, else the past-only fill.

        The fill is the same time of the latest known day; with less than a day known, the newest known value;
        ``empty`` while nothing is known.
        """
        end = self.known_end[rows]
        index = rows + steps
        late = np.maximum(index - end + 1, 0)
        index = index - -(-late // day_rows) * day_rows
        index = np.where(index >= 0, index, np.minimum(end - 1, rows))
        index = np.minimum(index, len(self.values) - 1)
        return np.where(index >= 0, self.values[np.maximum(index, 0)], empty)

    def mean_of_last(self, rows: Ints, count: int, *, empty: float = 0.0) -> Floats:
        """Mean of the last ``count`` known rows not later than each of ``rows`` (fewer at the beginning)."""
        end = np.minimum(self.known_end[rows], rows + 1)
        begin = np.maximum(end - count, 0)
        total = np.concatenate([[0.0], np.cumsum(self.values)])
        size = end - begin
        return np.where(size > 0, (total[np.maximum(end, 0)] - total[begin]) / np.maximum(size, 1), empty)


@dataclass(frozen=True)
class MarketSeries:
    """Everything that :func:`market_features` reads, on one regular grid of T rows.

    Plain arrays hold what is known at the start of their row (weather now, the clock, a prediction made now).

    Attributes:
        dt_s: length of a row, s.
        local_hour: local clock at the start of the row, h, 0..24.
        local_weekday: 0 Monday .. 6 Sunday.
        month_fraction: elapsed part of the local calendar month, 0..1.
        energy_price: all-in energy price, USD/MWh.
        coin_price_usd, difficulty: of the mined coin, as in force.
        subsidy_coin: coins a block without fees.
        fees_coin_per_block: mean fees of a block.
        temp_amb_c, rel_humidity_pct: outside air.
        demand_rate_usd_per_kw: charge for the month's highest interval.
        peak_probability, peak_probability_next_4h: predictions made at the start of the row.
        cp_rate_usd_per_kw: what a kW in a charged peak interval costs.
        reserve_price: USD per MW and hour.
        reserve_call: 1 while a call is on.
        carbon: gCO2eq/kWh.
    """

    dt_s: float
    local_hour: Floats
    local_weekday: Floats
    month_fraction: Floats
    energy_price: KnownSeries
    coin_price_usd: Floats
    difficulty: Floats
    subsidy_coin: Floats
    fees_coin_per_block: KnownSeries
    temp_amb_c: Floats
    rel_humidity_pct: Floats
    demand_rate_usd_per_kw: Floats
    peak_probability: Floats
    peak_probability_next_4h: Floats
    cp_rate_usd_per_kw: Floats
    reserve_price: KnownSeries
    reserve_call: Floats
    carbon: KnownSeries

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.local_hour)


def hash_revenue_usd_per_ths_day(subsidy_coin: Any, fees_coin: Any, coin_price_usd: Any, difficulty: Any) -> Floats:
    """Gross revenue of one TH/s over a day, USD (:func:`minesim.economics.chain.hashprice_usd_per_phs_day` / 1000)."""
    return np.asarray(hashprice_usd_per_phs_day(subsidy_coin, fees_coin, coin_price_usd, difficulty)) / TH_PER_PH


def market_features(series: MarketSeries, rows: Ints | None = None) -> Floats:
    """Compute the physical values of ``MARKET_CHANNELS`` at the start of each row, from known values only.

    Args:
        series: the grid; ``dt_s`` has to divide an hour.
        rows: row numbers (R,), all T when None (a bridge asks for its last row).

    Returns:
        (R, C) float64, in the order of ``MARKET_CHANNELS`` (not yet clipped or scaled).

    Raises:
        TraceError: ``dt_s`` does not divide an hour.
    """
    hour_rows = round(SECONDS_PER_HOUR / series.dt_s)
    if abs(hour_rows * series.dt_s - SECONDS_PER_HOUR) > 1e-9 or hour_rows < 1:
        raise TraceError(explain(f"the row length is {series.dt_s} s", allowed="a whole part of an hour"))
    day_rows = 24 * hour_rows
    at = np.arange(series.size, dtype=np.int64) if rows is None else np.asarray(rows, np.int64)
    price = series.energy_price
    day_angle = 2.0 * np.pi * series.local_hour[at] / 24.0
    week_angle = 2.0 * np.pi * (series.local_weekday[at] * 24.0 + series.local_hour[at]) / _HOURS_PER_WEEK
    fees = series.fees_coin_per_block.latest(at)
    return np.stack(
        [
            price.latest(at),
            *(price.ahead(at, hour * hour_rows, day_rows=day_rows) for hour in range(PRICE_HOURS)),
            np.clip((price.known_end[at] - at) / hour_rows, 0.0, KNOWN_HOURS_MAX),
            price.mean_of_last(at, day_rows),
            hash_revenue_usd_per_ths_day(
                series.subsidy_coin[at], fees, series.coin_price_usd[at], series.difficulty[at]
            ),
            series.temp_amb_c[at],
            series.rel_humidity_pct[at],
            np.sin(day_angle),
            np.cos(day_angle),
            np.sin(week_angle),
            np.cos(week_angle),
            series.month_fraction[at],
            series.demand_rate_usd_per_kw[at],
            series.peak_probability[at],
            series.peak_probability_next_4h[at],
            series.cp_rate_usd_per_kw[at],
            series.reserve_price.ahead(at, hour_rows, day_rows=day_rows),
            series.reserve_call[at],
            series.carbon.latest(at),
        ],
        axis=-1,
    )


def encode_market(features: Any) -> npt.NDArray[np.float32]:
    """Turn physical market features (..., C) into observation numbers, clipped to the channels' bounds."""
    features = np.asarray(features, np.float64)
    result = np.empty(features.shape, np.float32)
    for column, channel in enumerate(MARKET_CHANNELS):
        result[..., column] = channel.encode(features[..., column], xp=NUMPY)
    return result
