"""Small traces that every scenario test may change."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import xarray as xr

from minesim.scenario import TraceTable, compile_table, scenario


def make_traces(
    start: str = "2022-06-01T05:00",
    hours: int = 24 * 6,
    *,
    zone: str = "America/Chicago",
    price_known: str = "day_ahead",
    step: str = "1h",
) -> xr.Dataset:
    """A Dataset whose values say their row: price = row number, temperature = row number / 10, ..."""
    time = pd.date_range(start, periods=hours, freq=step)
    row = np.arange(hours, dtype=np.float64)
    day = (row // 24) % 300
    columns = {
        "power_price_usd_per_mwh": row + 1.0,
        "coin_price_usd": 20000.0 + day,
        "difficulty": 3e13 + day * 1e9,
        "temp_amb_c": 20.0 + 8.0 * np.sin(2 * np.pi * row / 24.0) + 0.01 * row % 5.0,
        "rel_humidity_pct": 50.0 + row % 7,
        "fees_coin_per_block": 0.1 + 0.01 * day,
        "carbon_g_per_kwh": 300.0 + row % 50,
    }
    data = xr.Dataset({name: ("time", values) for name, values in columns.items()}, coords={"time": time})
    data["power_price_usd_per_mwh"].attrs = {"units": "USD/MWh", "known": price_known}
    data.attrs = {"name": "small", "site_timezone": zone}
    return data


@functools.cache
def compiled(name: str) -> TraceTable:
    """The table of a named scenario, compiled once for all tests; not to be written to."""
    table = compile_table(scenario(name))
    table.settle.flags.writeable = table.market.flags.writeable = False
    return table
