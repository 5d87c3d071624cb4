"""Cooling a hall as a team: a PettingZoo ``ParallelEnv`` of agents that each own a part of what the single agent sets.

Agents: ``zone_1`` to ``zone_n`` from west to east, each with the fans and dampers of its stretch of the hall;
``supply`` with pad and coil, whose air all zones share (where the hall has one); ``load`` with the load of the rows.
All are paid the whole hall's reward: a zone's air goes where its neighbour's fans pull it, so no part of the bill is
one zone's alone.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from minesim.catalog.layouts import layout
from minesim.envs.cooling import CoolingEnv, cooling_spaces
from minesim.envs.cooling_core import RESET_OPTIONS, CoolingWorld
from minesim.errors import ActionError, MissingExtraError, explain
from minesim.tasks.cooling import IN_ZONES, setting_of, zone_at

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise MissingExtraError(
        explain("pettingzoo is not installed", fix="Install it with: pip install 'minesim[multiagent]'")
    ) from error

SUPPLY, LOAD = "supply", "load"


class CoolingZonesEnv(ParallelEnv[str, np.ndarray, np.ndarray]):  # type: ignore[misc]
    """``minesim/Cooling-v0`` for a team: see ``docs/envs/cooling.md``.

    The joint action is the single environment's, number by number, and so are reward, cost and observations; an agent
    sees the single environment's numbers of its part of the hall, and the weather, price, clock and powers.

    Args:
        render_mode: None or ``rgb_array``.
        zones: parts of equal length along the hall.
        options: as for :class:`minesim.envs.cooling.CoolingEnv`.

    Attributes:
        env: the single environment.
        owned, seen: places of each agent's numbers in the single action and observation.

    Raises:
        MinesimError: a part is unknown or impossible, or a zone has neither fan nor damper.
    """

    metadata = {"name": "minesim/Cooling-v0", "render_modes": ["rgb_array"], "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, *, zones: int = 2, **options: Any) -> None:
        self.render_mode = render_mode
        self.env = CoolingEnv(render_mode, zones=zones, **options)
        world = self.env.world
        owners = [_owner(name) for name in world.action_names]
        self.possible_agents = list(dict.fromkeys([*(f"zone_{n + 1}" for n in range(zones)), *owners]))
        self.agents = list(self.possible_agents)
        self.owned = {agent: [n for n, by in enumerate(owners) if by == agent] for agent in self.agents}
        zone_of = _zones_of_observation(world)
        acts = len(zone_of) - len(owners)
        self.seen = {
            agent: [n for n, zone in enumerate(zone_of[:acts]) if not zone or zone == agent or agent in (SUPPLY, LOAD)]
            + [acts + n for n in self.owned[agent]]
            for agent in self.agents
        }
        whole, action = cooling_spaces(world)
        self.observation_spaces: dict[str, gym.spaces.Space[np.ndarray]] = {
            agent: gym.spaces.Box(whole.low[index], whole.high[index], dtype=np.float32)
            for agent, index in self.seen.items()
        }
        self.action_spaces: dict[str, gym.spaces.Space[np.ndarray]] = {
            agent: gym.spaces.Box(action.low[index], action.high[index], dtype=np.float32)
            for agent, index in self.owned.items()
        }
        self._whole: np.ndarray = np.zeros_like(whole.low)

    def observation_space(self, agent: str) -> gym.spaces.Space[np.ndarray]:
        """What an agent sees; named in :meth:`names_seen_by`."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.spaces.Space[np.ndarray]:
        """What an agent sets; named in :meth:`names_set_by`."""
        return self.action_spaces[agent]

    def names_seen_by(self, agent: str) -> tuple[str, ...]:
        """Names of the numbers of an agent's observation."""
        return tuple(self.env.names[n] for n in self.seen[agent])

    def names_set_by(self, agent: str) -> tuple[str, ...]:
        """Names of the numbers of an agent's action."""
        return tuple(self.env.action_names[n] for n in self.owned[agent])

    def state(self) -> np.ndarray:
        """The single environment's observation, for critics that see everything."""
        return self._whole

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begin an episode; of ``options`` those of the single environment count, PettingZoo's tools pass others."""
        known = {name: value for name, value in (options or {}).items() if name in RESET_OPTIONS}
        self._whole, info = self.env.reset(seed=seed, options=known)
        self.agents = list(self.possible_agents)
        return self._parts(), {agent: dict(info) for agent in self.agents}

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Hold the joint action for a control step.

        Raises:
            ActionError: an agent's action is missing, misshaped or not a number.
        """
        joint: np.ndarray = np.zeros(len(self.env.action_names), np.float32)
        for agent, index in self.owned.items():
            if agent not in actions or np.shape(actions[agent]) != (len(index),):
                given = f"shape {np.shape(actions[agent])}" if agent in actions else "missing"
                raise ActionError(explain(f"the action of {agent!r} is {given}", allowed=f"shape ({len(index)},)"))
            joint[index] = actions[agent]
        self._whole, reward, terminated, truncated, info = self.env.step(joint)
        team = self.agents
        told = (
            self._parts(),
            dict.fromkeys(team, reward),
            dict.fromkeys(team, terminated),
            dict.fromkeys(team, truncated),
            {agent: dict(info) for agent in team},
        )
        self.agents = [] if truncated else team
        return told

    def render(self) -> Any:
        """Draw the hall and its last day, see :meth:`minesim.envs.cooling.CoolingEnv.render`."""
        return self.env.render()

    def _parts(self) -> dict[str, np.ndarray]:
        return {agent: self._whole[self.seen[agent]] for agent in self.possible_agents}


def _owner(name: str) -> str:
    """The agent that sets a number of the single action."""
    if setting_of(name) in IN_ZONES:
        return f"zone_{name.rpartition('_z')[2]}" if name != setting_of(name) else "zone_1"
    return LOAD if name.startswith("load_") else SUPPLY


def _zones_of_observation(world: CoolingWorld) -> list[str]:
    """The zone agent that sees each number of the single observation; empty where all do."""
    plan, zones = layout(world.config.layout_name), world.config.zones
    places = {f"temp_{name}_c": x_m for name, (x_m, _) in world.sensors.items()}
    places |= {f"temp_chip_{group.name}_c": 0.5 * (group.from_m + group.to_m) for group in plan.groups}
    return [f"zone_{zone_at(plan, zones, places[name])}" if name in places else "" for name in world.names]
