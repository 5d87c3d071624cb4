"""The native batch: B sites as a Gymnasium vector environment in numpy, without a process per site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from minesim.envs.core import SiteCore, World
from minesim.envs.native import NativeVectorEnv, check_count
from minesim.envs.single import site_core, spaces


class HashrateTuningVectorEnv(NativeVectorEnv):
    """Vector form of ``minesim/HashrateTuning-v0``, see :class:`minesim.envs.native.NativeVectorEnv`.

    Args:
        num_envs: B.
        stagger: shorten the first episodes by random amounts, so that a learner never sees all sites reset at once.
        world: a compiled world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.core.EnvConfig`.
    """

    _furnish: ClassVar[Callable[..., SiteCore]] = staticmethod(site_core)

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        *,
        stagger: bool = False,
        world: World | None = None,
        **options: Any,
    ) -> None:
        check_count(num_envs)
        self.core = self._furnish(world, options, num_envs)
        self.world = self.core.world
        self.schema = self.core.schema
        super().__init__(self.core, self.world.horizon_steps, spaces(self.world, self.schema), stagger, render_mode)
