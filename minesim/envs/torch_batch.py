"""B sites as torch tensors on any device, for learners that keep everything on the accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from minesim.arrays import torch_namespace
from minesim.envs.core import SiteCore, World
from minesim.envs.native import NativeTorchBatch, check_count
from minesim.envs.single import site_core, spaces


class TorchBatch(NativeTorchBatch):
    """The batch of :class:`minesim.envs.batch.HashrateTuningVectorEnv` as tensors.

    Args:
        num_envs: B.
        device: torch device.
        double: float64 state instead of float32.
        compiled: compile the twin's sub-step (needs a C++ compiler; seconds at the first step).
        seed: of the first site; site b has ``seed + b``.
        stagger: shorten the first episodes by random amounts.
        world: a compiled world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.core.EnvConfig`.
    """

    _furnish: ClassVar[Callable[..., SiteCore]] = staticmethod(site_core)

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

        check_count(num_envs)
        like = torch.zeros(1, dtype=torch.float64 if double else torch.float32, device=device)
        self.device = like.device
        self.core = self._furnish(world, options, num_envs, like, compiled=compiled)
        self.world = self.core.world
        self.schema = self.core.schema
        super().__init__(self.core, self.world.horizon_steps, spaces(self.world, self.schema), seed, stagger)
