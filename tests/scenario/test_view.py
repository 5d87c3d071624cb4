"""``scenario.view(t)`` shows what is known at t, by each variable's rule, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from minesim.scenario import scenario
from tests.scenario.small import make_traces

NOON = "2022-06-03T17:30"  # 12:30 in Chicago
ONE_PM = "2022-06-03T18:00"


def last_known(view, name) -> pd.Timestamp:
    return pd.Timestamp(view[name].dropna("time")["time"].to_numpy()[-1])


def test_day_ahead_price_reaches_to_the_end_of_the_published_day(traces):
    small = scenario(traces)
    assert last_known(small.view(NOON), "power_price_usd_per_mwh") == pd.Timestamp("2022-06-04T04:00")
    assert last_known(small.view(ONE_PM), "power_price_usd_per_mwh") == pd.Timestamp("2022-06-05T04:00")


def test_real_time_price_is_known_after_its_hour():
    small = scenario(make_traces(price_known="after_interval"))
    assert last_known(small.view("2022-06-03T17:59"), "power_price_usd_per_mwh") == pd.Timestamp("2022-06-03T16:00")
    assert last_known(small.view("2022-06-03T18:00"), "power_price_usd_per_mwh") == pd.Timestamp("2022-06-03T17:00")


def test_late_tariff_hides_a_day_ahead_price(traces):
    late = scenario(traces, tariff="late_price")
    assert last_known(late.view(ONE_PM), "power_price_usd_per_mwh") == pd.Timestamp("2022-06-03T17:00")
    # But no tariff can publish a real-time price the day before.
    early = scenario(make_traces(price_known="after_interval"), tariff="energy_only")
    assert last_known(early.view(ONE_PM), "power_price_usd_per_mwh") == pd.Timestamp("2022-06-03T17:00")


def test_other_rules(traces):
    view = scenario(traces).view(NOON)
    assert last_known(view, "temp_amb_c") == pd.Timestamp("2022-06-03T17:00")
    assert last_known(view, "coin_price_usd") == pd.Timestamp("2022-06-03T17:00")
    assert last_known(view, "fees_coin_per_block") == pd.Timestamp("2022-06-02T23:00")
    assert last_known(view, "carbon_g_per_kwh") == pd.Timestamp("2022-06-03T16:00")
    assert last_known(view, "temp_max_fc_c") == pd.Timestamp("2022-06-05T04:00")


def test_settlement_values_are_left_out_and_values_are_the_true_ones(traces):
    flagged = traces.assign(coincident_peak=("time", (np.arange(144) == 40).astype(float)))
    small = scenario(flagged)
    view = small.view(NOON)
    assert "coincident_peak" not in view
    known = view["power_price_usd_per_mwh"].dropna("time")
    np.testing.assert_array_equal(known, small.traces["power_price_usd_per_mwh"].sel(time=known["time"]))


def test_view_takes_aware_times_and_all_times(traces):
    small = scenario(traces)
    local = pd.Timestamp("2022-06-03T12:30", tz="America/Chicago")
    assert small.view(local).identical(small.view(NOON))
    assert small.view("2020-01-01").sizes["time"] == 0
    whole = small.view("2030-01-01")
    assert whole.sizes["time"] == small.traces.sizes["time"]
    assert not whole["power_price_usd_per_mwh"].isnull().any()


def test_marks_of_missing_rows_come_with_the_price(traces):
    values = traces["power_price_usd_per_mwh"].to_numpy().copy()
    values[100:103] = np.nan
    holed = traces.assign(
        power_price_usd_per_mwh=("time", values, traces["power_price_usd_per_mwh"].attrs),
        is_missing=("time", np.isnan(values)),
    )
    small = scenario(holed)
    assert not small.view(NOON)["is_missing"].any()
    assert int(small.view("2022-06-08")["is_missing"].sum()) == 3


@pytest.mark.parametrize("name", ["ercot", "caiso"])
def test_published_markets_are_day_ahead(name):
    real = scenario(name)
    assert real.rule_of("power_price_usd_per_mwh") == ("day_ahead", 13.0)


@pytest.mark.parametrize("name", ["pjm", "ontario"])
def test_real_time_markets_are_known_after_the_hour(name):
    assert scenario(name).rule_of("power_price_usd_per_mwh")[0] == "after_interval"
