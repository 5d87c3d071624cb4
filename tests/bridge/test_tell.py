"""What happens with the snapshot of each cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from minesim.bridge.telling.notify import Notifier
from minesim.bridge.telling.snapshot import read_snapshot
from minesim.bridge.telling.tell import Teller
from tests.bridge.snapshots import NOW_S, a_site, miner
from tests.bridge.test_notify import FakeClock, Memory


async def test_a_snapshot_reaches_file_people_and_systemd(tmp_path: Path) -> None:
    told: list[tuple[str, ...]] = []
    channel = Memory()
    async with Notifier("north", [channel], FakeClock()) as notifier:
        teller = Teller(tmp_path / "snapshot.json", notifier, lambda *states: bool(told.append(states)))
        teller(a_site(miner("a")))
        teller(a_site(miner("a", temp_chip_c=90.0), at_s=NOW_S + 10.0))
        await notifier.drain()
    assert read_snapshot(tmp_path / "snapshot.json").miners[0].temp_chip_c == 90.0
    assert [message.kind for message in channel.got] == ["MinerChipHot"]
    assert [alert.miner for alert in teller.alerts] == ["a"]
    assert told == [
        ("READY=1", "STATUS=auto, 1 miners, 0 alerts"),
        ("WATCHDOG=1", "STATUS=auto, 1 miners, 1 alerts"),
    ]


def test_a_full_disk_is_told_once_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "state"
    told: list[tuple[str, ...]] = []
    teller = Teller(folder / "snapshot.json", None, lambda *states: bool(told.append(states)))
    for _ in range(3):
        teller(a_site(miner("a")))
    folder.mkdir()
    for _ in range(2):
        teller(a_site(miner("a")))
    assert [record.getMessage()[:25] for record in caplog.records] == [
        "cannot write the snapshot",
        "the snapshot is written a",
    ]
    assert len(told) == 5
