"""The native batch: B sites as a Gymnasium vector environment in numpy, without a process per site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from minesim.envs.core import SiteCore, World, build_world
from minesim.envs.single import make_config, spaces
from minesim.errors import ParamsError, explain


class HashrateTuningVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Vector form of ``minesim/HashrateTuning-v0``; row b equals the one-site environment with seed ``seed + b``.

    Autoreset happens in the same step; the last observation of an episode is ``infos["final_obs"]``.

    Args:
        num_envs: B.
        stagger: shorten the first episodes by random amounts, so that a learner never sees all sites reset at once.
        world: a compiled world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.core.EnvConfig`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        stagger: bool = False,
        world: World | None = None,
        **options: Any,
    ) -> None:
        if render_mode is not None:
            raise ParamsError(explain(f"render_mode is {render_mode!r}", allowed="None", fix="Render a single env."))
        if num_envs < 1:
            raise ParamsError(explain(f"num_envs is {num_envs}", allowed="1 or more"))
        self.num_envs = num_envs
        self.render_mode = None
        self.world = build_world(make_config(**options)) if world is None else world
        self.core = SiteCore(self.world, num_envs)
        self.schema = self.core.schema
        self.stagger = stagger
        self.single_observation_space, self.single_action_space = spaces(self.world, self.schema)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seeded = False
        self._early = np.zeros(num_envs, np.int64)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all episodes, or those where ``options["reset_mask"]`` is true."""
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if isinstance(seed, int) or seed is None:
            super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.core.seed(self._seeds(seed))
            self._seeded = True
        observation = self.core.reset(mask, options)
        if self.stagger:
            rng = np.random.default_rng([0x57A66E7, *self.core.seeds.tolist()])
            self._early = rng.integers(0, self.world.horizon_steps, self.num_envs)
        return observation, {"cost": np.zeros(self.num_envs)}

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int]:
        if isinstance(seed, int):
            return [seed + b for b in range(self.num_envs)]
        drawn = self.np_random.integers(0, 2**31, self.num_envs)
        if seed is None:
            return [int(s) for s in drawn]
        return [int(d) if s is None else int(s) for s, d in zip(seed, drawn, strict=True)]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all sites by one control step."""
        result = self.core.step(actions)
        infos: dict[str, Any] = dict(result.info)
        truncated = result.truncated | (self.core.step_count >= self.world.horizon_steps - self._early)
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
            observation = self.core.reset(truncated)
        return observation, result.reward, np.zeros(self.num_envs, bool), truncated, infos
