"""How fast the learners of the cooled hall learn on this machine, flat and graph: ``make bench-cooling-learning``.

Frames are control steps of one hall, with all updates. Processor time of one thread, what is compared takes turns,
best and median of turns. "Learner alone" has nothing in place of the halls; "behind the shield" is what a training run
costs, early on, with actions that are still nearly random.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.vec_env import VecEnv

from agents.cooling.knowledge import knowledge_of
from agents.cooling.learning.halls import TrainingHalls
from agents.cooling.learning.policy import Meaning, make_network
from agents.cooling.learning.settings import GRAPH, SacSettings, TrainCoolingSettings
from agents.cooling.learning.training import make_learner
from agents.cooling.steady import SteadyBest, steady_map
from minesim.envs.cooling_core import CoolingWorld
from tests.benchmarks.learning_speed import TrivialVecEnv
from tests.benchmarks.speed import machine

TURNS = 5
STEPS = 6
"""Control steps of all halls in a turn."""
RECIPES = {
    "sac": SacSettings(learning_starts=1),
    "sac_graph": SacSettings(learning_starts=1, network=GRAPH, nets=[128, 128]),
}


def learner_alone(agent: SacSettings, world: CoolingWorld) -> VecEnv:
    """Nothing to act in."""
    return TrivialVecEnv(agent.envs, len(world.names), len(world.action_names))


def main() -> None:
    """Measure and tell."""
    torch.set_num_threads(1)
    world = TrainCoolingSettings().world(RECIPES["sac"].episode_days)
    steady = steady_map(world)

    def behind_the_shield(agent: SacSettings, world: CoolingWorld) -> VecEnv:
        rule = SteadyBest(knowledge_of(world), steady)
        return TrainingHalls(world, agent, Meaning(agent, world, steady), rule, 0)

    console = Console()
    table = Table(title=f"{machine()}: frames per second, best (median)", title_justify="left")
    for column in ("", *RECIPES):
        table.add_column(column, justify="right" if column else "left")
    for name, halls in (("learner alone", learner_alone), ("behind the shield", behind_the_shield)):
        table.add_row(name, *(f"{max(r):,.0f} ({statistics.median(r):,.0f})" for r in rates(halls, world)))
    networks = [make_network(agent, world) for agent in RECIPES.values()]
    for name in ("actor", "critic"):
        sizes = [sum(p.numel() for p in getattr(network, name).parameters()) for network in networks]
        table.add_row(f"parameters, {name}", *(f"{size:,}" for size in sizes))
    console.print(table)


def rates(halls: Callable[[SacSettings, CoolingWorld], VecEnv], world: CoolingWorld) -> list[list[float]]:
    """Frames per second of each turn, for each recipe."""
    learners = [make_learner(agent, world, halls(agent, world), 0) for agent in RECIPES.values()]
    found: list[list[float]] = [[] for _ in learners]
    for turn in range(TURNS + 1):
        for learner, kept in zip(learners, found, strict=True):
            frames = STEPS * learner.n_envs
            begin = time.process_time()
            learner.learn(frames, log_interval=None, reset_num_timesteps=False)
            if turn > 0:
                kept.append(frames / (time.process_time() - begin))
    return found


if __name__ == "__main__":
    main()
