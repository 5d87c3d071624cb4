"""The compiled table: held values, local calendar, money columns, splits and horizons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from minesim.arrays import NUMPY
from minesim.control.channels import ObservationSchema
from minesim.data import load_coincident_peaks, load_power
from minesim.economics.chain import hashprice_usd_per_phs_day
from minesim.errors import ScenarioError
from minesim.scenario import SETTLE_NAMES, compile_table, scenario
from minesim.scenario.markets import btc_height, standard_pressure_pa
from tests.scenario.small import compiled, make_traces


@pytest.fixture(scope="module")
def ercot():
    return compiled("ercot/4cp")


@pytest.fixture
def small():
    return compile_table(scenario(make_traces()))


def channel(table, name):
    number = [c.name for c in table.market_channels].index(name)
    return table.market_channels[number].decode(table.market[:, number].astype(np.float64), xp=NUMPY)


def test_shapes_and_types(small):
    assert small.settle.shape == (576, len(SETTLE_NAMES))
    assert small.settle.dtype == np.float64
    assert small.market.shape == (576, len(small.market_channels))
    assert small.market.dtype == np.float32
    assert small.start_utc.dtype == np.dtype("datetime64[s]")
    assert small.dt_s == 900.0
    assert small.settle_names == SETTLE_NAMES


def test_values_are_held_not_interpolated(small):
    price = small.column("energy_price_usd_per_mwh")
    assert price[:9].tolist() == [11.0] * 4 + [12.0] * 4 + [13.0]


def test_local_calendar_of_the_spring_change():
    table = compile_table(scenario(make_traces(start="2022-03-13T06:00", hours=48)))
    hour = table.column("local_hour")
    assert hour[:9].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 3.0]
    assert np.count_nonzero(table.column("local_day") == table.column("local_day")[0]) == 23 * 4
    assert table.column("local_weekday")[0] == 6.0


def test_local_calendar_of_the_autumn_change():
    table = compile_table(scenario(make_traces(start="2022-11-06T05:00", hours=48)))
    hour = table.column("local_hour")
    assert hour[[4, 8, 12]].tolist() == [1.0, 1.0, 2.0]
    assert np.count_nonzero(table.column("local_day") == table.column("local_day")[0]) == 25 * 4


def test_revenue_settles_with_the_fees_of_the_day_and_shows_those_of_the_day_before(small):
    day = 2 * 96 + 4 * 19  # 2022-06-04 00:00 UTC
    assert str(small.start_utc[day]) == "2022-06-04T00:00:00"
    traces = make_traces()
    row = traces.sel(time="2022-06-04T00:00")
    settled = hashprice_usd_per_phs_day(
        6.25, float(row["fees_coin_per_block"]), float(row["coin_price_usd"]), float(row["difficulty"])
    )
    assert small.column("hash_revenue_usd_per_ths_day")[day] == pytest.approx(settled / 1000.0, rel=1e-12)
    before = traces["fees_coin_per_block"].sel(time="2022-06-03T23:00")
    shown = hashprice_usd_per_phs_day(6.25, float(before), float(row["coin_price_usd"]), float(row["difficulty"]))
    assert channel(small, "hash_revenue_usd_per_ths_day")[day] == pytest.approx(shown / 1000.0, rel=1e-5)


def test_pressure_of_the_standard_atmosphere(small):
    assert (small.column("pressure_pa") == 101325.0).all()
    assert standard_pressure_pa(1726.0) == pytest.approx(82_237, abs=1)
    high = make_traces()
    high.attrs["altitude_m"] = 1500.0
    assert compile_table(scenario(high)).column("pressure_pa")[0] == pytest.approx(84_556, rel=1e-3)
    given = make_traces().assign(pressure_pa=("time", np.full(144, 9e4)))
    assert (compile_table(scenario(given)).column("pressure_pa") == 9e4).all()


def test_absent_carbon_and_fees_are_zero():
    table = compile_table(scenario(make_traces().drop_vars(["carbon_g_per_kwh", "fees_coin_per_block"])))
    assert (table.column("carbon_g_per_kwh") == 0.0).all()
    assert (channel(table, "carbon_last_g_per_kwh") == 0.0).all()


def test_subsidy_halves_with_the_height():
    times = np.array(["2020-05-11T19:00", "2020-05-11T20:00", "2024-04-20T00:00", "2024-04-20T01:00"], "datetime64[s]")
    height = btc_height(times)
    assert height[0] < 630_000 <= height[1]
    assert height[2] < 840_000 <= height[3]
    traces = make_traces(start="2020-05-11T00:00", hours=48)
    revenue = compile_table(scenario(traces.drop_vars("fees_coin_per_block"))).column("hash_revenue_usd_per_ths_day")
    assert revenue[0] == pytest.approx(2.0 * revenue[95])


def test_row_of_a_time(small):
    assert small.row_of("2022-06-01T05:00") == 0
    assert small.row_of("2022-06-01T05:14:59") == 0
    assert small.row_of(pd.Timestamp("2022-06-01T00:15", tz="America/Chicago")) == 1
    for outside in ("2022-06-01T04:59", "2022-06-07T05:00"):
        with pytest.raises(ScenarioError, match="outside the data"):
            small.row_of(outside)


def test_horizon_past_the_end_of_the_data(small):
    assert small.horizon(0, 576) == slice(0, 576)
    with pytest.raises(ScenarioError, match="96 rows") as caught:
        small.horizon(500, 96)
    assert "2022-06-07T05:00" in str(caught.value)
    for start, rows in ((-1, 5), (0, 0), (0, 577)):
        with pytest.raises(ScenarioError, match="does not fit"):
            small.horizon(start, rows)


def test_splits_are_rows(ercot):
    train, validation, test = (ercot.rows_of_split(name) for name in ("train", "validation", "test"))
    assert train.stop == validation.start
    assert validation.stop == test.start
    assert test.stop == ercot.size
    assert str(ercot.start_utc[test.start]) == "2023-07-01T00:00:00"
    with pytest.raises(ScenarioError, match="Did you mean 'test'"):
        ercot.rows_of_split("tets")
    assert ercot.rows_of_split("all") == slice(0, ercot.size)


def test_a_split_without_rows_is_refused():
    cut = scenario("ercot")
    short = cut.traces.sel(time=slice("2021-01-01", "2021-01-03"))
    table = compile_table(type(cut)(**{**vars(cut), "traces": short}))
    with pytest.raises(ScenarioError, match="no rows"):
        table.rows_of_split("test")


def test_unknown_column_suggests(small):
    with pytest.raises(ScenarioError, match="temp_amb_c"):
        small.column("temp_amb")


def test_real_prices_are_billed_with_the_adder(ercot):
    real = load_power("ercot")["power_price_usd_per_mwh"]
    uri = ercot.row_of("2021-02-17T06:00")
    assert ercot.column("energy_price_usd_per_mwh")[uri] == pytest.approx(
        float(real.sel(time="2021-02-17T06:00")) + 10.0
    )


def test_4cp_is_charged_in_the_published_intervals(ercot):
    charge = ercot.column("cp_charge_usd_per_kw")
    charged = ercot.start_utc[charge > 0.0] + np.timedelta64(15, "m")
    peaks = load_coincident_peaks().to_dataframe()
    ends = peaks[(peaks["market"] == "ERCOT") & peaks["base_year"].between(2020, 2023)]["interval_end_utc"]
    assert charged.tolist() == ends.to_numpy().astype("datetime64[s]").tolist()
    # 2023's peaks at the 2024 rate, by hand: 66.757 USD/kW over four intervals.
    assert charge[ercot.row_of("2023-08-10T21:45")] == pytest.approx(66.757 / 4, rel=1e-4)
    assert charge[ercot.start_utc >= np.datetime64("2023-01-01")].sum() == pytest.approx(66.757, rel=1e-4)


def test_everything_is_finite_and_inside_the_bounds(ercot):
    low, high = ObservationSchema(ercot.market_channels).bounds()
    assert np.isfinite(ercot.settle).all()
    assert (ercot.market >= low).all()
    assert (ercot.market <= high).all()


def test_missing_day_of_pjm_repeats_the_day_before():
    real = scenario("pjm")
    price = real.traces["power_price_usd_per_mwh"]
    missing = real.traces["is_missing"].to_numpy()
    assert missing.sum() == 91
    np.testing.assert_array_equal(
        price.sel(time=slice("2022-12-31T05:00", "2023-01-01T04:00")),
        price.sel(time=slice("2022-12-30T05:00", "2022-12-31T04:00")),
    )
    assert "past" in price.attrs["fill"]


def test_rows_before_an_interval_do_not_know_its_price():
    table = compile_table(scenario(make_traces(price_known="after_interval")))
    settle, seen = table.column("energy_price_usd_per_mwh"), channel(table, "price_last_usd_per_mwh")
    np.testing.assert_allclose(seen[4:], settle[:-4], rtol=1e-5)
    assert seen[0] == 0.0


def test_reserve_terms_only_with_a_reserve_tariff(small):
    assert (small.column("reserve_price_usd_per_mw_h") == 0.0).all()
    table = compile_table(scenario(make_traces(), tariff="reserves"))
    assert (table.column("reserve_price_usd_per_mw_h") > 0.0).mean() > 0.9
    assert set(np.unique(table.column("reserve_call"))) <= {0.0, 1.0}


def test_contract_prices_are_known_a_day_ahead():
    table = compile_table(scenario(make_traces(price_known="after_interval"), tariff="tou"))
    assert (channel(table, "price_known_h")[: 24 * 4] == 36.0).all()
    np.testing.assert_allclose(
        channel(table, "price_h05_usd_per_mwh")[:-20], table.column("energy_price_usd_per_mwh")[20:], rtol=1e-5
    )
