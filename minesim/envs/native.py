"""What native batches share, whatever they simulate: seeds, ends of episodes and new ones in the same step.

A core steps B environments together (``SiteCore`` of sites, ``CoolingCore`` of halls); here it becomes a Gymnasium
vector environment, or a batch of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from minesim.arrays import Array
from minesim.errors import ParamsError, explain

ENDS = 168
"""Moments in a horizon at which staggered episodes of tensors end (each hour of a week): a reset touches the memory of
all environments, so they end together in groups instead of a few in every step."""
STAGGER_SEED = 0x57A66E7
Spaces = tuple[gym.spaces.Box, gym.spaces.Box]
"""Of one environment: observation and action."""


class Result(Protocol):
    """One step of all environments: (B, n), (B,), (B,), (B,) numpy booleans, and named values (B,)."""

    @property
    def observation(self) -> Array: ...
    @property
    def reward(self) -> Array: ...
    @property
    def cost(self) -> Array: ...
    @property
    def truncated(self) -> np.ndarray: ...
    @property
    def info(self) -> Mapping[str, Array]: ...


class Core(Protocol):
    """B environments stepped together; counters are numpy on the host."""

    num_envs: int
    seeds: np.ndarray
    step_count: np.ndarray

    def seed(self, seeds: Sequence[int]) -> None:
        """Give every environment its seed."""
        ...

    def reset(self, mask: np.ndarray | None = None, options: Mapping[str, Any] | None = None) -> Array:
        """Begin episodes where the mask is true, everywhere when None; observations."""
        ...

    def step(self, action: Array) -> Result:
        """Advance by one control step."""
        ...

    def flags(self, values: np.ndarray) -> Array:
        """Booleans on the device of the core."""
        ...


def check_count(num_envs: int) -> None:
    """Refuse an empty batch.

    Raises:
        ParamsError: less than one environment.
    """
    if num_envs < 1:
        raise ParamsError(explain(f"num_envs is {num_envs}", allowed="1 or more"))


class NativeVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A core in numpy as a vector environment; row b equals the single environment with seed ``seed + b``.

    Autoreset happens in the same step; the last observation of an episode is ``infos["final_obs"]``.

    Args:
        core: the environments.
        horizon_steps: control steps of an episode.
        spaces: of one environment.
        stagger: shorten the first episodes by random amounts, so that a learner never sees all reset at once.
        render_mode: None; a single environment draws.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, core: Core, horizon_steps: int, spaces: Spaces, stagger: bool, render_mode: str | None = None
    ) -> None:
        if render_mode is not None:
            raise ParamsError(explain(f"render_mode is {render_mode!r}", allowed="None", fix="Render a single env."))
        self._core, self.horizon_steps, self.stagger = core, horizon_steps, stagger
        self.num_envs = core.num_envs
        self.render_mode = None
        self.single_observation_space, self.single_action_space = spaces
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seeded = False
        self._early = np.zeros(self.num_envs, np.int64)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all episodes, or those where ``options["reset_mask"]`` is true."""
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if isinstance(seed, int) or seed is None:
            super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._core.seed(self._seeds(seed))
            self._seeded = True
        observation = self._core.reset(mask, options)
        if self.stagger:
            rng = np.random.default_rng([STAGGER_SEED, *self._core.seeds.tolist()])
            self._early = rng.integers(0, self.horizon_steps, self.num_envs)
        return observation, {"cost": np.zeros(self.num_envs)}

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int]:
        if isinstance(seed, int):
            return [seed + b for b in range(self.num_envs)]
        drawn = self.np_random.integers(0, 2**31, self.num_envs)
        if seed is None:
            return [int(s) for s in drawn]
        return [int(d) if s is None else int(s) for s, d in zip(seed, drawn, strict=True)]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all environments by one control step."""
        result = self._core.step(actions)
        infos: dict[str, Any] = dict(result.info)
        truncated = result.truncated | (self._core.step_count >= self.horizon_steps - self._early)
        observation = result.observation
        if truncated.any():
            self._early = np.where(truncated, 0, self._early)
            final = np.empty(self.num_envs, object)
            for b in np.flatnonzero(truncated):
                final[b] = observation[b]
            infos |= {
                "final_obs": final,
                "_final_obs": truncated,
                "final_info": dict(result.info),
                "_final_info": truncated,
            }
            observation = self._core.reset(truncated)
        return observation, result.reward, np.zeros(self.num_envs, bool), truncated, infos


@dataclass
class TorchStep:
    """One step: tensors on the environment's device; ``final_observation`` holds last observations before resets."""

    observation: Array
    reward: Array
    cost: Array
    truncated: Array
    final_observation: Array
    info: Mapping[str, Array]


class NativeTorchBatch:
    """A core on tensors. Nothing is copied to the host in :meth:`step`: ends follow from counters kept there.

    Args:
        core: the environments.
        horizon_steps: control steps of an episode.
        spaces: of one environment.
        seed: of the first; environment b has ``seed + b``.
        stagger: shorten the first episodes by random amounts, of which there are ``ENDS``.
    """

    def __init__(self, core: Core, horizon_steps: int, spaces: Spaces, seed: int, stagger: bool) -> None:
        self._core, self.num_envs, self.horizon_steps = core, core.num_envs, horizon_steps
        self.observation_space, self.action_space = spaces
        core.seed([seed + b for b in range(self.num_envs)])
        rng = np.random.default_rng([STAGGER_SEED, seed])
        apart = max(1, horizon_steps // ENDS)
        self._early = np.zeros(self.num_envs, np.int64)
        if stagger:
            self._early = rng.integers(0, horizon_steps // apart, self.num_envs) * apart

    def reset(self, options: dict[str, Any] | None = None) -> Array:
        """Begin all episodes; observations (B, n)."""
        return self._core.reset(options=options)

    def step(self, action: Array) -> TorchStep:
        """Advance all environments by one control step; finished ones begin anew in the same step."""
        result = self._core.step(action)
        truncated = result.truncated | (self._core.step_count >= self.horizon_steps - self._early)
        final = observation = result.observation
        if truncated.any():
            self._early = np.where(truncated, 0, self._early)
            observation = self._core.reset(truncated)
        return TorchStep(
            observation=observation,
            reward=result.reward,
            cost=result.cost,
            truncated=self._core.flags(truncated),
            final_observation=final,
            info=result.info,
        )
