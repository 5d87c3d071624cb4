"""Write data sets of behaviours in Minari's format: a folder that is whole or absent."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym

from agents.offline.behaviour import Behaviour, behaviours
from agents.offline.collect import Episode, collect, in_batches
from agents.offline.minari_files import ABOUT, created, require_minari
from minesim.bench.files import write_json
from minesim.control.observe import schema
from minesim.envs.core import EnvConfig, World, build_world
from minesim.envs.registration import HASHRATE_TUNING
from minesim.envs.single import HashrateTuningEnv
from minesim.errors import DataFileError, ParamsError, explain

INDEX = "rollouts.json"
SEED_STRIDE = 1_000_003
"""Distance between the first seeds of two values of ``seed``, so that no two share an episode."""

OnProgress = Callable[[str, int, int], None]
"""Told the data set in work, control steps done and control steps in all."""


@dataclass(frozen=True)
class RolloutOptions:
    """What to write.

    Attributes:
        scenario, site, limits, difficulty: of the environment, by name.
        policies: names of rules.
        learned: folder of a training run, None for none.
        noise, noise_kind: see :func:`agents.offline.behaviour.behaviours`.
        envs: episodes side by side; it changes the speed, not the data.
        days: length of an episode, days.
        episodes: of each data set.
        seed: 0 or more.
        author, code_permalink: for the record.
    """

    scenario: str
    policies: tuple[str, ...]
    learned: Path | None = None
    noise: float = 0.0
    noise_kind: str = "price"
    envs: int = 64
    days: float = 7.0
    episodes: int = 64
    seed: int = 0
    site: str = "container"
    limits: str = "seed"
    difficulty: str = "medium"
    author: str = "minesim"
    code_permalink: str = ""

    def check(self) -> None:
        """Check ranges.

        Raises:
            ParamsError: a value is not possible; the message names it.
        """
        for name, least in (("envs", 1), ("episodes", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ParamsError(explain(f"{name} is {getattr(self, name)}", allowed=f"{least} or more"))
        if self.episodes > SEED_STRIDE // 64:
            raise ParamsError(explain(f"episodes is {self.episodes}", allowed=f"up to {SEED_STRIDE // 64}"))
        if not self.days > 0.0:
            raise ParamsError(explain(f"days is {self.days:g} d", allowed="above 0"))


def write_rollouts(
    options: RolloutOptions, out: Path, *, force: bool = False, on_progress: OnProgress = lambda name, done, total: None
) -> list[str]:
    """Write one data set for each policy, and one more for each with noise; starts lie in the split ``train``.

    ``out`` becomes a root of Minari data sets. It is written beside and moved into place at the end, so that a stop
    leaves nothing behind.

    Args:
        options: what to write.
        out: folder that must not exist.
        force: replace it if it was written by this function.
        on_progress: for a progress bar.

    Returns:
        Ids of the data sets.

    Raises:
        ParamsError: options that cannot be met.
        ScenarioError: unknown scenario, or episodes that do not fit into its split ``train``.
        DataFileError: ``out`` exists, or the learned policy cannot be read.
        MissingExtraError: Minari is not installed.
    """
    require_minari()
    options.check()
    out = out.absolute()
    _check_free(out, force)
    world = build_world(
        EnvConfig(
            scenario=options.scenario,
            site=options.site,
            limits=options.limits,
            difficulty=options.difficulty,
            split="train",
            episode_days=options.days,
        )
    )
    actors = behaviours(world, options.policies, options.learned, options.noise, options.noise_kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        beside.chmod(0o777 & ~_umask())
        ids = [
            _write_one(actor, world, options, k, beside, _counter(actors, world, options, k, on_progress))
            for k, actor in enumerate(actors)
        ]
        write_json(beside / INDEX, {"ids": ids, "options": plain_options(options), **_versions()})
        _move_into_place(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return ids


def _write_one(
    actor: Behaviour, world: World, options: RolloutOptions, number: int, root: Path, on_step: Callable[[int], None]
) -> str:
    """One data set, a batch of episodes at a time."""
    first_seed = options.seed * SEED_STRIDE + number * options.episodes
    dataset: Any = None
    name = f"hashrate_tuning/{re.sub(r'[^0-9A-Za-z]+', '_', options.scenario)}/{actor.name}-v0"
    for seeds in in_batches(first_seed, options.episodes, options.envs):
        episodes = collect(actor, world, seeds, partial(on_step, len(seeds)))
        buffers = [_buffer(episode) for episode in episodes]
        if dataset is None:
            dataset = created(root, name, buffers, **_record(actor, world, options))
        else:
            dataset.update_dataset_from_buffer(buffers)
    dataset.storage.update_metadata({ABOUT: _about(actor, world, options)})
    return name


def _buffer(episode: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    steps = len(episode.rewards)
    return EpisodeBuffer(
        seed=episode.seed,
        options={"start_row": episode.start_row, "start_utc": str(episode.start_utc.astype("datetime64[s]"))},
        observations=episode.observations,
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=[False] * steps,
        truncations=[False] * (steps - 1) + [True],
        infos=episode.infos,
    )


def _record(actor: Behaviour, world: World, options: RolloutOptions) -> dict[str, Any]:
    """Arguments of Minari that say what the data are."""
    kwargs: dict[str, Any] = {
        "scenario": options.scenario,
        "site": options.site,
        "limits": options.limits,
        "difficulty": options.difficulty,
        "split": "train",
        "episode_days": options.days,
    }
    env = HashrateTuningEnv(world=world)
    env.spec = _spec(kwargs)
    return {
        "env": env,
        "eval_env": _spec({**kwargs, "split": "validation", "episode_days": 7.0}),
        "algorithm_name": f"{actor.policy.name}, noise: {actor.noise.text}",
        "author": options.author,
        "code_permalink": options.code_permalink or None,
        "description": (
            f"{options.episodes} episodes of {options.days:g} days of {HASHRATE_TUNING} on scenario "
            f"{options.scenario}, starts drawn from the training period. Policy: {actor.policy.name}; noise: "
            f"{actor.noise.text}. Rewards are USD over a constant, infos hold USD and the constraint cost."
        ),
        "requirements": [f"minesim=={metadata.version('minesim')}"],
    }


def _spec(kwargs: dict[str, Any]) -> Any:
    spec = copy.deepcopy(gym.spec(HASHRATE_TUNING))
    spec.kwargs = kwargs
    return spec


def _about(actor: Behaviour, world: World, options: RolloutOptions) -> dict[str, Any]:
    """What a learner checks before it uses the data."""
    return {
        "behaviour": actor.name,
        "noise": actor.noise.text,
        "scenario": options.scenario,
        "site": options.site,
        "limits": options.limits,
        "difficulty": options.difficulty,
        "split": "train",
        "dt_ctrl_s": world.config.dt_ctrl_s,
        "channels": [[channel.name, channel.size] for channel in schema(world.cohorts).channels],
        "n_act": world.action_size,
    }


def plain_options(options: RolloutOptions) -> dict[str, Any]:
    """Options as JSON types, without what does not change the data."""
    content = asdict(options)
    del content["envs"]
    return {**content, "learned": options.learned.name if options.learned is not None else None}


def _versions() -> dict[str, str]:
    return {f"{name}_version": metadata.version(name) for name in ("minesim", "minari", "gymnasium", "numpy")}


def _counter(
    actors: list[Behaviour], world: World, options: RolloutOptions, number: int, on_progress: OnProgress
) -> Callable[[int], None]:
    each = options.episodes * world.horizon_steps
    done = number * each

    def count(steps: int) -> None:
        nonlocal done
        done += steps
        on_progress(actors[number].name, done, len(actors) * each)

    return count


def _check_free(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise DataFileError(
            explain(f"{str(out)!r} exists", allowed="a new folder", fix="Take another one, or --force to replace it.")
        )
    if not (out / INDEX).is_file():
        raise DataFileError(
            explain(
                f"{str(out)!r} was not written by this command (no {INDEX} in it)",
                allowed="replacing a folder of rollouts only",
                fix="Take another folder.",
            )
        )


def _move_into_place(beside: Path, out: Path) -> None:
    """Swap the finished folder in; what was there before goes away only afterwards."""
    if not out.exists():
        beside.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    out.rename(old / out.name)
    try:
        beside.rename(out)
    except OSError:
        (old / out.name).rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask
