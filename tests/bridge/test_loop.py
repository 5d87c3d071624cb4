"""The bridge on emulated miners, told as stories: what it does in each mode, and when things go wrong around it."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import numpy as np
import pytest

from agents.baselines.base import Knowledge, Rule
from agents.baselines.threshold import Threshold, ThresholdParams
from minesim.arrays import Array, Namespace
from minesim.bridge.deciding.decide import Settings
from minesim.bridge.deciding.guard import Why
from minesim.bridge.loop import Mode
from minesim.bridge.writing.journal import WHOLE_SITE, Desk, Reader
from minesim.bridge.writing.journal_records import ApprovalState, IntentState
from minesim.control.actuate import FleetCurves
from minesim.control.envelope import limits
from minesim.emulator.faults import Fault, FaultKind
from minesim.scenario import Scenario, scenario
from tests.bridge.rehearsal import Rehearsal

MODELS = ("Antminer S19j Pro (104T)",) * 3 + ("Antminer S19 XP",)
START = "2022-06-26T05:00"
PRESET = "miner.overclock.preset"


class Level(Rule):
    """Asks for one level of all cohorts, which the test changes."""

    name = "level"

    def __init__(self, knowledge: Knowledge) -> None:
        super().__init__(knowledge)
        self.level = 0.7

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        return xp.zeros_like(self.knowledge.schema.read(observation, "level")) + self.level


@pytest.fixture(scope="module")
def world() -> Scenario:
    return scenario("generated/energy_only", start="2022-06-20", days=12, level="hard")


def rehearse(world: Scenario, folder: Path, mode: Mode = Mode.AUTO, **told: object) -> Rehearsal:
    policy = told.pop("policy", Level)
    return Rehearsal(world, MODELS, policy, folder / "journal.db", START, mode, **told)  # type: ignore[arg-type]


def presets(site: Rehearsal) -> list[str]:
    return [miner.configured_preset() for miner in site.emulator.miners]


def throttles(site: Rehearsal) -> list[float]:
    return np.round(site.emulator.twin.throttle, 2).tolist()


def untouched(site: Rehearsal) -> bool:
    """Nobody was stopped, throttled or put on another preset."""
    twin = site.emulator.twin
    return bool((twin.run == 1.0).all() and (twin.throttle == 1.0).all()) and not site.writes


async def test_shadow_watches_decides_and_writes_nothing(world: Scenario, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []
    site = rehearse(world, tmp_path, Mode.SHADOW)
    answer = site.emulator.answer

    def listening(index: int, request: object) -> object:
        asked.append((request.method, request.path))  # type: ignore[attr-defined]
        return answer(index, request)  # type: ignore[arg-type]

    site.emulator.answer = listening  # type: ignore[method-assign, assignment]
    await site.bridge.start()
    await site.run(1.0)
    assert untouched(site)
    assert {method for method, path in asked if path != "/api/v1/unlock"} == {"GET"}
    last = site.snapshots[-1]
    assert last.mode == "shadow"
    told = {action.miner: action for action in last.actions}
    assert set(told) == {member.address for member in site.members}
    assert all("Shadow mode writes nothing" in action.reason for action in told.values())
    assert all(action.what.startswith(("throttle", "preset")) for action in told.values())


async def test_auto_does_what_the_policy_asks_within_the_envelope(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.5)
    power_w = site.emulator.twin.telemetry.power_w
    rated_w = site.emulator.twin.params.curves.power_rated_w
    assert np.allclose(power_w / rated_w, 0.7, atol=0.08)
    done = site.journal.intents()
    assert {intent.state for intent in done} == {IntentState.DONE}
    kinds = [(intent.miner, type(intent.write)) for intent in done]
    assert len(set(kinds)) == len(kinds) >= len(MODELS), "at most one preset and one throttle for each miner"
    site.decider.policy.level = 1.0  # type: ignore[attr-defined]
    commanded_w = [site.commanded_w()]
    for _ in range(60):
        await site.run(1.0 / 60.0)
        commanded_w.append(site.commanded_w())
    assert np.allclose(site.emulator.twin.telemetry.power_w / rated_w, 1.0, atol=0.08)
    # A miner of four is more than 10 % of the site: one at a time may rise, alone in its five minutes.
    rises_w = [commanded_w[i + 5] - commanded_w[i] for i in range(len(commanded_w) - 5)]
    assert max(rises_w) < 0.45 * rated_w.max()


async def test_advise_asks_a_person_and_does_what_was_approved(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, Mode.ADVISE)
    await site.bridge.start()
    await site.run(0.1)
    assert untouched(site)
    waiting = site.journal.approvals(ApprovalState.PROPOSED)
    assert {approval.miner for approval in waiting} == {member.address for member in site.members}
    assert waiting[0].explanation["observation"]["level"]
    with Desk.open(site.journal_path) as desk:
        chosen, other = waiting[0], waiting[1]
        now_s = site.clock.now_s()
        desk.decide(chosen.id, approve=True, actor="ops", note="looks right", at_s=now_s)
        desk.decide(other.id, approve=False, actor="ops", note="not this one", at_s=now_s)
    await site.run(0.1)
    written = {intent.miner for intent in site.journal.intents()}
    assert written == {chosen.miner}
    # What nobody answers expires and is asked again, if it is still wanted.
    await site.run(0.5)
    assert site.journal.approvals(ApprovalState.EXPIRED)
    assert {intent.miner for intent in site.journal.intents()} == {chosen.miner}


async def test_a_new_process_goes_on_without_a_doubled_write(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.2)
    before = site.writes
    assert before >= len(MODELS)
    for _ in range(3):
        await site.restart()
        await site.run(0.1)
    assert site.writes == before
    assert site.bridge is not None
    decisions = [row.cycle for row in site.journal.outcomes()]
    assert sorted(set(decisions)) == list(range(1, max(decisions) + 1)), "cycles are counted on"


async def test_a_change_by_hand_is_left_alone_and_told(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.2)
    miner, address = site.emulator.miners[0], site.members[0].address
    lowest = miner.model.presets[0].name
    miner.write_settings({"miner": {"overclock": {"preset": lowest}}})
    site.decider.policy.level = 0.9  # type: ignore[attr-defined]
    await site.run(0.7)
    assert miner.configured_preset() == lowest
    view = next(view for view in site.snapshots[-1].miners if view.name == address)
    assert "by_hand" in view.holds
    assert any("Somebody changed the miner by hand" in action.reason for action in site.snapshots[-1].actions)
    with Desk.open(site.journal_path) as desk:
        desk.resume(address, actor="ops", reason="done", at_s=site.clock.now_s())
    await site.run(0.7)
    assert miner.configured_preset() != lowest


async def test_a_release_is_taken_once_also_when_the_clock_is_set_back(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.2)
    miner, address = site.emulator.miners[0], site.members[0].address
    with Desk.open(site.journal_path) as desk:
        desk.resume(address, actor="ops", reason="seen to", at_s=site.clock.now_s())
    await site.run(0.2)
    site.clock.jump_s = -3600.0
    site.decider.policy.level = 0.3  # type: ignore[attr-defined]
    await site.run(0.5)
    low = miner.settings["miner"]["overclock"]["preset_switcher"]["top_preset"]
    assert site.decider.memory.miners[address].ceiling is None, "the bridge's own ceiling is nobody's wish"
    site.decider.policy.level = 0.9  # type: ignore[attr-defined]
    await site.run(0.7)
    assert miner.settings["miner"]["overclock"]["preset_switcher"]["top_preset"] != low


async def test_after_a_clock_set_back_the_last_write_is_the_last_by_number(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    address = site.members[0].address
    site.decider.policy.level = 0.5  # type: ignore[attr-defined]
    await site.run(0.3)
    site.clock.jump_s = -3600.0
    site.decider.policy.level = 0.3  # type: ignore[attr-defined]
    await site.run(0.5)
    with Desk.open(site.journal_path) as desk:
        desk.pause(address, actor="ops", reason="a look", at_s=site.clock.now_s())
        desk.resume(address, actor="ops", reason="done", at_s=site.clock.now_s())
    site.decider.policy.level = 0.9  # type: ignore[attr-defined]
    await site.run(0.7)
    assert site.decider.memory.miners[address].ceiling is None, "the bridge's own ceiling is nobody's wish"
    assert site.decider.memory.miners[address].target.power_w > 0.8 * site.decider.fleet.top_w[0]


async def test_a_miner_that_may_not_be_written_to_is_looked_at_again(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    miner, address = site.emulator.miners[0], site.members[0].address
    stock = miner.configured_preset()
    miner.write_settings({"miner": {"overclock": {"preset": "disabled"}}})
    await site.bridge.start()
    await site.run(0.5)
    assert not site.journal.intents(address)
    assert any("manual mode" in message for message in site.snapshots[-1].messages)
    miner.write_settings({"miner": {"overclock": {"preset": stock}}})
    with Desk.open(site.journal_path) as desk:
        desk.resume(address, actor="ops", reason="done", at_s=site.clock.now_s())
    await site.run(0.3)
    assert site.journal.intents(address)


async def test_another_machine_at_an_address_is_left_alone_until_released(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.1)
    address, other = site.members[0].address, site.emulator.miners[0]
    written = len(site.journal.intents(address))
    # It is unplugged; what comes back at its address is another one.
    site.emulator.inject(Fault(0, FaultKind.UNREACHABLE, site.emulator.elapsed_s, 300.0))
    site.emulator.miners[0].identity = site.emulator.miners[0].identity.__class__(
        **{**vars(other.identity), "serial": "ANOTHER0001", "mac": "02:00:00:00:00:99"}
    )
    site.decider.policy.level = 0.9  # type: ignore[attr-defined]
    await site.run(0.6)
    assert len(site.journal.intents(address)) == written
    assert any("Another machine answers" in message for message in site.snapshots[-1].messages)
    with Desk.open(site.journal_path) as desk:
        desk.resume(address, actor="ops", reason="replaced", at_s=site.clock.now_s())
    await site.run(0.5)
    assert len(site.journal.intents(address)) > written
    with Reader.open(site.journal_path) as reader:
        assert any(entry.action == "forget" for entry in reader.audit(address))


async def test_without_feeds_it_holds_and_then_falls_back(world: Scenario, tmp_path: Path) -> None:
    settings = Settings(limits=limits("bridge"), cap_w=1e9, fallback_after_s=900.0)
    site = rehearse(world, tmp_path, settings=settings)
    await site.bridge.start()
    site.decider.policy.level = 0.9  # type: ignore[attr-defined]
    await site.run(0.2)
    for feed in site.decider.book.feeds:
        feed.fetch = _no_answer  # type: ignore[method-assign]
    # The last prices stand for a day, then nothing is known any more.
    site.clock.jump_s = 0.0
    rows = site.decider.book._values["coin_price_usd"]
    rows.clear()
    await site.run(0.2)
    assert any("coin_price_usd" in message for message in site.snapshots[-1].messages)
    held = throttles(site), presets(site)
    await site.run(0.05)
    assert (throttles(site), presets(site)) == held
    await site.run(0.4)
    lowest = [miner.model.presets[0].name for miner in site.emulator.miners]
    assert presets(site) == lowest
    assert {why for view in site.snapshots[-1].miners for why in view.holds} & {"fallback", "hold"}


async def _no_answer(now_s: float) -> list[object]:
    from minesim.bridge.feeds import FeedError

    raise FeedError("no answer.")


async def test_a_journal_that_cannot_be_written_stops_all_writes(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.05)
    before = site.writes
    site.journal._connection.execute("PRAGMA query_only = ON")
    site.decider.policy.level = 0.9  # type: ignore[attr-defined]
    state = throttles(site), presets(site)
    await site.run(0.3)
    assert (throttles(site), presets(site)) == state
    assert any("The journal failed" in message for message in site.snapshots[-1].messages)
    site.journal._connection.execute("PRAGMA query_only = OFF")
    await site.run(0.4)
    assert site.writes > before


async def test_a_lost_miner_keeps_its_neighbours_from_rising(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.2)
    now_s = site.emulator.elapsed_s
    site.emulator.inject(Fault(0, FaultKind.UNREACHABLE, now_s, 3600.0))
    await site.run(0.15)
    site.decider.policy.level = 1.0  # type: ignore[attr-defined]
    before_w = site.emulator.twin.telemetry.power_w.copy()
    await site.run(0.2)
    assert (site.emulator.twin.telemetry.power_w < before_w * 1.05).all()
    views = {view.name: view for view in site.snapshots[-1].miners}
    assert views[site.members[0].address].holds == ("unreachable",)
    assert "neighbour_unknown" in {why for view in views.values() for why in view.holds}


async def test_a_pause_of_the_site_stops_writes_and_a_hot_miner_is_stopped(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.1)
    with Desk.open(site.journal_path) as desk:
        desk.pause(WHOLE_SITE, actor="ops", reason="works on the feeder", at_s=site.clock.now_s())
    before = site.writes
    site.decider.policy.level = 0.9  # type: ignore[attr-defined]
    await site.run(0.3)
    assert site.writes == before
    assert site.snapshots[-1].paused
    with Desk.open(site.journal_path) as desk:
        desk.resume(WHOLE_SITE, actor="ops", reason="done", at_s=site.clock.now_s())
    now_s = site.emulator.elapsed_s
    site.emulator.inject(Fault(1, FaultKind.INTAKE_BLOCKED, now_s, 7200.0))
    hottest_c = 0.0
    for _ in range(40):
        await site.run(1.0 / 60.0)
        hottest_c = max(hottest_c, float(site.emulator.twin.telemetry.temp_chip_c[1]))
    reasons = {why for shot in site.snapshots for view in shot.miners[1:2] for why in view.holds}
    assert reasons & {Why.SOFT_TEMP.name.lower(), Why.HARD_TEMP.name.lower()}
    # Its own net is at 90 degC; a step of the twin may overshoot it.
    assert hottest_c < 95.0
    assert site.snapshots[-1].miners[1].temp_chip_c < 85.0


async def test_a_miner_whose_password_was_changed_is_left_alone_and_told_without_it(
    world: Scenario, tmp_path: Path
) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.2)
    address = site.members[0].address
    written = len(site.journal.intents(address))
    site.emulator.inject(Fault(0, FaultKind.UNAUTHORIZED, site.emulator.elapsed_s, 3600.0))
    site.decider.policy.level = 0.3  # type: ignore[attr-defined]
    await site.run(0.5)
    assert len(site.journal.intents(address)) == written
    view = next(view for view in site.snapshots[-1].miners if view.name == address)
    assert "unreachable" in view.holds
    others = [one for one in site.members if one.address != address]
    assert all(len(site.journal.intents(one.address)) > 0 for one in others), "the others are steered on"
    await site.run(1.0)
    assert len(site.journal.intents(address)) > written, "it is steered again when it lets the bridge in"


async def test_no_secret_is_in_journal_snapshot_or_messages(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.1)
    site.end()
    told = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + repr(site.snapshots).encode()
    assert b"admin" not in told
    tokens = [token for miner in site.emulator.miners for token in miner.tokens]
    assert tokens
    assert not any(str(token).encode() in told for token in tokens)


def test_a_threshold_rule_is_a_policy_of_the_bridge(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, policy=lambda knowledge: Threshold(knowledge, ThresholdParams(0.5)))
    assert site.decider.policy.name == "threshold"
    assert os.path.exists(site.journal_path)
    assert httpx.URL(f"http://{site.members[0].address}").host == site.members[0].address
