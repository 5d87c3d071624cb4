"""Put the packaged traces of a market together on one hourly axis, as they were known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from minesim.data import known, load_btc, load_carbon, load_coincident_peaks, load_power, load_weather
from minesim.scenario.fill import fill_missing
from minesim.scenario.markets import Market
from minesim.scenario.variables import IS_MISSING
from minesim.units import SECONDS_PER_HOUR

HOUR = np.timedelta64(1, "h")


def replay_traces(market: Market) -> xr.Dataset:
    """Join power, weather, coin and carbon of a real market, 2020-2023.

    The axis begins at the first local midnight of 2020 at which every required series has started. Daily coin data
    are held over the hours of their UTC day; nothing is interpolated. Missing rows (PJM has none for each local 31
    December) are filled from the past and stay marked in ``is_missing``. Carbon starts in 2021 and is NaN before.

    Returns:
        Dataset of the contract, attributes ``name``, ``site_timezone``, ``altitude_m``, ``licence``.

    Raises:
        DataFileError: a file is not part of this installation.
    """
    power = load_power(market.power)
    weather = load_weather(market.weather)
    carbon = load_carbon(market.carbon)
    midnight = known.utc_of_local_midnight(np.array(["2020-01-01"], "datetime64[D]"), market.site_timezone)[0]
    begin = max(midnight, *(known.as_seconds(part["time"].to_numpy()[:1])[0] for part in (power, weather)))
    end = min(known.as_seconds(part["time"].to_numpy()[-1:])[0] for part in (power, weather))
    time = np.arange(begin, end + HOUR, HOUR).astype("datetime64[ns]")
    joined = xr.merge(
        [
            power.reindex(time=time, fill_value={IS_MISSING: True}),
            weather.reindex(time=time),
            carbon[["carbon_g_per_kwh"]].reindex(time=time),
            btc_hourly(time),
        ],
        combine_attrs="drop_conflicts",
        join="exact",
    )
    joined.attrs = {
        "name": market.name,
        "site_timezone": market.site_timezone,
        "altitude_m": market.altitude_m,
        "licence": "; ".join(
            f"{part.attrs['name']}: {part.attrs['licence']}" for part in (power, weather, carbon, load_btc())
        ),
        "source": "packaged traces, see minesim/data/traces/SOURCES.csv",
    }
    return fill_missing(joined)


def btc_hourly(time_utc: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """Hold the daily Bitcoin series on an hourly axis: price of 00:00 UTC, difficulty in force, fees of the day.

    Args:
        time_utc: hour starts (T,).

    Returns:
        ``coin_price_usd``, ``difficulty``, ``fees_coin_per_block`` over ``time`` and ``coin`` = BTC.
    """
    daily = load_btc()
    seconds = known.as_seconds(time_utc)
    day = seconds.astype("datetime64[D]")
    at = daily.sel(time=day.astype("datetime64[ns]"))
    hour = (seconds - day.astype("datetime64[s]")).astype(np.int64) / SECONDS_PER_HOUR
    # NaN (no retarget that day) compares false.
    is_new = hour >= at["retarget_hour"].to_numpy()
    difficulty = np.where(is_new, at["difficulty_after"].to_numpy(), at["difficulty"].to_numpy())
    columns = {
        "coin_price_usd": at["coin_price_usd"].to_numpy(),
        "difficulty": difficulty,
        "fees_coin_per_block": at["fees_coin_per_block"].to_numpy(),
    }
    return xr.Dataset(
        {name: (("time", "coin"), values[:, None], daily[name].attrs) for name, values in columns.items()},
        coords={"time": time_utc.astype("datetime64[ns]"), "coin": ["BTC"]},
    )


def published_peaks(market: str) -> pd.DataFrame:
    """Published coincident peaks of a market, in the form that tariffs settle.

    Args:
        market: ``ERCOT`` or ``IESO``.

    Returns:
        Columns ``program, base_year, interval_start_utc, interval_min, system_mw``.
    """
    frame = load_coincident_peaks().to_dataframe()
    frame = frame[(frame["market"] == market) & frame["interval_end_utc"].notna()]
    return pd.DataFrame(
        {
            "program": frame["program"],
            "base_year": frame["base_year"],
            "interval_start_utc": frame["interval_end_utc"] - pd.to_timedelta(frame["interval_min"], unit="min"),
            "interval_min": frame["interval_min"],
            "system_mw": frame["system_mw"],
        }
    ).reset_index(drop=True)
