"""What a training run needs of a learner, and the table of learners.

A learner has sites and a network, and betters the network by one iteration at a time. All learners train the same
networks (:mod:`agents.rl.network`), so that weights are saved, judged, imitated and loaded alike.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.rl.actions import RuleNumbers, build_actions, build_rule
from agents.rl.settings import TrainSettings
from agents.rl.sites import Batch, TrainingSites, Yardstick, seeds_of
from minesim.arrays import Array
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import World
from minesim.envs.torch_batch import TorchBatch
from minesim.errors import MissingExtraError, ParamsError, explain


class Learner(Protocol):
    """A learner between two iterations."""

    @property
    def env(self) -> TrainingSites:
        """Where experience comes from."""
        ...

    @property
    def network(self) -> ActorCriticPolicy:
        """What is trained."""
        ...

    def iterate(self) -> dict[str, float]:
        """Gather experience and learn from it once; figures for curves by name."""
        ...

    def seen(self) -> Array:
        """Observations of the last iteration, (..., n_obs)."""
        ...

    def enter(self, world: World) -> None:
        """Begin anew on sites of another world, with the same network."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """All that :meth:`restore` needs to go on, bit for bit on a CPU."""
        ...

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of an equal learner."""
        ...


def make_learner(settings: TrainSettings, world: World, numbers: RuleNumbers) -> Learner:
    """The learner that the settings ask for.

    Args:
        settings: checked settings.
        world: of the first stage.
        numbers: parameters of the rule that the actions stand on.

    Raises:
        MissingExtraError: its package is not installed.
    """
    if settings.trainer.name == "batched":
        try:
            from agents.rl.batched import BatchedLearner
        except ImportError as error:
            raise MissingExtraError(
                explain(
                    f"trainer=batched needs rsl-rl ({error})",
                    fix="Run: pip install 'minesim[agents]', or take trainer=sb3.",
                )
            ) from error
        return BatchedLearner(settings, world, numbers)
    from agents.rl.sb3 import Sb3Learner

    return Sb3Learner(settings, world, numbers)


def check_device(name: str) -> None:
    """Check that torch can train there.

    Raises:
        ParamsError: no such device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParamsError(explain(f"trainer.device is {name!r}", allowed="cpu, cuda or cuda:NUMBER")) from error
    if device.type not in ("cpu", "cuda"):
        raise ParamsError(explain(f"trainer.device is {name!r}", allowed="cpu, cuda or cuda:NUMBER"))
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ParamsError(
            explain(
                f"trainer.device is {name!r}, but torch sees {found or 'no'} GPU{'s' if found > 1 else ''}",
                fix="Take trainer.device=cpu, or install a driver and a torch with CUDA.",
            )
        )


def make_batch(settings: TrainSettings, world: World) -> Batch:
    """Sites to train on: numpy for ``sb3``, tensors for ``batched`` and wherever the twin is compiled."""
    trainer, envs = settings.trainer, settings.agent.envs
    if trainer.name == "sb3" and not trainer.compiled:
        return HashrateTuningVectorEnv(envs, world=world, stagger=True)
    device = trainer.device if trainer.name == "batched" else "cpu"
    first = seeds_of(settings.seed, 1)[0]
    return TorchBatch(envs, device, world=world, compiled=trainer.compiled, seed=first, stagger=True)


def sites_options(settings: TrainSettings, world: World, numbers: RuleNumbers) -> dict[str, Any]:
    """What the sites are told beside the batch: actions, control steps per decision, and how they are paid."""
    agent = settings.agent
    yardstick = None
    if agent.yardstick:
        yardstick = Yardstick(make_batch(settings, world), build_rule(agent.actions.rule, world, numbers))
    return {
        "actions": build_actions(agent.actions, world, numbers),
        "repeat": agent.repeat(world.config.dt_ctrl_s),
        "reward_scale": agent.scale(),
        "reward_clip": agent.reward_clip,
        "yardstick": yardstick,
    }
