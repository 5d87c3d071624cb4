"""B sites as torch tensors on any device, for learners that keep everything on the accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minesim.arrays import Array, torch_namespace
from minesim.envs.core import SiteCore, World, build_world
from minesim.envs.single import make_config, spaces
from minesim.errors import ParamsError, explain

ENDS = 168
"""Moments in a horizon at which staggered episodes end (each hour of a week): a reset touches the memory of all sites,
so sites end together in groups instead of a few in every step."""


@dataclass
class TorchStep:
    """One step: tensors on the environment's device; ``final_observation`` holds last observations before resets."""

    observation: Array
    reward: Array
    cost: Array
    truncated: Array
    final_observation: Array
    info: dict[str, Array]


class TorchBatch:
    """The batch of :class:`minesim.envs.batch.HashrateTuningVectorEnv` as tensors.

    Nothing is copied to the host in :meth:`step`: episode ends follow from step counters kept on the host.

    Args:
        num_envs: B.
        device: torch device.
        double: float64 state instead of float32.
        compiled: compile the twin's sub-step (needs a C++ compiler; seconds at the first step).
        seed: of the first site; site b has ``seed + b``.
        stagger: shorten the first episodes by random amounts, of which there are ``ENDS``.
        world: a compiled world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.core.EnvConfig`.
    """

    def __init__(
        self,
        num_envs: int,
        device: str = "cpu",
        *,
        double: bool = False,
        compiled: bool = False,
        seed: int = 0,
        stagger: bool = True,
        world: World | None = None,
        **options: Any,
    ) -> None:
        torch_namespace()
        import torch

        if num_envs < 1:
            raise ParamsError(explain(f"num_envs is {num_envs}", allowed="1 or more"))
        self.num_envs = num_envs
        self.world = build_world(make_config(**options)) if world is None else world
        like = torch.zeros(1, dtype=torch.float64 if double else torch.float32, device=device)
        self.device = like.device
        self.core = SiteCore(self.world, num_envs, like, compiled=compiled)
        self.schema = self.core.schema
        self.observation_space, self.action_space = spaces(self.world, self.schema)
        self.core.seed([seed + b for b in range(num_envs)])
        rng = np.random.default_rng([0x57A66E7, seed])
        horizon = self.world.horizon_steps
        apart = max(1, horizon // ENDS)
        self._early = rng.integers(0, horizon // apart, num_envs) * apart if stagger else np.zeros(num_envs, np.int64)

    def reset(self, options: dict[str, Any] | None = None) -> Array:
        """Begin all episodes; observations (B, n)."""
        return self.core.reset(options=options)

    def step(self, action: Array) -> TorchStep:
        """Advance all sites by one control step; finished ones begin anew in the same step."""
        result = self.core.step(action)
        truncated = result.truncated | (self.core.step_count >= self.world.horizon_steps - self._early)
        final = observation = result.observation
        if truncated.any():
            self._early = np.where(truncated, 0, self._early)
            observation = self.core.reset(truncated)
        return TorchStep(
            observation=observation,
            reward=result.reward,
            cost=result.cost,
            truncated=self.core.flags(truncated),
            final_observation=final,
            info=result.info,
        )
