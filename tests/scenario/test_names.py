"""Scenarios by name, Dataset and file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from minesim.economics.tariff import tariff
from minesim.errors import DataFileError, ParamsError, ScenarioError, TraceError
from minesim.scenario import compile_table, scenario, scenario_names
from tests.scenario.small import compiled, make_traces


@pytest.mark.parametrize("name", scenario_names())
def test_every_name_compiles_with_the_default_tariff(name):
    made = scenario(name)
    table = compiled(name)
    assert made.name == name
    assert made.tariff.name == "energy_only"
    assert np.isfinite(table.settle).all()
    assert np.isfinite(table.market).all()


@pytest.mark.parametrize(
    ("name", "tariff_name", "program"),
    [
        ("ercot/4cp", "ercot_4cp", "4CP"),
        ("ercot/mixed", "mixed", "4CP"),
        ("ontario/5cp", "ontario_5cp", "ICI_5CP"),
        ("ontario/mixed", "mixed", "ICI_5CP"),
        ("pjm/mixed", "mixed", None),
        ("generated/4cp", "ercot_4cp", "4CP"),
        ("caiso/tou", "tou", None),
        ("generated-pjm/reserves", "reserves", None),
    ],
)
def test_tariff_variants(name, tariff_name, program):
    made = scenario(name)
    part = made.tariff.coincident_peak
    assert made.tariff.name == tariff_name
    assert (part.program if part else None) == program
    assert (made.peaks is not None) == (program is not None)
    summer = made.traces.sel(time=slice("2022-06-01", "2022-07-15"))
    compile_table(dataclasses.replace(made, traces=summer))


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ScenarioError, match="Did you mean 'ercot'"):
        scenario("ERCTO")
    with pytest.raises(ScenarioError, match="4cp"):
        scenario("ercot/4xp")
    with pytest.raises(ScenarioError, match="does not have"):
        scenario("pjm/4cp")
    with pytest.raises(ScenarioError, match="name, a file"):
        scenario(3)


def test_splits_of_real_scenarios():
    splits = scenario("ercot").splits
    assert splits["train"][1] == np.datetime64("2023-01-01", "s") == splits["validation"][0]
    assert splits["validation"][1] == np.datetime64("2023-07-01", "s") == splits["test"][0]
    assert splits["test"][1] == np.datetime64("2024-01-01", "s")


def test_tariff_argument_wins_and_scenarios_pass_through():
    own = dataclasses.replace(tariff("energy_only"), name="mine", adder_usd_per_mwh=3.0)
    made = scenario("generated/tou", tariff=own)
    assert made.tariff is own
    assert scenario(made) is made


def test_a_dataset_works_where_a_name_does(traces):
    made = scenario(traces, tariff="tou")
    table = compile_table(made)
    assert made.name == "small"
    assert table.size == 144 * 4
    assert made.splits["train"] == (np.datetime64("2022-06-01T05:00", "s"), np.datetime64("2022-06-05T05:00", "s"))
    assert traces.equals(make_traces()), "the user's Dataset is left alone"


def test_a_bad_dataset_is_refused(traces):
    with pytest.raises(TraceError, match="temp_amb_c"):
        scenario(traces.drop_vars("temp_amb_c"))
    with pytest.raises(ParamsError, match="energy_only"):
        scenario(traces, tariff="energy_onyl")


def test_timezone_may_come_as_an_argument(traces):
    del traces.attrs["site_timezone"]
    with pytest.raises(TraceError, match="site_timezone"):
        scenario(traces)
    assert scenario(traces, site_timezone="Europe/Oslo").site_timezone == "Europe/Oslo"


def test_peaks_of_user_data_come_from_a_variable_or_a_table():
    fine = make_traces(start="2022-06-01T05:00", hours=4 * 24 * 6, step="15min")
    flags = (np.arange(fine.sizes["time"]) == 200).astype(float)
    by_variable = compile_table(scenario(fine.assign(coincident_peak=("time", flags)), tariff="ercot_4cp"))
    peaks = pd.DataFrame(
        {
            "program": ["4CP"],
            "base_year": [2022],
            "interval_start_utc": [fine["time"].to_numpy()[200]],
            "interval_min": [15],
        }
    )
    by_table = compile_table(scenario(fine, tariff="ercot_4cp", peaks=peaks))
    charge = by_variable.column("cp_charge_usd_per_kw")
    np.testing.assert_array_equal(charge, by_table.column("cp_charge_usd_per_kw"))
    assert np.flatnonzero(charge).tolist() == [200]
    assert charge[200] == pytest.approx(66.757 / 4, rel=1e-3)
    with pytest.raises(ParamsError, match="peaks"):
        compile_table(scenario(fine, tariff="ercot_4cp"))


def test_given_peak_probability_is_used_as_far_as_it_is_known():
    fine = make_traces(hours=4 * 24 * 6, step="15min")
    chance = np.zeros(fine.sizes["time"])
    chance[250] = 0.5
    given = fine.assign(
        peak_probability=("time", chance, {"units": "1", "known": "at_start"}), coincident_peak=("time", chance * 2.0)
    )
    table = compile_table(scenario(given, tariff="ercot_4cp"))
    names = [channel.name for channel in table.market_channels]
    now, soon = (table.market[:, names.index(f"peak_probability{end}")] for end in ("", "_next_4h"))
    assert np.flatnonzero(now).tolist() == [250]
    assert np.flatnonzero(soon).tolist() == [250]
    given["peak_probability"].attrs["known"] = "day_ahead"
    table = compile_table(scenario(given, tariff="ercot_4cp"))
    assert np.flatnonzero(table.market[:, names.index("peak_probability_next_4h")]).tolist() == list(range(235, 251))


def test_generated_seeds_differ_and_repeat():
    first, again, other = (compile_table(scenario("generated", seed=seed, days=3)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.settle, again.settle)
    np.testing.assert_array_equal(first.market, again.market)
    assert not np.array_equal(first.settle, other.settle)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(DataFileError, match="no file"):
        scenario(str(tmp_path / "absent.csv"))


def test_when_the_price_is_known_may_be_changed_for_a_study():
    usual, early = scenario("pjm"), scenario("pjm", price_known="at_start")
    assert usual.rule_of("power_price_usd_per_mwh")[0] == "after_interval"
    assert early.rule_of("power_price_usd_per_mwh")[0] == "at_start"
    assert scenario("pjm").rule_of("power_price_usd_per_mwh")[0] == "after_interval", "the stored traces stay"
    with pytest.raises(TraceError, match="tomorrow"):
        scenario("pjm", price_known="tomorrow")


def test_a_threshold_earns_what_the_published_study_says():
    """One S19j Pro (104 TH/s, 3068 W) in 2023 with a 10 USD/MWh adder: stopping at a loss against always running."""
    gains = {}
    for name in ("ercot", "pjm"):
        table = compiled(name)
        rows = slice(table.row_of("2023-01-01"), table.size)
        revenue = table.column("hash_revenue_usd_per_ths_day")[rows] * 104.0 / 96.0
        margin = revenue - table.column("energy_price_usd_per_mwh")[rows] * 3068e-6 / 4.0
        gains[name] = np.maximum(margin, 0.0).sum() / margin.sum() - 1.0
    assert 0.60 < gains["ercot"] < 0.72
    assert 0.03 < gains["pjm"] < 0.05


def test_a_name_may_carry_options() -> None:
    found = scenario("generated/4cp?level=hard&days=40&price_known=after_interval")
    assert found.name == "generated/4cp?level=hard&days=40&price_known=after_interval"
    assert found.tariff.coincident_peak is not None
    assert found.traces.sizes["time"] == scenario("generated", days=40).traces.sizes["time"]
    assert found.traces["power_price_usd_per_mwh"].attrs["known"] == "after_interval"
    hard = scenario("generated", days=40, level="hard").traces["power_price_usd_per_mwh"]
    np.testing.assert_array_equal(found.traces["power_price_usd_per_mwh"].to_numpy(), hard.to_numpy())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("generated?levl=hard", r"no option 'levl=hard'.*level"),
        ("generated?level=", r"no option 'level='"),
        ("generated?days=many", r"days is 'many'; allowed: a whole number"),
    ],
)
def test_options_of_a_name_are_checked(name: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        scenario(name)
