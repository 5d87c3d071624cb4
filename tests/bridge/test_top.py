"""The terminal dashboard, rendered to text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from minesim.bridge.telling.snapshot import (
    ActionView,
    FeedView,
    MinerView,
    PolicyView,
    Snapshot,
    read_snapshot,
    write_snapshot,
)
from minesim.bridge.telling.top import Screen, trouble, watch
from minesim.errors import DataFileError
from tests.bridge.snapshots import NOW_S, a_site, miner


def drawn(snapshot: Snapshot, now_s: float = NOW_S + 5.0, width: int = 150, height: int = 45) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, record=True)
    console.print(Screen(snapshot, now_s))
    return console.export_text().rstrip("\n").split("\n")


def line_with(lines: list[str], word: str) -> str:
    return next(line for line in lines if word in line)


def test_a_site_at_a_glance() -> None:
    site = a_site(
        miner("10.0.0.1", temp_chip_c=88.0, holds=("hard_temp",), state="shutting-down", commanded_power_w=0.0),
        miner("10.0.0.2", group="hall 2", throttle=None, wave="holdback"),
        power_w=2.9e6,
        cap_w=3.0e6,
        rollout="30 %",
        policy=PolicyView("threshold", "v3", NOW_S + 40 * 86400.0),
        feeds=(FeedView("price", 120.0, 3600.0, "live"), FeedView("weather", None, 3600.0, "none")),
        actions=(
            ActionView("10.0.0.1", "stop", "pending", NOW_S - 20.0, "chip above 85 C"),
            ActionView("10.0.0.2", "preset 3000 -> 2400", "awaiting approval", NOW_S - 600.0, "price above threshold"),
            ActionView("10.0.0.3", "preset 2400 -> 3000", "blocked", NOW_S - 7200.0, "the site may not rise faster"),
        ),
        messages=("m-old", "m-new"),
    )
    lines = drawn(site)
    text = "\n".join(lines)
    for word in ("north", "AUTO", "policy threshold v3", "expires in 40 d", "rollout 30 %"):
        assert word in lines[1]
    assert "2,900.0 kW" in text
    assert "97%" in line_with(lines, "cap 3,000 kW")
    assert "1 of 2" in line_with(lines, "hashing  ")
    for word in ("88", "hard_temp", "shutting-down"):
        assert word in line_with(lines, "10.0.0.1 ")
    assert "chip above 85 C" in line_with(lines, "stop  ")
    assert "price above threshold" in line_with(lines, "awaiting approval")
    assert "2 h" in line_with(lines, "blocked")
    assert "never" in line_with(lines, "weather")
    assert text.index("awaiting approval") < text.index("blocked") < text.index("pending")
    assert text.index("m-new") < text.index("m-old")


def test_a_thousand_miners_fit_worst_first_and_fast() -> None:
    miners = [miner(f"m{index:04}", group=f"hall {index % 40:02}") for index in range(1000)]
    miners[777] = replace(miners[777], temp_chip_c=91.0)
    miners[3] = replace(miners[3], age_s=300.0)
    miners[4] = replace(miners[4], state="failure")
    started = time.perf_counter()
    lines = drawn(a_site(*miners))
    assert time.perf_counter() - started < 3.0
    assert len(lines) == 45
    text = "\n".join(lines)
    assert text.index("m0777") < text.index("m0003") < text.index("m0004")
    assert "and 9" in text
    assert text.index("hall 17") < text.index("hall 03") < text.index("hall 04")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 60), (150, 30), (220, 70)])
def test_fits_the_terminal(width: int, height: int) -> None:
    lines = drawn(a_site(*(miner(f"m{index}", temp_chip_c=86.0) for index in range(50))), width=width, height=height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "86" in line_with(lines, "m0 ")


def test_an_old_snapshot_is_seen_to_be_old_first() -> None:
    lines = drawn(a_site(miner("a")), now_s=NOW_S + 400.0, width=60, height=24)
    assert "NO CYCLE FOR 6 min" in lines[1]
    assert "NO CYCLE" not in "\n".join(drawn(a_site(miner("a")), now_s=NOW_S + 30.0))


def test_paused_expired_and_over_the_cap() -> None:
    site = a_site(miner("a"), paused=True, policy=PolicyView("x", "1", NOW_S - 1.0), power_w=2.0e3, cap_w=1.0e3)
    text = "\n".join(drawn(site))
    assert "PAUSED" in text
    assert "(expired)" in text
    assert "200% OVER CAP" in text
    assert "no policy" in "\n".join(drawn(a_site(miner("a"))))


def test_names_are_text_and_not_markup() -> None:
    site = a_site(miner("a", group="[red]hall[/]"), messages=("[bold]x[/bold] [/nothing]",))
    text = "\n".join(drawn(site))
    assert "[red]hall[/]" in text
    assert "[bold]x[/bold] [/nothing]" in text


def test_an_empty_site() -> None:
    text = "\n".join(drawn(a_site()))
    assert "no miners in the inventory" in text
    assert "nothing pending, nothing blocked" in text


MAYBE = st.none() | st.floats(0, 1e5)
MINERS = st.builds(
    MinerView,
    name=st.text(max_size=20),
    model=st.text(max_size=5),
    group=st.text(max_size=5),
    state=st.sampled_from(["mining", "failure", "unknown", "stopped", ""]),
    age_s=MAYBE,
    hashrate_ths=MAYBE,
    power_w=MAYBE,
    temp_chip_c=MAYBE,
    temp_board_c=MAYBE,
    throttle=MAYBE,
    commanded_power_w=MAYBE,
    holds=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(MINERS, max_size=5), MAYBE, MAYBE, st.integers(40, 200), st.integers(10, 60))
def test_nothing_unknown_breaks_it(
    miners: list[MinerView], power_w: float | None, cap_w: float | None, width: int, height: int
) -> None:
    drawn(a_site(*miners, power_w=power_w, cap_w=cap_w), width=width, height=height)


def test_trouble_is_ordered() -> None:
    in_order = [
        miner("hot", temp_chip_c=86.0),
        miner("silent", age_s=None),
        miner("failed", state="failure"),
        miner("idle", state="stopped"),
        miner("warm", temp_chip_c=82.0),
        miner("held", holds=("ramp",)),
        miner("fine"),
    ]
    assert [trouble(one) > trouble(next_one) for one, next_one in pairwise(in_order)] == [True] * 6
    assert trouble(miner("parked", state="stopped", commanded_power_w=0.0)) < trouble(in_order[5])


# ------------------------------------------------------------------------------------------------------------- watch


def stop_after(frames: int) -> Callable[[float], None]:
    left = [frames]

    def sleep(seconds: float) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return sleep


def test_watch_waits_for_a_snapshot_and_ends_on_interrupt(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    console = Console(file=StringIO(), width=150, height=45, force_terminal=True)
    watch(path, console=console, now_s=lambda: NOW_S, sleep=stop_after(2))
    assert "no snapshot to read" in console.file.getvalue()  # type: ignore[attr-defined]
    write_snapshot(a_site(miner("10.9.8.7")), path)
    watch(path, console=console, now_s=lambda: NOW_S, sleep=stop_after(1))
    assert "10.9.8.7" in console.file.getvalue()  # type: ignore[attr-defined]


def test_snapshots_survive_the_file_and_broken_ones_are_told(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    site = a_site(
        miner("a", temp_chip_c=None),
        feeds=(FeedView("price", None, 1.0, "none"),),
        actions=(ActionView("a", "stop", "pending", 1.0, "x"),),
        policy=PolicyView("p", "1"),
        messages=("x",),
    )
    write_snapshot(site, path)
    assert read_snapshot(path) == site
    assert list(tmp_path.iterdir()) == [path], "nothing half-written is left"
    path.write_text('{"at_s": 1.0}')
    with pytest.raises(DataFileError, match="not a snapshot: site: Field required"):
        read_snapshot(path)
    with pytest.raises(DataFileError, match="cannot write the snapshot"):
        write_snapshot(site, tmp_path / "none" / "snapshot.json")
