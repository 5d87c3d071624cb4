"""The list of packaged traces is true: files, columns, licences, and what a wheel may carry."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import minesim
from minesim.data import load_btc, load_power, registry, trace_file
from minesim.data.registry import TRACES_DIR, require
from minesim.errors import DataFileError

registry_module = importlib.import_module("minesim.data.registry")
ROOT = Path(minesim.__file__).parent.parent
OPEN_LICENCES = {"CC-BY-4.0", "CC0-1.0", "facts", "public-domain"}


def wheel_excludes() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"])


def is_in_wheel(path: Path) -> bool:
    inside = path.relative_to(ROOT).as_posix()
    return not any(inside.startswith(f"{rule}/") or fnmatch.fnmatch(inside, rule) for rule in wheel_excludes())


@pytest.mark.parametrize("row", registry(), ids=lambda row: row.name)
def test_row_describes_its_file(row):
    frame = pd.read_csv(row.path) if row.path.suffix == ".csv" else pd.read_parquet(row.path)
    assert tuple(frame.columns) == row.columns
    assert len(frame) > 100
    assert row.origin
    assert row.commit
    assert row.terms


@pytest.mark.parametrize("row", registry(), ids=lambda row: row.name)
def test_wheel_carries_open_licences_only(row):
    assert row.in_wheel == (row.licence in OPEN_LICENCES)
    assert is_in_wheel(row.path) == row.in_wheel


def test_every_trace_file_is_registered():
    known = {row.path for row in registry()}
    found = {path for path in TRACES_DIR.rglob("*") if path.suffix in {".parquet", ".csv"}}
    assert found - known == {TRACES_DIR / "SOURCES.csv"}


def test_nothing_restricted_is_in_the_wheel():
    carried = [path for path in TRACES_DIR.rglob("*") if path.is_file() and is_in_wheel(path)]
    assert carried
    for path in carried:
        assert not {"nc", "unverified", "unclear", "gpl"} & set(path.relative_to(TRACES_DIR).parts)


@pytest.mark.parametrize("folder", ["nc", "unverified", "."])
def test_each_folder_states_its_terms(folder):
    texts = list((TRACES_DIR / folder).glob("*.txt"))
    assert texts
    assert "commit" in texts[0].read_text(encoding="utf-8")


def test_copied_files_are_unchanged():
    digest = hashlib.sha256(trace_file("btc_daily").path.read_bytes()).hexdigest()
    assert digest == "7cef474ef45ccfa7b3cfd9c9d22656b14fbedd1d50d3bc4661f2027750e583e5"


def test_unknown_trace_names_the_nearest():
    with pytest.raises(DataFileError, match="power_ercot"):
        trace_file("power_ercott")
    with pytest.raises(DataFileError, match="ontario"):
        load_power("ontaro")


def test_absent_file_says_where_it_lives_and_what_works_without(tmp_path, monkeypatch):
    monkeypatch.setattr(registry_module, "TRACES_DIR", tmp_path)
    with pytest.raises(DataFileError) as caught:
        require("btc_daily")
    message = str(caught.value)
    assert "repository checkout" in message
    assert "no commercial use" in message
    assert "generated" in message
    with pytest.raises(DataFileError, match="not verified"):
        load_power("ercot")
    with pytest.raises(DataFileError, match="CC-BY-NC"):
        load_btc()
    with pytest.raises(DataFileError, match="Reinstall"):
        require("weather_dallas_tx")


def test_broken_parquet_is_a_clear_error(tmp_path, monkeypatch):
    broken = tmp_path / "nc" / "btc_daily.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"this is no parquet")
    monkeypatch.setattr(registry_module, "TRACES_DIR", tmp_path)
    with pytest.raises(DataFileError, match="cannot read"):
        load_btc()
