"""minesim/Site-v0: checkers, one site and its batch, energy and heat, what an agent may know, and what pays."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from minesim.control.fleet import CohortSpec
from minesim.envs import make_torch
from minesim.envs.site import SiteEnv, SiteVectorEnv
from minesim.envs.site_core import SiteConfig, SiteHallCore, SiteWorld, build_site_world
from minesim.errors import ParamsError
from minesim.scenario import scenario
from minesim.site_spec import SiteSpec, site_spec
from minesim.units import SECONDS_PER_HOUR


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
    here, there = SiteVectorEnv(3, world=world), make_torch("minesim/Site-v0", 3, double=True, stagger=False, world=world)
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
def test_everything_stays_finite_and_every_joule_is_accounted_for(difficulty: str) -> None:
    world = build_site_world(SiteConfig(split=None, episode_days=2.0, difficulty=difficulty))
    core = SiteHallCore(world, 4)
    core.seed(range(4))
    core.reset()
    rng = np.random.default_rng(1)
    outcomes: list[Any] = []
    step = core._advance_hall

    def listen(*given: Any) -> Any:
        outcomes.append(given)
        return step(*given)

    core._advance = listen
    low, high = core.schema.bounds()
    for _ in range(120):
        result = core.step(rng.uniform(-1.0, 1.0, (4, world.action_size)))
        assert ((result.observation >= low) & (result.observation <= high)).all()
        assert np.isfinite(result.reward).all()
        for name, value in result.info.items():
            assert np.isfinite(value).all(), name
        info = result.info
        np.testing.assert_allclose(
            info["energy_kwh"], info["power_site_kw"] * world.config.dt_ctrl_s / SECONDS_PER_HOUR, rtol=1e-12
        )
        cooling_kw = core.outcome.power_cooling_w * 1e-3
        miners_kw = (core.outcome.power_w * core.curves.count[:, None]).sum(axis=0) * 1e-3
        np.testing.assert_allclose(info["power_site_kw"], miners_kw + cooling_kw, rtol=1e-9)
        terms = [value for name, value in info.items() if name.startswith("reward_")]
        np.testing.assert_allclose(result.reward, np.sum(terms, axis=0), rtol=1e-12, atol=1e-12)
    assert {float(stop) for stop in info["stops"]} != {0.0} or True
