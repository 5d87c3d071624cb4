"""Scorecards, cells and files: round trips, resuming, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from minesim.bench import scorecard as cards
from minesim.bench.cells import CellStore
from minesim.bench.files import array_hash, content_hash, source_hash, write_text, write_whole
from minesim.bench.metrics import METRICS
from minesim.errors import DataFileError, ParamsError

Cells = dict[tuple[str, str], xr.Dataset]


def test_dimensions_and_values(cells: Cells) -> None:
    card = cards.scorecard(cells)
    assert dict(card.sizes) == {"agent": 3, "scenario": 2, "week": 8, "seed": 2}
    assert set(card.data_vars) == {metric.name for metric in METRICS}
    mine = cards.values(card, "threshold", "north")
    assert mine[:, 1] == pytest.approx(cells["threshold", "north"]["profit_usd"].to_numpy()[1::2])
    assert card["week_start"].sel(scenario="north").to_numpy()[1] == np.datetime64("2023-07-08")
    assert card["profit_usd"].attrs["units"] == "USD"


def test_round_trip_through_netcdf_and_json(cells: Cells, tmp_path: Path) -> None:
    card = cards.scorecard(cells, attrs={"site": "test", "limits": "seed"})
    nc, js = cards.save(card, tmp_path / "new folder", "always_stock")
    xr.testing.assert_identical(cards.load(nc), card)
    record = json.loads(js.read_text())
    against = record["scenarios"]["north"]["against"]["always_stock"]["threshold"]
    assert against["estimate"] == pytest.approx(
        float((cells["threshold", "north"]["profit_usd"] - cells["always_stock", "north"]["profit_usd"]).mean())
    )
    assert record["scenarios"]["north"]["best_in_hindsight"] == "threshold"
    assert record["attributes"]["site"] == "test"
    assert record["metrics"]["efficiency_j_per_th"]["formula"] == "energy at the meter / hashes"
    assert sorted(path.name for path in (tmp_path / "new folder").iterdir()) == ["scorecard.json", "scorecard.nc"]


def test_comparisons_are_paired_and_corrected(cells: Cells) -> None:
    card = cards.scorecard(cells)
    north = {item.agent: item for item in cards.comparisons(card, "north", "always_stock")}
    assert north["threshold"].difference.low > 300.0
    assert north["threshold"].p_adjusted < 0.05
    assert north["same"].difference.estimate == 0.0
    assert cards.best_agent(card, "south") in ("always_stock", "same")


def test_what_cannot_be_compared_is_refused(cells: Cells, make_cell: Callable[..., xr.Dataset]) -> None:
    with pytest.raises(ParamsError, match="no finished cells"):
        cards.scorecard({})
    with pytest.raises(ParamsError, match="agent 'same' has no result on scenario 'south'"):
        cards.scorecard({key: cell for key, cell in cells.items() if key != ("same", "south")})
    with pytest.raises(ParamsError, match="'same' on 'north' was run with other values of seed"):
        cards.scorecard({**cells, ("same", "north"): make_cell(np.zeros(8), (0, 2))})
    with pytest.raises(ParamsError, match="every week with every seed, once"):
        cards.scorecard({("a", "b"): make_cell(np.zeros(3), (0, 1)).isel(run=slice(0, 5))})
    with pytest.raises(ParamsError, match="Did you mean 'profit_usd'"):
        cards.values(cards.scorecard(cells), "same", "north", "profit_us")


def test_a_foreign_file_is_no_scorecard(tmp_path: Path, cells: Cells) -> None:
    store = CellStore(tmp_path)
    store.save({"a": 1}, cells["same", "north"])
    with pytest.raises(DataFileError, match="is not a scorecard"):
        cards.load(store.path({"a": 1}))
    with pytest.raises(DataFileError, match="there is no file"):
        cards.load(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("not netcdf")
    with pytest.raises(DataFileError, match=r"text\.nc is not a readable NetCDF file"):
        cards.load(tmp_path / "text.nc")


def test_a_cell_is_computed_once_and_found_again(tmp_path: Path, cells: Cells) -> None:
    store, calls = CellStore(tmp_path / "cells"), []

    def compute() -> xr.Dataset:
        calls.append(1)
        return cells["threshold", "north"]

    spec = {"agent": "threshold", "weeks": np.arange(3), "params": {"factor": 1.0}}
    first, was_there = store.get(spec, compute)
    again, was_there_now = store.get({"params": {"factor": 1.0}, "weeks": [0, 1, 2], "agent": "threshold"}, compute)
    assert (was_there, was_there_now, len(calls)) == (False, True, 1)
    xr.testing.assert_equal(first, again)
    store.get({**spec, "params": {"factor": 1.1}}, compute)
    assert len(calls) == 2
    assert len(list((tmp_path / "cells").iterdir())) == 2


def test_a_damaged_or_foreign_cell_is_computed_again(tmp_path: Path, cells: Cells) -> None:
    store, spec = CellStore(tmp_path), {"agent": "a"}
    store.save(spec, cells["same", "north"])
    store.path(spec).write_bytes(store.path(spec).read_bytes()[:1000])
    assert store.load(spec) is None
    other = {"agent": "b"}
    store.save(other, cells["same", "north"])
    store.path(other).rename(store.path(spec))
    assert store.load(spec) is None
    cell, was_there = store.get(spec, lambda: cells["same", "south"])
    assert not was_there
    assert store.load(spec) is not None
    xr.testing.assert_equal(cell, cells["same", "south"])


def test_an_interrupted_cell_leaves_nothing(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells")

    def stopped() -> xr.Dataset:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get({"agent": "a"}, stopped)
    assert not (tmp_path / "cells").exists()

    def torn(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    write_text(tmp_path / "kept.txt", "old")
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "kept.txt", torn)
    assert (tmp_path / "kept.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_hashes_see_content_and_not_order(tmp_path: Path) -> None:
    assert content_hash({"a": 1, "b": [1.5, None]}) == content_hash({"b": (1.5, float("nan")), "a": np.int64(1)})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
    assert array_hash(np.zeros(4)) != array_hash(np.zeros((2, 2)))
    (tmp_path / "a.py").write_text("x = 1")
    before = source_hash(tmp_path)
    (tmp_path / "notes.txt").write_text("no source")
    assert source_hash(tmp_path) == before
    (tmp_path / "a.py").write_text("x = 2")
    assert source_hash(tmp_path) != before
