"""Model predictive control of a hall: settings tried on its twin over the next minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agents.cooling.follow import Follower, pick_rows, pick_weather
from agents.cooling.knowledge import Floats
from agents.cooling.plan_policy import PlanPolicy
from minesim.arrays import Array
from minesim.envs.cooling_core import CoolingWorld
from minesim.hall import HallState
from minesim.physics.cooling import Weather


@dataclass(frozen=True)
class PlanParams:
    """Parameters of :class:`CoolingPlan`.

    Attributes:
        horizon: control steps looked ahead, settings held.
        every: control steps between two plans.
        speeds, pads: settings that are tried at full load.
        loads: shares of load, of what may be shed (0: the least), that are tried where full load breaks a limit, and
            where energy is dear.
        dear_usd_per_mwh: from this price on.
        penalty_usd: of a limit broken in a step.
        calm_k: a chip nearer to its limit counts as over it.
    """

    horizon: int = 4
    every: int = 3
    speeds: tuple[float, ...] = tuple(round(0.25 + 0.05 * n, 2) for n in range(16))
    pads: tuple[float, ...] = (0.0, 1.0)
    loads: tuple[float, ...] = (0.6, 0.2, 0.0)
    dear_usd_per_mwh: float = 300.0
    penalty_usd: float = 5.0
    calm_k: float = 1.0


class CoolingPlan(PlanPolicy):
    """Try every pair of fan speed and pad duty on the twin and take the cheapest; less load where none keeps limits.

    The outdoor air goes on as in the last step; with ``rows`` it is the true one.

    Args:
        world: hall and task.
        params: what is tried.
        rows: first rows of the episodes, for plans that know the weather ahead.
    """

    def __init__(
        self, world: CoolingWorld, params: PlanParams | None = None, rows: npt.NDArray[np.int64] | None = None
    ) -> None:
        self.world, self.params = world, params or PlanParams()
        name = "plan" if rows is None else "plan_foresight"
        super().__init__(name, Follower(world, rows), (self.params.horizon,), self.params.every)

    def plan(self, observation: Array, state: HallState, ahead: list[Weather]) -> Floats:
        """The cheapest setting, held; see :class:`agents.cooling.plan_policy.PlanPolicy`."""
        p = self.params
        halls = np.arange(len(observation))
        pads = p.pads if "pad_duty" in self.world.action_names else p.pads[:1]
        cost, broken, chosen = self._try(observation, state, ahead, halls, (p.speeds, pads, (1.0,)))
        short = np.flatnonzero(
            (broken > 0.0) | (self.follower.knowledge.price_usd_per_mwh(observation) > p.dear_usd_per_mwh)
        )
        if len(short):
            less, _, instead = self._try(observation, state, ahead, short, (p.speeds, pads, p.loads))
            better = less < cost[short]
            chosen[short[better]] = instead[better]
        return chosen.T[None]

    def _try(
        self,
        observation: Array,
        state: HallState,
        ahead: list[Weather],
        halls: npt.NDArray[np.int64],
        tried: tuple[tuple[float, ...], ...],
    ) -> tuple[Floats, Floats, Floats]:
        """Lowest cost with penalties over the horizon, what it breaks, and its action, of each of the halls."""
        p, follower = self.params, self.follower
        speed, pad, load = (np.ravel(part) for part in np.meshgrid(*tried, indexing="ij"))
        index = np.repeat(halls, speed.size)
        action = follower.knowledge.action(
            np.zeros(index.size),
            speed=np.tile(speed, halls.size),
            pad_duty=np.tile(pad, halls.size),
            load=np.tile(load, halls.size),
        ).astype(np.float64)
        outdoors = [pick_weather(weather, index) for weather in ahead]
        price = np.maximum(follower.knowledge.price_usd_per_mwh(observation), 0.0)[index]
        seen = follower.prospect(pick_rows(state, index), action, outdoors, price, p.calm_k)
        broken = (seen.broken + seen.near).reshape(halls.size, -1)
        cost = seen.cost_usd.reshape(halls.size, -1) + p.penalty_usd * broken
        pick = cost.argmin(axis=1)
        rows = np.arange(halls.size)
        return cost[rows, pick], broken[rows, pick], action.reshape(halls.size, speed.size, -1)[rows, pick]
