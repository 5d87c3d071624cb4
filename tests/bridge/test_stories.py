"""Bad days of a site, told as stories: a full disk, a jumping clock, a power cut, a lower cap, hands at miners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minesim.bridge.deciding.decide import Settings
from minesim.bridge.feeds import FeedError
from minesim.bridge.telling.snapshot import MinerView
from minesim.bridge.writing.journal import Desk
from minesim.control.envelope import limits
from minesim.emulator.faults import Fault, FaultKind
from minesim.scenario import Scenario, scenario
from tests.bridge.rehearsal import Rehearsal
from tests.bridge.test_loop import MODELS, START, Level

MINUTE = 1.0 / 60.0


@pytest.fixture(scope="module")
def world() -> Scenario:
    return scenario("generated/energy_only", start="2022-06-20", days=12, level="hard")


@pytest.fixture
def site(world: Scenario, tmp_path: Path) -> Iterator[Rehearsal]:
    made = rehearse(world, tmp_path)
    yield made
    made.end()


def rehearse(world: Scenario, folder: Path, **told: object) -> Rehearsal:
    return Rehearsal(world, MODELS, Level, folder / "journal.db", START, **told)  # type: ignore[arg-type]


def ask(site: Rehearsal, level: float) -> None:
    site.decider.policy.level = level  # type: ignore[attr-defined]


def levels(site: Rehearsal) -> np.ndarray:
    """Power that each miner draws, as a share of its rated power."""
    twin = site.emulator.twin
    return np.asarray(twin.telemetry.power_w / twin.params.curves.power_rated_w)


def view(site: Rehearsal, index: int) -> MinerView:
    return next(one for one in site.snapshots[-1].miners if one.name == site.members[index].address)


def received(site: Rehearsal, index: int, what: str) -> int:
    return site.emulator.miners[index].writes[what]


def release(site: Rehearsal, index: int) -> None:
    with Desk.open(site.journal_path) as desk:
        desk.resume(site.members[index].address, actor="ops", reason="done", at_s=site.clock.now_s())


async def test_on_a_full_disk_only_what_is_journaled_is_sent_until_there_is_room_again(site: Rehearsal) -> None:
    await site.bridge.start()
    await site.run(0.3)
    connection = site.journal._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    stuck = 0
    for level in (0.3, 0.8, 0.4, 0.7, 0.3):
        ask(site, level)
        await site.run(0.2)
        stuck += any("The journal failed" in said and "full" in said for said in site.snapshots[-1].messages[-1:])
        assert {one.name for one in site.snapshots[-1].miners} == {member.address for member in site.members}
        for miner, member in zip(site.emulator.miners, site.members, strict=True):
            assert miner.writes.total() == len(site.journal.intents(member.address))
    assert stuck >= 3, "what is free within the file's pages is used up first"
    connection.execute("PRAGMA max_page_count = 1000000")
    ask(site, 0.3)
    await site.run(0.5)
    assert np.allclose(levels(site), 0.3, atol=0.08)


@pytest.mark.parametrize("jump_s", [-7200.0, 90.0])
async def test_a_clock_that_jumps_and_comes_back_moves_nothing_too_fast(site: Rehearsal, jump_s: float) -> None:
    await site.bridge.start()
    ask(site, 0.3)
    await site.run(0.6)
    rated_w = float(site.emulator.twin.params.curves.power_rated_w.max())
    ask(site, 1.0)
    commanded_w = [site.commanded_w()]
    for minute in range(150):
        if minute == 12:
            site.clock.jump_s = jump_s
        if minute == 40:
            site.clock.jump_s = 0.0
        await site.run(MINUTE)
        commanded_w.append(site.commanded_w())
    # One miner of four is more than the ramp allows, so they rise one at a time, five minutes apart.
    rises_w = [after - before for before, after in zip(commanded_w, commanded_w[5:], strict=False)]
    assert max(rises_w) < 0.75 * rated_w
    assert np.allclose(levels(site), 1.0, atol=0.08)
    assert not site.journal.open_intents()


async def test_after_a_feed_outage_the_site_comes_back_from_its_fallback(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, settings=Settings(limits=limits("bridge"), cap_w=1e9, fallback_after_s=900.0))
    await site.bridge.start()
    await site.run(0.3)
    fetches = [feed.fetch for feed in site.decider.book.feeds]

    async def silent(now_s: float) -> list[object]:
        raise FeedError("no answer.")

    for feed in site.decider.book.feeds:
        feed.fetch = silent  # type: ignore[method-assign]
    site.decider.book._values["coin_price_usd"].clear()
    await site.run(0.7)
    lowest = [miner.model.presets[0].name for miner in site.emulator.miners]
    assert [miner.configured_preset() for miner in site.emulator.miners] == lowest
    for feed, fetch in zip(site.decider.book.feeds, fetches, strict=True):
        feed.fetch = fetch  # type: ignore[method-assign]
    await site.run(1.0)
    assert np.allclose(levels(site), 0.7, atol=0.08)
    assert not any("coin_price_usd" in message for message in site.snapshots[-1].messages[-1:])


async def test_a_preset_set_by_hand_while_the_fleet_rises_stays_and_the_others_go_on(site: Rehearsal) -> None:
    await site.bridge.start()
    ask(site, 0.3)
    await site.run(0.6)
    ask(site, 1.0)
    for _ in range(30):
        await site.run(MINUTE)
        low = [index for index, level in enumerate(levels(site)) if level < 0.5]
        if len(low) <= len(MODELS) - 2:
            break
    assert low, "the rise is under way"
    miner = site.emulator.miners[low[-1]]
    chosen = miner.model.presets[2].name
    miner.write_settings({"miner": {"overclock": {"preset": chosen}}})
    before = received(site, low[-1], "POST /settings")
    await site.run(1.2)
    assert miner.configured_preset() == chosen
    assert received(site, low[-1], "POST /settings") == before
    assert "by_hand" in view(site, low[-1]).holds
    others = [index for index in range(len(MODELS)) if index != low[-1]]
    assert np.allclose(levels(site)[others], 1.0, atol=0.08)
    release(site, low[-1])
    await site.run(0.5)
    assert np.allclose(levels(site), 1.0, atol=0.08)


async def test_a_board_that_drops_out_is_no_reason_to_write_again_and_again(site: Rehearsal) -> None:
    await site.bridge.start()
    await site.run(0.5)
    before = [miner.writes.total() for miner in site.emulator.miners]
    site.emulator.inject(Fault(0, FaultKind.BOARD_LOST, site.emulator.elapsed_s, 3600.0, 1.0))
    await site.run(0.5)
    hashrate = view(site, 0).hashrate_ths
    assert hashrate is not None
    assert hashrate < 0.8 * (view(site, 1).hashrate_ths or 0.0)
    assert [miner.writes.total() for miner in site.emulator.miners] == before
    ask(site, 0.4)
    await site.run(0.3)
    commanded = site.emulator.twin.params.curves.power_rated_w.sum() * 0.4
    assert site.commanded_w() == pytest.approx(commanded, rel=0.1), "what is left of it is steered on"


async def test_a_fleet_without_throttle_is_steered_by_presets_alone(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, firmware="1.2.6")
    await site.bridge.start()
    for level in (0.4, 1.0):
        ask(site, level)
        await site.run(1.2)
        assert np.allclose(levels(site), level, atol=0.15), level
    asked = {what for miner in site.emulator.miners for what in miner.writes}
    assert asked == {"POST /settings"}


async def test_a_lower_cap_brings_a_running_site_down_and_a_higher_one_lets_it_rise(site: Rehearsal) -> None:
    await site.bridge.start()
    ask(site, 1.0)
    await site.run(1.2)
    full_w = float(site.emulator.twin.telemetry.power_site_w)

    def set_cap(cap_w: float) -> None:
        site.settings = replace(site.settings, cap_w=cap_w)
        site.decider.settings = site.settings

    set_cap(0.6 * full_w)
    await site.run(5 * MINUTE)
    above = []
    await site.run(1.0, lambda: above.append(float(site.emulator.twin.telemetry.power_site_w) > 0.6 * full_w))
    assert not any(above)
    assert site.commanded_w() > 0.45 * full_w, "the cap is used"
    assert site.snapshots[-1].cap_w == 0.6 * full_w
    set_cap(1e9)
    await site.run(2.0)
    assert np.allclose(levels(site), 1.0, atol=0.08)


async def test_after_a_power_cut_all_are_again_what_they_were_told_to_be(site: Rehearsal) -> None:
    await site.bridge.start()
    ask(site, 0.0)
    await site.run(0.3)
    assert (site.emulator.twin.telemetry.power_w < 200.0).all()
    stopped = [received(site, index, "POST /mining/stop") for index in range(len(MODELS))]
    assert stopped == [1] * len(MODELS)
    used = [site.decider.memory.miners[member.address].stops_today for member in site.members]
    for miner in site.emulator.miners:
        miner.reboot()
    await site.run(0.3)
    assert (site.emulator.twin.telemetry.power_w < 200.0).all(), "they came back mining and were stopped again"
    again = [received(site, index, "POST /mining/stop") for index in range(len(MODELS))]
    counted = [site.decider.memory.miners[member.address].stops_today for member in site.members]
    assert [now - before for now, before in zip(counted, used, strict=True)] == [
        float(now - before) for now, before in zip(again, stopped, strict=True)
    ], "a stop is a stop, also for a command that stood"
    ask(site, 0.7)
    await site.run(1.2)
    assert np.allclose(levels(site), 0.7, atol=0.08)


async def test_a_miner_without_a_net_of_its_own_is_left_alone_until_it_has_one(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    miner = site.emulator.miners[0]
    miner.settings["miner"]["overclock"]["preset_switcher"]["enabled"] = False
    misc = miner.settings["miner"]["misc"]
    misc["restart_temp"], good = 120, misc["restart_temp"]
    await site.bridge.start()
    await site.run(0.6)
    assert not miner.writes
    assert any("no net of its own" in message for message in site.snapshots[-1].messages)
    assert np.allclose(levels(site)[1:], 0.7, atol=0.08)
    misc["restart_temp"] = good
    release(site, 0)
    await site.run(0.6)
    assert np.allclose(levels(site), 0.7, atol=0.08)


async def test_a_paused_miner_keeps_what_it_does_and_takes_no_room_from_the_others(site: Rehearsal) -> None:
    await site.bridge.start()
    ask(site, 0.3)
    await site.run(0.6)
    address = site.members[0].address
    with Desk.open(site.journal_path) as desk:
        desk.pause(address, actor="ops", reason="works on it", at_s=site.clock.now_s())
    before, target = received(site, 0, "POST /settings"), site.decider.memory.miners[address].target
    ask(site, 1.0)
    await site.run(1.0)
    assert received(site, 0, "POST /settings") == before
    assert site.decider.memory.miners[address].target == target, "no rise is granted that cannot be sent"
    assert {"paused", "by_hand"} & set(view(site, 0).holds)
    assert np.allclose(levels(site)[1:], 1.0, atol=0.08)
    release(site, 0)
    await site.run(0.5)
    assert np.allclose(levels(site), 1.0, atol=0.08)
