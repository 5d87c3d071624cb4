"""Every fault of a trace is named, with the first time it happens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from minesim.errors import ScenarioError, TraceError
from minesim.scenario import validate


def changed(traces: xr.Dataset, name: str, row: int, value: float) -> xr.Dataset:
    values = traces[name].to_numpy().astype(float).copy()
    values[row] = value
    return traces.assign({name: ("time", values, traces[name].attrs)})


def fault(traces: xr.Dataset) -> str:
    with pytest.raises(TraceError) as caught:
        validate(traces)
    return str(caught.value)


def test_good_traces_pass(traces):
    validate(traces)


def test_trace_error_is_a_scenario_error():
    assert issubclass(TraceError, ScenarioError)


@pytest.mark.parametrize(
    "name", ["power_price_usd_per_mwh", "coin_price_usd", "difficulty", "temp_amb_c", "rel_humidity_pct"]
)
def test_missing_variable(traces, name):
    message = fault(traces.drop_vars(name))
    assert f"variable {name} (" in message
    assert "is missing" in message


@pytest.mark.parametrize("name", ["fees_coin_per_block", "carbon_g_per_kwh"])
def test_optional_variable_may_be_absent(traces, name):
    validate(traces.drop_vars(name))


def test_misspelt_variable_is_recognised(traces):
    message = fault(traces.rename(temp_amb_c="temp_amb"))
    assert "temp_amb_c" in message
    assert "is it 'temp_amb'" in message


def test_wrong_unit(traces):
    traces["power_price_usd_per_mwh"].attrs["units"] = "USD/kWh"
    assert "units 'USD/kWh'; allowed: 'USD/MWh'" in fault(traces)


def test_unknown_rule(traces):
    traces["power_price_usd_per_mwh"].attrs["known"] = "yesterday"
    assert "known='yesterday'" in fault(traces)


def test_gap_names_both_sides(traces):
    message = fault(traces.isel(time=[*range(10), *range(12, 144)]))
    assert "gap: 2022-06-01 14:00 UTC is followed by 2022-06-01 17:00 UTC" in message


def test_duplicate(traces):
    assert "duplicate at 2022-06-01 14:00 UTC" in fault(traces.isel(time=[*range(10), 9, *range(10, 144)]))


def test_unsorted(traces):
    message = fault(traces.isel(time=[0, 1, 3, 2, *range(4, 144)]))
    assert "not sorted: 2022-06-01 07:00 UTC follows 2022-06-01 08:00 UTC" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("power_price_usd_per_mwh", 1e6),
        ("power_price_usd_per_mwh", -1e6),
        ("coin_price_usd", 0.0),
        ("difficulty", -1.0),
        ("temp_amb_c", 75.0),
        ("temp_amb_c", -120.0),
        ("rel_humidity_pct", 100.5),
        ("rel_humidity_pct", -0.1),
        ("fees_coin_per_block", -1e-9),
        ("carbon_g_per_kwh", np.inf),
    ],
)
def test_impossible_value_is_named_with_its_first_time(traces, name, value):
    message = fault(changed(changed(traces, name, 30, value), name, 7, value))
    assert f"{name} is {value:g}" in message
    assert "2022-06-01 12:00 UTC" in message
    assert "(2 rows in all)" in message


@pytest.mark.parametrize("name", ["power_price_usd_per_mwh", "temp_amb_c"])
def test_empty_value_has_to_be_marked(traces, name):
    holed = changed(traces, name, 7, np.nan)
    assert f"{name} has no value at 2022-06-01 12:00 UTC" in fault(holed)
    validate(holed.assign(is_missing=("time", np.arange(144) == 7)))


def test_nothing_past_can_fill_the_first_row(traces):
    holed = changed(traces, "temp_amb_c", 0, np.nan).assign(is_missing=("time", np.arange(144) == 0))
    assert "nothing past can fill it" in fault(holed)


def test_optional_series_may_begin_later_but_not_pause(traces):
    late = traces.copy()
    late["carbon_g_per_kwh"] = traces["carbon_g_per_kwh"].where(np.arange(144) >= 50)
    validate(late)
    assert "carbon_g_per_kwh has no value at" in fault(changed(late, "carbon_g_per_kwh", 60, np.nan))


def test_all_faults_are_named_together(traces):
    bad = changed(changed(traces, "temp_amb_c", 3, 99.0), "rel_humidity_pct", 4, 130.0).drop_vars("difficulty")
    message = fault(bad)
    assert "3 faults" in message
    for word in ("temp_amb_c is 99", "rel_humidity_pct is 130", "variable difficulty"):
        assert word in message


def test_timezone_is_needed_and_known(traces):
    traces.attrs["site_timezone"] = "Texas/Dallas"
    assert "no IANA name" in fault(traces)
    del traces.attrs["site_timezone"]
    assert "site_timezone is missing" in fault(traces)


def test_time_axis_has_to_be_there_and_be_time(traces):
    assert "no coordinate 'time'" in fault(traces.rename(time="when"))
    assert "not datetime64" in fault(traces.assign_coords(time=np.arange(144)))
    assert "at least 2" in fault(traces.isel(time=[0]))


def test_step_has_to_fit_the_quarter_hours(traces):
    minutes = pd.date_range("2022-06-01", periods=144, freq="10min")
    assert "600 s" in fault(traces.assign_coords(time=minutes))
    shifted = pd.date_range("2022-06-01T00:07", periods=144, freq="1h")
    assert "whole quarter hours" in fault(traces.assign_coords(time=shifted))
    validate(traces.assign_coords(time=pd.date_range("2022-06-01", periods=144, freq="15min")))


def test_text_and_wrong_dimensions(traces):
    text = traces.assign(temp_amb_c=("time", np.array(["warm"] * 144)))
    assert "not a number" in fault(text)
    wide = traces.assign(temp_amb_c=(("time", "height"), np.zeros((144, 2))))
    assert "has dimensions" in fault(wide)


def test_coin_dimension_is_allowed(traces):
    two = traces.assign(
        coin_price_usd=(("time", "coin"), np.full((144, 2), 100.0)),
        difficulty=(("time", "coin"), np.full((144, 2), 1e10)),
    )
    validate(two.assign_coords(coin=["BTC", "LTC"]))
