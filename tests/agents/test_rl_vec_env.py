"""The SB3 adapter: what stable-baselines3 expects, and the same numbers as the batch it adapts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO

from agents.rl.actions import build_actions, build_rule
from agents.rl.settings import ActionSettings
from agents.rl.sites import Batch, TrainingSites, Yardstick
from agents.rl.vec_env import SiteVecEnv
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import EnvConfig, World, build_world
from minesim.envs.torch_batch import TorchBatch
from minesim.errors import ParamsError


@pytest.fixture(scope="module")
def tiny() -> World:
    """One S19j Pro for an hour of a generated scenario."""
    return build_world(EnvConfig(site="one_s19j_pro", split=None, episode_days=1.0 / 24.0, difficulty="easy"))


def make(world: World, envs: int = 4, **options: object) -> SiteVecEnv:
    return SiteVecEnv(HashrateTuningVectorEnv(envs, world=world), **options)  # type: ignore[arg-type]


def test_steps_as_the_batch_does(tiny: World) -> None:
    env, batch = make(tiny), HashrateTuningVectorEnv(4, world=tiny)
    env.seed(3)
    seeds = [3 * 1_000_003 + row for row in range(4)]
    np.testing.assert_array_equal(env.reset(), batch.reset(seed=seeds)[0])
    rng = np.random.default_rng(0)
    for _ in range(2 * tiny.horizon_steps + 3):
        action = rng.uniform(-1.0, 1.0, (4, tiny.action_size)).astype(np.float32)
        observation, reward, done, infos = env.step(action)
        expected, gain, _, truncated, info = batch.step(action)
        np.testing.assert_array_equal(observation, expected)
        np.testing.assert_array_equal(reward, gain.astype(np.float32))
        np.testing.assert_array_equal(done, truncated)
        assert reward.dtype == np.float32
        assert done.dtype == bool
        for row in range(4):
            if done[row]:
                assert infos[row]["TimeLimit.truncated"]
                np.testing.assert_array_equal(infos[row]["terminal_observation"], info["final_obs"][row])
            else:
                assert infos[row] == {}


def test_the_last_observation_is_of_the_old_episode(tiny: World) -> None:
    env = make(tiny)
    env.seed(0)
    env.reset()
    off = np.full((4, tiny.action_size), -1.0, np.float32)
    for _ in range(tiny.horizon_steps):
        observation, _, done, infos = env.step(off)
    assert done.all()
    hashing = env.env.schema.slices["hashing"]
    assert (infos[0]["terminal_observation"][hashing] == 0.0).all(), "stood still at the end"
    assert (observation[0][hashing] == 1.0).all(), "a new episode runs"


def test_the_learner_bootstraps_from_the_horizon(tiny: World) -> None:
    """With zero rewards and a value of 1 everywhere, the last reward of an episode is gamma x 1, others are 0."""
    env = make(tiny, reward_scale=0.0)
    model = PPO("MlpPolicy", env, n_steps=tiny.horizon_steps + 2, batch_size=8, gamma=0.9, seed=0, device="cpu")
    head = model.policy.value_net
    head.weight.data.zero_()
    head.bias.data.fill_(1.0)
    _, callback = model._setup_learn(10_000)
    model.collect_rollouts(env, callback, model.rollout_buffer, model.n_steps)
    rewards = model.rollout_buffer.rewards
    expected = np.zeros_like(rewards)
    expected[tiny.horizon_steps - 1] = 0.9
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    starts = np.flatnonzero(model.rollout_buffer.episode_starts[:, 0])
    assert starts.tolist() == [0, tiny.horizon_steps]


def test_a_decision_sums_the_rewards_of_its_control_steps(tiny: World) -> None:
    env, batch = make(tiny, repeat=3), HashrateTuningVectorEnv(4, world=tiny)
    env.seed(0)
    env.reset()
    batch.reset(seed=[0, 1, 2, 3])
    action = np.full((4, tiny.action_size), 0.3, np.float32)
    _, reward, _, _ = env.step(action)
    total = sum(batch.step(action)[1] for _ in range(3))
    np.testing.assert_allclose(reward, total, rtol=1e-6)


def test_a_decision_cut_by_the_horizon_leaves_out_the_next_episode(tiny: World) -> None:
    repeat = tiny.horizon_steps - 1
    env, batch = make(tiny, repeat=repeat), HashrateTuningVectorEnv(4, world=tiny)
    env.seed(0)
    env.reset()
    batch.reset(seed=[0, 1, 2, 3])
    action = np.zeros((4, tiny.action_size), np.float32)
    env.step(action)
    _, reward, done, _ = env.step(action)
    gains = [batch.step(action)[1] for _ in range(tiny.horizon_steps)]
    assert done.all()
    np.testing.assert_allclose(reward, gains[-1], rtol=1e-6)


def test_cost_is_subtracted_with_its_weight_and_rewards_are_clipped(tiny: World) -> None:
    plain, priced, cut = make(tiny), make(tiny, reward_scale=0.5), make(tiny, reward_clip=1e-3)
    priced.cost_weight = 10.0
    batch = HashrateTuningVectorEnv(4, world=tiny)
    batch.reset(seed=[0, 1, 2, 3])
    results = []
    for env in (plain, priced, cut):
        env.seed(0)
        env.reset()
        results.append([env.step(np.full((4, tiny.action_size), a, np.float32))[1] for a in (-0.89, 1.0)])
    costs = [batch.step(np.full((4, tiny.action_size), a, np.float32))[4]["cost"] for a in (-0.89, 1.0)]
    assert max(cost.max() for cost in costs) > 0.0, "the jump must cost something for this test to say anything"
    for gain, less, cost in zip(results[0], results[1], costs, strict=True):
        np.testing.assert_allclose(less, 0.5 * (gain - 10.0 * cost), rtol=1e-5, atol=1e-6)
    assert np.abs(results[2]).max() <= 1e-3 + 1e-9


def test_goes_on_from_a_snapshot_bit_for_bit(tiny: World) -> None:
    import copy

    kind = ActionSettings(kind="residual", rule="hysteresis_throttle", scale=0.5)
    first, second = (make(tiny, actions=build_actions(kind, tiny)) for _ in range(2))
    first.seed(0)
    first.reset()
    rng = np.random.default_rng(1)
    for _ in range(5):
        first.step(rng.uniform(-1, 1, (4, tiny.action_size)).astype(np.float32))
    second.restore(copy.deepcopy(first.snapshot()))
    for _ in range(tiny.horizon_steps + 2):
        action = rng.uniform(-1, 1, (4, tiny.action_size)).astype(np.float32)
        for mine, other in zip(first.step(action)[:3], second.step(action)[:3], strict=True):
            np.testing.assert_array_equal(mine, other)


def test_means_count_control_steps(tiny: World) -> None:
    env = make(tiny, repeat=2)
    env.seed(0)
    env.reset()
    env.step(np.ones((4, tiny.action_size), np.float32))
    means = env.take_means()
    assert means["profit_usd_per_week"] != 0.0
    assert env.take_means()["reward"] == 0.0


def test_refuses_a_repeat_below_one(tiny: World) -> None:
    with pytest.raises(ParamsError, match="repeat is 0"):
        make(tiny, repeat=0)


@pytest.mark.parametrize("kind", ["numpy", "tensors"])
def test_who_does_as_the_yardstick_earns_nothing_over_it(kind: str) -> None:
    world = build_world(EnvConfig(scenario="generated", split=None, episode_days=0.05, difficulty="hard"))

    def batch() -> Batch:
        if kind == "numpy":
            return HashrateTuningVectorEnv(3, world=world, stagger=True)
        return TorchBatch(3, world=world, seed=5, stagger=True)

    actions = build_actions(ActionSettings(kind="residual", rule="hysteresis_throttle"), world)
    yardstick = Yardstick(batch(), build_rule("hysteresis_throttle", world))
    sites = TrainingSites(batch(), actions, repeat=3, yardstick=yardstick)
    sites.begin([5, 6, 7])
    like = [[0.0] * world.action_size] * 3
    ended = np.zeros(3, bool)
    for _ in range(12):
        decision = sites.decide(sites.env.core.flags(np.array(like, np.float32)))
        ended |= decision.ended
        assert not np.asarray(decision.reward).any()
    assert ended.all(), "also across the ends of episodes"
    other = sites.decide(sites.env.core.flags(np.full((3, world.action_size), -1.0, np.float32)))
    assert np.asarray(other.reward).all()
