"""Registration with Gymnasium, and the torch maker."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gymnasium.envs import registration

from minesim.errors import ParamsError, explain, nearest

HASHRATE_TUNING = "minesim/HashrateTuning-v0"
OVERCLOCK = "minesim/Overclock-v0"
COOLING = "minesim/Cooling-v0"
SITE = "minesim/Site-v0"


@dataclass(frozen=True)
class EnvEntry:
    """An environment.

    Attributes:
        entry_point: of one.
        summary: one line for people.
        page: of the docs.
        vector_entry_point: of the native batch; None where there is none.
        torch_entry_point: of the batch as torch tensors; None where there is none.
        parallel_entry_point: of the form with several agents (PettingZoo); None where there is none.
        is_site: whether it is a site in a scenario, with difficulty, batch and torch.
    """

    entry_point: str
    summary: str
    page: str
    vector_entry_point: str | None = None
    torch_entry_point: str | None = None
    parallel_entry_point: str | None = None
    is_site: bool = False


ENVS: Mapping[str, EnvEntry] = {
    HASHRATE_TUNING: EnvEntry(
        "minesim.envs.single:HashrateTuningEnv",
        "a site: power of every cohort, under prices, tariffs and limits",
        "docs/envs/hashrate_tuning.md",
        "minesim.envs.batch:HashrateTuningVectorEnv",
        "minesim.envs.torch_batch:TorchBatch",
        is_site=True,
    ),
    OVERCLOCK: EnvEntry(
        "minesim.envs.overclock:OverclockEnv",
        "one unit on the bench: volts, clocks and fans within a budget of trials",
        "docs/envs/overclock.md",
    ),
    COOLING: EnvEntry(
        "minesim.envs.cooling:CoolingEnv",
        "one cooled hall: room fans, pad, dampers and share of load",
        "docs/envs/cooling.md",
        "minesim.envs.cooling:CoolingVectorEnv",
        "minesim.envs.cooling:CoolingTorchBatch",
        "minesim.envs.cooling_zones:CoolingZonesEnv",
    ),
    SITE: EnvEntry(
        "minesim.envs.site:SiteEnv",
        "a site in its hall: power of every cohort and the cooling, for one bill",
        "docs/envs/site.md",
        "minesim.envs.site:SiteVectorEnv",
        "minesim.envs.site:SiteTorchBatch",
    ),
}
"""The one table of environments."""


def register() -> None:
    """Register all environments of minesim; safe to call twice."""
    for env_id, row in ENVS.items():
        if env_id not in registration.registry:
            registration.register(id=env_id, entry_point=row.entry_point, vector_entry_point=row.vector_entry_point)


def env_ids() -> tuple[str, ...]:
    """Ids of all environments."""
    return tuple(ENVS)


def site_env_ids() -> tuple[str, ...]:
    """Ids of the environments of a site: scenario, difficulty, batch and torch."""
    return tuple(env_id for env_id, row in ENVS.items() if row.is_site)


def make_torch(env_id: str, num_envs: int, device: str = "cpu", **options: Any) -> Any:
    """The batch of an environment as torch tensors (see :class:`minesim.envs.torch_batch.TorchBatch`).

    Raises:
        ParamsError: unknown id (nearest names suggested).
        MissingExtraError: torch is not installed.
    """
    makers = {name: row.torch_entry_point for name, row in ENVS.items() if row.torch_entry_point is not None}
    return _entry(env_id, makers, "in torch")(num_envs, device, **options)


def make_parallel(env_id: str, **options: Any) -> Any:
    """The form of an environment with several agents, a PettingZoo ``ParallelEnv``
    (see :class:`minesim.envs.cooling_zones.CoolingZonesEnv`).

    Raises:
        ParamsError: unknown id (nearest names suggested).
        MissingExtraError: pettingzoo is not installed.
    """
    makers = {name: row.parallel_entry_point for name, row in ENVS.items() if row.parallel_entry_point is not None}
    return _entry(env_id, makers, "with several agents")(**options)


def _entry(env_id: str, makers: Mapping[str, str], form: str) -> Any:
    if env_id not in makers:
        raise ParamsError(explain(f"no environment {env_id!r} {form}", fix=nearest(env_id, makers)))
    module, _, name = makers[env_id].partition(":")
    return getattr(importlib.import_module(module), name)
