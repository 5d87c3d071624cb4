"""A site in its hall: one environment, the native batch in numpy, and the batch in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minesim.arrays import Array
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.single import HashrateTuningEnv, config_of
from minesim.envs.site_core import SiteConfig, SiteHallCore, SiteWorld, build_site_world
from minesim.envs.torch_batch import TorchBatch


def hall_core(
    world: SiteWorld | None, options: Mapping[str, Any], num_envs: int = 1, like: Array | None = None, **how: bool
) -> SiteHallCore:
    """A core over a furnished world, or over one that is built from fields of
    :class:`minesim.envs.site_core.SiteConfig`; see :func:`minesim.envs.single.site_core`."""
    world = build_site_world(config_of(SiteConfig, options)) if world is None else world
    return SiteHallCore(world, num_envs, like, **how)


class SiteEnv(HashrateTuningEnv):
    """``minesim/Site-v0``: see ``docs/envs/site.md``.

    Args:
        render_mode: None or ``rgb_array``.
        world: a furnished world to share; otherwise one is built from ``options``.
        options: fields of :class:`minesim.envs.site_core.SiteConfig`.
    """

    core: SiteHallCore
    _furnish = staticmethod(hall_core)

    def render(self) -> Any:
        """Draw the hall and its last day as an RGB array (H, W, 3) uint8; needs ``minesim[report]``."""
        if self.render_mode is None:
            return None
        from minesim.envs.render_site import draw_site_in_hall

        return draw_site_in_hall(self.core, self._day)


class SiteVectorEnv(HashrateTuningVectorEnv):
    """Vector form of ``minesim/Site-v0``: arguments of :class:`minesim.envs.batch.HashrateTuningVectorEnv`, options of
    :class:`minesim.envs.site_core.SiteConfig`."""

    _furnish = staticmethod(hall_core)


class SiteTorchBatch(TorchBatch):
    """The batch of :class:`SiteVectorEnv` as tensors: arguments of :class:`minesim.envs.torch_batch.TorchBatch`, which
    cannot be compiled here, and options of :class:`minesim.envs.site_core.SiteConfig`."""

    _furnish = staticmethod(hall_core)
