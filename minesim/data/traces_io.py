"""Load the packaged traces as :class:`xarray.Dataset` on a UTC ``time`` axis of interval starts.

Loaders return what is stored, on a whole grid: a missing value stays NaN. Filling is the scenario's task, because a
fill must be past-only and recorded (:mod:`minesim.scenario.replay`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from minesim.data import known
from minesim.data.registry import TraceFile, registry, require, trace_file
from minesim.errors import DataFileError, explain, nearest

POWER_KNOWN: Final = {
    "ercot": known.DAY_AHEAD,
    "caiso": known.DAY_AHEAD,
    "pjm": known.AFTER_INTERVAL,
    "ontario": known.AFTER_INTERVAL,
}
"""ERCOT and CAISO files are day-ahead markets, PJM and Ontario are real-time prices."""


def load_power(market: str) -> xr.Dataset:
    """Load hourly wholesale prices of ``ercot``, ``pjm``, ``caiso`` or ``ontario``, 2020-2023.

    Returns:
        ``power_price_usd_per_mwh`` (USD/MWh, NaN where missing) and ``is_missing`` over ``time``.

    Raises:
        DataFileError: unknown market, or the file is not in this installation.
    """
    row = _row("power", market)
    frame = _read(row)
    data = _dataset(
        frame["timestamp_utc"],
        {"power_price_usd_per_mwh": (frame["price_usd_mwh"], "USD/MWh", POWER_KNOWN[market], "wholesale energy price")},
        row,
    )
    data["power_price_usd_per_mwh"].attrs["known_hour"] = known.DAY_AHEAD_HOUR
    data["is_missing"] = ("time", frame["is_missing"].to_numpy(bool), {"long_name": "the source has no value"})
    return data


def load_weather(city: str) -> xr.Dataset:
    """Load hourly weather of 2020-2023: grid reanalysis (Open-Meteo archive), not a station.

    Args:
        city: ``dallas_tx``, ``toronto_on``, ``philadelphia_pa``, ``san_jose_ca`` or ``singapore``.

    Returns:
        ``temp_amb_c`` (degC), ``rel_humidity_pct`` (%), ``cloud_cover_pct`` (%), ``wind_speed_m_per_s`` (m/s).

    Raises:
        DataFileError: unknown city, or the file is not in this installation.
    """
    row = _row("weather", city)
    frame = _read(row)
    return _dataset(
        frame["timestamp_utc"],
        {
            "temp_amb_c": (frame["dry_bulb_c"], "degC", known.AT_START, "outside dry-bulb temperature"),
            "rel_humidity_pct": (frame["rel_humidity_pct"], "%", known.AT_START, "outside relative humidity"),
            "cloud_cover_pct": (frame["cloud_cover_pct"], "%", known.AT_START, "cloud cover"),
            "wind_speed_m_per_s": (frame["wind_speed_ms"], "m/s", known.AT_START, "wind speed at 10 m"),
        },
        row,
    )


def load_typical_year(place: str, year: int = 2021) -> xr.Dataset:
    """Load a typical meteorological year of ``aurora_co``, laid on a calendar year.

    Months come from different years, so weather jumps where a month begins.

    Args:
        place: which.
        year: calendar year of the axis; hours follow local standard time, hour 1 ends at 01:00.

    Returns:
        ``temp_amb_c`` (degC), ``rel_humidity_pct`` (%), ``pressure_pa`` (Pa), ``wind_speed_m_per_s`` (m/s), 8760 hours.

    Raises:
        DataFileError: unknown place, or the file is not in this installation.
    """
    row = _row("typical_year", place)
    frame = _read(row)
    local = pd.to_datetime({"year": year, "month": frame["month"], "day": frame["day"]})
    local = local + pd.to_timedelta(frame["hour_ending"] - 1, unit="h")
    time = local.dt.tz_localize(row.site_timezone).dt.tz_convert("UTC").dt.tz_localize(None)
    return _dataset(
        time,
        {
            "temp_amb_c": (frame["dry_bulb_c"], "degC", known.AT_START, "outside dry-bulb temperature"),
            "rel_humidity_pct": (frame["rel_humidity_pct"], "%", known.AT_START, "outside relative humidity"),
            "pressure_pa": (frame["pressure_pa"], "Pa", known.AT_START, "air pressure"),
            "wind_speed_m_per_s": (frame["wind_speed_ms"], "m/s", known.AT_START, "wind speed at 10 m"),
        },
        row,
    )


def load_btc() -> xr.Dataset:
    """Load Bitcoin's price, difficulty and fees, one row a UTC day from 2010-07-19, as they were known.

    * ``coin_price_usd``: the price at 00:00 UTC, that is the close of the day before (``at_start``).
    * ``difficulty``: in force at 00:00 UTC. The source's day mean mixes the old and the new value on a day with a
      retarget, and so tells in the morning what happens later: it is taken apart into the two levels.
      ``retarget_hour`` says after how many hours the new level applies (NaN: no retarget that day), from the share of
      blocks in the mean, rounded up; ``difficulty_after`` is that level.
    * ``fees_coin_per_block``: what that day's blocks paid on average (``next_day``).

    Returns:
        The variables above plus ``block_count``, over ``time`` (days).

    Raises:
        DataFileError: the file is not in this installation (CC BY-NC, repository checkout only).
    """
    row = trace_file("btc_daily")
    frame = _read(row)
    date = frame["date"].to_numpy().astype("datetime64[s]")
    start, after, hour = _retargets(frame["difficulty_mean"].to_numpy(np.float64))
    blocks = frame["block_count"].to_numpy(np.float64)
    price = np.concatenate([[np.nan], frame["price_usd"].to_numpy(np.float64)[:-1]])
    fees = frame["fees_native"].to_numpy(np.float64) / blocks
    data = _dataset(
        pd.Series(date),
        {
            "coin_price_usd": (price, "USD", known.AT_START, "coin price at 00:00 UTC (close of the day before)"),
            "difficulty": (start, "1", known.AT_START, "difficulty in force at 00:00 UTC"),
            "difficulty_after": (after, "1", known.NEXT_DAY, "difficulty in force at the end of the day"),
            "retarget_hour": (hour, "h", known.NEXT_DAY, "hours after 00:00 UTC at which difficulty_after applies"),
            "fees_coin_per_block": (fees, "BTC", known.NEXT_DAY, "mean transaction fees of a block of the day"),
            "block_count": (blocks, "1", known.NEXT_DAY, "blocks found in the day"),
        },
        row,
    )
    return data.isel(time=slice(1, None))


def _retargets(mean: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Take day means of difficulty apart: level at 00:00, level at 24:00, hour of the change (NaN where none)."""
    same = np.abs(np.diff(mean)) <= 1e-7 * mean[:-1]
    pure = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    index = np.arange(len(mean))
    last_pure = np.maximum.accumulate(np.where(pure, index, -1))
    next_pure = np.minimum.accumulate(np.where(pure, index, len(mean))[::-1])[::-1]
    before = np.where(last_pure >= 0, mean[np.maximum(last_pure, 0)], mean)
    after = np.where(next_pure < len(mean), mean[np.minimum(next_pure, len(mean) - 1)], before)
    # A pure day starts at its own level even when it is the first one after a change at midnight.
    start = np.where(pure, mean, before)
    end = np.where(pure, mean, after)
    changed = ~pure & (np.abs(end - start) > 1e-7 * start)
    share_new = np.where(changed, (mean - start) / np.where(changed, end - start, 1.0), 0.0)
    # The mean is over blocks, and the new difficulty belongs to the last share of them.
    hour = np.where(changed, np.ceil(24.0 * (1.0 - np.clip(share_new, 0.0, 1.0))), np.nan)
    return start, end, hour


def load_carbon(zone: str) -> xr.Dataset:
    """Load hourly grid carbon intensity of ``us_tex_erco``, ``us_mida_pjm``, ``us_cal_ciso`` or ``ca_on``, 2021-2023.

    Returns:
        ``carbon_g_per_kwh`` (direct emissions, gCO2eq/kWh) and ``carbon_lifecycle_g_per_kwh``.

    Raises:
        DataFileError: unknown zone, or the file is not in this installation.
    """
    row = _row("carbon", zone)
    frame = _read(row)
    return _dataset(
        frame["timestamp_utc"],
        {
            "carbon_g_per_kwh": (frame["ci_direct_g_kwh"], "g/kWh", known.AFTER_INTERVAL, "direct CO2eq of the grid"),
            "carbon_lifecycle_g_per_kwh": (
                frame["ci_lifecycle_g_kwh"],
                "g/kWh",
                known.AFTER_INTERVAL,
                "life-cycle CO2eq of the grid",
            ),
        },
        row,
    )


def load_coincident_peaks() -> xr.Dataset:
    """Load the published coincident peak intervals: ERCOT 4CP 2008-2023, Ontario 5CP 2010-2023, NYISO 2018-2019.

    Ontario's and NYISO's 2018 rows have no certain UTC time in the source (one hour of doubt: Ontario prints "EST",
    the table resolves it as daylight time); the printed local clock hour is taken at its word here, ``is_utc_certain``
    is false. A row without an hour has NaT.

    Returns:
        Over ``peak``: ``market``, ``program``, ``base_year``, ``rank_or_month``, ``interval_end_utc``,
        ``interval_end_local``, ``interval_min`` (min), ``system_mw`` (MW), ``is_utc_certain``, ``status``, ``source``.
    """
    row = trace_file("coincident_peaks")
    frame = peaks_frame(require(row.name))
    data = xr.Dataset(
        {name: ("peak", frame[name].to_numpy()) for name in frame.columns},
        attrs={"name": row.name, "licence": row.licence, "origin": row.origin, "terms": row.terms},
    )
    data["interval_min"].attrs["units"] = "min"
    data["system_mw"].attrs["units"] = "MW"
    return data


_PEAK_TIMEZONES: Final = {"ERCOT": "America/Chicago", "IESO": "America/Toronto", "NYISO": "America/New_York"}


def peaks_frame(path: Path) -> pd.DataFrame:
    """Read the table of coincident peaks as a DataFrame with ``interval_end_utc`` filled from the local clock."""
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataFileError(explain(f"cannot read {path}: {error}", fix="Reinstall minesim.")) from error
    has_hour = frame["interval_end_local"].str.contains("T")
    local = pd.to_datetime(frame["interval_end_local"].where(has_hour), format="%Y-%m-%dT%H:%M")
    utc = pd.to_datetime(frame["interval_end_utc"], format="%Y-%m-%dT%H:%M")
    frame["is_utc_certain"] = utc.notna()
    for market, zone in _PEAK_TIMEZONES.items():
        rows = (frame["market"] == market) & utc.isna() & local.notna()
        utc = utc.mask(rows, local.dt.tz_localize(zone).dt.tz_convert("UTC").dt.tz_localize(None))
    frame["interval_end_utc"] = utc.astype("datetime64[s]")
    frame["interval_end_local"] = local.astype("datetime64[s]")
    return frame


def _row(kind: str, key: str) -> TraceFile:
    names = {row.name.removeprefix(f"{kind}_"): row for row in registry() if row.kind == kind}
    if key not in names:
        raise DataFileError(explain(f"no packaged {kind} trace {key!r}", fix=nearest(key, names), origin="SOURCES.csv"))
    return names[key]


@functools.lru_cache(maxsize=16)
def _read_cached(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataFileError(
            explain(f"cannot read {path}: {error}", fix="Restore the file from the repository.")
        ) from error


def _read(row: TraceFile) -> pd.DataFrame:
    return _read_cached(require(row.name)).copy()


def _dataset(time: pd.Series[Any], variables: dict[str, tuple[Any, str, str, str]], row: TraceFile) -> xr.Dataset:
    data = xr.Dataset(
        {
            name: ("time", np.asarray(values, np.float64), {"units": units, "known": rule, "long_name": text})
            for name, (values, units, rule, text) in variables.items()
        },
        coords={"time": ("time", time.to_numpy().astype("datetime64[ns]"), {"long_name": "interval start, UTC"})},
        attrs={
            "name": row.name,
            "site_timezone": row.site_timezone,
            "licence": row.licence,
            "origin": f"{row.origin} @{row.commit}",
            "terms": row.terms,
        },
    )
    return data
