"""Training: equal seeds give equal bits, a stopped run goes on, nothing is lost on the way."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import torch

from agents.rl.checkpoint import CHECKPOINT, load_checkpoint
from agents.rl.evaluation import Judge, against
from agents.rl.network import NormalisedObservation
from agents.rl.policy import BEST, DESCRIPTION, LAST, load_policy
from agents.rl.settings import (
    ActionSettings,
    AgentSettings,
    Constraint,
    Stage,
    Validation,
    WarmStart,
    discount_of_half_life,
    half_life_of_discount,
)
from agents.rl.training import Training, run_folder, validation_world
from minesim.arrays import NUMPY
from minesim.bench.rollout import rollout, week_starts
from minesim.control.policy import Policy
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import ActionError, DataFileError, ParamsError
from tests.agents.rl_runs import ITERATION, StopAfter, assert_equal, settings, weights

RECIPES = {
    "direct": {},
    "residual": {
        "actions": ActionSettings(kind="residual", rule="hysteresis_throttle"),
        "frozen_iterations": 2,
        "constraint": Constraint(kind="lagrangian", weight=1.0),
    },
    "price of a rule": {
        "actions": ActionSettings(kind="rule_price", rule="patient"),
        "control_period_min": 15.0,
        "yardstick": True,
    },
    "shadow price": {"actions": ActionSettings(kind="shadow_price"), "control_period_min": 15.0},
    "warm start": {"warm_start": WarmStart(rule="threshold", days=0.1, envs=2, epochs=2), "reward_clip": 1.0},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_stopped_run_goes_on_bit_for_bit(recipe: dict[str, Any], tmp_path: Path) -> None:
    whole = Training(settings(3 * 4 * ITERATION, **recipe), tmp_path / "whole")
    whole.run()
    parts = tmp_path / "parts"
    assert not Training(settings(3 * 4 * ITERATION, **recipe), parts).run(StopAfter(2)).finished
    np.random.seed(99)  # noqa: NPY002  another process has other generators
    torch.manual_seed(99)
    rest = Training(settings(3 * 4 * ITERATION, **recipe), parts)
    assert rest.run().finished
    assert_equal(weights(whole), weights(rest))
    lines = [
        [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "whole", parts)
    ]
    assert lines[0] == lines[1]
    assert whole.cost_weight == rest.cost_weight


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    whole = Training(settings(), tmp_path / "whole")
    whole.run()
    killed = Training(settings(), tmp_path / "killed")
    iterate, done = killed._iterate, iter(range(3))

    def cut() -> dict[str, float]:
        if next(done, None) is None:
            raise KeyboardInterrupt
        return iterate()

    killed._iterate = cut  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    assert load_checkpoint(tmp_path / "killed")["steps"] == 2 * ITERATION  # type: ignore[index]
    with (tmp_path / "killed" / "progress.jsonl").open("a") as file:
        file.write('{"step": 9')
    rest = Training(settings(), tmp_path / "killed")
    rest.run()
    assert_equal(weights(whole), weights(rest))
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "progress.jsonl").read_text().splitlines()]
    assert steps == [ITERATION * (n + 1) for n in range(6)]


def test_equal_seeds_give_equal_bits_and_others_do_not(tmp_path: Path) -> None:
    runs = [Training(settings(seed=seed), tmp_path / str(n)) for n, seed in enumerate((5, 5, 6))]
    for run in runs:
        run.run()
    assert_equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0])["action_net.weight"], weights(runs[2])["action_net.weight"])


def test_training_moves_weights_and_leaves_the_generators_of_the_process_alone(tmp_path: Path) -> None:
    random.seed(1)
    torch.manual_seed(1)
    before = (random.getstate(), torch.get_rng_state())
    training = Training(settings(ITERATION), tmp_path)
    training.run()
    first = weights(training)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    more = Training(settings(3 * ITERATION), tmp_path)
    assert more.run().steps == 3 * ITERATION
    assert not torch.equal(first["action_net.weight"], weights(more)["action_net.weight"])


def test_a_finished_run_ends_at_once(tmp_path: Path) -> None:
    Training(settings(ITERATION), tmp_path).run()
    again = Training(settings(ITERATION), tmp_path).run()
    assert again.finished
    assert again.trained_steps == 0


def test_frozen_iterations_train_the_value_function_only(tmp_path: Path) -> None:
    recipe = {"frozen_iterations": 2, "normalise_observations": False}
    begun = Training(settings(ITERATION, **recipe), tmp_path)
    begun._build(None)
    first = weights(begun)
    begun._iterate()
    begun._iterate()
    second = weights(begun)
    assert torch.equal(first["action_net.weight"], second["action_net.weight"])
    assert torch.equal(first["log_std"], second["log_std"])
    assert not torch.equal(first["value_net.weight"], second["value_net.weight"])
    begun._iterate()
    assert not torch.equal(second["action_net.weight"], weights(begun)["action_net.weight"])


def test_a_curriculum_changes_the_world_and_is_stretched_to_the_steps(tmp_path: Path) -> None:
    stages = [Stage("easy", 100), Stage("hard", 300)]
    training = Training(settings(4 * ITERATION, curriculum=stages), tmp_path)
    assert [stage.steps for stage in training.stages] == [ITERATION, 3 * ITERATION]
    training.run(StopAfter(1))
    assert training.world.difficulty.name == "easy"
    rest = Training(settings(4 * ITERATION, curriculum=stages), tmp_path)
    rest.run()
    assert rest.world.difficulty.name == "hard"
    assert settings(0, curriculum=stages).total_steps() == 400


def test_a_lagrangian_follows_the_cost(tmp_path: Path) -> None:
    constraint = Constraint(kind="lagrangian", weight=2.0, limit=0.5, step=1.0)
    training = Training(settings(ITERATION, constraint=constraint), tmp_path)
    training._build(None)
    values = training._iterate()
    assert values["train/cost_weight"] == pytest.approx(2.0 + values["train/cost"] - 0.5)
    assert training.cost_weight < 2.0, "costs are below the limit, so the weight falls"


def test_a_damaged_checkpoint_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    Training(settings(ITERATION), tmp_path).run()
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataFileError, match="Delete it to train from the start"):
        Training(settings(2 * ITERATION), tmp_path).run()


# ------------------------------------------------------------------ policies


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    folder = tmp_path_factory.mktemp("runs") / "a_run"
    recipe = settings(2 * ITERATION * 3, control_period_min=15.0)
    Training(recipe, folder).run()
    return folder, validation_world(recipe)


def test_a_trained_policy_runs_in_a_rollout(trained: tuple[Path, World]) -> None:
    folder, world = trained
    policy = load_policy(folder, world, weights="last")
    assert isinstance(policy, Policy)
    short = build_world(EnvConfig(site="one_s19j_pro", split=None, episode_days=1.0 / 24.0))
    starts = week_starts("2022-06-10", 3)
    first, second = (rollout(policy, short, starts)["profit_usd"].to_numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()


def test_decisions_are_held_for_the_control_period_and_rows_are_apart(trained: tuple[Path, World]) -> None:
    folder, world = trained
    policy = load_policy(folder, world, weights="last")
    rng = np.random.default_rng(0)
    seen = rng.uniform(0.0, 1.0, (8, 2, policy.n_obs)).astype(np.float32)
    acts = []
    for step in range(8):
        if step == 5:
            policy.reset(np.array([False, True]))
        acts.append(policy.act(seen[step]))
    row0 = [float(act[0, 0]) for act in acts]
    row1 = [float(act[1, 0]) for act in acts]
    assert row0[0] == row0[1] == row0[2] != row0[3]
    assert row0[3] == row0[4] == row0[5] != row0[6]
    assert row1[3] == row1[4] != row1[5]
    assert row1[5] == row1[6] == row1[7]
    assert np.abs(acts[0]).max() <= 1.0
    fresh = load_policy(folder, world, weights="last")
    np.testing.assert_array_equal(fresh.act(seen[0, 0]), acts[0][0])


def test_policies_say_what_does_not_fit(trained: tuple[Path, World], tmp_path: Path) -> None:
    folder, world = trained
    with pytest.raises(DataFileError, match="Did you mean 'a_run'"):
        load_policy(folder.parent / "a_runn", world)
    with pytest.raises(DataFileError, match="no training run"):
        load_policy(tmp_path / "nowhere", world)
    with pytest.raises(DataFileError, match=BEST):
        load_policy(folder, world)
    with pytest.raises(ParamsError, match="best or last"):
        load_policy(folder, world, weights="newest")
    with pytest.raises(ParamsError, match="observes"):
        load_policy(folder, build_world(EnvConfig(split=None)), weights="last")
    with pytest.raises(ParamsError, match="1 actions, the world takes 2"):
        load_policy(folder, build_world(EnvConfig(site="one_s19j_pro", split=None, difficulty="hard")), weights="last")
    with pytest.raises(ParamsError, match="dt_ctrl_s is 900 s"):
        load_policy(folder, build_world(EnvConfig(site="one_s19j_pro", split=None, dt_ctrl_s=900.0)), weights="last")
    with pytest.raises(ActionError, match="observation of 3 numbers"):
        load_policy(folder, world, weights="last").act(np.zeros((2, 3), np.float32))


def test_damaged_policies_are_errors(trained: tuple[Path, World], tmp_path: Path) -> None:
    folder, world = trained
    (tmp_path / DESCRIPTION).write_bytes((folder / DESCRIPTION).read_bytes())
    (tmp_path / LAST).write_bytes((folder / LAST).read_bytes()[:200])
    with pytest.raises(DataFileError, match="no weights of this network"):
        load_policy(tmp_path, world, weights="last")
    (tmp_path / DESCRIPTION).write_text("{")
    with pytest.raises(DataFileError, match="not readable"):
        load_policy(tmp_path, world)
    (tmp_path / DESCRIPTION).write_text('{"format": 7}')
    with pytest.raises(DataFileError, match="format 7"):
        load_policy(tmp_path, world)


# ------------------------------------------------------------------ parts


def test_discounts_of_half_lives() -> None:
    assert discount_of_half_life(5.7473, 5.0 / 60.0) == pytest.approx(0.99, abs=1e-6)
    assert half_life_of_discount(0.99, 5.0 / 60.0) == pytest.approx(5.7473, abs=1e-4)
    assert AgentSettings(half_life_h=24.0, control_period_min=60.0).discount() ** 24 == pytest.approx(0.5)
    assert AgentSettings(gamma=0.9).discount() == 0.9


def test_observations_are_normalised_by_all_that_was_seen() -> None:
    import gymnasium as gym

    rng = np.random.default_rng(0)
    values = rng.normal([3.0, -1.0, 2.0], [2.0, 0.5, 0.0], (1000, 3)).astype(np.float32)
    part = NormalisedObservation(gym.spaces.Box(-np.inf, np.inf, (3,), np.float32))
    part.update(values[:300])
    part.update(values[300:].reshape(7, 100, 3))
    made = part(torch.as_tensor(values)).numpy()
    np.testing.assert_allclose(made[:, :2].mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(made[:, :2].std(0), 1.0, atol=1e-4)
    np.testing.assert_allclose(made[:, 2], 0.0, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"actions": ActionSettings(kind="residul")}, "Did you mean 'residual'"),
        ({"batch_size": 64}, "up to envs x n_steps = 32"),
        ({"gamma": 1.0}, "agent.gamma is 1.0"),
        ({"half_life_h": 0.0}, "half_life_h is 0.0 h"),
        ({"envs": 0}, "agent.envs is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"activation": "sigmoid"}, "activation 'sigmoid' is unknown"),
        ({"control_period_min": 7.0}, "control_period_min is 7.0 min"),
        ({"actions": ActionSettings(kind="residual"), "warm_start": WarmStart(rule="threshold")}, "leave warm_start"),
        ({"actions": ActionSettings(kind="residual", rule="treshold")}, "Did you mean 'threshold'"),
        ({"warm_start": WarmStart(rule="always_stok")}, "Did you mean 'always_stock'"),
    ],
)
def test_bad_settings_are_errors(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=match):
        Training(settings(**changes), tmp_path / "run").run()
    assert not list(tmp_path.rglob("*.pt"))


def test_the_folder_follows_from_what_matters() -> None:
    first = run_folder(settings())
    assert run_folder(settings(steps=10_000)) == first, "training longer goes on in the same folder"
    assert run_folder(settings(seed=1)) != first
    assert run_folder(settings(learning_rate=1e-4)) != first


# ------------------------------------------------------------------ judging


@pytest.mark.parametrize(
    ("kind", "rule"), [("shadow_price", "myopic_best_preset"), ("rule_price", "patient"), ("residual", "patient")]
)
def test_zeros_are_the_rule_on_the_same_draws(kind: str, rule: str) -> None:
    from agents.rl.actions import build_actions, build_rule
    from agents.rl.warm_start import MapAsPolicy

    world = build_world(EnvConfig(split=None, episode_days=0.25))
    starts = week_starts("2022-06-10", 3)
    mine = rollout(MapAsPolicy(build_actions(ActionSettings(kind=kind, rule=rule), world)), world, starts)
    alone = rollout(build_rule(rule, world), world, starts)
    np.testing.assert_array_equal(mine["profit_usd"], alone["profit_usd"])


@pytest.mark.parametrize("kind", ["shadow_price", "rule_price"])
def test_a_price_adder_stops_what_does_not_earn_it(kind: str) -> None:
    from agents.rl.actions import build_actions, knowledge_of

    world = build_world(EnvConfig(split=None, episode_days=0.25))
    settings = ActionSettings(kind=kind, rule="myopic_best_preset", price_max_usd_per_mwh=5000.0)
    actions = build_actions(settings, world)
    schema = knowledge_of(world).schema
    observation = np.zeros((1, schema.size), np.float32)
    for name, value in {"hash_revenue_usd_per_ths_day": 0.07, "price_last_usd_per_mwh": 20.0, "level": 1.0}.items():
        observation[:, schema.slices[name]] = schema.by_name[name].encode(np.float64(value), xp=NUMPY)
    assert (actions.action(observation, np.zeros((1, 1))) > -0.9).all()
    assert (actions.action(observation, np.ones((1, 1))) == -1.0).all()


def test_judging_never_touches_other_splits() -> None:
    world = build_world(EnvConfig(scenario="ercot/4cp", site="one_s19j_pro", split=None))
    with pytest.raises(ParamsError, match="test weeks belong to the benchmark"):
        Judge(world, Validation(first="2023-07-01", weeks=2, every=1))
    with pytest.raises(ParamsError, match="like 2023-01-07"):
        Judge(world, Validation(first="soon"))
    with pytest.raises(ParamsError, match="no weeks or no seeds"):
        Judge(world, Validation(seeds=[]))


def test_comparisons_are_paired_with_every_rule() -> None:
    profit = np.arange(8.0)[:, None]
    pairs = against(profit + 1.0, {"same": profit + 1.0, "less": profit}, "ppo")
    assert [(pair.agent, pair.baseline) for pair in pairs] == [("ppo", "same"), ("ppo", "less")]
    assert pairs[0].difference.estimate == 0.0
    assert pairs[1].difference.low == pairs[1].difference.high == 1.0


@pytest.mark.parametrize(("probability", "runs"), [(1e-4, True), (2e-2, False)])
def test_an_adder_cannot_run_a_site_into_a_likely_peak(probability: float, runs: bool) -> None:
    from agents.rl.actions import build_actions, knowledge_of

    world = build_world(EnvConfig(scenario="ercot/4cp", split=None, episode_days=0.25))
    actions = build_actions(ActionSettings(kind="rule_price", rule="myopic_best_preset"), world)
    schema = knowledge_of(world).schema
    observation = np.zeros((1, schema.size), np.float32)
    values = {
        "hash_revenue_usd_per_ths_day": 0.07,
        "price_last_usd_per_mwh": 500.0,
        "level": 1.0,
        "cp_rate_usd_per_kw": 10.0,
        "peak_probability": probability,
    }
    for name, value in values.items():
        observation[:, schema.slices[name]] = schema.by_name[name].encode(np.float64(value), xp=NUMPY)
    assert bool((actions.action(observation, -np.ones((1, 1))) > -0.9).all()) is runs
