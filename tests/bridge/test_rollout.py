"""Phases, holdback and decisions of a rollout."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.bridge.rollouts.arms import CellPeriod, Period
from minesim.bridge.rollouts.rollout import (
    Condition,
    Effect,
    Rollout,
    Status,
    baseline_scatter,
    begin,
    conditions_of,
    evidence,
    from_json,
    step,
    to_json,
    with_fleet,
    with_period,
)
from minesim.bridge.rollouts.waves import HOLDBACK, Design, RolloutPlan, assign, split_by_arm, switchback_candidate
from minesim.bridge.telling.alerts import Alert, Severity
from minesim.errors import DataFileError, ParamsError

DAY_S = 86400.0
PLAN = RolloutPlan(seed=1)


def fleet(count: int, models: int = 1) -> dict[str, str]:
    return {f"miner-{index}": f"model-{index % models}" for index in range(count)}


def runs(rollout: Rollout) -> set[str]:
    return {miner for miner in rollout.waves if rollout.runs_candidate(miner, 0.0)}


# ------------------------------------------------------------------------------------------------------------- who


def test_a_hundred_miners_of_three_models() -> None:
    waves = assign({**fleet(60), **{f"x{i}": "big" for i in range(30)}, **{f"y{i}": "small" for i in range(10)}}, PLAN)
    assert Counter(waves.values()) == {HOLDBACK: 10, "0": 10, "1": 20, "2": 20, "3": 40}
    assert Counter(waves[f"x{i}"] for i in range(30)) == {HOLDBACK: 3, "0": 3, "1": 6, "2": 6, "3": 12}
    assert Counter(waves[f"y{i}"] for i in range(10)) == {HOLDBACK: 1, "0": 1, "1": 2, "2": 2, "3": 4}


def test_the_seed_decides_and_the_order_of_miners_does_not() -> None:
    miners = fleet(50, 3)
    backwards = dict(reversed(miners.items()))
    assert assign(miners, PLAN) == assign(backwards, PLAN)
    assert assign(miners, PLAN) != assign(miners, replace(PLAN, seed=2))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(10, 120),
    models=st.integers(1, 6),
    seed=st.integers(0, 1000),
    holdback=st.sampled_from([0.05, 0.1]),
    moves=st.lists(st.tuples(st.sets(st.integers(0, 119)), st.integers(0, 30), st.integers(-1, 3)), max_size=4),
)
def test_never_below_the_holdback_and_no_miner_moves_otherwise(
    count: int, models: int, seed: int, holdback: float, moves: list[tuple[set[int], int, int]]
) -> None:
    plan = replace(PLAN, seed=seed, holdback=holdback)
    waves = assign(fleet(count, models), plan)
    for away, more, phase in moves:
        present = {m: kind for m, kind in fleet(count + more, models).items() if int(m.split("-")[1]) not in away}
        later = assign(present, plan, waves, phase)
        held = sum(later[miner] == HOLDBACK for miner in present)
        assert held >= math.ceil(holdback * len(present) - 1e-9)
        moved = {miner for miner in waves if later[miner] != waves[miner]}
        assert all(later[miner] == HOLDBACK and miner in present for miner in moved)
        assert set(waves) <= set(later)
        waves = later


@given(count=st.integers(10, 300), models=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_waves_are_balanced(count: int, models: int, seed: int) -> None:
    miners = fleet(count, models)
    waves = assign(miners, replace(PLAN, seed=seed))
    for model in set(miners.values()):
        of_model = [waves[miner] for miner, kind in miners.items() if kind == model]
        for wave, share in {HOLDBACK: 0.1, "0": 0.1, "1": 0.2, "2": 0.2, "3": 0.4}.items():
            assert abs(of_model.count(wave) - share * len(of_model)) <= 2.0


def test_a_small_fleet_is_told_to_alternate() -> None:
    with pytest.raises(ParamsError, match=r"9 miners are too few.*switchback"):
        begin(PLAN, fleet(9), 0.0)


@given(st.sampled_from([0.1, 0.3, 0.5, 1.0]), st.integers(0, 500), st.integers(0, 50))
def test_switchback_gives_either_arm_its_share_of_each_block(share: float, block: int, seed: int) -> None:
    plan = RolloutPlan(seed=seed, design=Design.SWITCHBACK, shares=(share,))
    turns = [switchback_candidate(plan, 0, (10 * block + slot) * DAY_S + 1.0) for slot in range(10)]
    assert sum(turns) == min(round(10 * share), 9)


@given(st.floats(0.0, 1e8), st.integers(10, 60), st.integers(0, 60))
def test_arms_share_the_cap(cap_w: float, count: int, candidates: int) -> None:
    rated_w = dict.fromkeys(fleet(count), 3000.0)
    ours, theirs = split_by_arm(cap_w, rated_w, list(rated_w)[: min(candidates, count)])
    assert ours + theirs == pytest.approx(cap_w)
    assert ours == pytest.approx(cap_w * min(candidates, count) / count)


# ------------------------------------------------------------------------------------------------------------ when


def a_day(
    rollout: Rollout,
    day: int,
    effect: Callable[[str], float] = lambda wave: 0.0,
    noise: Callable[[], float] = lambda: 0.0,
    peak: float = 0.9,
    valid: bool = True,
) -> Rollout:
    """A day at a site whose waves differ by a constant, and whose candidate has an effect (shares of rated revenue)."""
    bias = {HOLDBACK: 0.01, "0": -0.02, "1": 0.0, "2": 0.03, "3": 0.0}
    cells = []
    for wave, count in Counter(rollout.waves.values()).items():
        candidate = rollout.phase >= 0 and wave != HOLDBACK and int(wave) <= rollout.phase
        share = 0.4 + bias[wave] + (effect(wave) if candidate else 0.0) + noise() / math.sqrt(2.0)
        reference_usd, rated_w = 10.0 * count, 3000.0 * count
        peak_w = rated_w * (peak if candidate else 0.9)
        cells.append(CellPeriod(wave, "a", share * reference_usd, reference_usd, peak_w, rated_w))
    return with_period(rollout, Period(day * DAY_S, (day + 1) * DAY_S, tuple(cells), valid=valid))


def story(
    days: int,
    plan: RolloutPlan = PLAN,
    effect: float = 0.0,
    sd: float = 0.002,
    seed: int = 0,
    miners: int = 100,
    conditions: Callable[[int], list[Condition]] = lambda day: [],
    peak: float = 0.9,
) -> list[Rollout]:
    """The state after each day, until it is decided; ``sd`` is the scatter of the daily difference."""
    rng = np.random.default_rng(seed)
    rollout = begin(plan, fleet(miners), 0.0)
    states = []
    for day in range(days):
        rollout = a_day(rollout, day, lambda _: effect, lambda: sd * rng.standard_normal(), peak)
        rollout = step(rollout, conditions(day), (day + 1) * DAY_S)
        states.append(rollout)
        if rollout.status in (Status.COMPLETE, Status.ROLLED_BACK):
            break
    return states


def test_a_good_candidate_reaches_all_but_the_holdback() -> None:
    states = story(60, effect=0.01)
    assert states[-1].status is Status.COMPLETE
    assert len(runs(states[-1])) == 90
    sizes = [len(runs(state)) for state in states]
    assert sizes == sorted(sizes)
    assert sorted(set(sizes)) == [0, 10, 30, 50, 90]
    assert sizes[12] == 0, "the baseline takes 14 days"
    for size in (10, 30, 50):
        assert sizes.count(size) >= 3, "no phase is shorter than its least time"


def test_a_loss_of_two_percent_turns_back_at_ten_percent_of_miners() -> None:
    states = story(60, effect=-0.02)
    assert states[-1].status is Status.ROLLED_BACK
    assert "loses" in states[-1].reason
    assert max(len(runs(state)) for state in states) == 10
    assert runs(states[-1]) == set()
    assert step(states[-1], [], 1e9) == states[-1], "final until a person starts anew"


def test_what_groups_differ_by_already_is_no_effect() -> None:
    """The first wave earns 2 to 3 % less than the control before any candidate."""
    states = story(60, effect=0.0)
    assert states[-1].status is Status.COMPLETE
    in_first = next(state for state in states if state.phase == 0 and len(state.periods) == 16)
    assert abs(evidence(in_first).advance.estimate) < 0.005


@pytest.mark.parametrize(("sd", "detected"), [(0.005, 1.0), (0.01, 0.95)])
def test_power_against_a_loss_of_two_percent_in_three_weeks(sd: float, detected: float) -> None:
    ends = [story(14 + 21, effect=-0.02, sd=sd, seed=seed)[-1] for seed in range(40)]
    assert np.mean([end.status is Status.ROLLED_BACK for end in ends]) >= detected


def test_false_alarms_without_a_loss_and_false_proof_at_the_margin() -> None:
    """With a look a day for 40 days: nearly none turns back at no loss, none passes at a loss of the margin."""
    fair = [story(40, effect=0.0, sd=0.01, seed=seed)[-1] for seed in range(60)]
    assert sum(end.status is Status.ROLLED_BACK for end in fair) <= 3
    bad = [story(40, effect=-PLAN.margin, sd=0.005, seed=seed)[-1] for seed in range(60)]
    assert sum(end.phase > 0 for end in bad) <= 3


def test_noise_that_hides_the_effect_waits_and_says_so() -> None:
    end = story(40, effect=0.0, sd=0.05)[-1]
    assert (end.status, end.phase) == (Status.RUNNING, 0)
    assert "not ruled out yet" in end.reason


def test_a_condition_holds_and_an_hour_later_it_goes_on() -> None:
    hot = Condition(Effect.HOLD, "MinerChipHot miner-3")
    states = story(17, conditions=lambda day: [hot] if day == 16 else [], effect=0.01)
    held = states[-1]
    assert (held.status, held.reason) == (Status.HELD, "MinerChipHot miner-3")
    assert len(runs(held)) == 10, "what runs goes on"
    soon = step(held, [], 17 * DAY_S + 1800.0)
    assert soon.status is Status.HELD
    later = step(soon, [], 17 * DAY_S + 3600.0)
    assert (later.status, later.phase) == (Status.RUNNING, 1)


def test_a_flickering_condition_stays_held() -> None:
    rollout = story(15, effect=0.01)[-1]
    for minute in range(0, 600, 50):
        active = [Condition(Effect.HOLD, "flicker")] if minute % 100 == 0 else []
        rollout = step(rollout, active, 20 * DAY_S + minute * 60.0)
        assert rollout.status is Status.HELD
        assert rollout.phase == 0


def test_a_demanded_return_is_obeyed_in_any_phase_and_in_the_baseline() -> None:
    back = Condition(Effect.ROLL_BACK, "operator: rollback")
    assert story(5, conditions=lambda _: [back])[-1].status is Status.ROLLED_BACK
    end = story(20, effect=0.01, conditions=lambda day: [back] if day == 19 else [])[-1]
    assert (end.status, end.reason) == (Status.ROLLED_BACK, "operator: rollback")


def test_what_alerts_mean() -> None:
    def hot(*miners: str) -> list[Alert]:
        return [Alert("MinerChipHot", Severity.CRITICAL, "chip at 90 C", miner) for miner in miners]

    def effects(alerts: list[Alert]) -> list[Effect]:
        return [condition.effect for condition in conditions_of(alerts, {"a", "b", "c", "d"}, 40)]

    assert effects([]) == []
    assert effects(hot("x", "y", "z")) == [], "the control's trouble alone"
    assert effects(hot("a")) == [Effect.HOLD]
    assert effects(hot("a", "b", "c")) == [Effect.ROLL_BACK, *[Effect.HOLD] * 3]
    everywhere = hot("a", "b", "c", *(f"x{index}" for index in range(20)))
    assert effects(everywhere) == [Effect.HOLD] * 3, "a hot day is not the candidate's doing"
    held = [Alert("GuardHolds", Severity.WARNING, "contradictory", miner) for miner in "abcd"]
    assert effects(held[:2]) == []
    assert effects(held) == [Effect.HOLD]
    assert effects([Alert("MinerUnreachable", Severity.WARNING, "silent", "a")]) == []
    assert effects([Alert("FeedStale", Severity.WARNING, "price"), Alert("PolicyExpires", Severity.WARNING, "x")]) == [
        Effect.HOLD
    ]


def test_a_complete_rollout_is_still_compared_with_its_holdback() -> None:
    rng = np.random.default_rng(0)
    rollout = story(60, effect=0.0)[-1]
    start = len(rollout.periods)
    for day in range(start, start + 40):
        rollout = a_day(rollout, day, lambda _: -0.03, lambda: 0.002 * rng.standard_normal())
        rollout = step(rollout, [], (day + 1) * DAY_S)
    assert rollout.status is Status.ROLLED_BACK


def test_a_higher_peak_holds_where_a_demand_charge_is_paid() -> None:
    held = story(30, effect=0.01, peak=1.0)[-1]
    assert (held.status, held.phase) == (Status.HELD, 0)
    assert "1.11 times" in held.reason
    assert story(60, replace(PLAN, peak_margin=None), effect=0.01, peak=1.0)[-1].status is Status.COMPLETE


def test_the_baseline_tells_the_scatter() -> None:
    rollout = story(14, sd=0.01, seed=5)[-1]
    assert baseline_scatter(rollout) == pytest.approx(0.008, rel=0.4)
    assert f"scatter {baseline_scatter(rollout):.2%}" in rollout.reason
    assert math.isnan(baseline_scatter(begin(PLAN, fleet(20), 0.0)))


def test_days_that_do_not_count_delay_the_baseline() -> None:
    rollout = begin(PLAN, fleet(20), 0.0)
    for day in range(20):
        rollout = step(a_day(rollout, day, valid=day % 2 == 0), [], (day + 1) * DAY_S)
    assert rollout.phase == -1
    assert rollout.reason == "baseline: 10 of 14 periods"


def test_a_model_without_control_is_told() -> None:
    rollout = replace(story(15, effect=0.01)[-1], periods=())
    cells = (
        CellPeriod("0", "a", 4.0, 10.0, 1.0, 3000.0),
        CellPeriod("0", "lone", 4.0, 10.0, 1.0, 1000.0),
        CellPeriod(HOLDBACK, "a", 4.0, 10.0, 1.0, 3000.0),
    )
    rollout = with_period(rollout, Period(20 * DAY_S, 21 * DAY_S, cells))
    assert evidence(rollout).left_out == pytest.approx(0.25)


def test_switchback_compares_whole_blocks_of_the_site() -> None:
    plan = RolloutPlan(seed=3, design=Design.SWITCHBACK, shares=(0.5, 1.0), phase_min_s=0.0)
    rng = np.random.default_rng(0)

    def play(effect: float, blocks: int) -> Rollout:
        rollout = begin(plan, fleet(3), 0.0)
        for day in range(10 * blocks):
            candidate = rollout.runs_candidate("miner-0", day * DAY_S)
            share = 0.4 + 0.003 * rng.standard_normal() + (effect if candidate else 0.0)
            cell = CellPeriod("", "all", 100.0 * share, 100.0, 8e3, 9e3)
            rollout = with_period(rollout, Period(day * DAY_S, (day + 1) * DAY_S, (cell,), candidate=candidate))
            rollout = step(rollout, [], (day + 1) * DAY_S)
        return rollout

    assert play(0.0, 1).phase == 0
    assert evidence(play(0.0, 5)).advance.count == 5 or play(0.0, 8).phase == 1
    assert play(-0.03, 16).status is Status.ROLLED_BACK
    assert play(0.01, 16).phase == 1


def test_a_newcomer_joins_and_a_lost_holdback_is_refilled_from_what_was_not_reached() -> None:
    rollout = story(15, effect=0.01, miners=20)[-1]
    present = {miner: "model-0" for miner, wave in rollout.waves.items() if wave != HOLDBACK} | {"new": "model-0"}
    later = with_fleet(rollout, present)
    refilled = {miner for miner in present if later.waves[miner] == HOLDBACK}
    assert len(refilled) == 2
    assert runs(later) == runs(rollout)


def test_state_survives_a_restart_byte_for_byte() -> None:
    for state in story(30, effect=0.01):
        again = from_json(to_json(state), origin="journal")
        assert again == state
        assert to_json(again) == to_json(state)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"plan": {"seed": 1, "holdback": 0.0}}'])
def test_a_broken_state_is_told(text: str) -> None:
    with pytest.raises(DataFileError, match=r"not a rollout.*journal"):
        from_json(text, origin="journal")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": (0.3, 0.1)}, "rising"),
        ({"shares": ()}, "rising"),
        ({"shares": (0.5, 1.2)}, "at most 1"),
        ({"holdback": 0.01}, "0.05 to 0.5"),
        ({"alpha": 1.0}, "between 0 and 1"),
        ({"margin": math.nan}, "margin"),
        ({"period_s": 0.0}, "period_s"),
        ({"baseline_periods": 0}, "Two groups"),
        ({"phase_min_s": -1.0}, "phase_min_s"),
    ],
)
def test_impossible_plans(change: dict[str, object], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        replace(PLAN, **change)


def test_periods_are_added_once_and_hold_numbers() -> None:
    rollout = a_day(begin(PLAN, fleet(20), 0.0), 0)
    with pytest.raises(ParamsError, match="86400 s on"):
        a_day(rollout, 0)
    cell = CellPeriod("0", "a", math.nan, 10.0, 1.0, 1.0)
    with pytest.raises(ParamsError, match="cell 0/a"):
        with_period(rollout, Period(DAY_S, 2 * DAY_S, (cell,)))
