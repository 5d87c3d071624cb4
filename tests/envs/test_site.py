"""minesim/Site-v0: checkers, one site and its batch, energy and heat, what an agent may know, and what pays."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from minesim.catalog.models import canonical_name
from minesim.control.fleet import CohortSpec
from minesim.envs import make_torch
from minesim.envs.site import SiteEnv, SiteVectorEnv
from minesim.envs.site_core import SiteConfig, SiteHallCore, SiteWorld, build_site_world
from minesim.errors import ParamsError
from minesim.physics.firmware import FirmwareCommand
from minesim.scenario import scenario
from minesim.site_hall import transition
from minesim.site_spec import SiteSpec, site_spec


@pytest.fixture(scope="module")
def world() -> SiteWorld:
    return build_site_world(SiteConfig(split=None, episode_days=0.25, limits="free"))


def action_of(world: SiteWorld, level: Any = 1.0, **settings: float) -> np.ndarray:
    """All cohorts at one level; the plant's settings as shares, by default full fans and the rest closed."""
    shares = {name: 1.0 if "speed" in name else 0.0 for name in world.settings} | settings
    plant = [2.0 * shares[name] - 1.0 for name in world.settings]
    reserve = [-1.0] * (world.action_size - world.cohorts - len(plant))
    return np.array([*np.broadcast_to(level, world.cohorts), *reserve, *plant])


def hottest_row(world: SiteWorld) -> int:
    temp_c = world.table.column("temp_amb_c")[: -world.horizon_rows - 8]
    return int(np.argmax(temp_c)) // 4 * 4


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_checkers_pass_without_a_warning(difficulty: str) -> None:
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("minesim/Site-v0", difficulty=difficulty, episode_days=0.25)
        check_env(env.unwrapped, skip_render_check=True)
        sb3.check_env(env, warn=True)


def test_a_site_alone_equals_a_row_of_the_batch_also_after_its_episode() -> None:
    world = build_site_world(SiteConfig(split=None, episode_days=0.1, difficulty="hard", zones=2))
    batch, alone = SiteVectorEnv(3, world=world), SiteEnv(world=world)
    together, _ = batch.reset(seed=7)
    seen, _ = alone.reset(seed=8)
    np.testing.assert_allclose(together[1], seen, rtol=1e-6, atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions = rng.uniform(-1.0, 1.0, batch.action_space.shape).astype(np.float32)
        together, rewards, _, ends, infos = batch.step(actions)
        seen, reward, _, end, info = alone.step(actions[1])
        assert rewards[1] == pytest.approx(reward, rel=1e-9)
        for name, value in info.items():
            assert infos[name][1] == pytest.approx(value, rel=1e-8, abs=1e-9), name
        assert ends[1] == end
        if end:
            np.testing.assert_allclose(infos["final_obs"][1], seen, rtol=1e-5, atol=1e-6)
            seen, _ = alone.reset()
        np.testing.assert_allclose(together[1], seen, rtol=1e-5, atol=1e-6)


def test_torch_equals_numpy() -> None:
    torch = pytest.importorskip("torch")
    world = build_site_world(SiteConfig(split=None, episode_days=0.1))
    here, there = (
        SiteVectorEnv(3, world=world),
        make_torch("minesim/Site-v0", 3, double=True, stagger=False, world=world),
    )
    np.testing.assert_allclose(there.reset(), here.reset(seed=0)[0], rtol=1e-6, atol=1e-6)
    rng = np.random.default_rng(3)
    for _ in range(20):
        actions = rng.uniform(-1.0, 1.0, here.action_space.shape)
        observation, reward, _, _, infos = here.step(actions)
        step = there.step(torch.as_tensor(actions))
        np.testing.assert_allclose(step.reward, reward, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(step.observation, observation, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(step.info["temp_chip_max_c"], infos["temp_chip_max_c"], rtol=1e-8)


@pytest.mark.parametrize("difficulty", ["medium", "hard"])
def test_all_is_finite_and_bounded_and_adds_up_over_random_actions(difficulty: str) -> None:
    world = build_site_world(SiteConfig(split=None, episode_days=2.0, difficulty=difficulty, limits="free"))
    core = SiteHallCore(world, 4)
    core.seed(range(4))
    core.reset()
    rng = np.random.default_rng(1)
    low, high = core.schema.bounds()
    stops = trips = 0.0
    for _ in range(120):
        result = core.step(rng.uniform(-1.0, 1.0, (4, world.action_size)))
        info = result.info
        assert ((result.observation >= low) & (result.observation <= high)).all()
        for name, value in info.items():
            assert np.isfinite(value).all(), name
        miners_kw = (core.outcome.power_w * core.curves.count[:, None]).sum(axis=0) * 1e-3
        np.testing.assert_allclose(info["power_site_kw"], miners_kw + info["power_cooling_kw"], rtol=1e-9)
        np.testing.assert_allclose(info["energy_kwh"], info["power_site_kw"] / 12.0, rtol=1e-9)
        terms = [value for name, value in info.items() if name.startswith("reward_")]
        np.testing.assert_allclose(result.reward, np.sum(terms, axis=0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(info["profit_usd"] / core.scale_usd, result.reward, rtol=1e-9, atol=1e-12)
        stops, trips = stops + info["stops"].sum(), trips + info["trips"].sum()
    assert stops > 0.0


def test_heat_of_the_miners_is_their_power(world: SiteWorld) -> None:
    core = SiteHallCore(world, 3)
    core.seed(range(3))
    core.reset(options={"start": hottest_row(world)})
    rng = np.random.default_rng(4)
    twin, fixed = core._fixed.twin, core._fixed
    state, weather = core.state, core._row.exog
    cohorts = (3, world.cohorts)
    for _ in range(60):
        command = FirmwareCommand(
            run=(rng.random(cohorts) < 0.8) * 1.0,
            preset=np.floor(rng.random(cohorts) * (core.curves.preset_last + 1.0)),
            throttle=rng.uniform(0.2, 1.0, cohorts),
        )
        plant = fixed.plant(rng.uniform(-1.0, 1.0, (3, len(world.settings))))
        state, (outcome, _) = transition(state, command, plant, weather, rng.random(cohorts), twin)
        went_j = outcome.heat_out_j + outcome.heat_stored_j
        scale = np.abs(outcome.heat_out_j) + np.abs(outcome.heat_stored_j)
        assert (np.abs(went_j - outcome.power_miners_w * 300.0) < 1e-6 * scale).all()


def test_an_episode_of_a_seed_repeats_and_a_branch_goes_on_alike() -> None:
    env, totals = SiteEnv(episode_days=0.1, difficulty="hard"), []
    for _ in range(2):
        rng, total, truncated = np.random.default_rng(5), 0.0, False
        env.reset(seed=3)
        while not truncated:
            _, reward, terminated, truncated, _ = env.step(rng.uniform(-1.0, 1.0, env.action_space.shape))
            assert not terminated
            total += reward
        totals.append(total)
    assert totals[0] == totals[1]
    env.reset(seed=3)
    action = action_of(env.core.world, 0.3, exhaust_speed=0.6)[None]
    env.core.step(action)
    twin = env.core.branch([0, 0])
    expected = env.core.step(action)
    np.testing.assert_allclose(
        twin.step(np.repeat(action, 2, axis=0)).observation[1], expected.observation[0], atol=1e-6
    )


def test_nothing_after_now_is_seen() -> None:
    traces = scenario("generated").traces
    changed, start, hours = traces.copy(deep=True), 96 * 20, 6
    known_until = traces["time"].to_numpy()[0] + np.timedelta64(15 * start, "m") + np.timedelta64(hours, "h")
    later = traces["time"].to_numpy() >= known_until
    for name in ("temp_amb_c", "rel_humidity_pct"):
        values = changed[name].to_numpy().copy()
        values[later] = values[later] * 0.7 + 3.0
        changed[name] = ("time", values, changed[name].attrs)
    seen = []
    for data in (traces, changed):
        env = SiteEnv(scenario=replace(scenario("generated"), traces=data), split=None, episode_days=1.0)
        observation, _ = env.reset(seed=1, options={"start": start})
        action = action_of(env.core.world)
        seen.append(np.array([observation, *(env.step(action)[0] for _ in range(hours * 12 + 3))]))
    np.testing.assert_array_equal(seen[0][: hours * 12], seen[1][: hours * 12])
    assert not np.array_equal(seen[0][-1], seen[1][-1])


def last_info(world: SiteWorld, action: np.ndarray, steps: int = 24, **options: Any) -> dict[str, float]:
    env = SiteEnv(world=world)
    env.reset(seed=0, options={"start": hottest_row(world)} | options)
    for _ in range(steps):
        *_, info = env.step(action)
    return info


def test_weak_fans_on_the_hottest_day_cost_hashes_and_strong_ones_cost_power(world: SiteWorld) -> None:
    weak = last_info(world, action_of(world, exhaust_speed=0.3))
    strong = last_info(world, action_of(world, pad_duty=1.0))
    assert weak["power_cooling_kw"] < strong["power_cooling_kw"]
    assert weak["hashrate_ths"] < 0.9 * strong["hashrate_ths"]
    assert weak["cost"] > strong["cost"] == 0.0
    assert strong["water_usd"] > 0.0 == weak["water_usd"]
    assert strong["water_kg"] > 0.0


def test_less_load_makes_cooler_chips_through_the_air_of_the_room(world: SiteWorld) -> None:
    """With weak room fans a full hall breathes its own hot air; half of it does not."""
    mild = int(np.argmin(np.abs(world.table.column("temp_amb_c")[:20000] - 22.0))) // 4 * 4
    level = np.where(np.arange(world.cohorts) % 2 == 0, 1.0, -1.0)
    full, half = (last_info(world, action_of(world, of, exhaust_speed=0.4), 8, start=mild) for of in (1.0, level))
    assert half["temp_intake_c"] < full["temp_intake_c"] - 5.0
    assert half["temp_chip_max_c"] < full["temp_chip_max_c"] - 2.0


def test_fans_count_in_the_demand_charge() -> None:
    world = build_site_world(SiteConfig(split=None, episode_days=0.25, difficulty="medium", limits="free"))
    rate = world.table.column("demand_rate_usd_per_kw")
    assert rate.max() > 0.0
    demand_usd = []
    for speed in (0.7, 1.0):
        env = SiteEnv(world=world)
        env.reset(seed=0, options={"start": 4 * 24 * 40, "month_peak_frac": 0.0})
        demand_usd.append(sum(env.step(action_of(world, exhaust_speed=speed))[-1]["demand_usd"] for _ in range(6)))
    assert demand_usd[1] > demand_usd[0] > 0.0


def test_miners_of_a_cohort_stand_in_its_group_and_bad_input_names_the_culprit() -> None:
    world = build_site_world(SiteConfig())
    assert world.params.curves.models == tuple(canonical_name(c.model) for c in site_spec("container").cohorts)
    one = build_site_world(SiteConfig(site="one_s19j_pro", layout_name="hall"))
    assert one.cohorts == 16
    assert one.params.curves.count.sum() == 800
    with pytest.raises(ParamsError, match="2 models"):
        build_site_world(SiteConfig(site=SiteSpec("two", (CohortSpec("Antminer S19", 1),) * 2)))
    with pytest.raises(ParamsError, match="liquid-cooled"):
        build_site_world(SiteConfig(site=SiteSpec("wet", (CohortSpec("Antminer S21 Hydro", 1),))))
    with pytest.raises(ParamsError, match="zonez"):
        SiteEnv(zonez=2)
    with pytest.raises(ParamsError, match="not compiled"):
        SiteHallCore(world, 2, compiled=True)


def test_a_picture_shows_the_hall_and_the_day(world: SiteWorld) -> None:
    pytest.importorskip("matplotlib")
    env = SiteEnv("rgb_array", world=world)
    env.reset(seed=0)
    before = env.render()
    env.step(action_of(world))
    after = env.render()
    assert before.shape == after.shape
    assert after.dtype == np.uint8
    assert (before != after).any()
