"""Training sites as an rsl-rl ``VecEnv``: tensors on one device, nothing copied to the host in a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from agents.rl.actions import ActionMap
from agents.rl.sites import TrainingSites
from minesim.arrays import Array
from minesim.envs.torch_batch import TorchBatch

GROUP = "policy"
"""The one group of observations; policy and value network see the same."""


class SiteTorchEnv(TrainingSites, VecEnv):  # type: ignore[misc]  # rsl-rl has no types
    """Training sites for learners that want tensors.

    ``extras`` have ``time_outs`` (B,) as rsl-rl expects them, and where a row ended ``ended`` (indices of rows) and
    ``final`` (their last observations, as a group), from which a learner bootstraps exactly.

    Args:
        env: the batch.
        actions, options: see :class:`agents.rl.sites.TrainingSites`.
    """

    def __init__(self, env: TorchBatch, actions: ActionMap | None = None, **options: Any) -> None:
        super().__init__(env, actions, **options)
        self.num_envs = env.num_envs
        self.num_actions = self.actions.size
        self.device = env.device
        self.max_episode_length = -(-env.world.horizon_steps // self.repeat)
        self.cfg: dict[str, Any] = {}

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """Decisions of the running episodes, (B,)."""
        return self._on_device(self.env.core.step_count // self.repeat)

    def get_observations(self) -> TensorDict:
        """What every site reports now; episodes begin at the first call."""
        if not len(self._observation):
            self.begin(None)
        return self._group(self._observation)

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Advance all rows by one decision; numbers outside [-1, 1] count as the nearest bound."""
        decision = self.decide(torch.clamp(actions, -1.0, 1.0))
        ended = self._on_device(decision.ended)
        extras: dict[str, Any] = {"time_outs": ended}
        if decision.final is not None:
            rows = self._on_device(np.flatnonzero(decision.ended))
            extras |= {"ended": rows, "final": self._group(decision.final[rows])}
        return self._group(decision.observation), decision.reward, ended, extras

    def _group(self, observation: Array) -> TensorDict:
        return TensorDict({GROUP: observation}, batch_size=observation.shape[:1], device=self.device)

    def _on_device(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self.device)
