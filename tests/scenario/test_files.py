"""A user's traces from csv, parquet and NetCDF; unreadable files are clear errors."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from minesim.errors import DataFileError, MissingExtraError, TraceError
from minesim.scenario import compile_table, scenario, validate
from minesim.scenario.files import read_traces
from tests.scenario.small import make_traces

HEADER = "# site_timezone: America/Chicago\n# power_price_usd_per_mwh.known: day_ahead\n"


def write_csv(path, traces, header=HEADER):
    path.write_text(header + traces.to_dataframe().to_csv(index_label="time"), encoding="utf-8")
    return path


def test_csv_round_trip(tmp_path, traces):
    path = write_csv(tmp_path / "mine.csv", traces)
    made = scenario(path)
    assert made.name == "mine"
    assert made.site_timezone == "America/Chicago"
    assert made.rule_of("power_price_usd_per_mwh")[0] == "day_ahead"
    np.testing.assert_allclose(compile_table(made).settle, compile_table(scenario(traces)).settle)
    assert scenario(str(path)).name == "mine"


def test_csv_times_with_an_offset_become_utc(tmp_path, traces):
    frame = traces.to_dataframe()
    frame.index = frame.index.tz_localize("UTC").tz_convert("America/Chicago")
    path = tmp_path / "local.csv"
    path.write_text(HEADER + frame.to_csv(index_label="timestamp"), encoding="utf-8")
    assert read_traces(path)["time"].to_numpy()[0] == np.datetime64("2022-06-01T05:00")


def test_csv_holes_have_to_be_marked(tmp_path, traces):
    frame = traces.to_dataframe()
    frame.iloc[30, 0] = np.nan
    path = tmp_path / "holed.csv"
    path.write_text(HEADER + frame.to_csv(index_label="time"), encoding="utf-8")
    with pytest.raises(TraceError, match="2022-06-02 11:00 UTC"):
        scenario(path)
    frame["is_missing"] = frame.iloc[:, 0].isna()
    path.write_text(HEADER + frame.to_csv(index_label="time"), encoding="utf-8")
    assert float(scenario(path).traces["power_price_usd_per_mwh"][30]) == 7.0


def test_parquet(tmp_path, traces):
    path = tmp_path / "mine.parquet"
    traces.to_dataframe().to_parquet(path)
    made = scenario(path, site_timezone="America/Chicago")
    assert made.rule_of("power_price_usd_per_mwh")[0] == "after_interval", "parquet carries no attributes"


@pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="NetCDF is an extra")
def test_netcdf_keeps_attributes(tmp_path, traces):
    path = tmp_path / "mine.nc"
    traces.to_netcdf(path, engine="scipy")
    made = scenario(path)
    assert made.rule_of("power_price_usd_per_mwh")[0] == "day_ahead"
    assert made.name == "small"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "No columns"),
        ("\x00\x01\x02 not a table", "no time column"),
        ("price,temp\n1,2\n", "no time column; its columns are price, temp"),
        ("time,temp_amb_c\nyesterday,2\n", "column 'time'"),
        ("time,temp_amb_c\n2022-06-01T00:00,warm\n", "temp_amb_c is 'warm' at 2022-06-01 00:00:00 UTC"),
        ('time,temp_amb_c\n2022-06-01,"1\n', "cannot read"),
        ("time,a\n2022-06-01,1,2,3\n2022-06-01,1,2,3,4,5\n", "cannot read"),
    ],
)
def test_unreadable_csv(tmp_path, content, words):
    path = tmp_path / "bad.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataFileError, match=words):
        read_traces(path)


def test_binary_csv_and_broken_parquet(tmp_path):
    for suffix in (".csv", ".parquet", ".nc"):
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(bytes(range(128, 256)) * 20)
        with pytest.raises((DataFileError, MissingExtraError), match=r"bad|support"):
            read_traces(path)


def test_unknown_kind_of_file(tmp_path):
    path = tmp_path / "mine.xlsx"
    path.write_text("x", encoding="utf-8")
    with pytest.raises(DataFileError, match=r"\.csv"):
        read_traces(path)


def test_units_in_a_csv_header_are_checked(tmp_path, traces):
    path = write_csv(tmp_path / "cents.csv", traces, HEADER + "# power_price_usd_per_mwh.units: ct/kWh\n")
    with pytest.raises(TraceError, match="ct/kWh"):
        validate(read_traces(path))


def test_quarter_hourly_data_compile():
    table = compile_table(scenario(make_traces(step="15min")))
    assert table.size == 144
