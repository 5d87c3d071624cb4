"""Cooling a hall of miners: one environment, the native batch in numpy, and the batch in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from minesim.arrays import Array, torch_namespace
from minesim.envs.cooling_core import CoolingConfig, CoolingCore, CoolingWorld, build_cooling_world
from minesim.envs.torch_batch import TorchStep
from minesim.errors import ParamsError, explain, nearest


def make_cooling_config(**options: Any) -> CoolingConfig:
    """A :class:`minesim.envs.cooling_core.CoolingConfig` from keyword arguments.

    Raises:
        ParamsError: an unknown keyword (nearest names suggested).
    """
    known = CoolingConfig.__dataclass_fields__
    for name in options:
        if name not in known:
            raise ParamsError(explain(f"environment option {name!r} is unknown", fix=nearest(name, known)))
    return CoolingConfig(**options)


def cooling_spaces(world: CoolingWorld) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    """Observation and action space of one hall."""
    low, high = world.bounds()
    actions = gym.spaces.Box(-1.0, 1.0, (len(world.action_names),), np.float32)
    return gym.spaces.Box(low, high, dtype=np.float32), actions


class CoolingEnv(gym.Env[np.ndarray, np.ndarray]):
    """``minesim/Cooling-v0``: see ``docs/envs/cooling.md``.

    Args:
        render_mode: None or ``rgb_array``.
        world: a furnished world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.cooling_core.CoolingConfig`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(self, render_mode: str | None = None, *, world: CoolingWorld | None = None, **options: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ParamsError(explain(f"render_mode is {render_mode!r}", allowed="None or 'rgb_array'"))
        self.render_mode = render_mode
        self.world = build_cooling_world(make_cooling_config(**options)) if world is None else world
        self.core = CoolingCore(self.world, 1, lone=True)
        self.names, self.action_names = self.world.names, self.world.action_names
        self.observation_space, self.action_space = cooling_spaces(self.world)
        self._seeded = False
        self._day: list[dict[str, float]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; options as in :meth:`minesim.envs.cooling_core.CoolingCore.reset`."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.core.seed([seed if seed is not None else int(self.np_random.integers(2**31))])
            self._seeded = True
        observation = self.core.reset(options=options)
        self._day = []
        return observation, {"cost": 0.0, "start_row": int(self.core.row[0])}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for a control step."""
        result = self.core.step(np.asarray(action))
        info = dict(zip(result.info, map(float, result.info.values()), strict=True))
        if self.render_mode is not None:
            shares = 0.5 + 0.5 * np.clip(np.asarray(action, np.float64), -1.0, 1.0)
            settings = dict(zip(self.action_names, shares, strict=True))
            self._day = [*self._day[-(round(86400.0 / self.world.config.dt_s) - 1) :], info | settings]
        return result.observation, float(result.reward), False, bool(result.truncated[0]), info

    def render(self) -> Any:
        """Draw the hall and its last day as an RGB array (H, W, 3) uint8; needs ``minesim[report]``."""
        if self.render_mode is None:
            return None
        from minesim.envs.render_cooling import draw_hall

        return draw_hall(self.core, self._day)


class CoolingVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Vector form of ``minesim/Cooling-v0``; row b equals the one-hall environment with seed ``seed + b``.

    Autoreset happens in the same step; the last observation of an episode is ``infos["final_obs"]``.

    Args:
        num_envs: B.
        stagger: shorten the first episodes by random amounts, so that a learner never sees all halls reset at once.
        world: a furnished world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.cooling_core.CoolingConfig`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        stagger: bool = False,
        world: CoolingWorld | None = None,
        **options: Any,
    ) -> None:
        if render_mode is not None:
            raise ParamsError(explain(f"render_mode is {render_mode!r}", allowed="None", fix="Render a single env."))
        if num_envs < 1:
            raise ParamsError(explain(f"num_envs is {num_envs}", allowed="1 or more"))
        self.num_envs = num_envs
        self.render_mode = None
        self.world = build_cooling_world(make_cooling_config(**options)) if world is None else world
        self.core = CoolingCore(self.world, num_envs)
        self.stagger = stagger
        self.single_observation_space, self.single_action_space = cooling_spaces(self.world)
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
            self._early = early_ends(self.core.seeds, self.world.steps)
        return observation, {"cost": np.zeros(self.num_envs)}

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int]:
        if isinstance(seed, int):
            return [seed + b for b in range(self.num_envs)]
        drawn = self.np_random.integers(0, 2**31, self.num_envs)
        if seed is None:
            return [int(s) for s in drawn]
        return [int(d) if s is None else int(s) for s, d in zip(seed, drawn, strict=True)]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all halls by one control step."""
        result = self.core.step(actions)
        infos: dict[str, Any] = dict(result.info)
        truncated = result.truncated | (self.core.step_count >= self.world.steps - self._early)
        observation = result.observation
        if truncated.any():
            self._early = np.where(truncated, 0, self._early)
            final = np.empty(self.num_envs, object)
            for b in np.flatnonzero(truncated):
                final[b] = observation[b].copy()
            infos |= {
                "final_obs": final,
                "_final_obs": truncated,
                "final_info": dict(result.info),
                "_final_info": truncated,
            }
            observation = self.core.reset(truncated)
        return observation, result.reward, np.zeros(self.num_envs, bool), truncated, infos


class CoolingTorchBatch:
    """The batch of :class:`CoolingVectorEnv` as tensors on one device.

    Args:
        num_envs: B.
        device: torch device.
        double: float64 state instead of float32.
        seed: of the first hall; hall b has ``seed + b``.
        stagger: shorten the first episodes by random amounts.
        world: a furnished world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.cooling_core.CoolingConfig`.
    """

    def __init__(
        self,
        num_envs: int,
        device: str = "cpu",
        *,
        double: bool = False,
        seed: int = 0,
        stagger: bool = True,
        world: CoolingWorld | None = None,
        **options: Any,
    ) -> None:
        torch_namespace()
        import torch

        if num_envs < 1:
            raise ParamsError(explain(f"num_envs is {num_envs}", allowed="1 or more"))
        self.num_envs = num_envs
        self.world = build_cooling_world(make_cooling_config(**options)) if world is None else world
        like = torch.zeros(1, dtype=torch.float64 if double else torch.float32, device=device)
        self.device = like.device
        self.core = CoolingCore(self.world, num_envs, like)
        self.observation_space, self.action_space = cooling_spaces(self.world)
        self.core.seed([seed + b for b in range(num_envs)])
        self._early = early_ends(self.core.seeds, self.world.steps) if stagger else np.zeros(num_envs, np.int64)

    def reset(self, options: dict[str, Any] | None = None) -> Array:
        """Begin all episodes; observations (B, n)."""
        return self.core.reset(options=options)

    def step(self, action: Array) -> TorchStep:
        """Advance all halls by one control step; finished ones begin anew in the same step."""
        result = self.core.step(action)
        truncated = result.truncated | (self.core.step_count >= self.world.steps - self._early)
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


def early_ends(seeds: np.ndarray, steps: int) -> np.ndarray:
    """By how many steps the first episode of each environment is shortened, (B,)."""
    rng = np.random.default_rng([0x57A66E7, *np.asarray(seeds).tolist()])
    return rng.integers(0, steps, len(seeds))
