"""Gymnasium's and stable-baselines3's checkers pass without a warning, single and vector."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import minesim.envs


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("env_id", minesim.envs.site_env_ids())
@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_gymnasium_checker(env_id: str, difficulty: str) -> None:
    check_env(gym.make(env_id, difficulty=difficulty, episode_days=1.0).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", minesim.envs.site_env_ids())
def test_sb3_checker(env_id: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(gym.make(env_id, episode_days=1.0), warn=True)


@pytest.mark.parametrize("env_id", minesim.envs.site_env_ids())
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_vector_form_resets_and_steps_inside_its_spaces(env_id: str, mode: str) -> None:
    envs = RecordEpisodeStatistics(gym.make_vec(env_id, num_envs=3, vectorization_mode=mode, episode_days=0.5))
    envs.action_space.seed(0)
    observation, _ = envs.reset(seed=3)
    finished = 0
    for _ in range(300):
        assert envs.observation_space.contains(observation)
        observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        assert reward.shape == (3,)
        assert np.isfinite(reward).all()
        assert not terminated.any()
        finished += int(truncated.sum())
    assert finished == 6


def test_an_sb3_learner_takes_a_few_steps() -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    env = gym.make("minesim/HashrateTuning-v0", episode_days=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sb3.PPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=0, device="cpu")
        model.learn(128)
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    assert env.action_space.contains(action)


def test_gymnasium_imports_the_module_that_an_id_names() -> None:
    env = gym.make("minesim.envs:minesim/HashrateTuning-v0", episode_days=0.5)
    assert env.reset(seed=0)[0].shape == env.observation_space.shape
