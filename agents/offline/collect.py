"""Let policies act in the batch and keep whole episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.offline.behaviour import Behaviour
from minesim.envs.core import SiteCore, World

INFO_NAMES = ("cost", "profit_usd", "energy_kwh", "stops")
"""Values of a step that are kept beside observation, action and reward; units in the names, ``cost`` as in the task."""
NOISE_STREAM = 0x0FF71E


@dataclass(frozen=True)
class Episode:
    """One episode of T control steps.

    Attributes:
        seed: of the environment; resetting with it gives the same start, site and draws.
        start_row: first row of the traces.
        start_utc: its time.
        observations: (T + 1, n_obs) float32; row t is what step t was decided on.
        actions: (T, n_act) float32, as the environment was given them.
        rewards: (T,) float64.
        infos: name -> (T + 1,) float64; row 0 belongs to the reset, row t + 1 to step t.
    """

    seed: int
    start_row: int
    start_utc: np.datetime64
    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    infos: dict[str, NDArray[np.float64]]


def collect(
    behaviour: Behaviour, world: World, seeds: NDArray[np.int64], on_step: Callable[[], None] = lambda: None
) -> list[Episode]:
    """One episode for each seed, side by side.

    An episode depends on its seed alone, not on the others in the batch. Starts lie in the world's split.

    Args:
        behaviour: who acts.
        world: compiled traces and site.
        seeds: of the episodes, (B,).
        on_step: called after every control step of all sites.
    """
    steps, envs = world.horizon_steps, len(seeds)
    core = SiteCore(world, envs)
    core.seed(seeds.tolist())
    drawn = np.stack([behaviour.noise.draw(np.random.default_rng([NOISE_STREAM, int(s)]), steps) for s in seeds], 1)
    observations = np.empty((steps + 1, envs, core.schema.size), np.float32)
    actions = np.empty((steps, envs, world.action_size), np.float32)
    rewards = np.empty((steps, envs))
    infos = {name: np.zeros((steps + 1, envs)) for name in INFO_NAMES}
    observations[0] = core.reset()
    starts = core.start_row.copy()
    behaviour.policy.reset()
    for t in range(steps):
        seen = observations[t]
        actions[t] = behaviour.noise.apply(seen, np.asarray(behaviour.policy.act(seen)), drawn[t])
        result = core.step(actions[t])
        observations[t + 1], rewards[t] = result.observation, result.reward
        for name, values in infos.items():
            values[t + 1] = result.info[name]
        on_step()
    return [
        Episode(
            seed=int(seeds[b]),
            start_row=int(starts[b]),
            start_utc=world.table.start_utc[starts[b]],
            observations=observations[:, b],
            actions=actions[:, b],
            rewards=rewards[:, b],
            infos={name: values[:, b] for name, values in infos.items()},
        )
        for b in range(envs)
    ]


def in_batches(first_seed: int, episodes: int, envs: int) -> Iterator[NDArray[np.int64]]:
    """Seeds of the episodes, at most ``envs`` at a time."""
    for done in range(0, episodes, envs):
        yield first_seed + np.arange(done, min(done + envs, episodes), dtype=np.int64)
