"""Short training runs for tests: one S19j Pro, episodes of an hour, four sites."""

from __future__ import annotations

from typing import Any

import torch

from agents.rl.settings import AgentSettings, TaskSettings, TrainerSettings, TrainSettings, WarmStart
from agents.rl.training import Training

ITERATION = 4 * 8
"""Control steps of a training iteration of :func:`settings`."""


def settings(steps: int = 6 * ITERATION, seed: int = 0, trainer: str = "sb3", **agent: Any) -> TrainSettings:
    """Settings of a short run; ``agent`` changes its recipe."""
    recipe = {"envs": 4, "n_steps": 8, "batch_size": 16, "epochs": 2, "nets": [8], "warm_start": WarmStart(envs=2)}
    return TrainSettings(
        task=TaskSettings(episode_days=1.0 / 24.0),
        agent=AgentSettings(**{**recipe, **agent}),
        trainer=TrainerSettings(name=trainer, steps=steps, evaluate_every=0, checkpoint_every=2 * ITERATION),
        scenario="generated",
        site="one_s19j_pro",
        seed=seed,
    )


def weights(training: Training) -> dict[str, torch.Tensor]:
    """A copy of the network's weights and moments."""
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Fail unless all weights are equal, bit for bit."""
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


class StopAfter:
    """Asks for a stop before the given training iteration."""

    def __init__(self, iterations: int) -> None:
        self.left = iterations

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0
