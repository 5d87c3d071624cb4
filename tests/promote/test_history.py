"""Which bundle is current: promoted, rolled back, interrupted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minesim.control.trust import BundleError
from minesim.errors import DataFileError
from minesim.promote.history import HISTORY, PROMOTED, ROLLED_BACK, current, events, make_current, rollback, versions
from tests.promote.small import DAY_S, NOW_S, TRUSTED, read, rule_bundle


def store_of(tmp_path: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        rule_bundle(tmp_path, version=name)
        make_current(tmp_path, name, PROMOTED, NOW_S + number)
    return tmp_path


def test_going_back_step_by_step(tmp_path: Path) -> None:
    store = store_of(tmp_path, "v1", "v2", "v3")
    assert current(store) == "v3"
    assert rollback(store, "", TRUSTED, NOW_S + 10, "hashrate fell").version == "v2"
    assert rollback(store, "", TRUSTED, NOW_S + 11).version == "v1"
    with pytest.raises(BundleError, match="no bundle was current before"):
        rollback(store, "", TRUSTED, NOW_S + 12)
    assert rollback(store, "v3", TRUSTED, NOW_S + 13).before == "v1"
    assert read(store / "current").manifest.version == "v3"
    told = [(item.event, item.before, item.version) for item in events(store)]
    assert told == [
        (PROMOTED, "", "v1"),
        (PROMOTED, "v1", "v2"),
        (PROMOTED, "v2", "v3"),
        (ROLLED_BACK, "v3", "v2"),
        (ROLLED_BACK, "v2", "v1"),
        (ROLLED_BACK, "v1", "v3"),
    ]
    assert events(store)[3].reason == "hashrate fell"


def test_history_only_grows(tmp_path: Path) -> None:
    store = store_of(tmp_path, "v1", "v2")
    before = (store / HISTORY).read_bytes()
    rollback(store, "v1", TRUSTED, NOW_S)
    assert (store / HISTORY).read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("version", "message"),
    [("v2", "current bundle already"), ("v7", "no bundle 'v7'"), ("../v1", "no bundle"), ("current", "no bundle")],
)
def test_where_there_is_nothing_to_go_back_to(tmp_path: Path, version: str, message: str) -> None:
    store = store_of(tmp_path, "v1", "v2")
    before = (store / HISTORY).read_bytes()
    with pytest.raises((BundleError, DataFileError), match=message):
        rollback(store, version, TRUSTED, NOW_S)
    assert (current(store), (store / HISTORY).read_bytes()) == ("v2", before)


def test_what_a_bridge_would_refuse_does_not_become_current(tmp_path: Path) -> None:
    store = store_of(tmp_path, "v1", "v2")
    with pytest.raises(BundleError, match="expired"):
        rollback(store, "v1", TRUSTED, NOW_S + DAY_S)
    with pytest.raises(BundleError, match="not trusted"):
        rollback(store, "v1", {}, NOW_S)
    (store / "v1" / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match="does not fit"):
        rollback(store, "v1", TRUSTED, NOW_S)
    assert current(store) == "v2"


def test_a_version_is_written_once(tmp_path: Path) -> None:
    folder = rule_bundle(tmp_path, version="v1")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(DataFileError, match="cannot be written"):
        rule_bundle(tmp_path, version="v1", agent="other")
    assert (folder / "manifest.json").read_bytes() == before
    assert versions(tmp_path) == os.listdir(tmp_path) == ["v1"]


def test_a_stop_between_record_and_link_leaves_the_old_bundle_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, "v1")
    rule_bundle(store, version="v2")
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DataFileError, match="No space left"):
            make_current(store, "v2", PROMOTED, NOW_S)
    assert read(store / "current").manifest.version == "v1"
    make_current(store, "v2", PROMOTED, NOW_S)
    assert read(store / "current").manifest.version == "v2"
    assert sorted(os.listdir(store)) == ["current", HISTORY, "v1", "v2"]


def test_a_damaged_line_is_told_with_its_number(tmp_path: Path) -> None:
    store = store_of(tmp_path, "v1")
    with (store / HISTORY).open("a") as file:
        file.write('{"at": "20')
    with pytest.raises(DataFileError, match="line 2"):
        events(store)
