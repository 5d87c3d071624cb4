"""Learning from recorded rollouts: known problems are solved, runs are repeatable, wrong data are refused."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("minari")
pytest.importorskip("h5py")
pytest.importorskip("stable_baselines3")

import torch
from omegaconf import OmegaConf

from agents.offline import training as module
from agents.offline.decisions import POWER_MATCH, numbers_of, read_decisions
from agents.offline.iql import IQL, Batch, advantage_weight, expectile_loss
from agents.offline.rollouts import RolloutOptions, write_rollouts
from agents.offline.settings import LearnerSettings, OfflineSettings, OfflineTrainer
from agents.offline.training import OfflineTraining, judged_world
from agents.rl.actions import build_actions, build_rule
from agents.rl.checkpoint import CHECKPOINT
from agents.rl.evaluation import Judge
from agents.rl.network import make_network
from agents.rl.policy import load_policy
from agents.rl.settings import ActionSettings, Validation
from minesim.bench.rollout import rollout
from minesim.control.actuate import target_level
from minesim.envs.core import EnvConfig, SiteCore, World, build_world
from minesim.errors import DataFileError, MissingExtraError, ParamsError

ROOT = Path(__file__).parents[2]
CHUNK = 20
"""Updates between two rests in these tests."""


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", CHUNK)


# ---------------------------------------------------------------------- known problems


def learned(
    seen: np.ndarray, done: np.ndarray, reward: np.ndarray, then: np.ndarray, updates: int = 150, **agent: Any
) -> Any:
    """Mean decision of a policy that was learned from these decisions."""
    torch.manual_seed(0)
    recipe = LearnerSettings(**{"nets": [16], "learning_rate": 3e-2, "batch_size": 256, **agent})
    network = make_network(recipe.network(), seen.shape[1], done.shape[1])
    network.features_extractor.update(seen.astype(np.float32))
    learner = IQL(network, recipe)
    learner.discount = 0.9
    parts = [torch.as_tensor(x, dtype=torch.float32) for x in (seen, done, reward, then)]
    rng = np.random.default_rng(0)
    for _ in range(updates):
        rows = torch.as_tensor(rng.integers(0, len(seen), recipe.batch_size))
        learner.update(Batch(*(part[rows] for part in parts)))

    def decide(observation: list[float]) -> float:
        with torch.no_grad():
            mean = network.get_distribution(torch.tensor([observation])).mode()
        return float(np.clip(mean.item(), -1.0, 1.0))

    return decide


def test_a_market_with_two_prices_is_learned_from_random_decisions() -> None:
    # Load a in [-1, 1] earns a at the low price and -a at the high one; who decided at random earned 0.
    rng = np.random.default_rng(1)
    price = rng.integers(0, 2, 4000)
    load = rng.uniform(-1.0, 1.0, 4000)
    reward = np.where(price == 0, load, -load)
    seen, then = price[:, None] * 1.0, rng.permutation(price)[:, None] * 1.0
    decide = learned(seen, load[:, None], reward, then)
    assert 0.5 * (decide([0.0]) - decide([1.0])) > 0.5
    cloned = learned(seen, load[:, None], reward, then, temperature=0.0)
    assert abs(0.5 * (cloned([0.0]) - cloned([1.0]))) < 0.15
    assert abs(reward.mean()) < 0.05


def test_a_gain_now_that_costs_more_later_is_declined() -> None:
    # In state 0 a positive decision earns 1 and leads to state 1, which costs 3 whatever is done and leads back.
    rng = np.random.default_rng(2)
    state = rng.integers(0, 2, 4000)
    greedy = rng.uniform(-1.0, 1.0, 4000)
    taken = (state == 0) & (greedy > 0.0)
    reward = np.where(state == 1, -3.0, 1.0 * taken)
    then = np.where(taken, 1.0, 0.0)
    decide = learned(state[:, None] * 1.0, greedy[:, None], reward, then[:, None], updates=200, target_rate=0.1)
    assert decide([0.0]) < -0.25


def test_the_expectile_lies_where_it_should() -> None:
    # Of 0 and 1 in equal parts the expectile of 0.9 is 0.9: 0.9 (1 - v) = 0.1 v.
    values = torch.tensor([0.0, 1.0], dtype=torch.float64)
    guess = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    expectile_loss(values - guess, 0.9).backward()
    assert guess.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_weights_do_not_depend_on_the_unit_of_money() -> None:
    advantage = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(advantage_weight(advantage, 3.0, 100.0), advantage_weight(1e-3 * advantage, 3.0, 100.0))
    assert advantage_weight(advantage, 0.0, 100.0).tolist() == [1.0, 1.0, 1.0]
    assert advantage_weight(advantage, 50.0, 100.0).max() == 100.0
    assert torch.isfinite(advantage_weight(torch.zeros(4), 3.0, 100.0)).all()


# ---------------------------------------------------------------------- data of the site


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("offline") / "data"
    write_rollouts(
        RolloutOptions(
            "generated/mixed", ("myopic_best_preset",), noise=0.5, site="one_s19j_pro", days=0.5, episodes=3, envs=3
        ),
        out,
    )
    return out


@pytest.fixture(scope="module")
def world() -> World:
    return judged_world(settings(Path()))


def settings(root: Path, updates: int = 2 * CHUNK, out: Path = Path("outputs"), **agent: Any) -> OfflineSettings:
    recipe = {"nets": [8], "batch_size": 16, **agent}
    return OfflineSettings(
        dataset=str(root),
        agent=LearnerSettings(**recipe),
        trainer=OfflineTrainer(updates=updates, evaluate_every=0, checkpoint_every=CHUNK),
        scenario="generated/mixed",
        site="one_s19j_pro",
        out=str(out),
    )


def test_decisions_sum_what_was_recorded(root: Path, world: World) -> None:
    data = read_decisions(root, (), world, LearnerSettings(actions=ActionSettings("direct")))
    assert len(data.first) == len(data.numbers) == len(data.rewards) == 2 * 3 * 48
    assert len(data.observations) == 2 * 3 * 49
    assert set(data.profit_usd_per_week) == {"myopic_best_preset", "myopic_best_preset_noisy"}
    from agents.offline.minari_files import dataset_ids, episodes_of, open_dataset

    episode = next(episodes_of(open_dataset(root, dataset_ids(root)[0]), root))
    scale = LearnerSettings().scale()
    np.testing.assert_allclose(data.rewards[:2], scale * episode.rewards[:6].reshape(2, 3).sum(1), rtol=1e-6)
    np.testing.assert_array_equal(data.observations[data.first[5] + 1], episode.observations[18])
    np.testing.assert_array_equal(data.numbers[5], episode.actions[15])
    assert data.first[48] == 49  # the next episode begins after the last observation of the first


@pytest.mark.parametrize("per_cohort", [False, True])
def test_price_numbers_ask_for_the_power_that_was_asked_for(per_cohort: bool) -> None:
    world = build_world(EnvConfig("generated/mixed", "container"))
    chosen = ActionSettings("shadow_price", per_cohort=per_cohort)
    actions, back = build_actions(chosen, world), numbers_of(chosen, world)
    fleet = world.params.curves
    core = SiteCore(world, 16)
    core.seed(range(16))
    observation = core.reset()
    running = (core.schema.read(observation, "level") > 0.0) * 1.0
    rng = np.random.default_rng(3)
    share = fleet.count * fleet.power_rated_w / fleet.power_rated_site_w

    def level(action: np.ndarray) -> np.ndarray:
        return target_level(action[:, : world.cohorts], running, fleet.level_min, xp=core.xp)

    for _ in range(5):
        raw = rng.uniform(-1.0, 1.0, (16, actions.size))
        asked = actions.action(observation, raw)
        found = back(observation, asked)
        assert np.abs(found).max() <= 1.0
        np.testing.assert_array_equal(found[:, -1], raw[:, -1])  # the reserve offer
        gap = level(actions.action(observation, found)) - level(asked)
        assert np.abs(gap if per_cohort else gap @ share).max() < 2.0 * POWER_MATCH
    rule = build_rule("myopic_best_preset", world)
    gap = level(actions.action(observation, back(observation, rule.act(observation)))) - level(rule.act(observation))
    assert np.abs(gap @ share).max() < 2.0 * POWER_MATCH


def weights(training: OfflineTraining) -> dict[str, torch.Tensor]:
    return {**training.learner.network.state_dict(), **training.learner.slow.state_dict()}


class StopAfter:
    """Asks for a stop after so many rests."""

    def __init__(self, rests: int) -> None:
        self.left = rests

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_stopped_or_prolonged_run_ends_like_an_uninterrupted_one(root: Path, world: World, tmp_path: Path) -> None:
    whole = OfflineTraining(settings(root, 2 * CHUNK + 15, tmp_path / "whole"), world)
    assert whole.run().finished
    before = torch.get_rng_state()
    parts = settings(root, CHUNK + 10, tmp_path / "parts")
    assert not OfflineTraining(parts, world).run(StopAfter(1)).finished
    assert torch.equal(torch.get_rng_state(), before)
    assert OfflineTraining(parts, world).run().finished
    rest = OfflineTraining(settings(root, 2 * CHUNK + 15, tmp_path / "parts"), world)
    assert rest.run().finished
    assert weights(whole).keys() == weights(rest).keys()
    assert all(torch.equal(value, weights(rest)[name]) for name, value in weights(whole).items())
    other = OfflineTraining(replace(settings(root, CHUNK, tmp_path / "other"), seed=1), world)
    other.run()
    assert other.folder.name != whole.folder.name


def test_a_damaged_checkpoint_is_told(root: Path, world: World, tmp_path: Path) -> None:
    training = OfflineTraining(settings(root, CHUNK, tmp_path), world)
    training.run()
    path = training.folder / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataFileError, match="not readable"):
        OfflineTraining(settings(root, CHUNK, tmp_path), world).run()


def test_the_learned_policy_is_loaded_and_acts_as_it_was_judged(root: Path, world: World, tmp_path: Path) -> None:
    split = world.scenario.splits["validation"][0]
    weeks = Validation(first=str(split.astype("datetime64[D]") + 1), weeks=1, every=1, rules=["threshold"])
    world = replace(world, config=replace(world.config, episode_days=0.5))
    judge = Judge(world, weeks)
    training = OfflineTraining(settings(root, CHUNK, tmp_path), world, judge)
    outcome = training.run()
    policy = load_policy(training.folder, world)
    sums = rollout(policy, world, judge.starts, seeds=judge.seeds)
    np.testing.assert_array_equal(sums["profit_usd"], outcome.best_profit().reshape(-1))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expectile": 0.3}, "agent.expectile"),
        ({"expectile": 1.0}, "agent.expectile"),
        ({"temperature": -1.0}, "agent.temperature"),
        ({"batch_size": 0}, "agent.batch_size"),
        ({"activation": "rleu"}, "relu"),
        ({"half_life_h": 0.0}, "half_life_h"),
        ({"actions": ActionSettings("residual")}, "direct or shadow_price"),
    ],
)
def test_impossible_settings_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        settings(Path("data"), **changes).check()


def test_a_dataset_must_be_named() -> None:
    with pytest.raises(ParamsError, match="minesim data rollouts"):
        OfflineSettings().check()


def test_data_of_another_world_are_refused(root: Path, world: World) -> None:
    for changes, words in (
        ({"scenario": "generated/demand"}, "scenario 'generated/mixed'"),
        ({"site": "container"}, "site 'one_s19j_pro'"),
        ({"limits": "free"}, "limits 'seed'"),
    ):
        other = judged_world(replace(settings(root), **changes))
        with pytest.raises(ParamsError, match=words):
            read_decisions(root, (), other, LearnerSettings())
    with pytest.raises(ParamsError, match="control_period_min"):
        read_decisions(root, (), world, LearnerSettings(control_period_min=7.0))
    with pytest.raises(DataFileError, match="as long as a decision"):
        read_decisions(root, (), world, LearnerSettings(control_period_min=24.0 * 60.0))


def test_data_of_another_period_or_origin_are_refused(root: Path, world: World, tmp_path: Path) -> None:
    import shutil

    for name, change, words in (("period", {"split": "test"}, "split 'test'"), ("origin", None, "do not say")):
        copy = tmp_path / name
        shutil.copytree(root, copy)
        for record in copy.glob("**/data/metadata.json"):
            about = json.loads(record.read_text())
            about["minesim"] = {**about["minesim"], **change} if change else None
            record.write_text(json.dumps(about))
        with pytest.raises(DataFileError, match=words):
            read_decisions(copy, (), world, LearnerSettings())


def test_without_minari_the_run_says_what_to_install(
    root: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "minari":
            raise ModuleNotFoundError(f"No module named {name!r}", name="minari")
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'minesim\[offline\]'"):
        OfflineTraining(settings(root, CHUNK, tmp_path), world)


def test_the_configurations_are_settings() -> None:
    from hydra import compose, initialize_config_dir

    from experiments.entry import read_settings

    with initialize_config_dir(str(ROOT / "conf" / "offline"), version_base="1.3"):
        for agent in (path.stem for path in (ROOT / "conf" / "offline" / "agent").glob("*.yaml")):
            found = read_settings(OfflineSettings, compose("train_offline", [f"agent={agent}", "dataset=somewhere"]))
            assert found.agent.name == agent
        with pytest.raises(ParamsError, match="configuration"):
            read_settings(OfflineSettings, OmegaConf.create({"dataset": "somewhere", "expectle": 0.7}))


@pytest.mark.long
def test_the_command_learns_and_goes_on(root: Path, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "experiments.train_offline", f"dataset={root}", "scenario=generated/mixed"]
    call += ["site=one_s19j_pro", f"out={tmp_path}", "validation.first='2022-07-08'", "validation.weeks=1"]
    for updates in (CHUNK, 2 * CHUNK):
        done = subprocess.run([*call, f"trainer.updates={updates}"], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    assert json.loads(next(tmp_path.glob("*/evaluation.json")).read_text())["steps"] == 2 * CHUNK
    bad = subprocess.run([*call[:3], "dataset=nowhere"], capture_output=True, text=True, cwd=ROOT)
    assert bad.returncode == 1
    assert "no folder 'nowhere'" in bad.stderr
