"""Episodes, options and errors of the environment core."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minesim.control.fleet import CohortSpec
from minesim.envs import make_torch
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import build_world
from minesim.envs.single import HashrateTuningEnv, make_config
from minesim.errors import ActionError, CatalogError, ParamsError, ScenarioError
from minesim.site_spec import SiteSpec, site_spec
from minesim.tasks.hashrate import HashrateTask
from tests.twin import core_of, generated_world


def test_reward_is_the_sum_of_its_named_terms_and_profit_the_sum_of_its_money() -> None:
    world = generated_world(difficulty="hard", task=HashrateTask(reward="weighted"))
    core = core_of(world, 3, seed=1)
    rng = np.random.default_rng(0)
    for _ in range(100):
        result = core.step(rng.uniform(-1, 1, (3, world.action_size)))
        info = result.info
        named = sum(value for name, value in info.items() if name.startswith("reward_"))
        np.testing.assert_allclose(result.reward, named)
        assert {"reward_profit", "reward_efficiency", "reward_stability"} <= set(info)
        costs = ("energy_usd", "demand_usd", "coincident_usd", "wear_usd", "restart_usd")
        money = info["revenue_usd"] + info["reserve_usd"] - sum(info[name] for name in costs)
        np.testing.assert_allclose(info["profit_usd"], money)
        np.testing.assert_allclose(info["reward_profit"], 0.7 * info["profit_usd"] / core.scale_usd)


def test_demand_charge_of_a_month_is_rate_times_highest_quarter_hour() -> None:
    world = build_world(
        make_config(scenario="ercot/demand_charge", limits="free", difficulty="easy", episode_days=31.0)
    )
    core = core_of(world, 1, start=np.datetime64("2022-03-01T06:00"))
    rng = np.random.default_rng(5)
    powers, charged, level = [], 0.0, 1.0
    for step in range(world.horizon_steps - 12):
        level = rng.uniform(-1.0, 1.0) if step % 36 == 0 else level
        result = core.step(np.full((1, world.action_size), level))
        powers.append(result.info["power_site_kw"][0])
        charged += result.info["demand_usd"][0]
    quarter_kw = np.array(powers).reshape(-1, 3).mean(axis=1)
    rate = world.table.column("demand_rate_usd_per_kw")[core.start_row[0]]
    assert charged == pytest.approx(rate * quarter_kw.max(), rel=1e-9)


def test_a_running_site_carries_its_peak_in_except_on_the_first_day_of_a_month() -> None:
    world = build_world(make_config(scenario="ercot/demand_charge", difficulty="easy", episode_days=1.0))
    middle = core_of(world, 1, start=np.datetime64("2022-03-15"))
    first = core_of(world, 1, start=np.datetime64("2022-03-01T06:00"))
    given = core_of(world, 1, start=np.datetime64("2022-03-15"), month_peak_frac=0.4)
    read = [float(c.schema.read(c.observation(), "month_peak_frac")[0, 0]) for c in (middle, first, given)]
    assert read == pytest.approx([1.0, 0.0, 0.4], abs=1e-6)


def test_autoreset_hands_out_the_last_observation_and_begins_anew() -> None:
    world = generated_world(episode_days=0.5)
    envs = HashrateTuningVectorEnv(4, world=world, stagger=True)
    observation, _ = envs.reset(seed=8)
    ends = []
    for step in range(world.horizon_steps):
        observation, _, _, truncated, infos = envs.step(np.ones(envs.action_space.shape, np.float32))
        for b in np.flatnonzero(truncated):
            ends.append(step)
            assert envs.single_observation_space.contains(infos["final_obs"][b])
            assert envs.core.step_count[b] == 0
            assert not np.array_equal(infos["final_obs"][b], observation[b])
    assert len(ends) >= 4
    assert len(set(ends)) > 1, "staggered starts do not end together"


def test_a_seed_gives_the_same_episodes_and_another_seed_others() -> None:
    world = generated_world(difficulty="hard")
    env = HashrateTuningEnv(world=world)
    first = env.reset(seed=4)[0]
    second = env.reset()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=4)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    assert not np.array_equal(env.reset(seed=5)[0], first)


def test_starts_and_splits_are_respected() -> None:
    world = build_world(make_config(scenario="ercot", split="test", episode_days=2.0))
    core = core_of(world, 64, seed=0)
    test = world.table.rows_of_split("test")
    assert (core.start_row >= test.start).all()
    assert (core.start_row + world.horizon_rows <= test.stop).all()
    assert len(np.unique(core.start_row)) > 32
    core.reset(options={"start": "2022-05-05T03:00"})
    assert str(world.table.start_utc[core.start_row[0]]) == "2022-05-05T03:00:00"


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (ScenarioError, "ercot", {"scenario": "ercto"}),
        (ParamsError, "container", {"site": "contaner"}),
        (ParamsError, "bridge", {"limits": "bridg"}),
        (ParamsError, "medium", {"difficulty": "medum"}),
        (ParamsError, "dt_ctrl_s", {"dt_ctrl_s": 420.0}),
        (ParamsError, "episode_days", {"episode_day": 3.0}),
        (ParamsError, "control step", {"episode_days": 0.0}),
        (CatalogError, "S19j", {"site": SiteSpec("x", (CohortSpec("Antminer S19j Prro", 3),))}),
        (ParamsError, "1 or more", {"site": SiteSpec("x", ())}),
    ],
)
def test_unknown_names_and_impossible_values_say_what_was_meant(
    error: type[Exception], match: str, options: dict[str, object]
) -> None:
    with pytest.raises(error, match=match):
        build_world(make_config(**options))


def test_bad_actions_are_refused_and_leave_the_state_alone() -> None:
    world = generated_world(difficulty="easy")
    core = core_of(world, 2)
    before = core.state
    good = np.zeros((2, world.action_size))
    for bad in (np.zeros(3), np.zeros((2, world.action_size + 1)), np.where(good == 0.0, np.nan, good)):
        with pytest.raises(ActionError, match=r"shape|not numbers"):
            core.step(bad)
    assert core.state is before
    assert core.step_count[0] == 0


def test_a_horizon_past_the_end_of_the_data_is_refused() -> None:
    world = build_world(make_config(scenario="ercot", episode_days=7.0))
    with pytest.raises(ScenarioError, match="horizon"):
        core_of(world, 1, start=np.datetime64("2023-12-30"))
    with pytest.raises(ScenarioError, match="outside the data"):
        core_of(world, 1, start=np.datetime64("2031-01-01"))
    with pytest.raises(ScenarioError, match="does not fit"):
        core_of(build_world(make_config(scenario="ercot", split="test", episode_days=200.0)), 1)
    with pytest.raises(ParamsError, match="start"):
        core_of(world, 1, strat="2023-01-01")
    with pytest.raises(ScenarioError, match="train"):
        core_of(world, 1, split="trian")


def test_torch_batch_runs_resets_and_refuses_other_ids() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    envs = make_torch("minesim/HashrateTuning-v0", 16, episode_days=0.25, difficulty="hard")
    observation = envs.reset()
    assert observation.shape == (16, envs.observation_space.shape[0])
    ended = 0
    for _ in range(100):
        result = envs.step(2.0 * torch.rand(16, envs.world.action_size) - 1.0)
        ended += int(result.truncated.sum())
        assert torch.isfinite(result.observation).all()
    assert ended >= 16
    with pytest.raises(ParamsError, match="HashrateTuning"):
        make_torch("minesim/HashrateTunning-v0", 1)


def test_without_throttle_the_firmware_only_changes_presets() -> None:
    spec = site_spec("container")
    spec = replace(spec, firmware=replace(spec.firmware, has_throttle=False))
    world = build_world(make_config(site=spec, limits="free", difficulty="easy"))
    core = core_of(world, 1)
    rng = np.random.default_rng(0)
    for _ in range(50):
        core.step(rng.uniform(-1, 1, (1, world.action_size)))
        assert (core.history.command.throttle == 1.0).all()
