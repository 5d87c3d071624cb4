"""Recorded rollouts: Minari reads them, the environment repeats them, and bad input leaves nothing behind."""

from __future__ import annotations

import builtins
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("minari")
pytest.importorskip("h5py")

import minari
from typer.testing import CliRunner

from agents.offline import rollouts as module
from agents.offline.behaviour import ActionWalk, PriceBlocks, behaviours
from agents.offline.collect import collect
from agents.offline.minari_files import ROOT_VARIABLE, dataset_ids, episodes_of, open_dataset
from agents.offline.rollouts import INDEX, RolloutOptions, write_rollouts
from minesim.cli import app
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import DataFileError, MissingExtraError, ParamsError, ScenarioError

PREFIX = "hashrate_tuning/generated_mixed"
NOISY = f"{PREFIX}/threshold_noisy-v0"


def options(**changes: Any) -> RolloutOptions:
    small: dict[str, Any] = {
        "scenario": "generated/mixed",
        "site": "one_s19j_pro",
        "policies": ("threshold",),
        "noise": 0.5,
        "days": 0.25,
        "episodes": 3,
        "envs": 2,
    }
    return RolloutOptions(**{**small, **changes})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("offline") / "data"
    write_rollouts(options(author="A. Uthor", code_permalink="https://example.org/tree/abc"), out)
    return out


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(EnvConfig("generated/mixed", "one_s19j_pro", split="train", episode_days=0.25))


def content(root: Path, dataset_id: str) -> list[Any]:
    return list(episodes_of(open_dataset(root, dataset_id), root))


def test_minari_loads_it_and_knows_what_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    assert set(minari.list_local_datasets()) == {f"{PREFIX}/threshold-v0", NOISY}
    dataset = minari.load_dataset(NOISY)
    assert (dataset.total_episodes, dataset.total_steps) == (3, 3 * 72)
    env = dataset.recover_environment()
    assert env.observation_space == dataset.observation_space
    assert env.action_space == dataset.action_space
    assert dataset.env_spec.id == "minesim/HashrateTuning-v0"
    assert dataset.env_spec.kwargs["split"] == "train"
    assert dataset.recover_environment(eval_env=True).unwrapped.world.config.split == "validation"
    about = dataset.storage.metadata
    assert about["author"] == {"A. Uthor"}
    assert about["code_permalink"] == "https://example.org/tree/abc"
    assert "threshold" in about["algorithm_name"]
    assert "random adder" in about["description"]
    episode = dataset[0]
    assert episode.observations.dtype == episode.actions.dtype == np.float32
    assert all(dataset.observation_space.contains(row) for row in episode.observations)
    assert all(dataset.action_space.contains(row) for row in episode.actions)
    assert episode.truncations.tolist() == [False] * 71 + [True]
    assert not episode.terminations.any()
    assert {name: len(values) for name, values in episode.infos.items()}["profit_usd"] == 73


def test_the_environment_repeats_an_episode_exactly(root: Path) -> None:
    dataset = open_dataset(root, NOISY)
    env = dataset.recover_environment()
    for about, episode in zip(dataset.storage.get_episode_metadata(range(3)), episodes_of(dataset, root), strict=True):
        observation, info = env.reset(seed=about["seed"])
        assert info["start_row"] == about["options"]["start_row"]
        np.testing.assert_array_equal(observation, episode.observations[0])
        for t, action in enumerate(episode.actions):
            observation, reward, _, truncated, info = env.step(action)
            np.testing.assert_array_equal(observation, episode.observations[t + 1])
            assert (reward, truncated) == (episode.rewards[t], episode.truncations[t])
            assert info["profit_usd"] == episode.infos["profit_usd"][t + 1]
            assert info["cost"] == episode.infos["cost"][t + 1]


def test_starts_lie_in_the_training_period(root: Path, world: World) -> None:
    split = world.table.rows_of_split("train")
    rows = [
        about["options"]["start_row"]
        for name in dataset_ids(root)
        for about in open_dataset(root, name).storage.get_episode_metadata(range(3))
    ]
    assert len(set(rows)) > 1
    assert all(split.start <= row and row + world.horizon_rows <= split.stop + 1 for row in rows)


def test_data_follow_from_the_seed_and_not_from_the_batch(root: Path, tmp_path: Path) -> None:
    write_rollouts(options(envs=3), tmp_path / "same")
    write_rollouts(options(seed=1, episodes=1), tmp_path / "other")
    for name in dataset_ids(root):
        for first, second in zip(content(root, name), content(tmp_path / "same", name), strict=True):
            for part in ("observations", "actions", "rewards"):
                np.testing.assert_array_equal(getattr(first, part), getattr(second, part))
    assert not np.array_equal(content(root, NOISY)[0].observations, content(tmp_path / "other", NOISY)[0].observations)


def test_the_environment_variable_is_as_before(root: Path) -> None:
    assert os.environ.get(ROOT_VARIABLE) != str(root)


def test_random_blocks_have_their_share_and_whole_hours(world: World) -> None:
    noise = PriceBlocks(0.3, world)
    drawn = noise.draw(np.random.default_rng(0), 12 * 4000)
    random = np.isfinite(drawn[:, 0]).reshape(-1, 12)
    assert (random.all(1) | ~random.any(1)).all()
    assert abs(random[:, 0].mean() - 0.3) < 0.03
    rule = np.full((2, world.action_size), 0.123)
    seen = np.zeros((2, 10_000), np.float32)[:, : world_size(world)]
    taken = noise.apply(seen, rule, np.array([[np.nan] * noise.actions.size, [0.0, 0.5]]))
    np.testing.assert_array_equal(taken[0], rule[0])
    assert taken[1, -1] == 0.5


def world_size(world: World) -> int:
    from minesim.control.observe import schema

    return schema(world.cohorts).size


def test_the_walk_has_its_spread_and_memory(world: World) -> None:
    path = ActionWalk(0.4, world).draw(np.random.default_rng(0), 3 * 20_000)[::3]
    assert path.std() == pytest.approx(0.4, rel=0.05)
    assert np.corrcoef(path[:-4, 0], path[4:, 0])[0, 1] == pytest.approx(np.exp(-1.0), abs=0.05)


def test_noise_of_either_kind_changes_actions_within_bounds(world: World) -> None:
    for kind in ("price", "action"):
        plain, noisy = behaviours(world, ("threshold", "threshold"), None, 0.5, kind)
        seeds = np.arange(2)
        first, second = collect(plain, world, seeds)[0], collect(noisy, world, seeds)[0]
        assert first.start_row == second.start_row
        assert not np.array_equal(first.actions, second.actions)
        assert np.abs(second.actions).max() <= 1.0


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"policies": ("treshold",)}, ParamsError, "threshold"),
        ({"policies": ()}, ParamsError, "no policy"),
        ({"scenario": "ercto/mixed"}, ScenarioError, "ercot"),
        ({"site": "nowhere"}, ParamsError, "nowhere"),
        ({"noise": 1.5}, ParamsError, "0 to 1"),
        ({"noise_kind": "prize"}, ParamsError, "price"),
        ({"envs": 0}, ParamsError, "envs is 0"),
        ({"episodes": 0}, ParamsError, "episodes is 0"),
        ({"days": 0.0}, ParamsError, "days is 0"),
        ({"days": 1000.0}, ScenarioError, "does not fit"),
        ({"seed": -1}, ParamsError, "seed is -1"),
        ({"learned": Path("nothing/here")}, DataFileError, "no training run"),
    ],
)
def test_bad_options_are_named_and_leave_nothing(
    changes: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        write_rollouts(options(**changes), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_learned_policy_of_another_site_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from agents.rl.policy import describe_policy
    from agents.rl.settings import AgentSettings

    other = build_world(EnvConfig("generated/mixed", "container", episode_days=0.25))
    describe_policy(tmp_path / "run", "run", AgentSettings(), other, {}, 2)
    with pytest.raises(ParamsError, match="observes"):
        write_rollouts(options(learned=tmp_path / "run"), tmp_path / "data")


def test_an_existing_folder_is_kept_unless_forced(tmp_path: Path) -> None:
    out = tmp_path / "data"
    out.mkdir()
    write_rollouts(options(episodes=1, noise=0.0), out)  # an empty folder is a free place
    with pytest.raises(DataFileError, match="--force"):
        write_rollouts(options(episodes=1), out)
    assert dataset_ids(out) == [f"{PREFIX}/threshold-v0"]
    write_rollouts(options(episodes=1), out, force=True)
    assert json.loads((out / INDEX).read_text())["ids"] == [f"{PREFIX}/threshold-v0", NOISY]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_force_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(DataFileError, match="not written by this command"):
        write_rollouts(options(), tmp_path / "photos", force=True)
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"


def test_a_stop_leaves_nothing_half_written(tmp_path: Path) -> None:
    out = tmp_path / "data"
    write_rollouts(options(episodes=1), out)
    before = content(out, NOISY)[0].observations

    def stop(name: str, done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    for place, force in ((tmp_path / "new", False), (out, True)):
        with pytest.raises(KeyboardInterrupt):
            write_rollouts(options(seed=5), place, force=force, on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    np.testing.assert_array_equal(content(out, NOISY)[0].observations, before)


def copied(root: Path, to: Path) -> Path:
    import shutil

    shutil.copytree(root, to)
    return to


def test_damage_is_told(root: Path, tmp_path: Path) -> None:
    cut = copied(root, tmp_path / "cut")
    file = cut / NOISY / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataFileError, match="damaged or cut off"):
        content(cut, NOISY)
    short = copied(root, tmp_path / "short")
    record = short / NOISY / "data" / "metadata.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "total_steps": 1000}))
    with pytest.raises(DataFileError, match="1000 in its record"):
        open_dataset(short, NOISY)
    import h5py

    holed = copied(root, tmp_path / "holed")
    with h5py.File(holed / NOISY / "data" / "main_data.hdf5", "a") as data:
        data["episode_1/rewards"][3] = np.nan
    with pytest.raises(DataFileError, match="episode 1: values that are not numbers"):
        content(holed, NOISY)


def test_missing_data_are_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="minesim data rollouts"):
        dataset_ids(tmp_path / "nowhere")
    with pytest.raises(DataFileError, match="no Minari data sets"):
        dataset_ids(tmp_path)
    with pytest.raises(DataFileError, match="threshold-v0"):
        open_dataset(root, f"{PREFIX}/treshold-v0")


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=package)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_minari_the_command_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("minari", monkeypatch)
    with pytest.raises(MissingExtraError, match=r"pip install 'minesim\[offline\]'"):
        module.write_rollouts(options(), tmp_path / "data")


def test_the_command_writes_and_refuses(tmp_path: Path) -> None:
    arguments = "data rollouts --scenario generated/mixed --site one_s19j_pro --policies threshold --days 0.1"
    call = [*arguments.split(), "--episodes", "1", "--out", str(tmp_path / "data")]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert f"{PREFIX}/threshold-v0" in result.output
    again = CliRunner().invoke(app, call)
    assert again.exit_code == 1
    assert "--force" in again.output
