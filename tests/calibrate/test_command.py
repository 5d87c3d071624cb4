"""``minesim calibrate`` from a file to a table, numbers and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.fields.hidden import RoomKey, hidden_room
from minesim.calibrate.telemetry_file import table_of
from minesim.cli import app


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = hidden_room(RoomKey("hydro_row", "hard", 3), train=60, forecast=0)
    path = tmp_path_factory.mktemp("telemetry") / "t.parquet"
    table_of(room.record.telemetry).to_parquet(path)
    return path


def test_the_command_tells_writes_and_draws(telemetry: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "result.json", tmp_path / "calib.png"
    asked = ["calibrate", str(telemetry), "--layout", "hydro_row", "--no-fine", "--sensors", "2"]
    asked += ["--out", str(out), "--plot", str(plot)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "Not determined" in result.output
    numbers = json.loads(out.read_text())
    assert numbers["rms_after_k"] < 0.5 * numbers["rms_before_k"]
    assert {"kind", "found", "low", "high", "determined"} <= set(numbers["unknowns"][0])
    assert len(numbers["next_sensors"]) == result.output.count("Next sensor: x =") == 2
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_errors_are_told_in_a_line(telemetry: Path, tmp_path: Path) -> None:
    other = CliRunner().invoke(app, ["calibrate", str(telemetry), "--layout", "container_40ft"])
    assert other.exit_code == 1
    assert "unknown column 'speed_h1'" in other.output
    wrong = CliRunner().invoke(app, ["calibrate", str(telemetry), "--layout", "hydro_row", "--plot", "x.txt"])
    assert "allowed: .png, .svg, .pdf" in wrong.output
