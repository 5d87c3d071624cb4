"""Training sites as a stable-baselines3 ``VecEnv``: no process and no Python loop per site."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from agents.rl.actions import ActionMap
from agents.rl.batch_vec_env import BatchVecEnv
from agents.rl.sites import Batch, TrainingSites, seeds_of
from minesim.arrays import NUMPY, Array
from minesim.envs.single import spaces

Floats = NDArray[np.float32]


class SiteVecEnv(TrainingSites, BatchVecEnv):
    """Training sites for learners that want numpy.

    A finished row has ``TimeLimit.truncated`` and its last observation in its info, so that the learner bootstraps
    from it; infos of running rows are empty. The batch may be one of tensors on the CPU: they are handed over without
    a copy.

    Args:
        env: the batch.
        actions, options: see :class:`agents.rl.sites.TrainingSites`.
    """

    def __init__(self, env: Batch, actions: ActionMap | None = None, **options: Any) -> None:
        TrainingSites.__init__(self, env, actions, **options)
        self._raw: Floats = np.zeros(0, np.float32)
        observed, _ = spaces(env.world, env.schema)
        acted = gym.spaces.Box(-1.0, 1.0, shape=(self.actions.size,), dtype=np.float32)
        BatchVecEnv.__init__(self, env.num_envs, observed, acted)

    @property
    def shared(self) -> Batch:
        """The batch."""
        return self.env

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the rows from the next reset on."""
        first = int(np.random.default_rng().integers(2**31)) if seed is None else int(seed)
        self._seeds = list(seeds_of(first, self.num_envs))
        return self._seeds

    def reset(self) -> Floats:
        """Begin all episodes."""
        observation = self.begin([seed for seed in self._seeds if seed is not None] or None)
        self._reset_seeds()
        self._reset_options()
        return _numpy(observation)

    def step_async(self, actions: Floats) -> None:
        """Keep the numbers for :meth:`step_wait`."""
        self._raw = actions

    def step_wait(self) -> tuple[Floats, Floats, NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance all rows by one decision."""
        with self._no_gradients():
            decision = self.decide(self.env.core.flags(self._raw))
        infos: list[dict[str, Any]] = [{}] * self.num_envs
        if decision.final is not None:
            final = _numpy(decision.final)
            for row in np.flatnonzero(decision.ended):
                infos[row] = {"terminal_observation": final[row], "TimeLimit.truncated": True}
        return _numpy(decision.observation), _numpy(decision.reward), decision.ended, infos

    def _no_gradients(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.xp is NUMPY else torch.no_grad()


def _numpy(values: Array) -> Floats:
    return values if isinstance(values, np.ndarray) else values.numpy()
