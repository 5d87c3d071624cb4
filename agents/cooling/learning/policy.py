"""A trained network as a policy of a hall: weights, what its numbers mean, and the shield."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.sac.policies import SACPolicy

from agents.cooling.knowledge import Floats, knowledge_of
from agents.cooling.learning.graph import GraphFeatures
from agents.cooling.learning.hall_graph import hall_graph, setting_kind
from agents.cooling.learning.settings import DIRECT, FLAT, GRAPH, SacSettings
from agents.cooling.shield import Shield, Shielded
from agents.cooling.steady import SteadyBest, SteadyMap, steady_map
from agents.rl.network import NormalisedObservation
from minesim.arrays import Array
from minesim.bench.files import write_json
from minesim.control.policy import Policy
from minesim.envs.cooling import cooling_spaces
from minesim.envs.cooling_core import CoolingWorld
from minesim.errors import DataFileError, ParamsError, explain

DESCRIPTION, BEST = "policy.json", "policy_best.pt"
FORMAT = 1


class Meaning:
    """What the numbers of a network do.

    Args:
        agent: the recipe.
        world: hall and task.
        steady: of the hall, for numbers that are added to a rule; computed when None.
    """

    def __init__(self, agent: SacSettings, world: CoolingWorld, steady: SteadyMap | None = None) -> None:
        self.scale = agent.scale
        self.rule: SteadyBest | None = None
        if agent.actions != DIRECT:
            self.rule = SteadyBest(knowledge_of(world), steady_map(world) if steady is None else steady)

    def action(self, observation: Array, numbers: Array) -> Floats:
        """Actions (B, A) of numbers (B, A), each in [-1, 1]."""
        if self.rule is None:
            return np.asarray(numbers, np.float64)
        action = self.rule.act(observation) + self.scale * np.asarray(numbers, np.float64)
        clipped: Floats = np.clip(action, -1.0, 1.0)
        return clipped


def network_options(agent: SacSettings, world: CoolingWorld) -> dict[str, Any]:
    """Arguments of the network for stable-baselines3; observations are normalised inside."""
    options: dict[str, Any] = {"net_arch": list(agent.nets), "features_extractor_class": NormalisedObservation}
    if agent.network == GRAPH:
        options["features_extractor_class"] = GraphFeatures
        options["features_extractor_kwargs"] = {
            "graph": hall_graph(world),
            "width": agent.width,
            "rounds": agent.rounds,
        }
    return options


def make_network(agent: SacSettings, world: CoolingWorld) -> SACPolicy:
    """Actor and critics, untrained."""
    return SACPolicy(*cooling_spaces(world), lambda progress: agent.learning_rate, **network_options(agent, world))


class SacPolicy:
    """The mean of an actor, as an action; no memory.

    Args:
        name: for reports.
        actor: a :class:`stable_baselines3.sac.policies.Actor`.
        meaning: of its numbers.
    """

    def __init__(self, name: str, actor: Any, meaning: Meaning) -> None:
        self.name, self.actor, self.meaning = name, actor, meaning

    def act(self, observation: Array) -> Array:
        """Actions (B, A) of observations (B, n)."""
        seen = np.asarray(observation, np.float32)
        with torch.no_grad():
            numbers = self.actor(torch.as_tensor(seen), deterministic=True).numpy()
        return self.meaning.action(seen, numbers).astype(np.float32)

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""


def describe_policy(folder: Path, name: str, agent: SacSettings, world: CoolingWorld) -> None:
    """Write what is needed to use the weights of a run."""
    content = {
        "format": FORMAT,
        "name": name,
        "agent": asdict(agent),
        "names": list(world.names),
        "action_names": list(world.action_names),
        "dt_s": world.config.dt_s,
    }
    write_json(folder / DESCRIPTION, content)


def load_policy(folder: str | Path, world: CoolingWorld, steady: SteadyMap | None = None) -> Policy:
    """The best policy of a run, behind its shield where it was trained with one.

    Args:
        folder: of the run.
        world: where it shall act; names of observations and actions must be those of training, but a graph reads and
            sets any hall whose settings were all trained: each follows the trained one of its name, else of its kind.
        steady: steady states of the hall; computed where they are needed and not given.

    Raises:
        DataFileError: no such run, or its files are damaged.
        ParamsError: other observations or actions.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        agent = SacSettings(**about["agent"])
        weights = torch.load(folder / BEST, map_location="cpu", weights_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataFileError(
            explain(
                f"{str(folder)!r} has no readable policy ({type(error).__name__})",
                fix="Train one: python -m experiments.train_cooling",
            )
        ) from error
    if agent.network == FLAT:
        for what, mine, theirs in (
            ("observations", world.names, about["names"]),
            ("actions", world.action_names, about["action_names"]),
        ):
            if list(mine) != theirs:
                raise ParamsError(
                    explain(
                        f"the hall has the {what} {list(mine)}",
                        allowed=f"those of training: {theirs}",
                        origin=str(folder),
                    )
                )
    actor = make_network(agent, world).actor
    actor.load_state_dict(_actor_weights(weights, about["action_names"], world, str(folder)))
    actor.set_training_mode(False)
    policy = SacPolicy(str(about["name"]), actor, Meaning(agent, world, steady))
    return Shielded(policy, Shield(world)) if agent.shielded else policy


def _actor_weights(
    weights: dict[str, torch.Tensor], trained: list[str], world: CoolingWorld, origin: str
) -> dict[str, torch.Tensor]:
    """Weights of the actor for a hall whose action has other numbers: each takes the last layer's row of the trained
    number of its name, else of the first of its kind.

    Raises:
        ParamsError: a setting of which none was trained.
    """
    kinds = [setting_kind(name) for name in trained]
    rows = []
    for name in world.action_names:
        if name not in trained and setting_kind(name) not in kinds:
            raise ParamsError(
                explain(f"the hall has the action {name!r}", allowed=f"kinds of {trained}", origin=origin)
            )
        rows.append(trained.index(name) if name in trained else kinds.index(setting_kind(name)))
    actor = {name.removeprefix("actor."): w for name, w in weights.items() if name.startswith("actor.")}
    return {name: w[rows] if name.startswith(("mu.", "log_std.")) else w for name, w in actor.items()}
