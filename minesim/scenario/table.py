"""Compile a scenario into one table of 15-min rows: columns that settle money, and channels that agents may see."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minesim.control.channels import Channel
from minesim.control.market import (
    MARKET_CHANNELS,
    KnownSeries,
    MarketSeries,
    encode_market,
    hash_revenue_usd_per_ths_day,
    market_features,
)
from minesim.data import known
from minesim.economics.chain import subsidy_btc_array
from minesim.economics.reserve import assumed_call_process
from minesim.economics.tariff import MarketEnergy, settlement_columns
from minesim.errors import ScenarioError, explain, nearest
from minesim.scenario.core import Scenario
from minesim.scenario.markets import btc_height, standard_pressure_pa
from minesim.scenario.peaks import AHEAD_ROWS, PeakForecast, forecast_peaks
from minesim.scenario.validate import ROW_S

Floats = npt.NDArray[np.float64]

SETTLE_NAMES: Final = (
    "hash_revenue_usd_per_ths_day",
    "energy_price_usd_per_mwh",
    "demand_rate_usd_per_kw",
    "billing_month",
    "cp_charge_usd_per_kw",
    "reserve_price_usd_per_mw_h",
    "reserve_call",
    "carbon_g_per_kwh",
    "temp_amb_c",
    "rel_humidity_pct",
    "pressure_pa",
    "local_hour",
    "local_weekday",
    "local_day",
    "month_fraction",
)


@dataclass(frozen=True, eq=False)
class TraceTable:
    """Rows of 900 s that the twin steps through.

    Attributes:
        name: of the scenario.
        start_utc: (T,) datetime64[s], starts of the rows.
        dt_s: 900.0.
        settle: (T, K) float64, what really happened, in the order of ``settle_names``.
        settle_names: names of its columns.
        market: (T, C) float32, encoded observation numbers known at the start of the row.
        market_channels: their channels.
        splits: name -> rows as a slice.
    """

    name: str
    start_utc: npt.NDArray[np.datetime64]
    dt_s: float
    settle: Floats
    settle_names: tuple[str, ...]
    market: npt.NDArray[np.float32]
    market_channels: tuple[Channel, ...]
    splits: dict[str, slice]

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.start_utc)

    @functools.cached_property
    def settle_index(self) -> dict[str, int]:
        """Column number by name."""
        return {name: index for index, name in enumerate(self.settle_names)}

    def column(self, name: str) -> Floats:
        """One settlement column (T,).

        Raises:
            ScenarioError: no such column.
        """
        if name not in self.settle_index:
            raise ScenarioError(explain(f"no settlement column {name!r}", fix=nearest(name, self.settle_names)))
        return np.asarray(self.settle[:, self.settle_index[name]])

    def row_of(self, time: Any) -> int:
        """Row that a UTC time falls into.

        Raises:
            ScenarioError: outside the data.
        """
        moment = np.asarray(known.as_seconds(time)).reshape(-1)[0]
        row = int((moment - self.start_utc[0]).astype(np.int64) // ROW_S)
        if not 0 <= row < self.size:
            raise ScenarioError(explain(f"{moment} UTC is outside the data", allowed=self._period(), origin=self.name))
        return row

    def rows_of_split(self, split: str) -> slice:
        """Rows of ``train``, ``validation`` or ``test``.

        Raises:
            ScenarioError: no such split, or it has no rows in this scenario.
        """
        if split not in self.splits:
            raise ScenarioError(
                explain(f"no split {split!r}", fix=nearest(split, self.splits), origin=f"scenario {self.name!r}")
            )
        rows = self.splits[split]
        if rows.stop <= rows.start:
            raise ScenarioError(
                explain(f"split {split!r} has no rows", allowed=self._period(), origin=f"scenario {self.name!r}")
            )
        return rows

    def horizon(self, start_row: int, n_rows: int) -> slice:
        """Rows of an episode.

        Raises:
            ScenarioError: it reaches past the data's end or starts before them.
        """
        if start_row < 0 or n_rows < 1 or start_row + n_rows > self.size:
            raise ScenarioError(
                explain(
                    f"a horizon of {n_rows} rows ({n_rows * self.dt_s / 3600.0:g} h) from row {start_row} does not "
                    f"fit into {self.size} rows",
                    allowed=self._period(),
                    origin=f"scenario {self.name!r}",
                    fix="Start earlier, shorten the horizon, or choose a scenario with more data.",
                )
            )
        return slice(start_row, start_row + n_rows)

    def _period(self) -> str:
        return f"{self.start_utc[0]} to {self.start_utc[-1] + np.timedelta64(ROW_S, 's')} UTC"


def compile_table(scenario: Scenario) -> TraceTable:
    """Compile a scenario; values are held from their trace interval, never interpolated.

    Money columns are what really happened (gross FPPS revenue with that day's realised fees, all-in energy price,
    charged peak intervals). Market channels hold what is known at the start of their row.

    Args:
        scenario: traces with a step that is a multiple of 900 s.

    Returns:
        The table; the caller caches it.

    Raises:
        ScenarioError, ParamsError: the tariff cannot be settled over this period.
    """
    grid = _Grid(scenario)
    rows = grid.rows_utc
    price = grid.held("power_price_usd_per_mwh")
    columns = settlement_columns(scenario.tariff, rows, scenario.site_timezone, price, scenario.peaks)
    coin_price, difficulty = grid.held("coin_price_usd"), grid.held("difficulty")
    subsidy = grid.held("subsidy_coin") if grid.has("subsidy_coin") else subsidy_btc_array(btc_height(rows))
    fees = grid.held("fees_coin_per_block", 0.0)
    temp, humidity = grid.held("temp_amb_c"), grid.held("rel_humidity_pct")
    pressure = grid.held("pressure_pa", standard_pressure_pa(float(scenario.traces.attrs.get("altitude_m", 0.0))))
    carbon = grid.held("carbon_g_per_kwh", 0.0)
    reserve_price, reserve_call = _reserve(scenario, grid)
    peak = _peak_forecast(scenario, grid, columns)
    columns |= {
        "hash_revenue_usd_per_ths_day": hash_revenue_usd_per_ths_day(subsidy, fees, coin_price, difficulty),
        "reserve_price_usd_per_mw_h": reserve_price.values,
        "reserve_call": reserve_call.values,
        "carbon_g_per_kwh": carbon,
        "temp_amb_c": temp,
        "rel_humidity_pct": humidity,
        "pressure_pa": pressure,
    }
    price_end = grid.known_end("power_price_usd_per_mwh")
    if not isinstance(scenario.tariff.energy, MarketEnergy):
        price_end = np.full(len(rows), len(rows), np.int64)
    features = market_features(
        MarketSeries(
            dt_s=float(ROW_S),
            local_hour=columns["local_hour"],
            local_weekday=columns["local_weekday"],
            month_fraction=columns["month_fraction"],
            energy_price=KnownSeries(columns["energy_price_usd_per_mwh"], price_end),
            coin_price_usd=grid.seen("coin_price_usd"),
            difficulty=grid.seen("difficulty", empty=1.0),
            subsidy_coin=grid.seen("subsidy_coin") if grid.has("subsidy_coin") else subsidy,
            fees_coin_per_block=KnownSeries(fees, grid.known_end("fees_coin_per_block")),
            temp_amb_c=grid.seen("temp_amb_c"),
            rel_humidity_pct=grid.seen("rel_humidity_pct"),
            demand_rate_usd_per_kw=columns["demand_rate_usd_per_kw"],
            peak_probability=peak.probability,
            peak_probability_next_4h=peak.probability_next_4h,
            cp_rate_usd_per_kw=peak.rate_usd_per_kw,
            reserve_price=reserve_price,
            reserve_call=reserve_call.latest(grid.rows),
            carbon=KnownSeries(carbon, grid.known_end("carbon_g_per_kwh")),
        )
    )
    return TraceTable(
        name=scenario.name,
        start_utc=rows,
        dt_s=float(ROW_S),
        settle=np.stack([columns[name] for name in SETTLE_NAMES], axis=-1),
        settle_names=SETTLE_NAMES,
        market=encode_market(features),
        market_channels=MARKET_CHANNELS,
        splits={name: _rows_between(rows, *span) for name, span in scenario.splits.items()},
    )


class _Grid:
    """The 900-s rows of a scenario, and its trace intervals held on them."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.per_interval = int(scenario.step_s) // ROW_S
        self.trace_starts = known.as_seconds(scenario.traces["time"].to_numpy())
        step = np.timedelta64(ROW_S, "s")
        self.rows = np.arange(len(self.trace_starts) * self.per_interval, dtype=np.int64)
        self.rows_utc = self.trace_starts[0] + self.rows * step

    def has(self, name: str) -> bool:
        return name in self.scenario.traces

    def held(self, name: str, absent: float = 0.0) -> Floats:
        """Variable held over its interval (T,); ``absent`` where there is no value or no such variable."""
        if not self.has(name):
            return np.full(len(self.rows_utc), absent)
        values = self.scenario.traces[name].transpose("time", ...).to_numpy().astype(np.float64)
        first_coin = values.reshape(len(values), -1)[:, 0]
        return np.repeat(np.where(np.isnan(first_coin), absent, first_coin), self.per_interval)

    def known_end(self, name: str) -> npt.NDArray[np.int64]:
        """(T,) number of rows of ``name`` that are known at the start of each row."""
        before = self.scenario.known_before(name, self.rows_utc)
        intervals = np.searchsorted(self.trace_starts, before, side="left")
        return np.asarray(intervals * self.per_interval, np.int64)

    def known_series(self, name: str) -> KnownSeries:
        """A variable on the rows with its limits of knowledge."""
        return KnownSeries(self.held(name), self.known_end(name))

    def seen(self, name: str, *, empty: float = 0.0) -> Floats:
        """(T,) newest known value of a variable at the start of each row; ``empty`` while there is none."""
        return self.known_series(name).latest(self.rows, empty=empty)


def _reserve(scenario: Scenario, grid: _Grid) -> tuple[KnownSeries, KnownSeries]:
    """Reserve price (USD/MW-h) and call (0/1) on the rows: from the traces, else assumed, else none.

    The assumed process follows the newest **known** power price, so that neither the price of an hour of reserve nor a
    call tells a power price before its time.
    """
    if grid.has("reserve_price_usd_per_mw_h") or scenario.tariff.reserve is None:
        return grid.known_series("reserve_price_usd_per_mw_h"), grid.known_series("reserve_call")
    power = grid.known_series("power_price_usd_per_mwh")
    drawn = assumed_call_process(
        power.latest(grid.rows),
        regime=scenario.reserve_regime,
        rng=np.random.default_rng([scenario.seed, 1]),
        dt_s=float(ROW_S),
    )
    now = grid.rows + 1
    return (
        KnownSeries(drawn.reserve_price_usd_per_mw_h, np.maximum(power.known_end, now)),
        KnownSeries(drawn.reserve_call, now),
    )


def _peak_forecast(scenario: Scenario, grid: _Grid, columns: dict[str, Floats]) -> PeakForecast:
    """Own forecast of charged peaks, or the one that the traces carry, as far as it is known."""
    rows = grid.rows_utc
    forecast = forecast_peaks(scenario, rows, local_hour=columns["local_hour"], local_day=columns["local_day"])
    if scenario.tariff.coincident_peak is None or not grid.has("peak_probability"):
        return forecast
    given = grid.known_series("peak_probability")
    at = grid.rows
    largest = given.latest(at)
    for step in range(1, AHEAD_ROWS):
        ahead = at + step
        is_known = ahead < np.minimum(given.known_end, len(rows))
        values = given.values[np.minimum(ahead, len(rows) - 1)]
        largest = np.where(is_known, np.maximum(largest, values), largest)
    return PeakForecast(given.latest(at), largest, forecast.rate_usd_per_kw)


def _rows_between(rows: npt.NDArray[np.datetime64], begin: np.datetime64, end: np.datetime64) -> slice:
    first, last = np.searchsorted(rows, [begin, end])
    return slice(int(first), int(last))
