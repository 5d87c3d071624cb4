"""When a value of a trace becomes known: the five rules, in one place, for scenarios and a live bridge alike."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from minesim.errors import TraceError, explain, nearest

Times = npt.NDArray[np.datetime64]

AT_START: Final = "at_start"
DAY_AHEAD: Final = "day_ahead"
AFTER_INTERVAL: Final = "after_interval"
NEXT_DAY: Final = "next_day"
SETTLEMENT: Final = "settlement"
ALWAYS: Final = "always"

RULES: Final[dict[str, str]] = {
    AT_START: "from the start of its interval",
    DAY_AHEAD: "all 24 hours of the next local day at known_hour local time",
    AFTER_INTERVAL: "when its interval is over",
    NEXT_DAY: "from 00:00 UTC of the next day",
    SETTLEMENT: "never to a controller; only the bill shows it",
    ALWAYS: "in advance (a calendar or a contract)",
}
DAY_AHEAD_HOUR: Final = 13
"""ERCOT (13:30 at the latest) and CAISO (13:00) publish tomorrow's prices about 13:00 local time."""

_FAR: Final = np.datetime64("2200-01-01T00:00:00", "s")
_NEVER: Final = np.datetime64("1900-01-01T00:00:00", "s")


def as_seconds(times: Any) -> Times:
    """Times as datetime64[s]; naive values are UTC, an aware value is turned to UTC."""
    if isinstance(times, np.ndarray) and times.dtype.kind == "M":
        return times.astype("datetime64[s]")
    stamp = pd.to_datetime(times, utc=True)
    return np.asarray(stamp.tz_localize(None).to_numpy() if hasattr(stamp, "to_numpy") else stamp).astype(
        "datetime64[s]"
    )


def local_clock(time_utc: Times, site_timezone: str) -> Times:
    """Local clock readings (naive datetime64[s]) at UTC times; daylight saving as in the IANA data base."""
    index = pd.DatetimeIndex(np.atleast_1d(time_utc)).tz_localize("UTC").tz_convert(site_timezone)
    return index.tz_localize(None).to_numpy().astype("datetime64[s]").reshape(np.shape(time_utc))


def utc_of_local_midnight(local_day: Times, site_timezone: str) -> Times:
    """UTC time at which local days (datetime64[D]) begin; where midnight is skipped, the first instant after it."""
    index = pd.DatetimeIndex(np.atleast_1d(local_day).astype("datetime64[s]"))
    aware = index.tz_localize(site_timezone, ambiguous=np.ones(len(index), bool), nonexistent="shift_forward")
    return aware.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[s]").reshape(np.shape(local_day))


def known_before(rule: str, time_utc: Times, *, interval_s: float, site_timezone: str, known_hour: float) -> Times:
    """For each moment, the time before which rows are known: a row is known when its start lies before the result.

    Args:
        rule: one of ``RULES``.
        time_utc: moments (...,), datetime64[s], UTC.
        interval_s: length of the variable's intervals, s.
        site_timezone: IANA name; only ``day_ahead`` uses it.
        known_hour: local clock hour of publication, h; only ``day_ahead`` uses it.

    Returns:
        datetime64[s] (...,).

    Raises:
        TraceError: unknown rule.
    """
    time_utc = time_utc.astype("datetime64[s]")
    one = np.timedelta64(1, "s")
    if rule == AT_START:
        return np.asarray(time_utc + one)
    if rule == AFTER_INTERVAL:
        return np.asarray(time_utc - np.timedelta64(int(interval_s), "s") + one)
    if rule == NEXT_DAY:
        return time_utc.astype("datetime64[D]").astype("datetime64[s]")
    if rule == DAY_AHEAD:
        local = local_clock(time_utc, site_timezone)
        day = local.astype("datetime64[D]")
        hour = (local - day.astype("datetime64[s]")).astype(np.int64) / 3600.0
        published = day + np.where(hour >= known_hour, 2, 1).astype("timedelta64[D]")
        days, where = np.unique(published, return_inverse=True)
        return utc_of_local_midnight(days, site_timezone)[where].reshape(np.shape(time_utc))
    if rule in (SETTLEMENT, ALWAYS):
        return np.full(np.shape(time_utc), _NEVER if rule == SETTLEMENT else _FAR)
    raise TraceError(explain(f"unknown rule {rule!r} for when a value is known", fix=nearest(rule, RULES)))
