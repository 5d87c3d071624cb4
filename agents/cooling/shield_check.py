"""Count the limits that are broken behind a shield, and tell which another action would have kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from agents.cooling.follow import Follower, pick_rows, pick_weather, true_weather
from agents.cooling.knowledge import CoolingKnowledge
from agents.cooling.shield import Shield
from minesim.arrays import Array
from minesim.control.policy import Policy
from minesim.envs.cooling_core import CoolingCore, CoolingWorld
from minesim.errors import ScenarioError, explain
from minesim.hall import HallState
from minesim.tasks.cooling import LIMITS
from minesim.units import SECONDS_PER_HOUR

Ints = npt.NDArray[np.int64]
LEAD_H = 1.0
"""The longer of the two leads with which a broken limit is looked back on; the shorter is the shield's horizon."""


class AnyAction:
    """Uniformly random actions, drawn anew in every step.

    Args:
        knowledge: names of an action's numbers.
        rng: of the draws.
    """

    name = "any_action"

    def __init__(self, knowledge: CoolingKnowledge, rng: np.random.Generator) -> None:
        self.knowledge, self.rng = knowledge, rng

    def act(self, observation: Array) -> Array:
        """Whatever is drawn, (B, A)."""
        shape = (len(observation), len(self.knowledge.action_names))
        return self.rng.uniform(-1.0, 1.0, shape).astype(np.float32)

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""


@dataclass(frozen=True)
class ShieldCheck:
    """What happened behind a shield.

    Attributes:
        episodes, steps: halls, and control steps of all of them.
        broken: steps that broke each of :data:`minesim.tasks.cooling.LIMITS`, (L,).
        avoidable: of those, steps in which one of the shield's alternatives, held from the start of its horizon before
            under the true weather, would have kept all limits to the end of the step, (L,).
        avoidable_1h: the same, held since :data:`LEAD_H` before.
        episodes_broken: episodes that broke any limit.
        changed: share of actions that the shield replaced.
    """

    episodes: int
    steps: int
    broken: Sequence[int]
    avoidable: Sequence[int]
    avoidable_1h: Sequence[int]
    episodes_broken: int
    changed: float


def weaker_hall(world: CoolingWorld, share: float) -> CoolingWorld:
    """The same place with a hall that is worse than modelled by so much: room fans and miners' fans move less air, and
    chips leak more."""
    hall, less, more = world.hall, 1.0 - share, 1.0 + share
    flows = tuple(less * flow for flow in hall.plant.fan_flow_m3_per_s)
    miners = replace(
        hall.miners,
        flow_max_m3_per_s=less * hall.miners.flow_max_m3_per_s,
        leak_0c_w=more * hall.miners.leak_0c_w,
    )
    plant = replace(hall.plant, fan_flow_m3_per_s=flows)
    return replace(world, hall=replace(hall, plant=plant, miners=miners))


def check_shield(
    policy: Policy,
    shield: Shield,
    world: CoolingWorld,
    rows: Ints,
    seeds: Ints,
    on_step: Callable[[], None] = lambda: None,
) -> ShieldCheck:
    """Play episodes behind a shield, all at once.

    Args:
        policy: whose actions the shield sees.
        shield: a fresh one; its model of the hall may be another than the hall.
        world: hall, climate and length of an episode.
        rows: of the climate in which the episodes begin, (B,).
        seeds: of the sensors, (B,).
        on_step: called after each control step.
    """
    core = CoolingCore(world, len(rows))
    core.seed(seeds.tolist())
    observation, truth = core.reset(options={"start_row": rows}), Follower(world)
    policy.reset()
    shield.reset()
    leads = (shield.params.horizon, max(shield.params.horizon, round(LEAD_H * SECONDS_PER_HOUR / world.config.dt_s)))
    states: deque[HallState] = deque(maxlen=max(leads))
    broken, ever = np.zeros(len(LIMITS), np.int64), np.zeros(len(rows), bool)
    kept = np.zeros((len(leads), len(LIMITS)), np.int64)
    for step in range(world.horizon_steps):
        states.append(core.state)
        result = core.step(shield.guard(observation, policy.act(observation)))
        observation = result.observation
        now = np.stack([result.info[name] for name in LIMITS]) > 0.0
        halls = np.flatnonzero(now.any(axis=0))
        if len(halls):
            broken += now.sum(axis=1)
            ever[halls] = True
            for number, lead in enumerate(leads):
                could = _could_keep(shield, truth, states, world, rows, halls, step, lead)
                kept[number] += (now[:, halls] & could).sum(axis=1)
        on_step()
    changed, seen = shield.changed
    steps = len(rows) * world.horizon_steps
    count, avoidable, avoidable_1h = (tuple(part.tolist()) for part in (broken, *kept))
    return ShieldCheck(len(rows), steps, count, avoidable, avoidable_1h, int(ever.sum()), float(changed / seen))


def _could_keep(
    shield: Shield,
    truth: Follower,
    states: deque[HallState],
    world: CoolingWorld,
    rows: Ints,
    halls: Ints,
    step: int,
    lead: int,
) -> npt.NDArray[np.bool_]:
    """Whether one alternative, held for the last ``lead`` steps up to this one, keeps all limits in each hall."""
    lead = min(lead, len(states))
    count = len(shield.others)
    index = np.repeat(halls, count)
    ahead = [pick_weather(true_weather(world, rows, step - back), index) for back in range(lead)[::-1]]
    kept = truth.keeps(pick_rows(states[-lead], index), np.tile(shield.others, (len(halls), 1)), ahead)
    return np.asarray(kept.reshape(len(halls), count).any(axis=1))


def spread_rows(world: CoolingWorld, split: str, count: int) -> Ints:
    """First rows of so many episodes, evenly spread over a split; they overlap where it is too short.

    Raises:
        ScenarioError: no such split, or one too short for an episode.
    """
    length, day = world.rows - 1, round(24.0 * SECONDS_PER_HOUR / world.climate.step_s)
    periods = world.climate.splits.get(split, ())
    starts = [np.arange(max(begin, day), end - length + 1) for begin, end in periods]
    rows = np.concatenate([np.zeros(0, np.int64), *starts])
    rows = rows[rows <= world.last_start]
    if not len(rows):
        raise ScenarioError(explain(f"no episode fits into split {split!r} of {world.climate.name!r}"))
    return np.asarray(rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)])
