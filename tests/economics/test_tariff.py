from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minesim.data
from minesim.arrays import NUMPY, torch_namespace
from minesim.economics import tariff as tariffs
from minesim.economics.facts import fact_value
from minesim.economics.tariff import (
    DemandCharge,
    FlatEnergy,
    MarketEnergy,
    Tariff,
    TimeOfUseEnergy,
    TimeOfUsePeriod,
    settlement_columns,
    tariff,
)
from minesim.errors import ParamsError, TraceError

TEXAS = "America/Chicago"
ERCOT_2023_END_LOCAL = ("2023-06-27 17:00", "2023-07-31 17:00", "2023-08-10 17:00", "2023-09-08 16:45")
ONTARIO_2023_END_LOCAL = (
    "2023-09-05 17:00",
    "2023-09-06 17:00",
    "2023-07-05 18:00",
    "2023-07-06 12:00",
    "2023-09-04 18:00",
)


def quarter_hours(first: str, last: str) -> np.ndarray:
    return np.arange(np.datetime64(first, "s"), np.datetime64(last, "s"), np.timedelta64(900, "s"))


def peaks(program: str, ends_local: tuple[str, ...], zone: str, minutes: int, base_year: int = 2023) -> pd.DataFrame:
    ends = pd.DatetimeIndex(ends_local).tz_localize(zone).tz_convert("UTC").tz_localize(None)
    return pd.DataFrame(
        {
            "program": program,
            "interval_start_utc": ends - pd.Timedelta(minutes=minutes),
            "interval_min": minutes,
            "base_year": base_year,
        }
    )


@pytest.fixture
def ercot_peaks() -> pd.DataFrame:
    return peaks("4CP", ERCOT_2023_END_LOCAL, TEXAS, 15)


def columns(
    chosen: Tariff, time: np.ndarray, price: float = 30.0, frame: pd.DataFrame | None = None
) -> dict[str, np.ndarray]:
    return settlement_columns(chosen, time, TEXAS, np.full(time.size, price), frame)


def test_four_cp_of_2023_by_hand(ercot_peaks: pd.DataFrame) -> None:
    """Central daylight time is UTC-5, so intervals ending 17:00, 17:00, 17:00 and 16:45 begin 21:45 and 21:30 UTC. Each
    carries 66.756998 / 4 = 16.6892495 USD per kW; a flat MW pays 66.757 kUSD, one that sits out a month a quarter less.
    """
    time = quarter_hours("2023-06-01", "2023-10-01")
    charge = columns(tariff("ercot_4cp"), time, frame=ercot_peaks)["cp_charge_usd_per_kw"]
    charged = np.flatnonzero(charge)
    assert [str(t) for t in time[charged]] == [
        "2023-06-27T21:45:00",
        "2023-07-31T21:45:00",
        "2023-08-10T21:45:00",
        "2023-09-08T21:30:00",
    ]
    np.testing.assert_allclose(charge[charged], 16.6892495, rtol=1e-12)
    flat_kw = np.full(time.size, 1000.0)
    assert tariffs.coincident_peak_usd(flat_kw, charge).sum() == pytest.approx(66_756.998, abs=1e-6)
    stopped_in_august = np.where(np.arange(time.size) == charged[2], 0.0, flat_kw)
    assert tariffs.coincident_peak_usd(stopped_in_august, charge).sum() == pytest.approx(50_067.7485, abs=1e-6)


def test_a_flat_load_pays_the_whole_rate_on_the_packaged_peaks_of_each_summer() -> None:
    path = Path(minesim.data.__file__).parent / "traces" / "coincident_peaks.csv"
    frame = pd.read_csv(path).query("program == '4CP'")
    frame["interval_start_utc"] = pd.to_datetime(frame["interval_end_utc"]) - pd.Timedelta(minutes=15)
    years = range(2008, 2024)
    time = quarter_hours("2008-01-01", "2024-01-01")
    charge = columns(tariff("ercot_4cp"), time, frame=frame)["cp_charge_usd_per_kw"]
    by_year = [charge[time.astype("datetime64[Y]").astype(int) + 1970 == year].sum() for year in years]
    np.testing.assert_allclose(by_year, 66.756998, rtol=1e-12)


def test_rate_follows_the_base_year_and_is_the_filed_one() -> None:
    part = tariff("ercot_4cp").coincident_peak
    assert part is not None
    assert [part.rate_of(year) for year in (2021, 2023, 2024, 2025)] == [66.756998, 66.756998, 68.547301, 75.52727]


def test_ontario_hours_spread_over_four_intervals() -> None:
    time = quarter_hours("2023-05-01T04:00", "2023-12-31")
    frame = peaks("ICI_5CP", ONTARIO_2023_END_LOCAL, "America/Toronto", 60)
    charge = settlement_columns(tariff("ontario_5cp"), time, "America/Toronto", np.zeros(time.size), frame)[
        "cp_charge_usd_per_kw"
    ]
    rate_usd = 12e9 / 23_465e3 / 1.3415
    assert rate_usd == pytest.approx(381.2, abs=0.1)
    charged = np.flatnonzero(charge)
    assert charged.size == 20
    assert str(time[charged[0]]) == "2023-07-05T21:00:00"
    np.testing.assert_allclose(charge[charged], rate_usd / 20, rtol=1e-12)


def test_an_ontario_base_year_begins_in_may() -> None:
    frame = peaks("ICI_5CP", ONTARIO_2023_END_LOCAL, "America/Toronto", 60)
    april = quarter_hours("2023-04-10", "2023-04-11")
    with pytest.raises(ParamsError, match="0 peaks of base year 2022"):
        settlement_columns(tariff("ontario_5cp"), april, "America/Toronto", np.zeros(april.size), frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: None, "lack program, interval_start_utc, interval_min, base_year"),
        (lambda f: f.drop(columns="base_year"), "lack base_year"),
        (lambda f: f.assign(program="5CP"), "0 peaks of base year 2023"),
        (lambda f: pd.concat([f, f]), "8 peaks of base year 2023"),
        (lambda f: f.assign(interval_min=60), "lasts 60 min"),
        (lambda f: f.assign(interval_start_utc=pd.NaT), "starts at NaT"),
        (
            lambda f: f.assign(interval_start_utc=f["interval_start_utc"] + pd.Timedelta(minutes=5)),
            "a quarter hour in UTC",
        ),
    ],
    ids=["none", "column", "other program", "twice", "length", "no time", "off the grid"],
)
def test_peaks_that_do_not_fit_the_charge_are_refused(
    ercot_peaks: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame | None], message: str
) -> None:
    time = quarter_hours("2023-06-01", "2023-06-30")
    with pytest.raises(ParamsError, match=message):
        columns(tariff("ercot_4cp"), time, frame=change(ercot_peaks))


def test_winter_needs_no_peaks_and_peaks_outside_the_grid_are_ignored(ercot_peaks: pd.DataFrame) -> None:
    winter = quarter_hours("2024-01-05", "2024-01-06")
    assert not columns(tariff("ercot_4cp"), winter, frame=ercot_peaks)["cp_charge_usd_per_kw"].any()
    one_day = quarter_hours("2023-08-10", "2023-08-11")
    assert np.count_nonzero(columns(tariff("ercot_4cp"), one_day, frame=ercot_peaks)["cp_charge_usd_per_kw"]) == 1


def test_an_hourly_peak_cut_by_the_end_of_the_grid_is_charged_in_part() -> None:
    frame = peaks("ICI_5CP", ONTARIO_2023_END_LOCAL, "America/Toronto", 60)
    time = quarter_hours("2023-07-05", "2023-07-05T21:30")
    charge = settlement_columns(tariff("ontario_5cp"), time, "America/Toronto", np.zeros(time.size), frame)
    assert np.count_nonzero(charge["cp_charge_usd_per_kw"]) == 2


def test_columns_are_the_promised_ones() -> None:
    time = quarter_hours("2023-03-01", "2023-03-02")
    result = columns(tariff("energy_only"), time)
    assert tuple(result) == tariffs.SETTLEMENT_COLUMNS
    assert all(column.dtype == np.float64 and column.shape == time.shape for column in result.values())


def test_price_adder_and_loss_by_hand() -> None:
    chosen = dataclasses.replace(tariff("energy_only"), loss_factor=1.02)
    price = columns(chosen, quarter_hours("2023-03-01", "2023-03-02"), price=-30.0)["energy_price_usd_per_mwh"]
    np.testing.assert_allclose(price, (-30.0 + 10.0) * 1.02)


def test_late_price_is_the_same_money_known_later() -> None:
    time = quarter_hours("2023-03-01", "2023-03-02")
    early, late = tariff("energy_only"), tariff("late_price")
    for name, column in columns(early, time).items():
        np.testing.assert_array_equal(column, columns(late, time)[name])
    assert (early.price_known, late.price_known, tariff("tou").price_known) == (
        "day_ahead",
        "after_interval",
        "at_start",
    )


def test_flat_price_needs_no_market_price() -> None:
    time = quarter_hours("2023-03-01", "2023-03-02")
    assert set(columns(Tariff("flat", FlatEnergy(42.0)), time, price=np.nan)["energy_price_usd_per_mwh"]) == {42.0}


def test_missing_market_price_names_the_first_hole() -> None:
    time = quarter_hours("2023-03-01", "2023-03-02")
    price = np.full(time.size, 30.0)
    price[5] = np.nan
    with pytest.raises(TraceError, match="missing at 2023-03-01T01:15:00 UTC"):
        settlement_columns(tariff("energy_only"), time, TEXAS, price)


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (np.delete(quarter_hours("2023-03-01", "2023-03-02"), 4), "breaks at 2023-03-01T01:15:00"),
        (quarter_hours("2023-03-01", "2023-03-02")[::-1], "breaks at"),
        (quarter_hours("2023-03-01T00:05", "2023-03-02"), "quarter hour"),
        (np.arange(10), "datetime64"),
        (np.array([], dtype="datetime64[s]"), "not empty"),
    ],
    ids=["gap", "backwards", "off the quarter", "numbers", "empty"],
)
def test_irregular_grid_is_refused(time: np.ndarray, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        columns(tariff("energy_only"), time)


def test_price_of_another_length_is_refused() -> None:
    time = quarter_hours("2023-03-01", "2023-03-02")
    with pytest.raises(TraceError, match=r"shape \(95,\)"):
        settlement_columns(tariff("energy_only"), time, TEXAS, np.zeros(95))


def test_unknown_time_zone_suggests_the_nearest() -> None:
    time = quarter_hours("2023-03-01", "2023-03-02")
    with pytest.raises(ParamsError, match="America/Chicago"):
        settlement_columns(tariff("energy_only"), time, "America/Chigaco", np.zeros(96))


def test_spring_forward_day_skips_an_hour() -> None:
    """2023-03-12 in Texas: 02:00 CST becomes 03:00 CDT; the local day has 92 quarter hours."""
    result = columns(tariff("energy_only"), quarter_hours("2023-03-12T06:00", "2023-03-13T06:00"))
    first_day = result["local_day"] == result["local_day"][0]
    assert first_day.sum() == 92
    hours = result["local_hour"][first_day]
    assert not ((hours >= 2.0) & (hours < 3.0)).any()
    assert set(result["local_weekday"][first_day]) == {6.0}
    assert result["local_day"][0] == np.datetime64("2023-03-12", "D").astype(int)


def test_fall_back_day_repeats_an_hour_and_month_fraction_still_grows() -> None:
    result = columns(tariff("energy_only"), quarter_hours("2023-11-01T05:00", "2023-12-01T06:00"))
    fifth = result["local_day"] == np.datetime64("2023-11-05", "D").astype(int)
    assert fifth.sum() == 100
    assert ((result["local_hour"] == 1.5) & fifth).sum() == 2
    np.testing.assert_allclose(np.diff(result["month_fraction"]), 1 / ((30 * 24 + 1) * 4), rtol=1e-9)
    assert result["month_fraction"][0] == 0.0
    assert set(result["billing_month"]) == {2023 * 12 + 11}


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("America/Havana", "2020-10-31", "2020-11-02"),
        ("Asia/Amman", "2011-03-31", "2011-04-02"),
        ("Asia/Kathmandu", "2023-04-29", "2023-05-02"),
    ],
    ids=["first midnight of the month twice", "first midnight of the month skipped", "quarter-hour offset"],
)
def test_month_fraction_at_odd_month_starts(zone: str, first: str, last: str) -> None:
    time = quarter_hours(first, last)
    result = settlement_columns(tariff("energy_only"), time, zone, np.zeros(time.size))
    fraction, month = result["month_fraction"], result["billing_month"]
    new = np.flatnonzero(np.diff(month))
    assert new.size == 1
    assert fraction[new[0] + 1] == 0.0
    assert (fraction >= 0.0).all()
    assert (fraction < 1.0).all()
    assert (np.delete(np.diff(fraction), new) > 0.0).all()


def test_billing_months_count_on_over_new_year() -> None:
    result = columns(tariff("energy_only"), quarter_hours("2023-12-31T12:00", "2024-01-01T12:00"))
    assert list(np.unique(result["billing_month"])) == [2023 * 12 + 12, 2023 * 12 + 13]


def test_demand_rate_by_season() -> None:
    rates = tuple(10.0 if month in (6, 7, 8, 9) else 5.0 for month in range(1, 13))
    chosen = Tariff("seasonal", MarketEnergy(), demand=DemandCharge(rates))
    rate = columns(chosen, quarter_hours("2023-05-31T00:00", "2023-06-02T00:00"))["demand_rate_usd_per_kw"]
    switch = int(np.flatnonzero(np.diff(rate))[0]) + 1
    assert (rate[0], rate[-1]) == (5.0, 10.0)
    assert switch == 24 * 4 + 5 * 4  # local midnight is 05:00 UTC


def test_time_of_use_by_hour_weekday_and_season() -> None:
    """Friday 2023-09-01 to Monday 2023-09-04, CDT = UTC-5: dear from 15 to 20 h local, less so at the weekend."""
    result = columns(tariff("tou"), quarter_hours("2023-09-01T05:00", "2023-09-04T05:00"))
    price, hour, day = result["energy_price_usd_per_mwh"], result["local_hour"], result["local_weekday"]
    dear = (hour >= 15.0) & (hour < 20.0)
    assert set(price[dear & (day == 4)]) == {108.9}
    assert set(price[dear & (day > 4)]) == {83.2}
    assert set(price[~dear]) == {50.3}
    winter = columns(tariff("tou"), quarter_hours("2023-01-01T06:00", "2023-01-02T06:00"))["energy_price_usd_per_mwh"]
    assert set(np.round(winter, 9)) == {48.4, 101.5}


def test_time_of_use_year_has_the_stated_mean() -> None:
    price = columns(tariff("tou"), quarter_hours("2022-01-01T06:00", "2023-01-01T06:00"))["energy_price_usd_per_mwh"]
    assert price.mean() - 10.0 == pytest.approx(50.0, abs=0.1)


def test_a_period_over_midnight() -> None:
    part = TimeOfUseEnergy(50.0, (TimeOfUsePeriod(20.0, 22.0, 6.0),))
    result = columns(Tariff("night", part), quarter_hours("2023-01-01", "2023-01-02"))
    night = (result["local_hour"] >= 22.0) | (result["local_hour"] < 6.0)
    np.testing.assert_array_equal(result["energy_price_usd_per_mwh"], np.where(night, 20.0, 50.0))


def test_ready_made_tariffs_carry_their_parts_and_sources(ercot_peaks: pd.DataFrame) -> None:
    time = quarter_hours("2023-06-01T05:00", "2023-07-01T05:00")
    for name in tariffs.tariff_names():
        chosen = tariff(name)
        assert chosen.name == name
        assert chosen.source
        for part in (chosen.demand, chosen.coincident_peak, chosen.reserve):
            assert part is None or part.source not in {"", "assumed"}
    assert columns(tariff("demand_charge"), time)["demand_rate_usd_per_kw"][0] == 6.74
    assert columns(tariff("demand_charge_high"), time)["demand_rate_usd_per_kw"][0] == 36.0
    mixed = columns(tariff("mixed"), time, frame=ercot_peaks)
    assert mixed["cp_charge_usd_per_kw"].max() == pytest.approx(16.6892495 * 1.015)
    assert tariff("mixed").reserve is not None
    assert tariff("reserves").demand is None


def test_high_demand_charge_costs_a_flat_load_what_the_source_says() -> None:
    """36 USD/kW-month over 730 h is 49 USD/MWh."""
    rate = tariff("demand_charge_high").demand
    assert rate is not None
    assert rate.rates_usd_per_kw[0] / 730.0 * 1000.0 == pytest.approx(49.3, abs=0.1)


def test_unknown_tariff_suggests_the_nearest() -> None:
    with pytest.raises(ParamsError, match="Did you mean 'ercot_4cp'"):
        tariff("ercot_cp")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Tariff("x", MarketEnergy(), adder_usd_per_mwh=float("nan")), "adder_usd_per_mwh is nan"),
        (lambda: Tariff("x", MarketEnergy(), loss_factor=0.98), "loss_factor is 0.98"),
        (lambda: Tariff("x", TimeOfUseEnergy(1.0, (TimeOfUsePeriod(1.0, 0.0, 25.0),))), "hours 0 to 24"),
        (lambda: Tariff("x", TimeOfUseEnergy(1.0, (TimeOfUsePeriod(1.0, weekdays=(7,)),))), "weekdays"),
        (lambda: Tariff("x", TimeOfUseEnergy(1.0, (TimeOfUsePeriod(1.0, months=(0,)),))), "months"),
        (lambda: Tariff("x", MarketEnergy(), demand=DemandCharge((1.0,) * 11)), "11 demand rates"),
        (lambda: Tariff("x", MarketEnergy(), demand=DemandCharge((-1.0,) * 12)), "USD/kW-month"),
        (
            lambda: Tariff("x", MarketEnergy(), coincident_peak=tariffs.CoincidentPeakCharge("4CP", 4, (6,), 20, 60.0)),
            "multiple of 15",
        ),
        (
            lambda: Tariff("x", MarketEnergy(), coincident_peak=tariffs.CoincidentPeakCharge("4CP", 0, (6,), 15, 60.0)),
            "0 coincident peaks",
        ),
        (
            lambda: Tariff("x", MarketEnergy(), coincident_peak=tariffs.CoincidentPeakCharge("4CP", 4, (6,), 15, -1.0)),
            "peak rates",
        ),
    ],
)
def test_impossible_tariff_is_refused(build: Callable[[], Tariff], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        build()


loads = st.lists(st.floats(min_value=0.0, max_value=50_000.0), min_size=1, max_size=60)


@given(loads, st.floats(min_value=0.0, max_value=50.0))
def test_demand_increments_of_a_month_add_up_to_rate_times_peak(load_kw: list[float], rate: float) -> None:
    peak, total = np.float64(0.0), 0.0
    for load in load_kw:
        increment, peak = tariffs.demand_increment_usd(np.float64(load), peak, rate, xp=NUMPY)
        assert increment >= 0.0
        total += float(increment)
    assert peak == max(load_kw)
    assert total == pytest.approx(rate * max(load_kw), rel=1e-9, abs=1e-9)


@given(loads, st.floats(min_value=0.0, max_value=50_000.0))
def test_a_carried_peak_only_charges_what_exceeds_it(load_kw: list[float], carried_kw: float) -> None:
    peak, total = np.float64(carried_kw), 0.0
    for load in load_kw:
        increment, peak = tariffs.demand_increment_usd(np.float64(load), peak, 2.0, xp=NUMPY)
        total += float(increment)
    assert total == pytest.approx(2.0 * max(max(load_kw) - carried_kw, 0.0), rel=1e-9, abs=1e-6)


def test_runtime_formulas_are_the_same_in_torch() -> None:
    xp = torch_namespace()
    load, peak, rate = np.random.default_rng(0).uniform(0.0, 3000.0, (3, 7))
    ours = tariffs.demand_increment_usd(load, peak, rate, xp=NUMPY)
    theirs = tariffs.demand_increment_usd(*map(torch.from_numpy, (load, peak, rate)), xp=xp)
    for mine, tensor in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), mine)
    price = torch.from_numpy(rate)
    np.testing.assert_array_equal(
        tariffs.energy_cost_usd(torch.from_numpy(load), price).numpy(), tariffs.energy_cost_usd(load, rate)
    )
    half = torch.tensor([100.0], dtype=torch.float32)
    assert tariffs.demand_increment_usd(half, half * 0.5, 6.74, xp=xp)[0].dtype == torch.float32


def test_penalty_and_reserve_figures_are_the_published_ones() -> None:
    product = tariff("reserves").reserve
    assert product is not None
    assert product.shortfall_penalty_usd_per_mwh == fact_value(
        "dr_ancillary_figures", figure="proposed pre-emergency DR penalty (endorsed)"
    )
