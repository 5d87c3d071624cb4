"""One site as a Gymnasium environment (numpy, double precision)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import gymnasium as gym
import numpy as np

from minesim.arrays import Array
from minesim.control.channels import ObservationSchema
from minesim.envs.core import EnvConfig, SiteCore, World, build_world
from minesim.errors import ParamsError, explain, nearest

Config = TypeVar("Config", bound=EnvConfig)


def make_config(**options: Any) -> EnvConfig:
    """An :class:`EnvConfig` from keyword arguments, see :func:`config_of`."""
    return config_of(EnvConfig, options)


def config_of(kind: type[Config], options: Mapping[str, Any]) -> Config:
    """A configuration from keyword arguments; all rows count where neither scenario nor split is given.

    Raises:
        ParamsError: an unknown keyword (nearest names suggested).
    """
    known = kind.__dataclass_fields__
    for name in options:
        if name not in known:
            raise ParamsError(explain(f"environment option {name!r} is unknown", fix=nearest(name, known)))
    if "scenario" in options or "split" in options:
        return kind(**options)
    return kind(**options, split=None)


def site_core(
    world: World | None, options: Mapping[str, Any], num_envs: int = 1, like: Array | None = None, **how: bool
) -> SiteCore:
    """A core over a furnished world, or over one that is built from keyword arguments.

    Args:
        world: shared; None to build one.
        options: fields of :class:`minesim.envs.core.EnvConfig`.
        num_envs, like, how: as for :class:`minesim.envs.core.SiteCore`.
    """
    return SiteCore(build_world(make_config(**options)) if world is None else world, num_envs, like, **how)


def spaces(world: World, schema: ObservationSchema) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    """Observation and action space of one site."""
    low, high = schema.bounds()
    return gym.spaces.Box(low, high, dtype=np.float32), gym.spaces.Box(
        -1.0, 1.0, shape=(world.action_size,), dtype=np.float32
    )


class HashrateTuningEnv(gym.Env[np.ndarray, np.ndarray]):
    """``minesim/HashrateTuning-v0``: see ``docs/envs/hashrate_tuning.md``.

    Args:
        render_mode: None or ``rgb_array``.
        world: a compiled world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.core.EnvConfig`.
    """

    _furnish: ClassVar[Callable[..., SiteCore]] = staticmethod(site_core)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(self, render_mode: str | None = None, *, world: World | None = None, **options: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ParamsError(explain(f"render_mode is {render_mode!r}", allowed="None or 'rgb_array'"))
        self.render_mode = render_mode
        self.core = self._furnish(world, options)
        self.world = self.core.world
        self.schema = self.core.schema
        self.observation_space, self.action_space = spaces(self.world, self.schema)
        self._seeded = False
        self._day: list[dict[str, float]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; options as in :meth:`minesim.envs.core.SiteCore.reset`."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.core.seed([seed if seed is not None else int(self.np_random.integers(2**31))])
            self._seeded = True
        observation = self.core.reset(options=options)
        self._day = []
        return observation[0], {"cost": 0.0, "start_row": int(self.core.start_row[0])}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance the site by one control step."""
        observation, reward, truncated, values = self.core.step_one(np.asarray(action))
        info = dict(zip(values, map(float, values.values()), strict=True))
        if self.render_mode is not None:
            self._day = [*self._day[-(round(86400.0 / self.world.config.dt_ctrl_s) - 1) :], info]
        return observation, float(reward), False, truncated, info

    def render(self) -> Any:
        """Draw the site and its last day as an RGB array (H, W, 3) uint8; needs ``minesim[report]``."""
        if self.render_mode is None:
            return None
        from minesim.envs.render import draw_site

        return draw_site(self.core, self._day)
