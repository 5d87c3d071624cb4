"""minesim/Cooling-v0: checkers, determinism, what an agent may know, costs, and rules on observations."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from agents.cooling.knowledge import CoolingKnowledge
from agents.cooling.rules import FixedCooling, HottestChipPi
from minesim.control.policy import Policy
from minesim.envs.cooling import CoolingEnv, CoolingVectorEnv
from minesim.envs.registration import make_torch
from minesim.errors import ActionError, ParamsError
from minesim.physics.cooling import DxParams
from minesim.scenario.climates import climate, climate_names
from minesim.scenario.names import scenario


def run(env: CoolingEnv, policy: Any, start_row: int, steps: int) -> tuple[list[np.ndarray], list[float], list[dict]]:
    observation, _ = env.reset(seed=1, options={"start_row": start_row})
    seen, rewards, infos = [observation], [], []
    for _ in range(steps):
        observation, reward, _, _, info = env.step(policy.act(observation))
        seen.append(observation)
        rewards.append(reward)
        infos.append(info)
    return seen, rewards, infos


@pytest.mark.parametrize("options", [{}, {"noise_k": 0.3, "bias_k": 0.5, "drop_out": 0.2}])
def test_checkers_pass_without_a_warning(options: dict[str, float]) -> None:
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("minesim/Cooling-v0", episode_days=1.0, **options)
        check_env(env.unwrapped, skip_render_check=True)
        sb3.check_env(env, warn=True)


def known(env: CoolingEnv) -> CoolingKnowledge:
    return CoolingKnowledge(env.names, env.action_names)


SPOILED = {"noise_k": 0.3, "bias_k": 0.5, "drop_out": 0.2, "delay_s": 600.0}


def test_a_hall_alone_equals_a_row_of_the_batch_also_after_its_episode() -> None:
    batch = CoolingVectorEnv(3, episode_days=0.1, **SPOILED)
    alone = CoolingEnv(episode_days=0.1, **SPOILED)
    together, _ = batch.reset(seed=7)
    seen, _ = alone.reset(seed=8)
    np.testing.assert_allclose(together[1], seen, rtol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions = rng.uniform(-1.0, 1.0, batch.action_space.shape).astype(np.float32)
        together, rewards, _, ends, infos = batch.step(actions)
        seen, reward, _, end, info = alone.step(actions[1])
        assert rewards[1] == pytest.approx(reward, rel=1e-9)
        assert infos["temp_chip_max_c"][1] == pytest.approx(info["temp_chip_max_c"], rel=1e-9)
        assert ends[1] == end
        if end:
            np.testing.assert_allclose(infos["final_obs"][1], seen, rtol=1e-6)
            seen, _ = alone.reset()
        np.testing.assert_allclose(together[1], seen, rtol=1e-6, atol=1e-6)


def test_torch_equals_numpy() -> None:
    pytest.importorskip("torch")
    import torch

    here = CoolingVectorEnv(4, episode_days=0.1, dx=DxParams(3e5), **SPOILED)
    there = make_torch("minesim/Cooling-v0", 4, double=True, stagger=False, world=here.world)
    np.testing.assert_allclose(there.reset(), here.reset(seed=0)[0], rtol=1e-6)
    rng = np.random.default_rng(3)
    for _ in range(35):  # past the end of the first episodes
        actions = rng.uniform(-1.0, 1.0, here.action_space.shape)
        observation, reward, _, ends, infos = here.step(actions)
        step = there.step(torch.as_tensor(actions))
        np.testing.assert_allclose(step.reward, reward, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(step.observation, observation, rtol=1e-5, atol=1e-5)
        assert np.array_equal(step.truncated.numpy(), ends)
        for name, value in infos.items():
            if name in step.info:
                np.testing.assert_allclose(step.info[name], value, rtol=1e-8, atol=1e-9, err_msg=name)


def test_a_late_sensor_shows_the_air_of_then() -> None:
    now, late = CoolingEnv(episode_days=1.0), CoolingEnv(episode_days=1.0, delay_s=600.0)
    policy = FixedCooling(known(now), 0.6)
    fresh, old = (np.array(run(env, policy, 300, 20)[0])[:, :4] for env in (now, late))
    np.testing.assert_allclose(old[3:], fresh[1:-2], atol=1e-5)
    assert np.abs(old[3:] - fresh[3:]).max() > 0.1


@pytest.mark.parametrize("name", climate_names())
def test_every_climate_runs_a_test_week_and_keeps_splits_apart(name: str) -> None:
    place = climate(name)
    rows = {split: {r for a, b in periods for r in range(a, b)} for split, periods in place.splits.items()}
    assert not rows["train"] & rows["validation"]
    assert not (rows["train"] | rows["validation"]) & rows["test"]
    env = CoolingEnv(scenario=name, episode_days=0.5)
    for split in ("train", "test"):
        _, info = env.reset(seed=3, options={"split": split})
        assert {info["start_row"], info["start_row"] + 12} <= rows[split] | {max(rows[split]) + 1}
    _, reward, _, _, told = env.step(env.action_space.sample())
    assert np.isfinite(reward)
    assert told["carbon_g"] > 0.0


def test_thin_air_carries_less_heat() -> None:
    """Aurora lies at 1726 m: equal fans at equal temperature let chips get hotter."""
    sea = dataclasses.replace(climate("aurora"), name="sea", pressure_pa=np.full(8760, 101325.0))
    high = [CoolingEnv(scenario=place, episode_days=0.5) for place in (climate("aurora"), sea)]
    fans = [run(env, FixedCooling(known(env), 0.7), 4600, 24)[2][-1]["power_miner_fans_w"] for env in high]
    assert fans[0] > 1.1 * fans[1]


def test_an_episode_repeats_and_ends_at_its_horizon() -> None:
    env = CoolingEnv(episode_days=0.25, noise_k=0.3, bias_k=0.5, drop_out=0.2)
    policy = HottestChipPi(known(env))
    first, second = [], []
    for rewards in (first, second):
        policy.reset()
        observation, _ = env.reset(seed=5)
        truncated = False
        while not truncated:
            observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
            assert env.observation_space.contains(observation)
            assert not terminated
            rewards.append(reward)
    assert first == second
    assert len(first) == 72


def test_nothing_after_now_is_seen() -> None:
    """Between two hours the air runs straight: the next hour shows in the one before it, but never ahead of now."""
    traces = scenario("generated").traces
    changed = traces.copy(deep=True)
    row, hours = 100, 6
    for name in ("temp_amb_c", "rel_humidity_pct", "power_price_usd_per_mwh"):
        after = changed[name].to_numpy().copy()
        after[row + hours :] = after[row + hours :] * 0.7 + 3.0
        changed[name] = ("time", after)
    seen = []
    for data in (traces, changed):
        env = CoolingEnv(scenario=data, episode_days=1.0)
        seen.append(np.array(run(env, FixedCooling(known(env), 0.7), row, (hours + 1) * 12)[0]))
    last = (hours - 1) * 12
    np.testing.assert_array_equal(seen[0][: last + 1], seen[1][: last + 1])
    assert not np.array_equal(seen[0][last + 1], seen[1][last + 1])
    price = env.names.index("price_before_usd_per_mwh_symlog")
    np.testing.assert_array_equal(seen[0][:-1, price], seen[1][:-1, price])
    assert seen[0][-1, price] != seen[1][-1, price]


def test_air_runs_straight_between_hours_and_holds_within_a_step() -> None:
    env = CoolingEnv(episode_days=1.0)
    place, row = env.world.climate, 100
    seen, _, infos = run(env, FixedCooling(known(env), 0.7), row, 24)
    hours = row + np.arange(25) / 12.0
    expected_c = np.interp(hours, np.arange(len(place.temp_amb_c)), place.temp_amb_c)
    np.testing.assert_allclose(np.array(seen)[:, env.names.index("temp_amb_c")], expected_c, rtol=1e-6)
    # What is observed in single precision is what happens: thresholds, as of the pad's frost limit, must not differ.
    np.testing.assert_array_equal(
        [info["temp_amb_c"] for info in infos], np.array(seen)[:-1, env.names.index("temp_amb_c")]
    )


@pytest.mark.parametrize("name", ["dallas", "aurora"])
def test_an_episode_begins_within_its_limits_also_in_the_hottest_hour(name: str) -> None:
    env = CoolingEnv(scenario=name, episode_days=0.5)
    hottest = int(np.argmax(env.world.climate.temp_amb_c[24:-48])) + 24
    infos = run(env, FixedCooling(known(env), 1.0, pad_duty=1.0), hottest, 3)[2]
    assert infos[0]["temp_amb_c"] > 35.0
    assert sum(info["cost"] for info in infos) == 0.0


def test_a_hall_with_weak_fans_costs_and_full_fans_cost_less_in_limits() -> None:
    env = CoolingEnv(episode_days=1.0)
    hot_row = int(np.argmax(env.world.climate.temp_amb_c[24:-48])) + 24
    weak = run(env, FixedCooling(known(env), 0.3), hot_row, 24)[2]
    full = run(env, FixedCooling(known(env), 1.0, pad_duty=1.0), hot_row, 24)[2]
    # They overheat, trip, and hash no more until they have cooled.
    assert sum(i["cost_chip"] for i in weak) >= 1.0
    assert weak[-1]["lost_usd"] < -0.1
    assert full[-1]["lost_usd"] == pytest.approx(0.0, abs=1e-9)
    assert sum(i["cost_chip"] for i in full) == 0.0
    assert full[-1]["water_kg"] > 0.0 == weak[-1]["water_kg"]


def test_reward_is_the_sum_of_its_terms_and_chips_are_whole_degrees() -> None:
    env = CoolingEnv(episode_days=1.0)
    seen, rewards, infos = run(env, FixedCooling(known(env), 0.7), 200, 5)
    for reward, info in zip(rewards, infos, strict=True):
        assert reward == pytest.approx(sum(v for k, v in info.items() if k.endswith("_usd")))
        assert info["pue"] > 1.0
    chips = seen[-1][[n.startswith("temp_chip_") for n in env.names]]
    assert len(chips) == 16
    assert np.array_equal(chips, np.round(chips))


def test_the_rule_on_the_hottest_chip_spends_less_than_full_fans_and_breaks_no_chip_limit() -> None:
    env = CoolingEnv(episode_days=2.0)
    rule = HottestChipPi(known(env))
    assert isinstance(rule, Policy)
    by_rule = run(env, rule, 300, 288)[2]
    full = run(env, FixedCooling(known(env), 1.0), 300, 288)[2]
    assert sum(i["power_cooling_w"] for i in by_rule) < 0.8 * sum(i["power_cooling_w"] for i in full)
    assert sum(i["cost_chip"] for i in by_rule) == 0.0


def test_bad_input_names_the_culprit() -> None:
    with pytest.raises(ParamsError, match="sensor 'roof'"):
        CoolingEnv(sensors={"roof": (99.0, 1.0)})
    with pytest.raises(ParamsError, match="dt_s is 700"):
        CoolingEnv(dt_s=700.0)
    with pytest.raises(ParamsError, match="drop_out 1"):
        CoolingEnv(drop_out=1.0)
    env = CoolingEnv(episode_days=1.0)
    with pytest.raises(ParamsError, match="reset option 'splt'"):
        env.reset(options={"splt": "test"})
    env.reset(seed=0)
    with pytest.raises(ActionError):
        env.step(np.full(len(env.action_names), np.nan))
    with pytest.raises(ParamsError, match="speed is 2"):
        FixedCooling(known(env), 2.0)
