"""minesim/Overclock-v0: the checkers, the same world as the tuning problem, pay and cost, bad input."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from minesim.envs.registration import OVERCLOCK, env_ids
from minesim.errors import ActionError, ParamsError
from minesim.tasks.overclock import setting_of
from minesim.tuning.problem import tuning_problem

FORMS = [{}, {"discrete": True}, {"model": "gpu/etchash"}, {"fan_mode": "duty"}]


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("options", FORMS)
def test_gymnasium_checker(options: dict) -> None:
    check_env(gym.make(OVERCLOCK, trials=5, **options).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("options", FORMS)
def test_sb3_checker(options: dict) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(gym.make(OVERCLOCK, trials=5, **options), warn=True)


def test_a_vector_of_units_steps_inside_its_spaces() -> None:
    assert OVERCLOCK in env_ids()
    envs = gym.make_vec(OVERCLOCK, num_envs=3, vectorization_mode="sync", trials=4)
    envs.action_space.seed(0)
    observation, _ = envs.reset(seed=1)
    for _ in range(9):
        assert envs.observation_space.contains(observation)
        observation, reward, terminated, _, _ = envs.step(envs.action_space.sample())
        assert np.isfinite(reward).all()
        assert not terminated.any()


def test_an_episode_is_the_tuning_problem_of_its_unit() -> None:
    env = gym.make(OVERCLOCK, trials=3)
    env.reset(seed=0, options={"unit": 7, "temp_amb_c": 18.0})
    problem = tuning_problem("Antminer S19j Pro", 7, 18.0)
    action = np.array([0.3, 0.1, 0.1, 0.1, 0.0], np.float32)
    _, _, _, truncated, info = env.step(action)
    setting = setting_of(problem, action)
    assert not truncated
    assert info["profit_usd_per_day"] == pytest.approx(float(problem.score(problem.truth(setting))[0]))
    assert info["trial_usd"] == problem.evaluate(setting, 1).cost_usd
    assert info["cost"] == float(not problem.safe(setting)[0])


def test_finding_better_settings_pays_and_breaking_limits_costs() -> None:
    env = gym.make(OVERCLOCK, trials=4)
    env.reset(seed=0, options={"unit": 1, "temp_amb_c": 25.0})
    problem = env.unwrapped.problem
    span = problem.upper - problem.lower
    better = np.add(problem.known_good(), [0.0, 20.0, 20.0, 20.0, -10.0])
    assert problem.safe(better)[0]
    _, reward, _, _, info = env.step((2 * (better - problem.lower) / span - 1).astype(np.float32))
    assert info["cost"] == 0.0
    assert info["reward_gain"] > 0.0
    assert reward == pytest.approx((info["reward_gain"] + info["reward_trial"]) / 10.0)
    _, again, _, _, info = env.step((2 * (better - problem.lower) / span - 1).astype(np.float32))
    assert info["reward_gain"] == 0.0
    assert again < reward
    _, _, _, _, info = env.step(np.array([-1.0, 1.0, 1.0, 1.0, 1.0], np.float32))
    assert info["cost"] == 1.0
    assert info["reward_trial"] < 0.0


def test_any_action_keeps_the_slope_limit() -> None:
    problem = tuning_problem("Antminer S19j Pro", 0)
    rng = np.random.default_rng(0)
    for action in [np.array([-1.0, 1.0, 1.0, 1.0, 1.0]), *rng.uniform(-1, 1, (200, 5))]:
        assert problem.allowed(setting_of(problem, action))[0]


def test_the_discrete_form_offers_the_presets() -> None:
    env = gym.make(OVERCLOCK, discrete=True, trials=2)
    env.reset(seed=0)
    presets = env.unwrapped.problem.presets()
    assert env.action_space.n == len(presets)
    _, _, _, _, info = env.step(np.int64(2))
    assert info["volt_v"] == presets[2, 0]


@pytest.mark.parametrize(
    ("act", "error", "told"),
    [
        (lambda e: e.step(np.array([np.nan] * 5, np.float32)), ActionError, "finite"),
        (lambda e: e.step(np.zeros(4, np.float32)), ActionError, "finite"),
        (lambda e: e.reset(options={"units": 3}), ParamsError, "unit"),
    ],
)
def test_bad_actions_and_options_are_refused(act, error, told: str) -> None:
    env = gym.make(OVERCLOCK).unwrapped
    env.reset(seed=0)
    with pytest.raises(error, match=told):
        act(env)


def test_bad_settings_of_the_environment_are_refused() -> None:
    with pytest.raises(ParamsError, match="trials"):
        gym.make(OVERCLOCK, trials=0)
    with pytest.raises(ParamsError, match="lower one first"):
        gym.make(OVERCLOCK, temp_amb_c=(30.0, 10.0))
