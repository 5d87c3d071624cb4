"""``minesim data``: list, describe and validate, with kind errors."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from minesim.cli import app
from tests.scenario.small import make_traces

HEADER = "# site_timezone: America/Chicago\n"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        return CliRunner().invoke(app, list(arguments))

    return call


def test_list_names_traces_licences_and_scenarios(run):
    result = run("data", "list")
    assert result.exit_code == 0
    for word in ("power_ercot", "CC-BY-NC-4.0", "weather_dallas_tx", "generated-pjm"):
        assert word in result.stdout


def test_describe_a_scenario(run):
    result = run("data", "describe", "ercot/4cp")
    assert result.exit_code == 0
    for word in (
        "power_price_usd_per_mwh",
        "USD/MWh",
        "day_ahead",
        "35058 rows",
        "CC-BY-NC",
        "ercot_4cp",
        "validation",
    ):
        assert word in result.stdout


@pytest.mark.parametrize(
    "name",
    ["power_pjm", "weather_toronto_on", "carbon_ca_on", "btc_daily", "coincident_peaks", "btc_block_arrivals_2023"],
)
def test_describe_a_trace(run, name):
    result = run("data", "describe", name)
    assert result.exit_code == 0
    assert "licence" in result.stdout


def test_describe_a_hardware_model(run):
    result = run("data", "describe", "S19j Pro")
    assert result.exit_code == 0
    assert "J/TH" in result.stdout


def test_describe_draws(run, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "weather.png"
    assert run("data", "describe", "weather_dallas_tx", "--plot", str(picture)).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    bad = run("data", "describe", "weather_dallas_tx", "--plot", str(tmp_path / "weather.txt"))
    assert bad.exit_code == 1
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(("name", "near"), [("erct", "ercot"), ("power_erco", "power_ercot"), ("S19j Prx", "S19j Pro")])
def test_describe_something_unknown(run, name, near):
    result = run("data", "describe", name)
    assert result.exit_code == 1
    assert near in result.output
    assert "Traceback" not in result.output


def test_validate_a_good_file(run, tmp_path):
    path = tmp_path / "good.csv"
    path.write_text(HEADER + make_traces().to_dataframe().to_csv(index_label="time"), encoding="utf-8")
    result = run("data", "validate", str(path))
    assert result.exit_code == 0
    assert "good.csv is good" in result.stdout


def test_validate_names_the_faults(run, tmp_path):
    frame = make_traces().to_dataframe()
    frame.loc[frame.index[5], "temp_amb_c"] = 99.0
    frame = frame.drop(frame.index[20])
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + frame.to_csv(index_label="time"), encoding="utf-8")
    result = run("data", "validate", str(path))
    assert result.exit_code == 1
    assert "temp_amb_c is 99 degC at 2022-06-01 10:00 UTC" in result.output
    assert "gap" in result.output
    assert "Traceback" not in result.output


def test_validate_needs_a_time_zone(run, tmp_path):
    path = tmp_path / "zone.csv"
    path.write_text(make_traces().to_dataframe().to_csv(index_label="time"), encoding="utf-8")
    assert "site_timezone" in run("data", "validate", str(path)).output
    assert run("data", "validate", str(path), "--site-timezone", "America/Chicago").exit_code == 0


def test_validate_an_unreadable_file(run, tmp_path):
    path = tmp_path / "noise.csv"
    path.write_bytes(np.random.default_rng(0).bytes(500))
    result = run("data", "validate", str(path))
    assert result.exit_code == 1
    assert "noise.csv" in result.output
    assert run("data", "validate", str(tmp_path / "absent.csv")).exit_code == 1
