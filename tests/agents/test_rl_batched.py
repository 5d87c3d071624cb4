"""The batched trainer: rsl-rl over the torch batch, the same runs, weights and policies as with the other trainer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("rsl_rl")

import torch

from agents.rl.actions import build_actions
from agents.rl.batched import BatchedLearner
from agents.rl.learner import check_device
from agents.rl.policy import BEST, load_policy
from agents.rl.settings import ActionSettings, Constraint, Stage, TrainerSettings
from agents.rl.sites import TrainingSites, seeds_of
from agents.rl.torch_env import GROUP, SiteTorchEnv
from agents.rl.training import Training, training_world, validation_world
from agents.rl.vec_env import SiteVecEnv
from minesim.bench.rollout import rollout, week_starts
from minesim.control.policy import Policy
from minesim.envs.core import EnvConfig, World, build_world
from minesim.envs.torch_batch import TorchBatch
from minesim.errors import MissingExtraError, ParamsError
from tests.agents.rl_runs import ITERATION, StopAfter, assert_equal, settings, weights

KINDS = {
    "direct": ActionSettings(kind="direct"),
    "residual": ActionSettings(kind="residual", rule="hysteresis_throttle", scale=0.5),
    "residual with peaks": ActionSettings(kind="residual", rule="peak_avoiding"),
    "price of a rule": ActionSettings(kind="rule_price", rule="patient"),
    "shadow price": ActionSettings(kind="shadow_price"),
    "shadow price each": ActionSettings(kind="shadow_price", per_cohort=True),
}


@pytest.fixture(scope="module")
def tiny() -> World:
    """One S19j Pro for an hour of a generated scenario."""
    return build_world(EnvConfig(site="one_s19j_pro", split=None, episode_days=1.0 / 24.0, difficulty="easy"))


def learner(steps_per_iteration: int = 8, **agent: Any) -> BatchedLearner:
    chosen = settings(trainer="batched", n_steps=steps_per_iteration, **agent)
    return BatchedLearner(chosen, training_world(chosen, "easy"), {})


# ------------------------------------------------------------------ sites


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_action_maps_mean_the_same_on_tensors(kind: ActionSettings) -> None:
    world = build_world(EnvConfig(scenario="generated", split=None, episode_days=0.25, difficulty="hard"))
    sites = TorchBatch(3, world=world, double=True)
    on_numpy, on_torch = (build_actions(kind, world) for _ in range(2))
    observation = sites.reset()
    rng = np.random.default_rng(0)
    for _ in range(4):
        raw = rng.uniform(-1.0, 1.0, (3, on_torch.size)).astype(np.float32)
        action = on_torch.action(observation, torch.as_tensor(raw))
        assert isinstance(action, torch.Tensor)
        assert action.shape == (3, world.action_size)
        np.testing.assert_allclose(action.numpy(), on_numpy.action(observation.numpy(), raw), atol=1e-5)
        done = np.array([True, False, False])
        on_numpy.reset(done)
        on_torch.reset(torch.as_tensor(done))
        observation = sites.step(action).observation


def test_a_decision_is_control_steps_of_the_batch_without_what_a_successor_earns(tiny: World) -> None:
    sites = TrainingSites(TorchBatch(4, world=tiny), repeat=5, reward_scale=0.5)
    batch = TorchBatch(4, world=tiny)
    sites.begin(seeds_of(0, 4))
    batch.core.seed(seeds_of(0, 4))
    batch.reset()
    sites.cost_weight = 2.0
    raw = torch.full((4, tiny.action_size), 0.3)
    ended_once = False
    for _ in range(2 * tiny.horizon_steps // 5 + 1):
        decision = sites.decide(raw)
        total, alive, final = torch.zeros(4), torch.ones(4), [None] * 4
        for _ in range(5):
            step = batch.step(raw)
            total = total + alive * (step.reward - 2.0 * step.cost).float()
            for row in np.flatnonzero(step.truncated.numpy() * alive.numpy()):
                final[row] = step.final_observation[row]
            alive = alive * (1.0 - step.truncated.float())
        torch.testing.assert_close(decision.reward, 0.5 * total, rtol=1e-5, atol=1e-6)
        assert decision.ended.tolist() == (alive == 0.0).tolist()
        torch.testing.assert_close(decision.observation, step.observation)
        for row, last in enumerate(final):
            if last is not None:
                ended_once = True
                torch.testing.assert_close(decision.final[row], last)
    assert ended_once


def test_the_torch_env_is_what_rsl_rl_expects(tiny: World) -> None:
    env = SiteTorchEnv(TorchBatch(4, world=tiny, stagger=False), repeat=2)
    first = env.get_observations()
    assert first[GROUP].shape == (4, env.env.schema.size)
    assert (env.num_envs, env.num_actions, env.max_episode_length) == (4, tiny.action_size, tiny.horizon_steps // 2)
    for step in range(1, env.max_episode_length + 1):
        observation, reward, done, extras = env.step(torch.full((4, tiny.action_size), 7.0))
        last = step == env.max_episode_length
        assert (reward.shape, reward.dtype, done.dtype) == ((4,), torch.float32, torch.bool)
        assert bool(done.all()) is bool(extras["time_outs"].all()) is last
        assert ("final" in extras) is last
        assert env.episode_length_buf.tolist() == [0 if last else step] * 4
    assert extras["ended"].tolist() == [0, 1, 2, 3]
    assert not torch.equal(extras["final"][GROUP], observation[GROUP])


def test_the_runner_of_rsl_rl_trains_on_it_as_well(tiny: World, capsys: pytest.CaptureFixture[str]) -> None:
    from rsl_rl.runners import OnPolicyRunner

    with torch.random.fork_rng():
        runner = OnPolicyRunner(
            SiteTorchEnv(TorchBatch(4, world=tiny)),
            {
                "num_steps_per_env": 4,
                "save_interval": 10,
                "obs_groups": {"actor": [GROUP], "critic": [GROUP]},
                "algorithm": {"class_name": "PPO"},
                "actor": {
                    "class_name": "MLPModel",
                    "hidden_dims": [8],
                    "distribution_cfg": {"class_name": "GaussianDistribution"},
                },
                "critic": {"class_name": "MLPModel", "hidden_dims": [8]},
            },
        )
        runner.learn(1)
    assert runner.current_learning_iteration == 0
    capsys.readouterr()


def test_sb3_gets_the_same_numbers_from_tensors(tiny: World) -> None:
    env, batch = SiteVecEnv(TorchBatch(4, world=tiny, stagger=False)), TorchBatch(4, world=tiny, stagger=False)
    env.seed(3)
    batch.core.seed(seeds_of(3, 4))
    np.testing.assert_array_equal(env.reset(), batch.reset().numpy())
    rng = np.random.default_rng(0)
    for _ in range(tiny.horizon_steps):
        action = rng.uniform(-1.0, 1.0, (4, tiny.action_size)).astype(np.float32)
        observation, reward, done, infos = env.step(action)
        step = batch.step(torch.as_tensor(action))
        np.testing.assert_array_equal(observation, step.observation.numpy())
        np.testing.assert_array_equal(reward, step.reward.float().numpy())
        assert isinstance(observation, np.ndarray)
        assert isinstance(reward, np.ndarray)
    assert done.all()
    np.testing.assert_array_equal(infos[2]["terminal_observation"], step.final_observation[2].numpy())


# ------------------------------------------------------------------ learner


def test_models_of_rsl_rl_are_the_network() -> None:
    made = learner()
    network, ppo = made.network, made.ppo
    observation = made.env.get_observations()
    made.network.features_extractor.update(observation[GROUP])
    with torch.no_grad():
        mean = network.get_distribution(observation[GROUP]).mode()
        value = network.predict_values(observation[GROUP])
        torch.testing.assert_close(ppo.actor(observation), mean)
        torch.testing.assert_close(ppo.critic(observation), value)
    trained = {id(weight) for group in ppo.optimizer.param_groups for weight in group["params"]}
    assert trained == {id(weight) for weight in network.parameters()}
    assert len(trained) == len(ppo.optimizer.param_groups[0]["params"]), "no weight is stepped twice"


def test_it_bootstraps_from_the_last_observation_of_an_episode() -> None:
    """With zero rewards and values that tell the two apart, the last reward is gamma x the value at the end."""
    made = learner(steps_per_iteration=14, gamma=0.9, reward_scale=0.0, batch_size=56)
    head = made.network.value_net
    torch.nn.init.constant_(head.weight, 0.3)
    horizon = made.env.world.horizon_steps
    finals: dict[int, torch.Tensor] = {}
    step, count = made.env.step, iter(range(100))

    def watched(raw: torch.Tensor) -> Any:
        result, at = step(raw), next(count)
        if "final" in result[3]:
            for row, last in zip(result[3]["ended"].tolist(), result[3]["final"][GROUP], strict=True):
                finals[at * 4 + row] = 0.9 * made.network.predict_values(last[None])[0, 0].detach()
        return result

    made.env.step = watched  # type: ignore[method-assign]
    made.ppo.update = lambda: {"value": 0.0, "entropy": 0.0}  # type: ignore[method-assign]
    made.iterate()
    assert horizon < 14
    assert len(finals) >= 4
    rewards = made.ppo.storage.rewards.flatten()
    expected = torch.zeros_like(rewards)
    for place, value in finals.items():
        expected[place] = value
    assert float(expected.abs().max()) > 0.0
    torch.testing.assert_close(rewards, expected)


def test_it_learns_what_is_plainly_better() -> None:
    """An efficient miner under cheap energy should run flat out; the first policy throttles it."""
    made = learner(
        steps_per_iteration=16, envs=16, batch_size=64, epochs=4, learning_rate=1e-2, half_life_h=0.1, nets=[16]
    )
    profits = []
    for _ in range(12):
        made.iterate()
        profits.append(made.env.take_means()["profit_usd_per_week"])
    assert np.mean(profits[-3:]) > 1.15 * np.mean(profits[:2])


# ------------------------------------------------------------------ runs

RECIPES: dict[str, dict[str, Any]] = {
    "direct": {},
    "residual": {
        "actions": ActionSettings(kind="residual", rule="hysteresis_throttle"),
        "frozen_iterations": 1,
        "constraint": Constraint(kind="lagrangian", weight=1.0),
        "target_kl": 0.01,
    },
    "shadow price": {"actions": ActionSettings(kind="shadow_price"), "control_period_min": 15.0},
    "curriculum": {"curriculum": [Stage("easy", 64), Stage("hard", 128)]},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_stopped_run_goes_on_bit_for_bit(recipe: dict[str, Any], tmp_path: Path) -> None:
    wanted = settings(6 * ITERATION, trainer="batched", **recipe)
    whole = Training(wanted, tmp_path / "whole")
    whole.run()
    parts = tmp_path / "parts"
    assert not Training(wanted, parts).run(StopAfter(1)).finished
    torch.manual_seed(99)
    rest = Training(wanted, parts)
    assert rest.run().finished
    assert_equal(weights(whole), weights(rest))
    lines = [
        [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "whole", parts)
    ]
    assert lines[0] == lines[1]
    assert whole.cost_weight == rest.cost_weight


def test_equal_seeds_give_equal_bits_and_others_do_not(tmp_path: Path) -> None:
    runs = [Training(settings(seed=n, trainer="batched"), tmp_path / str(k)) for k, n in enumerate((5, 5, 6))]
    before = torch.get_rng_state()
    for run in runs:
        run.run()
    assert torch.equal(torch.get_rng_state(), before), "generators of the process are given back"
    assert_equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0])["action_net.weight"], weights(runs[2])["action_net.weight"])


def test_frozen_iterations_train_the_value_function_only(tmp_path: Path) -> None:
    recipe = {"frozen_iterations": 1, "normalise_observations": False}
    begun = Training(settings(ITERATION, trainer="batched", **recipe), tmp_path)
    begun._build(None)
    first = weights(begun)
    begun._iterate()
    second = weights(begun)
    for name in ("action_net.weight", "log_std", "mlp_extractor.policy_net.0.weight"):
        assert torch.equal(first[name], second[name])
    assert not torch.equal(first["value_net.weight"], second["value_net.weight"])
    begun._iterate()
    assert not torch.equal(second["action_net.weight"], weights(begun)["action_net.weight"])


class FallingJudge:
    """Judges each policy worse than the one before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: list[torch.Tensor] = []

    def profit(self, policy: Any) -> np.ndarray:
        self.seen.append(policy.network.action_net.weight.detach().clone())
        return np.full((2, 1), -float(len(self.seen)))


def test_the_best_weights_are_kept_and_the_folder_is_a_policy(tmp_path: Path) -> None:
    wanted = settings(3 * 3 * ITERATION, trainer="batched", control_period_min=15.0)
    wanted.trainer.evaluate_every = 3 * ITERATION
    judge = FallingJudge(validation_world(wanted))
    outcome = Training(wanted, tmp_path / "a_run", judge).run()
    assert (len(outcome.evaluations), outcome.best) == (4, 0)
    best = torch.load(tmp_path / "a_run" / BEST, weights_only=True)
    assert torch.equal(best["action_net.weight"], judge.seen[0])
    policy = load_policy(tmp_path / "a_run", judge.world, weights="last")
    assert isinstance(policy, Policy)
    assert torch.equal(policy.network.action_net.weight, judge.seen[-1])
    short = build_world(EnvConfig(site="one_s19j_pro", split=None, episode_days=1.0 / 24.0))
    profit = rollout(policy, short, week_starts("2022-06-10", 3))["profit_usd"].to_numpy()
    assert np.isfinite(profit).all()


def test_a_trained_policy_takes_tensors(tmp_path: Path) -> None:
    wanted = settings(3 * ITERATION, trainer="batched", control_period_min=15.0)
    Training(wanted, tmp_path).run()
    on_numpy, on_torch = (load_policy(tmp_path, validation_world(wanted), weights="last") for _ in range(2))
    rng = np.random.default_rng(0)
    for step in range(6):
        seen = rng.uniform(0.0, 1.0, (2, on_numpy.n_obs)).astype(np.float32)
        if step == 4:
            on_numpy.reset(np.array([True, False]))
            on_torch.reset(torch.tensor([True, False]))
        action = on_torch.act(torch.as_tensor(seen))
        assert isinstance(action, torch.Tensor)
        np.testing.assert_array_equal(action.numpy(), on_numpy.act(seen))


# ------------------------------------------------------------------ what cannot be


def test_what_is_missing_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agents.rl.batched")
    monkeypatch.setitem(sys.modules, "rsl_rl.algorithms", None)
    with pytest.raises(MissingExtraError, match=r"needs rsl-rl .*pip install 'minesim\[agents\]', or take trainer=sb3"):
        Training(settings(trainer="batched"), tmp_path).run()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "batchd"}, "Did you mean 'batched'"),
        ({"device": "gpu"}, "cpu, cuda or cuda:NUMBER"),
        ({"device": "meta"}, "cpu, cuda or cuda:NUMBER"),
        ({"device": "cuda:77"}, "torch sees .* GPU.*trainer.device=cpu"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_trainers_are_errors(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    wanted = settings()
    wanted.trainer = TrainerSettings(**{"steps": ITERATION, **changes})
    with pytest.raises(ParamsError, match=match):
        Training(wanted, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_gpu_is_asked_for_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ParamsError, match="torch sees no GPU"):
        check_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda:1")


@pytest.mark.long
def test_a_compiled_twin_trains_like_an_uncompiled_one(tmp_path: Path) -> None:
    figures = []
    for compiled in (False, True):
        wanted = settings(trainer="batched")
        wanted.trainer.compiled = compiled
        run = Training(wanted, tmp_path / str(compiled))
        run._build(None)
        figures.append(run._iterate())
    for name in ("train/reward", "train/profit_usd_per_week"):
        assert figures[0][name] == pytest.approx(figures[1][name], rel=1e-3)
