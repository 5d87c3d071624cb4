"""Cooling-v0 for a team: PettingZoo's checker, one twin with the single form, who owns and sees what."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from agents.cooling.knowledge import knowledge_of
from agents.cooling.rules import HottestChipPi
from minesim.envs import make_parallel
from minesim.envs.cooling import CoolingEnv
from minesim.errors import ActionError, ParamsError
from minesim.physics.cooling import DxParams

pytest.importorskip("pettingzoo")
SPOILED = {"noise_k": 0.3, "bias_k": 0.5, "drop_out": 0.2, "delay_s": 600.0}


@pytest.mark.parametrize(("zones", "layout_name"), [(1, "container_40ft"), (2, "container_40ft"), (4, "hall")])
def test_the_checker_passes_without_a_warning(zones: int, layout_name: str) -> None:
    from pettingzoo.test import parallel_api_test

    env = make_parallel("minesim/Cooling-v0", zones=zones, layout_name=layout_name, episode_days=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(env, num_cycles=60)


def test_the_joint_action_does_what_the_single_agent_does() -> None:
    options = {"zones": 2, "episode_days": 0.1, "dx": DxParams(3e5), **SPOILED}
    team, alone = make_parallel("minesim/Cooling-v0", **options), CoolingEnv(**options)
    parts, _ = team.reset(seed=4)
    seen, _ = alone.reset(seed=4)
    assert sorted(n for owned in team.owned.values() for n in owned) == list(range(len(alone.action_names)))
    rng = np.random.default_rng(0)
    while team.agents:
        assert np.array_equal(team.state(), seen)
        for agent, part in parts.items():
            assert np.array_equal(part, seen[team.seen[agent]])
            assert team.observation_space(agent).contains(part)
        action = rng.uniform(-1.0, 1.0, len(alone.action_names)).astype(np.float32)
        parts, rewards, _, ends, infos = team.step({agent: action[own] for agent, own in team.owned.items()})
        seen, reward, _, end, info = alone.step(action)
        assert set(rewards.values()) == {reward}
        assert set(ends.values()) == {end}
        assert infos["zone_1"] == info
    assert end


def test_an_episode_of_a_seed_repeats() -> None:
    env, totals = make_parallel("minesim/Cooling-v0", episode_days=0.05, **SPOILED), []
    for _ in range(2):
        env.reset(seed=9)
        total = 0.0
        for agent in env.possible_agents:
            env.action_space(agent).seed(1)
        while env.agents:
            total += env.step({agent: env.action_space(agent).sample() for agent in env.agents})[1]["load"]
        totals.append(total)
    assert totals[0] == totals[1]


def test_a_zone_owns_its_fans_and_sees_its_end_of_the_hall() -> None:
    env = make_parallel("minesim/Cooling-v0", zones=2)
    assert env.possible_agents == ["zone_1", "zone_2", "supply", "load"]
    assert env.names_set_by("zone_2") == ("exhaust_speed_z2", "damper_z2")
    assert env.names_set_by("supply") == ("pad_duty",)
    west, east, everything = (set(env.names_seen_by(agent)) for agent in ("zone_1", "zone_2", "load"))
    assert "temp_south_west_c" in west - east
    assert "temp_chip_g16_c" in east - west
    assert {"temp_amb_c", "price_before_usd_per_mwh_symlog"} <= west & east
    assert "temp_chip_g01_c" in everything
    assert "temp_chip_g16_c" in everything


def test_fans_of_one_zone_cool_that_zone_first() -> None:
    env = make_parallel("minesim/Cooling-v0", zones=2, episode_days=1.0)
    full = {agent: np.ones(env.action_space(agent).shape, np.float32) for agent in env.possible_agents}
    full["zone_1"][:], full["zone_2"][1], full["supply"][:] = (-0.6, -1.0), -1.0, -1.0
    env.reset(seed=0)
    for _ in range(12):
        env.step(full)
    west_c, east_c = np.split(env.env.unwrapped.core.outcome.temp_inlet_c.ravel(), 2)
    assert west_c.mean() > east_c.mean() + 0.3


def test_rules_set_all_zones_alike() -> None:
    env = CoolingEnv(zones=2, episode_days=0.5)
    rule = HottestChipPi(knowledge_of(env.world))
    observation, _ = env.reset(seed=0)
    action = rule.act(observation)
    speeds = [action[n] for n, name in enumerate(env.action_names) if name.startswith("exhaust_speed")]
    assert len(speeds) == 2
    assert speeds[0] == speeds[1]


def test_bad_input_names_the_culprit() -> None:
    with pytest.raises(ParamsError, match="zone 1 of 40 has neither fan nor damper"):
        make_parallel("minesim/Cooling-v0", zones=40)
    with pytest.raises(ParamsError, match="several agents"):
        make_parallel("minesim/Coolng-v0")
    env = make_parallel("minesim/Cooling-v0")
    env.reset(seed=0)
    with pytest.raises(ActionError, match="'zone_2' is missing"):
        env.step({"zone_1": np.zeros(2)})
