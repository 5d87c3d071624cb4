"""Agents of a cooled hall: rules, the steady map, plans and the shield on real weather."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.cooling.episodes import MEASURES, play, spell_steps, week_rows
from agents.cooling.follow import ROUNDED_K, Follower, pick_rows, pick_weather, true_weather
from agents.cooling.gradient_plan import GradientParams, GradientPlan, plan_usd
from agents.cooling.knowledge import CoolingKnowledge, knowledge_of
from agents.cooling.plan import CoolingPlan
from agents.cooling.rules import FixedCooling, HottestChipPi, StagedCooling
from agents.cooling.shield import Shield, Shielded
from agents.cooling.shield_check import AnyAction, check_shield, spread_rows, weaker_hall
from agents.cooling.steady import SteadyBest, SteadyMap, least_allowed_speed, steady_map
from minesim.arrays import NUMPY, torch_namespace
from minesim.control.policy import Policy
from minesim.envs.cooling_core import CoolingConfig, CoolingCore, CoolingWorld, build_cooling_world
from minesim.errors import ParamsError
from minesim.hall import HallState
from minesim.physics.cooling import Weather
from minesim.tasks.cooling import CoolingTask


@pytest.fixture(scope="module")
def world() -> CoolingWorld:
    """Two hours at a time in Toronto."""
    return build_cooling_world(CoolingConfig(scenario="toronto", episode_days=1.0 / 12.0))


@pytest.fixture(scope="module")
def found(world: CoolingWorld) -> SteadyMap:
    return steady_map(world)


def wild(knowledge: CoolingKnowledge) -> AnyAction:
    """Anything, at random."""
    return AnyAction(knowledge, np.random.default_rng(0))


def hot_rows(world: CoolingWorld) -> np.ndarray:
    """Starts in the warmest hours of the training years."""
    return np.argsort(world.climate.temp_amb_c[100:26000])[-4:] + 100


def test_weeks_of_a_split_do_not_touch_another(world: CoolingWorld) -> None:
    for split in ("train", "validation", "test"):
        rows = week_rows(world, split)
        begin, end = world.climate.splits[split][0]
        assert rows.min() >= begin
        assert rows.max() + world.rows - 1 <= end
        assert (np.diff(rows) >= world.rows - 1).all()


def test_every_rule_acts_within_bounds_and_is_a_policy(world: CoolingWorld, found: SteadyMap) -> None:
    know = knowledge_of(world)
    speed, pad = least_allowed_speed(world, found)
    rules = [FixedCooling(know, speed, pad), HottestChipPi(know), StagedCooling(know), SteadyBest(know, found)]
    rows = week_rows(world, "validation", 300)
    for rule in rules:
        assert isinstance(rule, Policy)
        told = play(rule, world, rows, np.arange(len(rows)))
        assert set(told) == set(MEASURES)
        assert all(np.isfinite(values).all() and values.shape == rows.shape for values in told.values())
    with pytest.raises(ParamsError, match="'temp_moon_c' is not observed"):
        know.read(np.zeros(len(know.names)), "temp_moon_c")


def test_the_steady_map_is_what_the_hall_settles_at(world: CoolingWorld, found: SteadyMap) -> None:
    """Faster fans never heat a chip that is above its target, and what is allowed is below the limit."""
    dry = (found.pads == 0.0) & (found.loads == 1.0)
    order = np.argsort(found.speeds[dry])
    hottest = found.hottest_c[..., dry][..., order]
    settled = found.allowed[..., dry][..., order]
    assert (hottest[settled] <= world.config.task.temp_chip_max_c).all()
    over = settled[..., :-1] & settled[..., 1:] & (hottest[..., :-1] > 71.0)
    assert (np.diff(hottest, axis=-1)[over] <= 0.1).all()


def test_the_steady_rule_costs_less_than_a_fixed_speed_that_is_allowed_all_year(
    world: CoolingWorld, found: SteadyMap
) -> None:
    know, rows = knowledge_of(world), week_rows(world, "validation", 200)
    fixed = play(FixedCooling(know, *least_allowed_speed(world, found)), world, rows, np.arange(len(rows)))
    best = play(SteadyBest(know, found), world, rows, np.arange(len(rows)))
    assert (best["cost_usd"] <= fixed["cost_usd"] + 1e-6).mean() > 0.9
    assert best["cost_usd"].mean() < 0.97 * fixed["cost_usd"].mean()
    # Where energy costs nothing the cheapest setting is not the one with the least energy.
    assert np.median(best["cooling_kwh"]) < np.median(fixed["cooling_kwh"])


def test_a_plan_follows_the_hall_exactly(world: CoolingWorld) -> None:
    rows = hot_rows(world)
    plan = CoolingPlan(world)
    core = CoolingCore(world, len(rows))
    observation = core.reset(options={"start_row": rows})
    for _ in range(8):
        action = plan.act(observation)
        followed = plan.follower._state
        assert followed is not None
        np.testing.assert_allclose(followed.temp_hot_c, core.state.temp_hot_c, atol=0.05)
        observation = core.step(action).observation


def test_air_ahead_is_right_within_the_hour_and_never_of_the_hour_after(world: CoolingWorld) -> None:
    rows, steps = hot_rows(world), 6
    trend, foresight = Follower(world), Follower(world, rows)
    core = CoolingCore(world, len(rows))
    observation = core.reset(options={"start_row": rows})
    for step in range(10):
        air = [follower.follow(observation)[1] for follower in (trend, foresight)]
        told, known = trend.ahead(air[0], steps), foresight.ahead(air[1], steps)
        for lead in range(steps):
            true_c = true_weather(world, rows, step + lead).temp_c
            np.testing.assert_array_equal(known[lead].temp_c, true_c)
            if step > 0 and step + lead <= 12:
                np.testing.assert_allclose(told[lead].temp_c, true_c, atol=1e-4)
        observation = core.step(np.zeros((len(rows), len(world.action_names)))).observation
    assert np.abs(told[-1].temp_c - true_c).max() > 0.05


def test_behind_the_shield_a_wild_policy_breaks_no_limit(world: CoolingWorld) -> None:
    know, rows = knowledge_of(world), np.concatenate([hot_rows(world), week_rows(world, "train", 1000)])
    shield = Shield(world)
    free, held = (
        play(policy, world, rows, np.arange(len(rows))) for policy in (wild(know), Shielded(wild(know), shield))
    )
    assert free["hot_spots"].sum() > 0.0
    assert held["violations"].sum() == 0.0
    assert 0 < shield.changed[0] < shield.changed[1]


def test_the_shield_chooses_what_trying_every_alternative_would(world: CoolingWorld) -> None:
    """The nearest of those that keep all limits, and the least broken where a hall is too hot for any of them."""
    shield, anything = Shield(world), wild(knowledge_of(world))
    others, p = shield.others, shield.params
    rows = np.repeat(np.concatenate([hot_rows(world), week_rows(world, "train", 1500)]), 2)
    core = CoolingCore(world, len(rows))
    state, weather = shield.follower.follow(core.reset(options={"start_row": rows}))
    heated_k = np.where(np.arange(len(rows)) % 2 == 0, 0.0, 18.0)
    state = replace(state, temp_hot_c=state.temp_hot_c + heated_k, temp_sink_c=state.temp_sink_c + heated_k)
    halls = np.arange(len(rows))
    some_kept = []
    for _ in range(3):
        wanted = anything.act(np.zeros((len(rows), 1))).astype(np.float64)
        index = np.repeat(halls, len(others))
        ahead = [pick_weather(weather, index)] * p.horizon
        flat, nothing = np.tile(others, (len(halls), 1)), np.zeros(len(index))
        seen = shield.follower.prospect(pick_rows(state, index), flat, ahead, nothing, p.calm_k[0])
        broken = (seen.broken + seen.near).reshape(len(halls), -1)
        far = (np.abs(others - wanted[:, None]) * shield._weight).sum(axis=-1)
        best = np.lexsort((far, broken), axis=1)[:, 0]
        np.testing.assert_array_equal(shield._instead(state, wanted, [weather] * p.horizon, halls), others[best])
        some_kept.append((broken == 0.0).any(axis=1))
    assert 0.0 < np.mean(some_kept) < 1.0


def test_what_breaks_behind_the_shield_is_counted_by_limit_and_by_whether_it_had_to() -> None:
    """With a limit on intakes that no setting can keep, every break is of that limit and none was avoidable."""
    task = CoolingTask(gradient_max_k=-1.0)
    world = build_cooling_world(CoolingConfig(scenario="toronto", episode_days=1.0 / 24.0, task=task))
    rows = spread_rows(world, "test", 3)
    begin, end = world.climate.splits["test"][0]
    assert begin == rows[0] < rows[-1] <= end - (world.rows - 1)
    seen = check_shield(wild(knowledge_of(world)), Shield(world), world, rows, np.arange(3))
    assert seen.broken == (0, seen.steps, 0)
    assert (sum(seen.avoidable), seen.episodes_broken, seen.steps) == (0, 3, 36)
    calm = build_cooling_world(CoolingConfig(scenario="toronto", episode_days=1.0 / 24.0))
    kept = check_shield(wild(knowledge_of(calm)), Shield(calm), calm, rows, np.arange(3))
    assert sum(kept.broken) == 0


def test_a_hall_weaker_than_modelled_gets_hotter_than_followed_but_no_further_than_a_step_away(
    world: CoolingWorld,
) -> None:
    rows, weaker = hot_rows(world), weaker_hall(world, 0.05)
    follower, core = Follower(world), CoolingCore(weaker, len(rows))
    observation = core.reset(options={"start_row": rows})
    off_k = []
    for _ in range(24):
        state, _ = follower.follow(observation)
        off_k.append(core.state.temp_hot_c - state.temp_hot_c)
        observation = core.step(np.ones((len(rows), len(world.action_names)))).observation
    assert np.max(off_k) > 0.1
    assert np.abs(off_k[1:]).max() <= ROUNDED_K + 0.5


@pytest.mark.long
@pytest.mark.parametrize("climate", ["dallas", "singapore", "toronto", "aurora"])
def test_no_limit_breaks_in_a_thousand_days_behind_the_shield(climate: str) -> None:
    """A quarter of them, under random actions; about a minute."""
    world = build_cooling_world(CoolingConfig(scenario=climate, episode_days=1.0))
    rows = spread_rows(world, "test", 250)
    seen = check_shield(wild(knowledge_of(world)), Shield(world), world, rows, np.arange(len(rows)))
    assert seen.broken == (0, 0, 0)


def test_spells() -> None:
    broken = np.array([[0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]], float).T
    np.testing.assert_allclose(spell_steps(broken), [1.5, 0.0])


@pytest.fixture(scope="module")
def dallas() -> CoolingWorld:
    """A day at a time in Dallas."""
    return build_cooling_world(CoolingConfig(scenario="dallas", episode_days=1.0))


def test_gradients_of_a_plan_are_finite_differences_away_from_kinks(world: CoolingWorld) -> None:
    torch = pytest.importorskip("torch")
    params = GradientParams(blocks=(2, 1), every=1)
    core = CoolingCore(world, 3)
    core.reset(options={"start_row": hot_rows(world)[:3]})
    for _ in range(3):
        core.step(np.full((3, len(world.action_names)), 0.4))
    rng = np.random.default_rng(0)
    settings = rng.uniform(0.0, 0.6, (2, len(world.action_names), 3))
    weather, price = core._outdoors()[0], np.array([20.0, 50.0, 80.0])

    def usd(at: Any) -> Any:
        return plan_usd(at, core.state, [weather] * 3, price, core.hall, world, params, xp=NUMPY)

    def tensor(a: Any) -> Any:
        return torch.as_tensor(np.ascontiguousarray(a), dtype=torch.float64)

    at = tensor(settings).requires_grad_()
    state = HallState(**{name: tensor(values) for name, values in vars(core.state).items()})
    outdoors = Weather(*map(tensor, weather))
    hall = world.hall.to(tensor, batch=True)
    plan_usd(at, state, [outdoors] * 3, tensor(price), hall, world, params, xp=torch_namespace()).sum().backward()
    for place in np.ndindex(settings.shape[:2]):
        moved = np.zeros_like(settings)
        moved[place] = 1e-5
        slope = (usd(settings + moved) - usd(settings - moved)) / 2e-5
        np.testing.assert_allclose(at.grad[place].numpy(), slope, rtol=1e-4, atol=1e-7)


def test_a_plan_by_gradients_never_costs_more_than_any_start(world: CoolingWorld, found: SteadyMap) -> None:
    pytest.importorskip("torch")
    rows = np.concatenate([hot_rows(world), week_rows(world, "validation", 800)])
    plan = GradientPlan(world, GradientParams(blocks=(2, 2), every=2, descents=3), found=found)
    core = CoolingCore(world, len(rows))
    observation = core.reset(options={"start_row": rows})
    for _ in range(2):
        observation = core.step(plan.act(observation)).observation
    ahead, price = [core._outdoors()[0]] * 4, np.full(len(rows), 40.0)
    starts = plan.starts(observation)
    assert len(starts) == 4

    def usd(settings: Any) -> Any:
        return plan_usd(settings, core.state, ahead, price, core.hall, world, plan.params, xp=NUMPY)

    cheapest = np.min([usd(start) for start in starts], axis=0)
    best = usd(plan.improve(starts, core.state, ahead, price))
    assert (best <= cheapest).all()
    assert (best < cheapest).any()
    with pytest.raises(ParamsError, match="every is 7"):
        GradientParams(blocks=(3, 3), every=7)


def test_a_day_in_dallas_costs_less_by_gradients_than_by_the_steady_map() -> None:
    pytest.importorskip("torch")
    day = build_cooling_world(CoolingConfig(scenario="dallas", episode_days=1.0))
    found, rows = steady_map(day), week_rows(day, "validation", 60)
    rule = play(SteadyBest(knowledge_of(day), found), day, rows, np.arange(len(rows)))
    gradient = GradientPlan(day, GradientParams(every=6, blocks=(3, 3), descents=2), found=found)
    plan = play(gradient, day, rows, np.arange(len(rows)))
    assert (plan["cost_usd"] <= 1.005 * rule["cost_usd"]).all()
    assert plan["cost_usd"].mean() < rule["cost_usd"].mean()
    assert plan["violations"].sum() <= rule["violations"].sum()
