"""How fast learners learn on this machine: `make bench-learning`.

Frames are control steps of one site, gathering and learning together, with one thread. Best and median of iterations.
On a CPU processor time is counted, so that other work on the machine matters little; alone on a core that is the time
on the clock. What is compared takes turns. With a GPU the batched trainer is measured there too, by the clock.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import minesim
from agents.rl.settings import ActionSettings, AgentSettings, TrainerSettings, TrainSettings
from agents.rl.training import Training, training_world
from agents.rl.vec_env import SiteVecEnv
from minesim.envs.batch import HashrateTuningVectorEnv
from minesim.envs.core import World
from minesim.envs.torch_batch import TorchBatch
from tests.benchmarks.speed import GPU_SITES, accelerator, machine

SCENARIO = "ercot/4cp"
TURNS = 9
SB3_ENVS, SB3_STEPS = 256, 64
GOAL_SHARE = 0.65
GOAL_FRAMES_PER_S = 12_000
RUN_STEPS = 100_000_000


class TrivialVecEnv(VecEnv):
    """Observations and actions of the given sizes, and nothing in between: what a learner costs alone."""

    def __init__(self, envs: int, observed: int, acted: int) -> None:
        super().__init__(
            envs,
            gym.spaces.Box(-np.inf, np.inf, (observed,), np.float32),
            gym.spaces.Box(-1.0, 1.0, (acted,), np.float32),
        )
        self._observations = np.random.default_rng(0).uniform(-1.0, 1.0, (7, envs, observed)).astype(np.float32)
        self._at = 0

    def reset(self) -> np.ndarray:
        return self._observations[0]

    def step_async(self, actions: np.ndarray) -> None:
        self._at = (self._at + 1) % len(self._observations)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        rows = self.num_envs
        return self._observations[self._at], np.zeros(rows, np.float32), np.zeros(rows, bool), [{}] * rows

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        pass

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return []

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def take_turns(
    iterations: Sequence[Callable[[], Any]], frames: int, clock: Callable[[], float] = time.process_time
) -> list[list[float]]:
    """Frames per second of each in every turn, after one iteration that is not counted."""
    for iterate in iterations:
        iterate()
    rates: list[list[float]] = [[] for _ in iterations]
    for _ in range(TURNS):
        for iterate, found in zip(iterations, rates, strict=True):
            begin = clock()
            iterate()
            found.append(frames / (clock() - begin))
    return rates


def sb3_iteration(env: VecEnv) -> Callable[[], Any]:
    """An iteration of PPO: nets 64-64, 64 steps, batches of 4096, 4 epochs."""
    model = PPO(
        "MlpPolicy", env, n_steps=SB3_STEPS, batch_size=4096, n_epochs=4, policy_kwargs={"net_arch": [64, 64]}, seed=0
    )
    return lambda: model.learn(SB3_ENVS * SB3_STEPS, log_interval=None, reset_num_timesteps=False)


def sb3_rates(world: World) -> Table:
    """SB3 on a trivial env, on the numpy batch and with ``trainer.compiled=true``; direct actions, one each step."""
    observed = HashrateTuningVectorEnv(1, world=world).single_observation_space.shape[0]
    named: dict[str, VecEnv] = {
        "trivial, same shapes": TrivialVecEnv(SB3_ENVS, observed, world.action_size),
        "sites, numpy": SiteVecEnv(HashrateTuningVectorEnv(SB3_ENVS, world=world, stagger=True)),
        "sites, compiled": SiteVecEnv(TorchBatch(SB3_ENVS, world=world, compiled=True)),
    }
    for env in named.values():
        env.seed(0)
    rates = take_turns([sb3_iteration(env) for env in named.values()], SB3_ENVS * SB3_STEPS)
    table = Table(
        title=f"SB3 PPO, nets 64-64, {SB3_ENVS} envs, n_steps {SB3_STEPS}, batch 4096, 4 epochs, {observed} numbers "
        f"seen, {world.action_size} given; goal {GOAL_SHARE:.0%} of trivial",
        title_justify="left",
    )
    for name in ("environment", "best frames/s", "median frames/s", "share of trivial, median of turns"):
        table.add_column(name, justify="left" if name == "environment" else "right")
    for name, found in zip(named, rates, strict=True):
        share = statistics.median(mine / alone for mine, alone in zip(found, rates[0], strict=True))
        table.add_row(name, f"{max(found):,.0f}", f"{statistics.median(found):,.0f}", f"{share:.0%}")
    return table


def batched_settings(envs: int, n_steps: int, period_min: float, kind: str, epochs: int, device: str) -> TrainSettings:
    """The recipe ``ppo_wide`` with another size, control period and action."""
    return TrainSettings(
        scenario=SCENARIO,
        agent=AgentSettings(
            name="bench",
            envs=envs,
            n_steps=n_steps,
            batch_size=envs * n_steps // 4,
            epochs=epochs,
            nets=[256, 128, 64],
            activation="relu",
            control_period_min=period_min,
            actions=ActionSettings(kind=kind),
        ),
        trainer=TrainerSettings(name="batched", steps=RUN_STEPS, device=device, compiled=True),
    )


def batched_rates(cases: Sequence[tuple[int, int, float, str, int]], device: str, folder: Path) -> Table:
    """The batched trainer as ``experiments.train`` runs it, without judging."""
    table = Table(
        title=f"rsl-rl PPO, nets 256-128-64, epochs of 4 batches, twin compiled, {device}; goal on one core with "
        f"1,024 envs {GOAL_FRAMES_PER_S:,}",
        title_justify="left",
    )
    names = ("envs", "n_steps", "steps a decision", "actions", "epochs", "first iteration, s")
    for name in (*names, "best frames/s", "median frames/s", "100 million steps, h"):
        table.add_column(name, justify="left" if name == "actions" else "right")
    for number, (envs, n_steps, period_min, kind, epochs) in enumerate(cases):
        chosen = batched_settings(envs, n_steps, period_min, kind, epochs, device)
        training = Training(chosen, folder / f"{device}{number}")
        training._build(None)
        repeat = training.learner.env.repeat
        begin = time.perf_counter()
        training._iterate()
        first_s = time.perf_counter() - begin
        clock = time.process_time if device == "cpu" else time.perf_counter
        (found,) = take_turns([training._iterate], envs * n_steps * repeat, clock)
        best, median = max(found), statistics.median(found)
        told = (f"{envs:,}", f"{n_steps}", f"{repeat}", kind, f"{epochs}", f"{first_s:.1f}")
        table.add_row(*told, f"{best:,.0f}", f"{median:,.0f}", f"{RUN_STEPS / best / 3600.0:.2f}")
    return table


def main(parts: Sequence[str]) -> None:
    """Print the rates; ``sb3``, ``batched`` and ``gpu`` choose what is measured, without a choice all is."""
    console = Console()
    torch.set_num_threads(1)
    told = f"{machine()}; torch {torch.__version__}; accelerator: {accelerator()}"
    console.print(f"minesim {minesim.__version__}; {told}")
    if not parts or "sb3" in parts:
        with console.status("SB3"):
            world = training_world(TrainSettings(scenario=SCENARIO), "medium")
            console.print(sb3_rates(world))
    if not parts or "batched" in parts:
        with tempfile.TemporaryDirectory() as folder, console.status("batched"):
            wide = (1024, 32)
            priced, direct = (*wide, 15.0, "shadow_price", 4), (*wide, 15.0, "direct", 4)
            cases = (priced, direct, (*wide, 5.0, "direct", 4), (*wide, 5.0, "direct", 2))
            console.print(batched_rates(cases, "cpu", Path(folder)))
    if torch.cuda.is_available() and (not parts or "gpu" in parts):
        with tempfile.TemporaryDirectory() as folder, console.status("batched, on the GPU"):
            large = [(envs, 16, 15.0, kind, 4) for envs in GPU_SITES for kind in ("shadow_price", "direct")]
            console.print(batched_rates(large, "cuda", Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
