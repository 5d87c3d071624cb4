"""No look-ahead: changing any value not yet known at t leaves every observation up to t unchanged.

What is known is decided here by an oracle of its own, written row by row with :mod:`zoneinfo`, so that a wrong rule
in the library is found and not repeated.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import zoneinfo

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minesim.economics.tariff import tariff
from minesim.scenario import Scenario, compile_table, scenario
from minesim.scenario.names import TARIFF_ALIASES
from minesim.scenario.variables import VARIABLES

ZONES = ("America/Chicago", "America/Los_Angeles", "America/Toronto", "Asia/Kolkata", "Europe/Berlin", "UTC")
TARIFFS = ("energy_only", "late_price", "demand_charge", "tou", "reserves", "4cp", "5cp", "mixed")
RULES = ("at_start", "day_ahead", "after_interval", "next_day", "settlement")
STARTS = ("2022-06-20", "2022-03-10", "2022-11-03", "2021-12-28", "2022-04-28")
"""Summer, both changes of the clock, a new year and Ontario's new base year."""
DAYS = 6
RANGES = {
    "power_price_usd_per_mwh": (-50.0, 9000.0),
    "coin_price_usd": (5000.0, 60000.0),
    "difficulty": (1e13, 9e13),
    "temp_amb_c": (-30.0, 45.0),
    "rel_humidity_pct": (5.0, 100.0),
    "fees_coin_per_block": (0.0, 5.0),
    "subsidy_coin": (1.0, 6.25),
    "carbon_g_per_kwh": (0.0, 900.0),
    "pressure_pa": (8e4, 1.03e5),
    "temp_max_fc_c": (-20.0, 45.0),
    "peak_probability": (0.0, 1.0),
    "coincident_peak": (0.0, 1.0),
    "reserve_price_usd_per_mw_h": (0.0, 5000.0),
    "reserve_call": (0.0, 1.0),
    "grid_load_mw": (1e4, 9e4),
    "cloud_cover_pct": (0.0, 100.0),
    "wind_speed_m_per_s": (0.0, 30.0),
}
ALWAYS_THERE = {v.name for v in VARIABLES if v.required} | {"temp_max_fc_c"}
OPTIONAL = tuple(sorted(set(RANGES) - ALWAYS_THERE))


def test_every_variable_of_the_contract_is_tested():
    assert set(RANGES) == {variable.name for variable in VARIABLES}


def random_values(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    low, high = RANGES[name]
    values = rng.uniform(low, high, size)
    return np.rint(values) if name in ("coincident_peak", "reserve_call") else values


def random_traces(rng, names, rules, *, start, zone, step_min) -> xr.Dataset:
    time = pd.date_range(start, periods=DAYS * 24 * 60 // step_min, freq=f"{step_min}min")
    data = xr.Dataset(coords={"time": time}, attrs={"site_timezone": zone, "name": "random"})
    for name in names:
        data[name] = ("time", random_values(name, len(time), rng), {"known": rules.get(name, "at_start")})
    return data


def peaks_table(rng, start) -> pd.DataFrame:
    begin = np.datetime64(start, "s")
    rows = []
    for program, minutes, years in (("4CP", 15, (2021, 2022)), ("ICI_5CP", 60, (2020, 2021, 2022))):
        at = [begin + np.timedelta64(int(hour), "h") for hour in rng.choice(DAYS * 24, len(years), replace=False)]
        rows += [(program, year, when, minutes) for year, when in zip(years, at, strict=True)]
    return pd.DataFrame(rows, columns=["program", "base_year", "interval_start_utc", "interval_min"])


def is_known_by_hand(rule: str, row: dt.datetime, now: dt.datetime, zone: str, step_min: int) -> bool:
    """The rules as docs/data.md words them."""
    if rule == "at_start":
        return row <= now
    if rule == "after_interval":
        return row + dt.timedelta(minutes=step_min) <= now
    if rule == "next_day":
        return row.date() < now.date()
    if rule == "day_ahead":
        local = zoneinfo.ZoneInfo(zone)
        local_now = now.astimezone(local)
        last_day = local_now.date() + dt.timedelta(days=1 if local_now.hour >= 13 else 0)
        return row.astimezone(local).date() <= last_day
    return False


def stamps(time: np.ndarray) -> list[dt.datetime]:
    return [t.to_pydatetime().replace(tzinfo=dt.UTC) for t in pd.DatetimeIndex(time)]


def price_rule(made: Scenario, rules: dict[str, str]) -> str:
    """A late tariff hides a price that the market has published."""
    is_late = made.tariff.name == "late_price" and rules["power_price_usd_per_mwh"] == "day_ahead"
    return "after_interval" if is_late else rules["power_price_usd_per_mwh"]


def change_the_unknown(made: Scenario, rules: dict[str, str], now: np.datetime64, rng) -> tuple[Scenario, int]:
    """Replace every value that is not known at ``now``; also the realised peaks of the whole season."""
    traces = made.traces.copy()
    time = traces["time"].to_numpy()
    step_min = int((time[1] - time[0]) / np.timedelta64(1, "m"))
    rows = stamps(time)
    moment = stamps(np.array([now]))[0]
    changed = 0
    for name in (str(n) for n in traces.data_vars if str(n) in RANGES):
        rule = price_rule(made, rules) if name == "power_price_usd_per_mwh" else rules.get(name, "at_start")
        unknown = np.array([not is_known_by_hand(rule, row, moment, made.site_timezone, step_min) for row in rows])
        fresh = random_values(name, len(time), rng)
        values = np.where(unknown, fresh, traces[name].to_numpy())
        traces[name] = ("time", values, traces[name].attrs)
        changed += int(unknown.sum())
    peaks = None if made.peaks is None else peaks_table(rng, str(pd.Timestamp(time[0]).date()))
    return dataclasses.replace(made, traces=traces, peaks=peaks), changed


def rows_until(table, now: np.datetime64) -> int:
    return int(np.searchsorted(table.start_utc, now.astype("datetime64[s]"), side="right"))


@st.composite
def cases(draw):
    names = ALWAYS_THERE | set(draw(st.lists(st.sampled_from(OPTIONAL), unique=True)))
    rules = {name: draw(st.sampled_from(RULES)) for name in sorted(names)}
    start = draw(st.sampled_from(STARTS))
    step_min = draw(st.sampled_from((15, 30, 60, 60, 60, 360)))
    zone = draw(st.sampled_from(ZONES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    traces = random_traces(rng, sorted(names), rules, start=start, zone=zone, step_min=step_min)
    label = draw(st.sampled_from(TARIFFS))
    made = scenario(traces, tariff=TARIFF_ALIASES.get(label, label), peaks=peaks_table(rng, start), seed=7)
    minute = draw(st.integers(0, DAYS * 24 * 4 - 1)) * 15
    now = np.datetime64(start, "s") + np.timedelta64(minute, "m")
    return made, rules, now, rng


SETTINGS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@SETTINGS
@given(cases())
def test_unknown_values_do_not_reach_observations(case):
    made, rules, now, rng = case
    other, changed = change_the_unknown(made, rules, now, rng)
    assert changed
    first, second = compile_table(made), compile_table(other)
    seen = rows_until(first, now)
    np.testing.assert_array_equal(first.market[:seen], second.market[:seen])


@SETTINGS
@given(cases())
def test_unknown_values_do_not_reach_the_view(case):
    made, rules, now, rng = case
    other, _ = change_the_unknown(made, rules, now, rng)
    one, two = made.view(now), other.view(now)
    xr.testing.assert_identical(one, two)
    time = made.traces["time"].to_numpy()
    step_min = int((time[1] - time[0]) / np.timedelta64(1, "m"))
    moment = stamps(np.array([now]))[0]
    for name, rule in rules.items():
        rule = price_rule(made, rules) if name == "power_price_usd_per_mwh" else rule
        count = sum(is_known_by_hand(rule, row, moment, made.site_timezone, step_min) for row in stamps(time))
        shown = int(one[name].notnull().sum()) if name in one else 0
        assert shown == count, f"{name} ({rule}): {shown} values shown, {count} known"


@functools.cache
def _month(name: str) -> Scenario:
    """A real scenario cut to some weeks, so that it compiles in milliseconds."""
    made = scenario(name)
    return dataclasses.replace(made, traces=made.traces.sel(time=slice("2022-06-20", "2022-08-05")))


@pytest.mark.parametrize("name", ["ercot/mixed", "pjm/mixed", "caiso/reserves", "ontario/mixed"])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(minute=st.integers(0, 40 * 96 - 1), seed=st.integers(0, 2**32 - 1))
def test_real_scenarios_do_not_look_ahead(name, minute, seed):
    made = _month(name)
    rules = {str(n): made.rule_of(str(n))[0] for n in made.traces.data_vars if str(n) in RANGES}
    published = {"ercot": "day_ahead", "caiso": "day_ahead"}.get(name.split("/")[0], "after_interval")
    assert rules["power_price_usd_per_mwh"] == published
    # The temperature forecast is out at noon, not at 13:00: leave it as it is and change everything else.
    kept = made.traces["temp_max_fc_c"]
    now = made.start_utc + np.timedelta64(15 * minute, "m")
    flat = made.traces.squeeze("coin", drop=True)
    single = dataclasses.replace(made, traces=flat)
    other, changed = change_the_unknown(single, rules, now, np.random.default_rng(seed))
    assert changed
    other = dataclasses.replace(other, traces=other.traces.assign(temp_max_fc_c=kept), peaks=made.peaks)
    first, second = compile_table(single), compile_table(other)
    seen = rows_until(first, now)
    np.testing.assert_array_equal(first.market[:seen], second.market[:seen])


@pytest.mark.parametrize("name", ["ercot/4cp", "ontario/5cp"])
def test_realised_peaks_of_the_period_are_never_used(name):
    made = _month(name)
    moved = made.peaks.copy()
    moved["interval_start_utc"] += pd.Timedelta(hours=5)
    first, second = compile_table(made), compile_table(dataclasses.replace(made, peaks=moved))
    np.testing.assert_array_equal(first.market, second.market)
    assert not np.array_equal(first.column("cp_charge_usd_per_kw"), second.column("cp_charge_usd_per_kw"))


def test_holes_are_filled_without_look_ahead():
    """The fill of a missing row uses earlier rows only, also when the scenario is made anew."""
    rng = np.random.default_rng(3)
    rules = {"power_price_usd_per_mwh": "after_interval", "fees_coin_per_block": "next_day"}
    names = sorted(ALWAYS_THERE | {"fees_coin_per_block"})
    raw = random_traces(rng, names, rules, start="2022-06-20", zone="America/Chicago", step_min=60)
    missing = np.zeros(raw.sizes["time"], bool)
    missing[60:90] = True
    values = np.where(missing, np.nan, raw["power_price_usd_per_mwh"])
    raw["power_price_usd_per_mwh"] = ("time", values, raw["power_price_usd_per_mwh"].attrs)
    raw["is_missing"] = ("time", missing)
    late = raw.copy(deep=True)
    late["power_price_usd_per_mwh"][90:] = 777.0
    now = raw["time"].to_numpy()[90]
    first, second = compile_table(scenario(raw)), compile_table(scenario(late))
    seen = rows_until(first, now)
    np.testing.assert_array_equal(first.market[:seen], second.market[:seen])
    xr.testing.assert_identical(scenario(raw).view(now), scenario(late).view(now))
    assert np.isfinite(first.market).all()


def test_known_values_do_reach_observations():
    """The counterpart: a value that has become known changes the observation, so the tests above can fail."""
    rng = np.random.default_rng(5)
    rules = {"power_price_usd_per_mwh": "after_interval"}
    traces = random_traces(rng, sorted(ALWAYS_THERE), rules, start="2022-06-20", zone="UTC", step_min=60)
    made = scenario(traces, tariff=tariff("energy_only"))
    changed = made.traces.copy(deep=True)
    changed["power_price_usd_per_mwh"][10] += 50.0
    first, second = compile_table(made), compile_table(dataclasses.replace(made, traces=changed))
    differ = np.flatnonzero((first.market != second.market).any(axis=1))
    assert differ[0] == 44, "the price of 10:00 to 11:00 is first seen at 11:00"


@pytest.mark.parametrize("shift_h", [1, 24])
def test_the_check_has_teeth(monkeypatch, shift_h):
    """A library that publishes prices too early is caught."""
    rng = np.random.default_rng(5)
    rules = {"power_price_usd_per_mwh": "after_interval"}
    traces = random_traces(rng, sorted(ALWAYS_THERE), rules, start="2022-06-20", zone="UTC", step_min=60)
    made = scenario(traces, tariff=tariff("energy_only"))
    now = made.start_utc + np.timedelta64(70, "h")
    other, _ = change_the_unknown(made, rules, now, rng)
    honest = Scenario.known_before
    monkeypatch.setattr(
        Scenario,
        "known_before",
        lambda self, name, times: honest(self, name, times) + np.timedelta64(shift_h, "h"),
    )
    first, second = compile_table(made), compile_table(other)
    seen = rows_until(first, now)
    assert not np.array_equal(first.market[:seen], second.market[:seen])
