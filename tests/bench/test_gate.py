"""The regression gate fails on a real loss and on nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from minesim.bench.gate import changes, read_baseline
from minesim.bench.scorecard import save, scorecard
from minesim.errors import DataFileError, ParamsError

WEEKS = 24
Cells = Callable[..., xr.Dataset]


def _card(make_cell: Cells, shift: float, seeds: tuple[int, ...] = (0,), weeks: int = WEEKS) -> xr.Dataset:
    base = 2000.0 + 300.0 * np.random.default_rng(0).standard_normal(weeks)
    noise = 20.0 * np.random.default_rng(1).standard_normal(weeks)
    cells = {("always_stock", "north"): make_cell(base, seeds), ("rule", "north"): make_cell(base + 90.0, seeds)}
    if shift:
        cells["rule", "north"] = make_cell(base + 90.0 + shift + noise, seeds)
    return scorecard(cells)


@pytest.fixture
def baseline(make_cell: Cells, tmp_path: Path) -> Path:
    return save(_card(make_cell, 0.0), tmp_path, "always_stock")[1]


def test_the_same_run_and_a_gain_pass(make_cell: Cells, baseline: Path) -> None:
    for shift in (0.0, 60.0):
        found = changes(_card(make_cell, shift), read_baseline(baseline))
        assert [(item.agent, item.regressed) for item in found] == [("always_stock", False), ("rule", False)]


def test_a_clear_loss_fails_and_noise_does_not(make_cell: Cells, baseline: Path) -> None:
    lost = changes(_card(make_cell, -60.0), read_baseline(baseline))
    assert [item.regressed for item in lost] == [False, True]
    assert lost[1].difference.estimate == pytest.approx(-60.0, abs=15.0)
    assert not any(item.regressed for item in changes(_card(make_cell, -1.0), read_baseline(baseline)))


def test_what_cannot_be_paired_is_refused(make_cell: Cells, baseline: Path) -> None:
    old = read_baseline(baseline)
    with pytest.raises(ParamsError, match="other weeks or seeds"):
        changes(_card(make_cell, 0.0, seeds=(0, 1)), old)
    with pytest.raises(ParamsError, match="other weeks or seeds"):
        changes(_card(make_cell, 0.0, weeks=WEEKS - 1), old)
    old["scenarios"] = {"south": old["scenarios"]["north"]}
    with pytest.raises(ParamsError, match="no agent and scenario in common"):
        changes(_card(make_cell, 0.0), old)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"scenarios": {"a": {"weekly": {"b": {}}}}}'])
def test_a_file_that_is_no_scorecard_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    with pytest.raises(DataFileError, match="there is no baseline"):
        read_baseline(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataFileError, match=r"baseline.json is not a scorecard"):
        read_baseline(path)


def test_the_file_is_what_a_scorecard_writes(baseline: Path) -> None:
    assert "weekly" in json.loads(baseline.read_text())["scenarios"]["north"]
