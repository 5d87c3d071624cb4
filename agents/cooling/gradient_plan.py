"""Model predictive control of a hall by gradients: settings over the next minutes, improved through its twin in torch.

The twin is :func:`minesim.hall.transition` itself, in torch. How gradients pass its kinks:

* comparisons (a trip, a limit broken, a fan below its least speed, a pad in the cold) pass none. A tripped miner costs
  its lost hashes, but no gradient says so; what pulls away from the trip is the smooth charge of the chip's limit, 10 K
  before it. Fans are kept at their least speed or above, since one that stands still would never start.
* the larger of two things (hottest chip, flow against its direction, bounds of the fan loop) passes that of the larger.
  A miner's fan at its bound does not answer, which is true of the miner.
* a coil that is off passes none, so that it stays off.

Because of these, and because minima are several (pad wet or dry), a descent begins at the cheapest of the last plan,
the steady map's setting and both with the pad turned over. What it meets counts only where it costs less than its start
on the hall's own integration steps.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.cooling.follow import Follower
from agents.cooling.knowledge import Floats, least_moving
from agents.cooling.plan_policy import PlanPolicy
from agents.cooling.steady import SteadyBest, SteadyMap, steady_map
from minesim.arrays import NUMPY, Array, Namespace, torch_namespace
from minesim.envs.cooling_core import CoolingWorld
from minesim.errors import ParamsError, explain
from minesim.hall import Hall, HallState, transition
from minesim.physics.cooling import Weather
from minesim.tasks.cooling import LIMITS, command_of, excess_terms, reward_terms


@dataclass(frozen=True)
class GradientParams:
    """Parameters of :class:`GradientPlan`.

    Attributes:
        blocks: control steps over which settings are held, one after the other; together the horizon.
        every: control steps between two plans.
        descents: gradient steps of a plan.
        rate: size of the first of them, in numbers of an action (-1 to 1); it falls to a quarter.
        tail: the last step counts as so many more, for what comes after the horizon.
        sub_steps: integration steps of a control step for gradients; plans are judged on the hall's own.
        penalty_usd: charge of a step at a limit; it grows as a square up to there and evenly beyond.
        calm_k: distance from each of :data:`minesim.tasks.cooling.LIMITS` at which the charge begins.
    """

    blocks: tuple[int, ...] = (4, 4)
    every: int = 4
    descents: int = 3
    rate: float = 0.1
    tail: float = 6.0
    sub_steps: int = 2
    penalty_usd: float = 5.0
    calm_k: tuple[float, ...] = (1.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        """Refuse a plan that ends before the next one begins.

        Raises:
            ParamsError: naming the field.
        """
        if not 1 <= self.every <= sum(self.blocks):
            allowed = f"1 to {sum(self.blocks)}, the steps of its blocks {self.blocks}"
            raise ParamsError(explain(f"every is {self.every}", allowed=allowed, origin="gradient plan"))
        if len(self.calm_k) != len(LIMITS) or not min(self.calm_k) > 0.0:
            raise ParamsError(explain(f"calm_k is {self.calm_k} K", allowed=f"one above 0 for each of {LIMITS}"))


def plan_usd(
    settings: Array,
    state: HallState,
    weather: list[Weather],
    price_usd_per_mwh: Array,
    hall: Hall,
    world: CoolingWorld,
    params: GradientParams,
    *,
    xp: Namespace,
) -> Array:
    """What a plan costs with smooth charges for limits, USD, (R,); differentiable in torch.

    Args:
        settings: numbers of an action for each block, (K, A, R).
        state: halls at the start.
        weather: outdoor air of each control step of the horizon.
        price_usd_per_mwh: energy, (R,).
        hall: in the arrays of the state.
        world: task, names and control step.
        params: blocks, tail and charges.
        xp: namespace of the arrays.
    """
    task, dt_s = world.config.task, world.config.dt_s
    total, ahead = 0.0 * price_usd_per_mwh, iter(weather)
    usd = total
    for held, length in zip(settings, params.blocks, strict=True):
        command = command_of(held, world.action_names, hall, world.parts, xp=xp)
        for _ in range(length):
            state, outcome = transition(state, command, next(ahead), hall, dt_s, xp=xp)
            usd = -sum(reward_terms(task, outcome, hall, price_usd_per_mwh, dt_s, xp=xp).values())
            excess = excess_terms(task, outcome, state.structure_c, xp=xp)
            for name, calm_k in zip(LIMITS, params.calm_k, strict=True):
                usd = usd + params.penalty_usd * limit_charge(excess[name], calm_k, xp=xp)
            total = total + usd
    return total + params.tail * usd


def limit_charge(excess_k: Array, calm_k: float, *, xp: Namespace) -> Array:
    """Smooth charge of a limit: 0 up to ``calm_k`` within it, a square up to 1 at the limit, on evenly beyond.

    Args:
        excess_k: kelvins past the limit.
        calm_k: where it begins.
        xp: namespace of the array.

    >>> from minesim.arrays import NUMPY
    >>> [float(limit_charge(np.array(x), 2.0, xp=NUMPY)) for x in (-3.0, -1.0, 0.0, 2.0)]
    [0.0, 0.25, 1.0, 3.0]
    """
    near = xp.maximum(excess_k / calm_k + 1.0, 0.0)
    square = xp.minimum(near, 1.0)
    return square * (2.0 * near - square)


class GradientPlan(PlanPolicy):
    """Improve the last plan or the steady map's setting by gradients through the twin.

    The outdoor air goes on as in the last step; with ``rows`` it is the true one.

    Args:
        world: hall and task.
        params: horizon and descent.
        rows: first rows of the episodes, for plans that know the weather ahead.
        found: steady states, where the caller has them; else they are computed, which takes some seconds.

    Raises:
        MissingExtraError: torch is not installed.
    """

    def __init__(
        self,
        world: CoolingWorld,
        params: GradientParams | None = None,
        rows: npt.NDArray[np.int64] | None = None,
        found: SteadyMap | None = None,
    ) -> None:
        self.world, self.params = world, params or GradientParams()
        name = "gradient_plan" if rows is None else "gradient_foresight"
        super().__init__(name, Follower(world, rows), self.params.blocks, self.params.every)
        self._start = SteadyBest(self.follower.knowledge, found or steady_map(world))
        torch_namespace()  # says how to install torch where it is missing
        self._twin = replace(world.hall, sub_steps=self.params.sub_steps).to(_tensor, batch=True)
        self._low = least_moving(world)

    def plan(self, observation: Array, state: HallState, ahead: list[Weather]) -> Floats:
        """The best start, improved; see :class:`agents.cooling.plan_policy.PlanPolicy`."""
        price = np.maximum(self.follower.knowledge.price_usd_per_mwh(observation), 0.0)
        return self.improve(self.starts(observation), state, ahead, price)

    def starts(self, observation: Array) -> Floats:
        """Plans that a descent may begin at, (S, K, A, R): the steady map's setting, the last plan moved on by what is
        done, and both with the pad turned over."""
        steady = np.asarray(self._start.act(observation), np.float64).T
        plans = [np.broadcast_to(steady, (len(self.params.blocks), *steady.shape))]
        if self._plan is not None:
            begins = np.cumsum((0, *self.params.blocks[:-1]))
            plans.append(self._plan[self._block_of_step[np.minimum(begins + self.params.every, self.horizon - 1)]])
        if "pad_duty" in self.world.action_names:
            pad = self.world.action_names.index("pad_duty")
            turned = [plan.copy() for plan in plans]
            for plan in turned:
                plan[:, pad] = np.where(plan[:, pad] < 0.0, 1.0, -1.0)
            plans += turned
        return np.maximum(np.stack(plans), self._low[None, :, None])

    def improve(self, starts: Floats, state: HallState, ahead: list[Weather], price_usd_per_mwh: Floats) -> Floats:
        """The cheapest start of each hall, or what gradients make of it where that costs less, (K, A, R).

        Args:
            starts: (S, K, A, R).
            state: halls now.
            ahead: outdoor air of each control step of the horizon.
            price_usd_per_mwh: (R,).
        """
        start, least = self._cheapest(starts, state, ahead, price_usd_per_mwh)
        found = self._descend(start, state, ahead, price_usd_per_mwh)
        hall = self.follower.hall
        cost = plan_usd(found, state, ahead, price_usd_per_mwh, hall, self.world, self.params, xp=NUMPY)
        best: Floats = np.where(cost < least, found, start)
        return best

    def _cheapest(self, plans: Floats, state: Any, ahead: list[Any], price: Floats) -> tuple[Floats, Floats]:
        """Of some plans (S, K, A, R) the cheapest of each hall, (K, A, R), and its cost, (R,)."""
        count, blocks, actions, halls = plans.shape
        cost = plan_usd(
            plans.transpose(1, 2, 0, 3).reshape(blocks, actions, count * halls),
            _repeat(state, count),
            [_repeat(air, count) for air in ahead],
            np.tile(price, count),
            self.follower.hall,
            self.world,
            self.params,
            xp=NUMPY,
        ).reshape(count, halls)
        pick, every = cost.argmin(axis=0), np.arange(halls)
        return np.moveaxis(plans, 3, 1)[pick, every].transpose(1, 2, 0), cost[pick, every]

    def _descend(self, settings: Floats, state: Any, ahead: list[Any], price: Floats) -> Floats:
        """The cheapest settings that some steps of Adam meet, each hall by itself, (K, A, R)."""
        import torch

        p, xp = self.params, torch_namespace()
        low = _tensor(self._low)[:, None]
        at = _tensor(settings).clone().requires_grad_()
        state, ahead, prices = _map(state, _tensor), [_map(air, _tensor) for air in ahead], _tensor(price)
        steps = torch.optim.Adam([at], lr=p.rate)
        best, least = at.detach().clone(), torch.full_like(prices, np.inf)
        for n in range(p.descents + 1):
            with torch.set_grad_enabled(n < p.descents):
                cost = plan_usd(at, state, ahead, prices, self._twin, self.world, p, xp=xp)
            better = cost.detach() < least
            best, least = torch.where(better, at.detach(), best), torch.where(better, cost.detach(), least)
            if n < p.descents:
                steps.param_groups[0]["lr"] = p.rate * 0.25 ** (n / max(p.descents - 1, 1))
                (at.grad,) = torch.autograd.grad(cost.sum(), at)
                steps.step()
                with torch.no_grad():
                    at.copy_(torch.minimum(torch.maximum(at, low), torch.ones_like(low)))
        found: Floats = best.numpy()
        return found


def _tensor(values: Array) -> Array:
    import torch

    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64)


def _map(parts: Any, change: Any) -> Any:
    """A state or an outdoor air with every array changed."""
    if isinstance(parts, HallState):
        return HallState(**{f.name: change(getattr(parts, f.name)) for f in fields(parts)})
    return type(parts)(*map(change, parts))


def _repeat(parts: Any, count: int) -> Any:
    """The same halls so many times side by side."""
    return _map(parts, lambda values: np.concatenate([values] * count, axis=-1))
