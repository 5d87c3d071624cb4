"""Registration with Gymnasium, and the torch maker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymnasium.envs import registration

from minesim.errors import ParamsError, explain, nearest

HASHRATE_TUNING = "minesim/HashrateTuning-v0"
OVERCLOCK = "minesim/Overclock-v0"
COOLING = "minesim/Cooling-v0"


def register() -> None:
    """Register all environments of minesim; safe to call twice."""
    if HASHRATE_TUNING not in registration.registry:
        registration.register(
            id=HASHRATE_TUNING,
            entry_point="minesim.envs.single:HashrateTuningEnv",
            vector_entry_point="minesim.envs.batch:HashrateTuningVectorEnv",
        )
    if OVERCLOCK not in registration.registry:
        registration.register(id=OVERCLOCK, entry_point="minesim.envs.overclock:OverclockEnv")
    if COOLING not in registration.registry:
        registration.register(id=COOLING, entry_point="minesim.envs.cooling:CoolingEnv")


def env_ids() -> tuple[str, ...]:
    """Ids of all environments of a site: scenario, difficulty, batch and torch."""
    return (HASHRATE_TUNING,)


def bench_env_ids() -> tuple[str, ...]:
    """Ids of the environments of a single unit on the bench, without a site."""
    return (OVERCLOCK,)


def hall_env_ids() -> tuple[str, ...]:
    """Ids of the environments of a cooled hall."""
    return (COOLING,)


def make_torch(env_id: str, num_envs: int, device: str = "cpu", **options: Any) -> Any:
    """The batch of an environment as torch tensors (see :class:`minesim.envs.torch_batch.TorchBatch`).

    Raises:
        ParamsError: unknown id (nearest names suggested).
        MissingExtraError: torch is not installed.
    """
    from minesim.envs.torch_batch import TorchBatch

    makers: dict[str, Callable[..., Any]] = {HASHRATE_TUNING: TorchBatch}
    if env_id not in makers:
        raise ParamsError(explain(f"no environment {env_id!r}", fix=nearest(env_id, makers)))
    return makers[env_id](num_envs, device, **options)
