"""A candidate beside the incumbent on emulated miners: who runs what, what ends it, and what survives."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agents.baselines.base import Knowledge, Rule
from agents.baselines.named import named_rule
from minesim.bridge.deciding.decide import Settings
from minesim.bridge.loop import ROLLOUT_KEY, Mode
from minesim.bridge.rollouts.rollout import Status
from minesim.bridge.rollouts.rollout_view import show
from minesim.bridge.rollouts.trial import (
    FAILURES_PER_YEAR,
    GO_ANEW,
    GO_BACK,
    MARGIN_USD_PER_THS_DAY,
    REPAIR_USD,
    RESTART_FAILURE,
    STOP_USD,
    Trial,
    read_state,
)
from minesim.bridge.rollouts.waves import HOLDBACK, Design, RolloutPlan
from minesim.bridge.service import ServiceSettings, make_decider, plan_for, run_bridge
from minesim.bridge.settings.inventory import Inventory, parse_inventory
from minesim.bridge.telling.alerts import Alert, Severity
from minesim.bridge.telling.snapshot import PolicyView
from minesim.bridge.writing.journal import WHOLE_SITE, Desk, Reader
from minesim.control.bundle import Bundle
from minesim.control.envelope import limits
from minesim.control.manifest import Manifest, NetworkPolicy, RulePolicy, cohort_entries
from minesim.control.trust import BundleError
from minesim.errors import ParamsError
from minesim.scenario import Scenario, scenario
from tests.bridge.rehearsal import Rehearsal
from tests.bridge.test_inventory import GOOD
from tests.bridge.test_loop import Level

MODEL = "Antminer S19j Pro (104T)"
START = "2022-06-26T05:00"
PLAN = RolloutPlan(
    seed=1, shares=(0.3, 0.6, 1.0), holdback=0.2, period_s=1800.0, baseline_periods=3, phase_min_s=3600.0, clear_s=900.0
)
PERIOD_H = 0.5
MIDDLE = 0.78
"""Share of rated power between a candidate that asks for 0.7 and an incumbent that asks for 0.9."""


@pytest.fixture(scope="module")
def world() -> Scenario:
    return scenario("generated/energy_only", start="2022-06-20", days=12, level="hard")


def level(asked: float) -> Callable[[Knowledge], Rule]:
    def make(knowledge: Knowledge) -> Rule:
        rule = Level(knowledge)
        rule.level = asked
        return rule

    return make


def rehearse(world: Scenario, folder: Path, candidate: float = 0.9, miners: int = 10, **told: object) -> Rehearsal:
    told = {"plan": PLAN, "poll_s": 300.0, "candidate": level(candidate)} | told
    models = (MODEL,) * miners
    return Rehearsal(world, models, level(0.9), folder / "journal.db", START, **told)  # type: ignore[arg-type]


async def until(site: Rehearsal, done: Callable[[Rehearsal], bool], hours: float) -> None:
    """Run until something is so; fails if it takes longer."""
    for _ in range(round(hours / 0.25)):
        await site.run(0.25)
        if done(site):
            return
    raise AssertionError(f"not in {hours} h: {site.snapshots[-1].rollout}")


def in_phase(phase: int) -> Callable[[Rehearsal], bool]:
    return lambda site: site.trial is not None and site.trial.state.rollout.phase == phase


def status(site: Rehearsal) -> Status:
    assert site.trial is not None
    return site.trial.state.rollout.status


def waves(site: Rehearsal) -> dict[str, str]:
    assert site.trial is not None
    return dict(site.trial.state.rollout.waves)


def waves_of(kept: object) -> dict[str, str]:
    return dict(read_state(kept, "journal").rollout.waves)


def shares(site: Rehearsal) -> dict[str, float]:
    """Power of each miner over its rating."""
    twin = site.emulator.twin
    values = twin.telemetry.power_w / twin.params.curves.power_rated_w
    return {member.address: float(value) for member, value in zip(site.members, values, strict=True)}


def actions(site: Rehearsal) -> list[str]:
    return [entry.action for entry in site.journal.audit() if entry.action.startswith("rollout")]


async def test_a_worse_candidate_is_turned_back_and_no_miner_of_the_holdback_ever_ran_it(
    world: Scenario, tmp_path: Path
) -> None:
    site = rehearse(world, tmp_path, candidate=0.7)
    await site.bridge.start()
    await until(site, in_phase(0), 3.0)
    first = {miner for miner, wave in waves(site).items() if wave == "0"}
    assert len(first) == 3
    await site.run(0.5)
    for miner, share in shares(site).items():
        assert (share < MIDDLE) == (miner in first), (miner, share)
    views = {view.name: view.wave for view in site.snapshots[-1].miners}
    assert {views[miner] for miner in first} == {"30 %"}
    assert sorted(views.values()).count(HOLDBACK) == 2
    assert site.snapshots[-1].rollout.startswith("candidate 2, 30 %, running")

    await until(site, lambda site: status(site) is Status.ROLLED_BACK, 12.0)
    assert "loses" in site.snapshots[-1].rollout
    # By the ordinary envelope: one after another, within the ramps.
    await site.run(1.5)
    assert all(share > MIDDLE for share in shares(site).values())

    by_policy = {
        policy: {intent.miner for intent in site.journal.intents(limit=10**4) if intent.policy == policy}
        for policy in ("rule 1", "candidate 2")
    }
    assert by_policy["candidate 2"] == first, "only the first wave was ever written to by the candidate"
    assert actions(site)[::-1] == ["rollout begins", "rollout forward", "rollout turned back"]
    assert [alert.severity for alert in site.told][-1] is Severity.CRITICAL
    assert any("turned back" in message for message in site.snapshots[-1].messages)


async def test_a_fair_candidate_advances_and_a_new_process_keeps_waves_and_phase(
    world: Scenario, tmp_path: Path
) -> None:
    site = rehearse(world, tmp_path, plan=replace(PLAN, margin=0.2))
    await site.bridge.start()
    began = waves(site)
    await until(site, in_phase(0), 3.0)
    assert site.trial is not None
    before = site.trial.state
    await site.restart()
    assert site.trial.state == before
    assert actions(site)[::-1] == ["rollout begins", "rollout forward"], "nothing was begun anew"
    await until(site, in_phase(1), 8.0)
    await site.restart()
    await site.run(0.25)
    assert waves(site) == began
    runs = {member.address for member in site.members if site.trial.state.rollout.runs_candidate(member.address, 0.0)}
    assert len(runs) == 6
    decided = site.journal.recall()["decision"]["miners"]
    assert {miner["address"] for miner in decided if miner["candidate"]} == runs


async def test_an_alert_holds_and_a_person_turns_back_and_begins_anew(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, plan=replace(PLAN, margin=0.5))
    await site.bridge.start()
    await until(site, in_phase(0), 3.0)
    ours = next(miner for miner, wave in waves(site).items() if wave == "0")
    site.alerts.append(Alert("MinerChipHot", Severity.CRITICAL, "chip at 90 C", ours))
    await site.run(2.0)
    assert site.trial is not None
    assert (status(site), site.trial.state.rollout.phase) == (Status.HELD, 0)
    assert "chip at 90 C" in site.snapshots[-1].rollout
    site.alerts.clear()
    await until(site, in_phase(1), 2.0)
    assert actions(site)[::-1][2:] == ["rollout held", "rollout goes on", "rollout forward"]

    with Desk.open(site.journal_path) as desk:
        desk.note(GO_BACK, at_s=site.clock.now_s(), actor="ops", reason="noise from the fans")
    await site.run(0.1)
    assert status(site) is Status.ROLLED_BACK
    assert "noise from the fans" in site.snapshots[-1].rollout
    await site.restart()
    await site.run(0.5)
    assert status(site) is Status.ROLLED_BACK, "final, also for a new process"
    site.end()
    # A word that was said while no bridge ran is heard by the next.
    with Desk.open(site.journal_path) as desk:
        desk.note(GO_ANEW, at_s=site.clock.now_s() + 1.0, actor="ops", reason="fans exchanged")
    site.begin()
    await site.bridge.start()
    await site.run(0.1)
    assert (status(site), site.trial.state.rollout.phase) == (Status.RUNNING, -1)
    assert actions(site).count("rollout begins") == 2


async def test_miners_that_come_join_a_wave_and_those_that_go_keep_theirs(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, miners=14)
    everybody = site.members
    site.members = everybody[:11]
    site.specs = site.specs[:11]
    site.end()
    site.begin()
    await site.bridge.start()
    began = waves(site)
    assert len(began) == 11
    await site.run(0.25)
    site.end()
    site.members, site.specs = everybody[1:], (site.specs * 2)[:13]
    site.members = tuple(replace(member, cohort=index) for index, member in enumerate(site.members))
    site.begin()
    await site.bridge.start()
    await site.run(0.25)
    later = waves(site)
    assert {miner: later[miner] for miner in began} == began
    assert set(later) == {member.address for member in everybody}
    assert "rollout waves" in actions(site)


async def test_a_candidate_that_fails_is_left_at_once(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, candidate=0.7)
    await site.bridge.start()
    await until(site, in_phase(0), 3.0)
    await site.run(0.5)
    site.decider.candidate.level = None  # type: ignore[union-attr]
    await site.run(0.1)
    assert status(site) is Status.ROLLED_BACK
    assert "Policy 'level' failed" in site.snapshots[-1].rollout
    await site.run(1.0)
    assert all(share > MIDDLE for share in shares(site).values())


async def test_periods_that_a_person_ruled_are_kept_and_not_compared(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(2 * PERIOD_H + 0.1)
    with Desk.open(site.journal_path) as desk:
        desk.pause(WHOLE_SITE, actor="ops", reason="works", at_s=site.clock.now_s())
    await site.run(2 * PERIOD_H)
    assert site.trial is not None
    assert [period.valid for period in site.trial.state.rollout.periods] == [True, True, False, False]
    assert site.trial.state.rollout.phase == -1, "a baseline has only days that the incumbent ruled"


async def test_a_pause_of_the_bridge_and_a_clock_set_back_spoil_only_their_period(
    world: Scenario, tmp_path: Path
) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(PERIOD_H + 0.1)
    site.end()
    site.emulator.advance(1500.0)
    site.begin()
    await site.bridge.start()
    await site.run(PERIOD_H)
    assert site.trial is not None
    periods = site.trial.state.rollout.periods
    assert [period.valid for period in periods][:2] == [True, False]
    site.clock.jump_s -= 3600.0
    await site.run(4 * PERIOD_H)
    periods = site.trial.state.rollout.periods
    starts, ends = [period.start_s for period in periods], [period.end_s for period in periods]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert periods[-1].valid


@pytest.mark.parametrize("cap", [0.6, 0.75])
async def test_neither_group_lives_off_the_other_under_a_cap(world: Scenario, tmp_path: Path, cap: float) -> None:
    """The candidate gives way; what it leaves of the cap stays free."""
    site = rehearse(world, tmp_path, candidate=0.0)
    rated_w = float(site.emulator.twin.params.curves.power_rated_w.sum())
    site.settings = Settings(limits=limits("bridge"), cap_w=cap * rated_w)
    site.plan = replace(PLAN, peak_margin=None)
    await site.restart()
    await until(site, in_phase(0), 3.0)
    await site.run(1.0)
    mine = {miner for miner, wave in waves(site).items() if wave == "0"}
    twin = site.emulator.twin
    drawn_w = dict(zip((member.address for member in site.members), twin.telemetry.power_w, strict=True))
    theirs_w = sum(float(power_w) for miner, power_w in drawn_w.items() if miner not in mine)
    assert theirs_w <= 1.03 * cap * 0.7 * rated_w
    assert theirs_w >= 0.75 * cap * 0.7 * rated_w
    assert sum(map(float, drawn_w.values())) <= cap * rated_w


async def test_a_small_site_alternates_in_time(world: Scenario, tmp_path: Path) -> None:
    plan = RolloutPlan(seed=1, design=Design.SWITCHBACK, shares=(0.5,), period_s=3600.0, phase_min_s=3600.0)
    site = rehearse(world, tmp_path, candidate=0.7, miners=3, plan=plan)
    await site.bridge.start()
    await site.run(6.0)
    assert site.trial is not None
    periods = site.trial.state.rollout.periods
    assert {period.candidate for period in periods} == {True, False}
    per_w = {
        ran: np.mean([sum(cell.peak_w for cell in period.cells) for period in periods if period.candidate is ran])
        for ran in (True, False)
    }
    assert per_w[True] < per_w[False]


async def test_without_a_candidate_the_rollout_rests_and_another_candidate_begins_its_own(
    world: Scenario, tmp_path: Path
) -> None:
    site = rehearse(world, tmp_path)
    await site.bridge.start()
    await site.run(0.5)
    assert site.trial is not None
    kept = site.trial.to_json()
    site.end()
    site.candidate = None
    site.begin()
    await site.bridge.start()
    await site.run(0.25)
    assert site.snapshots[-1].rollout == ""
    with Reader.open(site.journal_path) as reader:
        assert reader.recall()[ROLLOUT_KEY] == kept
    assert read_state(kept, "journal").candidate == "candidate 2"
    models, now_s = dict.fromkeys(waves_of(kept), MODEL), site.clock.now_s()
    state, moves = Trial(PLAN, PolicyView("candidate", "3")).start(kept, "rule 1", models, now_s, 0.0, 0)
    assert (state.candidate, state.rollout.periods, moves[0].action) == ("candidate 3", (), "rollout begins")


async def test_a_person_sees_state_waves_and_evidence(world: Scenario, tmp_path: Path) -> None:
    site = rehearse(world, tmp_path, candidate=0.7)
    await site.bridge.start()
    with Reader.open(site.journal_path) as reader, pytest.raises(ParamsError, match="there is no rollout"):
        show(reader, Console(file=io.StringIO()))
    await site.run(0.1)
    assert "Baseline: 0 of 3 valid periods" in shown(site)
    await until(site, in_phase(0), 3.0)
    await site.run(1.25)
    told = shown(site)
    assert "candidate 2 beside rule 1" in told
    assert "30 %, running" in told
    assert "rollout forward" in told
    lines = {line.split("│")[1].strip(): line for line in told.splitlines() if line.count("│") > 3}
    assert "runs" in lines["1"]
    assert "holdback" in lines[""]
    assert "-1" in lines["does it lose?"], "the difference in percent of rated revenue"
    site.end()


def shown(site: Rehearsal) -> str:
    out = io.StringIO()
    with Reader.open(site.journal_path) as reader:
        show(reader, Console(file=out, width=160))
    return out.getvalue()


def bundle_of(inventory: Inventory, version: str, **changed: Any) -> Bundle:
    manifest = Manifest(
        version=version,
        agent="threshold",
        policy=RulePolicy("threshold", {"factor": 1.2}),
        cohorts=cohort_entries(inventory.cohorts),
        offers_reserve=False,
        dt_ctrl_s=300.0,
        limits=limits("bridge"),
        scenario="",
        scenario_hash="",
        created_at_s=0,
        expires_at_s=2**40,
    )
    return Bundle(replace(manifest, **changed), "", {})


def test_two_bundles_side_by_side() -> None:
    inventory = parse_inventory(GOOD)
    bundle = bundle_of(inventory, "1")
    cool = replace(limits("bridge"), temp_chip_soft_c=70.0, ramp_up_per_5min=0.2)
    decider = make_decider(inventory, bundle, named_rule, bundle_of(inventory, "2", limits=cool))
    assert decider.candidate is not None
    assert decider.candidate is not decider.policy
    bounds = decider.settings.limits
    assert (bounds.temp_chip_soft_c, bounds.ramp_up_per_5min) == (70.0, 0.1), "the strictest of all"
    assert make_decider(inventory, bundle, named_rule).candidate is None
    with pytest.raises(ParamsError, match="both threshold 1"):
        make_decider(inventory, bundle, named_rule, bundle)
    with pytest.raises(ParamsError, match=r"dt_ctrl_s of the candidate is 900"):
        make_decider(inventory, bundle, named_rule, bundle_of(inventory, "2", dt_ctrl_s=900.0))
    network = NetworkPolicy("policy.onnx", 40, 1)
    other = bundle_of(inventory, "2", policy=network, cohorts=bundle.manifest.cohorts[:1])
    with pytest.raises(BundleError, match="another fleet"):
        make_decider(inventory, bundle, named_rule, other)
    assert plan_for(inventory, Design.HOLDBACK, 3).peak_margin is not None
    flat = parse_inventory(GOOD.replace("name: demand_charge", "name: energy_only"))
    assert plan_for(flat, Design.HOLDBACK, 3).peak_margin is None


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.ADVISE])
async def test_a_candidate_needs_the_auto_mode(tmp_path: Path, mode: Mode) -> None:
    inventory = parse_inventory(GOOD)
    settings = ServiceSettings(mode, tmp_path / "state")
    with pytest.raises(ParamsError, match=f"mode {mode.value}"):
        await run_bridge(
            inventory, bundle_of(inventory, "1"), named_rule, settings, candidate=bundle_of(inventory, "2")
        )
    assert not settings.state.exists()


def test_costs_are_those_of_the_twin() -> None:
    from minesim import site_spec
    from minesim.site import WearParams

    assert (FAILURES_PER_YEAR, STOP_USD) == (site_spec.FAILURES_PER_YEAR, site_spec.STOP_USD)
    assert pytest.approx(float(site_spec.REPAIR_USD)) == REPAIR_USD
    assert site_spec.MARGIN_USD_PER_THS_DAY == MARGIN_USD_PER_THS_DAY
    assert WearParams().restart_failure_base == RESTART_FAILURE
