"""When a value becomes known, rule by rule, with daylight saving."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.data import known
from minesim.errors import TraceError


def before(rule, when, *, zone="America/Chicago", interval_s=3600.0, hour=13.0):
    times = np.array([when], "datetime64[s]")
    found = known.known_before(rule, times, interval_s=interval_s, site_timezone=zone, known_hour=hour)
    return found[0]


def is_known(rule, row, when, **options):
    return np.datetime64(row, "s") < before(rule, when, **options)


def test_at_start_is_known_with_its_interval():
    assert is_known("at_start", "2023-01-01T05:00", "2023-01-01T05:00")
    assert not is_known("at_start", "2023-01-01T06:00", "2023-01-01T05:59:59")


def test_after_interval_is_known_when_it_is_over():
    assert not is_known("after_interval", "2023-01-01T05:00", "2023-01-01T05:59:59")
    assert is_known("after_interval", "2023-01-01T05:00", "2023-01-01T06:00")


def test_next_day_is_known_at_midnight_utc():
    assert not is_known("next_day", "2023-01-01T00:00", "2023-01-01T23:59:59")
    assert is_known("next_day", "2023-01-01T23:00", "2023-01-02T00:00")


@pytest.mark.parametrize(
    ("when", "first_unknown"),
    [
        ("2023-07-04T17:59:59", "2023-07-05T05:00"),  # 12:59 in Chicago: today only
        ("2023-07-04T18:00:00", "2023-07-06T05:00"),  # 13:00: tomorrow as well
        ("2023-07-05T04:59:59", "2023-07-06T05:00"),  # 23:59 local
        ("2023-07-05T05:00:00", "2023-07-06T05:00"),  # local midnight
        ("2023-01-04T18:59:59", "2023-01-05T06:00"),  # winter: 12:59 is 18:59 UTC
        ("2023-03-11T19:00:00", "2023-03-13T05:00"),  # tomorrow has 23 h
        ("2023-11-04T18:00:00", "2023-11-06T06:00"),  # tomorrow has 25 h
    ],
)
def test_day_ahead_publishes_whole_local_days(when, first_unknown):
    assert before("day_ahead", when) == np.datetime64(first_unknown, "s")


def test_day_ahead_follows_its_hour_and_zone():
    assert before("day_ahead", "2023-07-04T18:00", zone="America/Los_Angeles") == np.datetime64("2023-07-05T07:00", "s")
    assert before("day_ahead", "2023-07-04T15:00", hour=10.0) == np.datetime64("2023-07-06T05:00", "s")


def test_settlement_is_never_and_a_contract_is_always_known():
    assert not is_known("settlement", "2009-01-03", "2100-01-01")
    assert is_known("always", "2100-01-01", "2009-01-03")


def test_unknown_rule_is_refused():
    with pytest.raises(TraceError, match="day_ahead"):
        before("day_ahaed", "2023-01-01")


def test_times_of_any_kind_become_utc_seconds():
    expected = np.datetime64("2023-07-04T18:00:00", "s")
    assert known.as_seconds("2023-07-04T18:00") == expected
    assert known.as_seconds("2023-07-04T13:00-05:00") == expected
    assert known.as_seconds(np.datetime64("2023-07-04T18:00", "ns")) == expected


def test_local_midnight_and_clock_are_inverse_over_a_year():
    days = np.arange("2023-01-01", "2024-01-01", dtype="datetime64[D]")
    utc = known.utc_of_local_midnight(days, "America/Toronto")
    assert (known.local_clock(utc, "America/Toronto") == days.astype("datetime64[s]")).all()
    hours = np.diff(utc).astype(np.int64) // 3600
    assert sorted(set(hours.tolist())) == [23, 24, 25]
