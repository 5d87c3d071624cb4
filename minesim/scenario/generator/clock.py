"""Calendar of the generator's hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minesim.data import known

SUMMER_MONTHS = (6, 7, 8, 9)
WINTER_MONTHS = (12, 1, 2)


@dataclass(frozen=True)
class Clock:
    """Local calendar of hour starts; every array has shape (T,).

    Attributes:
        year_phase: elapsed part of the year, 0..1 (UTC).
        day_phase: elapsed part of the mean-solar-like day, 0..1: UTC hour shifted by the zone's winter offset, so that
            daylight saving does not move the weather.
        hour: local clock hour, 0..23.
        month: local month, 1..12.
        is_weekend: local Saturday or Sunday.
        season: 0 other, 1 summer (June to September), 2 winter (December to February).
    """

    year_phase: npt.NDArray[np.float64]
    day_phase: npt.NDArray[np.float64]
    hour: npt.NDArray[np.int64]
    month: npt.NDArray[np.int64]
    is_weekend: npt.NDArray[np.bool_]
    season: npt.NDArray[np.int64]


def clock_of(time_utc: npt.NDArray[np.datetime64], site_timezone: str) -> Clock:
    """Build the calendar of hour starts (datetime64, UTC)."""
    utc = time_utc.astype("datetime64[s]")
    local = known.local_clock(utc, site_timezone)
    january = np.array(["2022-01-15T12:00:00"], "datetime64[s]")
    offset_h = (known.local_clock(january, site_timezone) - january).astype(np.int64)[0] / 3600.0
    seconds = utc.astype(np.int64)
    year = utc.astype("datetime64[Y]")
    day = local.astype("datetime64[D]")
    month = local.astype("datetime64[M]").astype(np.int64) % 12 + 1
    season = np.where(np.isin(month, SUMMER_MONTHS), 1, np.where(np.isin(month, WINTER_MONTHS), 2, 0))
    return Clock(
        year_phase=(seconds - year.astype("datetime64[s]").astype(np.int64)) / (365.2425 * 86400.0),
        day_phase=((seconds / 3600.0 + offset_h) % 24.0) / 24.0,
        hour=(local - day.astype("datetime64[s]")).astype(np.int64) // 3600,
        month=month,
        is_weekend=(day.astype(np.int64) + 3) % 7 >= 5,
        season=season,
    )


def profile_index(clock: Clock) -> npt.NDArray[np.int64]:
    """Row of the hour profile: season x (weekday, weekend) x 24 h, 0..143."""
    return clock.season * 48 + clock.is_weekend * 24 + clock.hour
