"""Feeds that tell what a scenario says, exactly as much as is known at each moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minesim.bridge.feeds import HISTORY_ROWS, ROW_S, Feed, Interval
from minesim.economics.chain import subsidy_btc_array
from minesim.scenario import Scenario, TraceTable
from minesim.scenario.markets import btc_height
from minesim.scenario.peaks import forecast_peaks


@dataclass
class ReplayFeed:
    """One trace of a scenario, the last days of it at each call."""

    scenario: Scenario
    series: str

    async def fetch(self, now_s: float) -> Sequence[Interval]:
        step_s = self.scenario.step_s
        moment = np.array([int(now_s)], "datetime64[s]")
        starts = self.scenario.traces["time"].to_numpy().astype("datetime64[s]")
        values = self.scenario.traces[self.series].to_numpy().reshape(len(starts), -1)[:, 0]
        known = (starts < self.scenario.known_before(self.series, moment)[0]) & (
            starts > moment[0] - np.timedelta64(HISTORY_ROWS * ROW_S, "s")
        )
        return [
            Interval(float(start.astype(np.int64)), step_s, float(value))
            for start, value in zip(starts[known], values[known], strict=True)
            if not np.isnan(value)
        ]


@dataclass
class ColumnFeed:
    """A series of rows that is known when its row begins."""

    series: str
    start_s: float
    values: np.ndarray

    async def fetch(self, now_s: float) -> Sequence[Interval]:
        row = int((now_s - self.start_s) // ROW_S)
        return [Interval(self.start_s + row * ROW_S, ROW_S, float(self.values[row]))]


def replay_feeds(world: Scenario, table: TraceTable) -> list[Feed]:
    """A feed for everything that the market channels read."""
    names = ("power_price_usd_per_mwh", "coin_price_usd", "difficulty", "temp_amb_c", "rel_humidity_pct")
    names += ("fees_coin_per_block", "carbon_g_per_kwh")
    start_s = float(table.start_utc[0].astype(np.int64))
    feeds: list[Feed] = [ReplayFeed(world, name) for name in names if name in world.traces]
    subsidy = subsidy_btc_array(btc_height(table.start_utc))
    feeds.append(ColumnFeed("subsidy_coin", start_s, subsidy))
    if world.tariff.coincident_peak is not None:
        forecast = forecast_peaks(
            world, table.start_utc, local_hour=table.column("local_hour"), local_day=table.column("local_day")
        )
        feeds.append(ColumnFeed("peak_probability", start_s, forecast.probability))
        feeds.append(ColumnFeed("peak_probability_next_4h", start_s, forecast.probability_next_4h))
    return feeds
