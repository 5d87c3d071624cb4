"""Telemetry files: a round trip, and an error for every fault that names the culprit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.telemetry_file import read_telemetry, table_of, telemetry_of
from minesim.errors import DataFileError, TelemetryError


@pytest.fixture
def table(record: RoomTelemetry) -> pd.DataFrame:
    found = table_of(record)
    sensors = [column for column in found if "_c@" in column]
    found[sensors] = 25.0
    return found


def test_a_file_is_the_record(record: RoomTelemetry, table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "t.parquet")
    again = read_telemetry(tmp_path / "t.parquet", record.plan)
    assert again.sensors == record.sensors
    assert np.array_equal(again.time, record.time.astype("datetime64[ns]"))
    for name in ("inputs_m3_per_s", "heat_w", "temp_amb_c", "rho_cp_j_per_m3_k"):
        assert np.allclose(getattr(again, name), getattr(record, name)), name
    assert np.allclose(again.places_m, record.places_m, atol=1e-3)


def _silent(table: pd.DataFrame) -> pd.DataFrame:
    (sensor,) = (column for column in table if column.startswith("aisle1_1_c@"))
    return table.assign(**{sensor: np.nan})


def _set(column: str, row: int, value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


FAULTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    r"'power_h2_w' is missing \(NaN\) in 1 of 96 rows, first at": _set("power_h2_w", 5, np.nan),
    "'speed_fan_1' is 1.4 at .*; allowed: 0 to 1": _set("speed_fan_1", 5, 1.4),
    "'temp_amb_c' is 300 degC": _set("temp_amb_c", 5, 300.0),
    r"sensor 'aisle1_1_c@1\.00\d,0\.58\d' misses 100 %": _silent,
    "time goes back at row 1": lambda t: t.iloc[::-1].reset_index(drop=True),
    "time stands still .a duplicate. at row 4": lambda t: pd.concat([t[:4], t[3:]]).reset_index(drop=True),
    "time steps by another time than 300 s at row 4": lambda t: t.drop(index=4).reset_index(drop=True),
    r"sensor 'far_c@99,1' hangs at \(99, 1\) m; allowed: inside the room": lambda t: t.assign(**{"far_c@99,1": 20.0}),
    "unknown column 'speed_fam_1'.*Did you mean 'speed_fan_1'": lambda t: t.assign(speed_fam_1=1.0),
    "the column 'speed_fan_2' is missing": lambda t: t.drop(columns="speed_fan_2"),
    "'temp_amb_c' is of type": lambda t: t.assign(temp_amb_c="warm"),
    "'time' is of type": lambda t: t.assign(time=range(len(t))),
    "there is no sensor": lambda t: t[[c for c in t if "_c@" not in c]],
    "sensor name 'aisle1_1' is used twice": lambda t: t.assign(**{"aisle1_1_c@2,1": 20.0}),
    "a step is 3600 s": lambda t: t.assign(time=pd.date_range("2024-01-01", periods=len(t), freq="h")),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_named(record: RoomTelemetry, table: pd.DataFrame, message: str) -> None:
    broken = FAULTS[message](table.copy())
    before = broken.copy()
    with pytest.raises(TelemetryError, match=message):
        telemetry_of(broken, record.plan)
    pd.testing.assert_frame_equal(broken, before)


def test_what_is_no_parquet_file_is_told(record: RoomTelemetry, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("time,speed\n")
    with pytest.raises(DataFileError, match=r"t\.parquet"):
        read_telemetry(tmp_path / "t.parquet", record.plan)
    with pytest.raises(DataFileError, match="none"):
        read_telemetry(tmp_path / "none.parquet", record.plan)
