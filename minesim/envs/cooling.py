"""Cooling a hall of miners: one environment, the native batch in numpy, and the batch in torch."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from minesim.arrays import torch_namespace
from minesim.envs.cooling_core import CoolingConfig, CoolingCore, CoolingWorld, build_cooling_world
from minesim.envs.native import NativeTorchBatch, NativeVectorEnv, check_count
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


class CoolingVectorEnv(NativeVectorEnv):
    """Vector form of ``minesim/Cooling-v0``, see :class:`minesim.envs.native.NativeVectorEnv`.

    Args:
        num_envs: B.
        stagger: shorten the first episodes by random amounts, so that a learner never sees all halls reset at once.
        world: a furnished world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.cooling_core.CoolingConfig`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        stagger: bool = False,
        world: CoolingWorld | None = None,
        **options: Any,
    ) -> None:
        check_count(num_envs)
        self.world = build_cooling_world(make_cooling_config(**options)) if world is None else world
        self.core = CoolingCore(self.world, num_envs)
        super().__init__(self.core, self.world.horizon_steps, cooling_spaces(self.world), stagger, render_mode)


class CoolingTorchBatch(NativeTorchBatch):
    """The batch of :class:`CoolingVectorEnv` as tensors.

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

        check_count(num_envs)
        self.world = build_cooling_world(make_cooling_config(**options)) if world is None else world
        like = torch.zeros(1, dtype=torch.float64 if double else torch.float32, device=device)
        self.device = like.device
        self.core = CoolingCore(self.world, num_envs, like)
        super().__init__(self.core, self.world.horizon_steps, cooling_spaces(self.world), seed, stagger)
