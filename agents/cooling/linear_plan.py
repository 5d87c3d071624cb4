"""Model predictive control of a hall on a linearised twin, as industry does it.

Around the settings of now, or those of the steady map where these cost less, held over an hour, the twin tells what
each setting does to cost and limits (finite differences, all of all halls in one batch). The smallest sum of cost and
charges for limits within reach of those settings is a linear program, solved by HiGHS for all halls at once; the first
block of the answer is sent, and it is asked again some steps later.

* cost is a line and a square in each setting by itself (the cube of fans against leakage), laid in pieces; what two
  settings do together is left out. A square that bends downwards is taken as a line.
* a limit is its kelvins at the end of each block, a line in every setting: the worst within a block would often be what
  it begins with, which no setting moves. A chip that its fans hold at their target does not answer, and is far from its
  limit.
* differences are taken over the whole reach of a setting, not at a point: a kink within it is smoothed over, and a pad,
  whose effect is close to even, is seen from dry to wet. Fans get a small reach, since cost breaks where they begin to
  move less air than the miners do. Moves that pay only together and far away (full load and fast fans again, after a
  price spike) are beyond it; the steady map's settings are what makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from agents.cooling.follow import Follower, pick_rows, pick_weather
from agents.cooling.knowledge import Floats, least_moving
from agents.cooling.plan_policy import PlanPolicy
from agents.cooling.steady import SteadyBest, SteadyMap, steady_map
from minesim.arrays import NUMPY, Array
from minesim.envs.cooling_core import CoolingWorld
from minesim.errors import MinesimError, MissingExtraError, ParamsError, explain
from minesim.hall import HallState
from minesim.physics.cooling import Weather
from minesim.tasks.cooling import LIMITS, excess_terms, reward_terms, setting_of


@dataclass(frozen=True)
class LinearPlanParams:
    """Parameters of :class:`LinearPlan`; those without a source are assumed.

    Attributes:
        blocks: control steps over which settings are held, one after the other; together the horizon.
        every: control steps between two plans, at most the first block.
        reach_speed, reach_pad, reach_damper, reach_load: how far a plan may move a setting, in numbers of an action
            (the whole way is 2); other settings move as fans do.
        pieces: lines that a square is laid in, on either side.
        calm_k: distance kept from each of :data:`minesim.tasks.cooling.LIMITS`.
        charge_usd_per_k: of each control step for each kelvin that is not kept.
    """

    blocks: tuple[int, ...] = (6, 6)
    every: int = 6
    reach_speed: float = 0.05
    reach_pad: float = 2.0
    reach_damper: float = 0.2
    reach_load: float = 0.5
    pieces: int = 4
    calm_k: tuple[float, ...] = (1.5, 0.5, 0.5)
    charge_usd_per_k: float = 5.0

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be made.

        Raises:
            ParamsError: naming the field.
        """
        origin = "linear plan"
        if not 1 <= self.every <= self.blocks[0]:
            allowed = f"1 to {self.blocks[0]}, the steps of the first block"
            raise ParamsError(explain(f"every is {self.every}", allowed=allowed, origin=origin))
        if min(self.reach_speed, self.reach_pad, self.reach_damper, self.reach_load) <= 0.0 or self.pieces < 1:
            what = f"reach {self.reach_speed:g}, {self.reach_pad:g}, {self.reach_damper:g}, {self.reach_load:g}"
            raise ParamsError(explain(f"{what}, pieces {self.pieces}", allowed="above 0", origin=origin))
        if len(self.calm_k) != len(LIMITS):
            raise ParamsError(explain(f"calm_k is {self.calm_k} K", allowed=f"one for each of {LIMITS}", origin=origin))


class LinearModel(NamedTuple):
    """What a change of settings does to the horizon of each hall.

    N settings (block by block), L excesses (each limit at the end of each block), R halls.

    Attributes:
        usd: cost without charges, at no change, (R,).
        usd_slope, usd_square: per number of an action, and per its half square, (N, R); the square is 0 or more.
        excess_k: past each limit at no change, K, (L, R).
        excess_slope: per number of an action, (L, N, R).
        down, up: how far each setting can move, 0 or more, (N, R).
    """

    usd: Floats
    usd_slope: Floats
    usd_square: Floats
    excess_k: Floats
    excess_slope: Floats
    down: Floats
    up: Floats

    def predict(self, change: Floats) -> tuple[Floats, Floats]:
        """Cost, USD, (R,), and excesses, K, (L, R), of changes (N, R)."""
        usd = self.usd + np.sum(self.usd_slope * change + 0.5 * self.usd_square * change**2, axis=0)
        return usd, self.excess_k + np.sum(self.excess_slope * change, axis=1)


class LinearPlan(PlanPolicy):
    """Move settings within reach to where the linearised twin is cheapest.

    The outdoor air goes on as in the last step.

    Args:
        world: hall and task.
        params: horizon, reach and charges.
        found: steady states, where the caller has them; else they are computed, which takes some seconds.

    Raises:
        MissingExtraError: scipy is not installed.
    """

    def __init__(
        self, world: CoolingWorld, params: LinearPlanParams | None = None, found: SteadyMap | None = None
    ) -> None:
        _scipy()
        self.world, self.params = world, params or LinearPlanParams()
        super().__init__("linear_plan", Follower(world), self.params.blocks, self.params.every)
        self._start = SteadyBest(self.follower.knowledge, found or steady_map(world))
        p, settings = self.params, [setting_of(name) for name in world.action_names]
        reach = {"pad_duty": p.reach_pad, "damper": p.reach_damper}
        self._reach = np.array(
            [reach.get(name, p.reach_load if name.startswith("load_") else p.reach_speed) for name in settings]
        )
        self._low = least_moving(world)

    def plan(self, observation: Array, state: HallState, ahead: list[Weather]) -> Floats:
        """Settings moved to where they cost least; see :class:`agents.cooling.plan_policy.PlanPolicy`."""
        price = np.maximum(self.follower.knowledge.price_usd_per_mwh(observation), 0.0)
        around = self._around(observation, state, ahead, price)
        model = self.linearise(around, state, ahead, price)
        return around + cheapest_change(model, self.params).reshape(around.shape)

    def _around(self, observation: Array, state: HallState, ahead: list[Weather], price_usd_per_mwh: Floats) -> Floats:
        """Settings that a plan starts from, held over all blocks, (K, A, R): those of now, or the steady map's where
        the twin says that these cost less."""
        steady = np.asarray(self._start.act(observation), np.float64).T
        held = [steady] if self._plan is None else [self._plan[0], steady]
        starts = [np.repeat(np.maximum(now, self._low[:, None])[None], len(self.params.blocks), axis=0) for now in held]
        if len(starts) == 1:
            return starts[0]
        halls = np.tile(np.arange(len(observation)), len(starts))
        usd, excess_k = self.follow_plans(
            np.concatenate(starts, axis=-1),
            pick_rows(state, halls),
            [pick_weather(weather, halls) for weather in ahead],
            price_usd_per_mwh[halls],
        )
        now_usd, steady_usd = np.split(usd + charges_usd(excess_k, self.params), 2)
        return np.where(steady_usd < now_usd, starts[1], starts[0])

    def linearise(
        self, settings: Floats, state: HallState, ahead: list[Weather], price_usd_per_mwh: Floats
    ) -> LinearModel:
        """Differences of the twin over the reach of each setting.

        Args:
            settings: numbers of an action for each block, (K, A, R).
            state: halls now.
            ahead: outdoor air of each control step of the horizon.
            price_usd_per_mwh: energy, (R,).
        """
        blocks, actions, halls = settings.shape
        base = settings.reshape(blocks * actions, halls)
        count = len(base)
        reach = np.tile(self._reach, blocks)[:, None]
        down = np.minimum(reach, base - np.tile(self._low, blocks)[:, None])
        up = np.minimum(reach, 1.0 - base)
        # One plan as it is, then each setting down, then each up: (1 + 2 N, N, R).
        plans = np.repeat(base[None], 1 + 2 * count, axis=0)
        each = np.arange(count)
        plans[1 + each, each] -= down
        plans[1 + count + each, each] += up
        index = np.tile(np.arange(halls), len(plans))
        usd, excess_k = self.follow_plans(
            plans.reshape(len(plans), blocks, actions, halls).transpose(1, 2, 0, 3).reshape(blocks, actions, -1),
            pick_rows(state, index),
            [pick_weather(weather, index) for weather in ahead],
            price_usd_per_mwh[index],
        )
        usd_slope, usd_square = _differences(usd.reshape(len(plans), halls), down, up)
        slopes = [_differences(k.reshape(len(plans), halls), down, up)[0] for k in excess_k]
        return LinearModel(
            usd=usd[:halls],
            usd_slope=usd_slope,
            usd_square=np.maximum(usd_square, 0.0),
            excess_k=excess_k[:, :halls],
            excess_slope=np.stack(slopes),
            down=down,
            up=up,
        )

    def follow_plans(
        self, settings: Floats, state: HallState, ahead: list[Weather], price_usd_per_mwh: Floats
    ) -> tuple[Floats, Floats]:
        """What plans come to on the twin itself: cost, USD, (R,), and excesses at the end of each block, K,
        (L, R); arguments as of :meth:`linearise`."""
        task, dt_s, hall = self.world.config.task, self.world.config.dt_s, self.follower.hall
        usd, excess_k, outdoors = np.zeros(settings.shape[-1]), [], iter(ahead)
        for held, length in zip(settings, self.params.blocks, strict=True):
            for _ in range(length):
                state, outcome = self.follower.advance(state, held.T, next(outdoors))
                usd = usd - sum(reward_terms(task, outcome, hall, price_usd_per_mwh, dt_s, xp=NUMPY).values())
            terms = excess_terms(task, outcome, state.structure_c, xp=NUMPY)
            excess_k += [terms[name] for name in LIMITS]
        return usd, np.stack(excess_k)


def _differences(values: Floats, down: Floats, up: Floats) -> tuple[Floats, Floats]:
    """Slope and second difference of a value at no change, (N, R) each.

    Args:
        values: as it is, with each setting down, and with each up, (1 + 2 N, R).
        down, up: by how much, 0 or more but not both 0, (N, R).

    >>> slope, square = _differences(np.array([[4.0], [1.0], [9.0]]), np.array([[1.0]]), np.array([[1.0]]))  # (x + 2)^2
    >>> float(slope[0, 0]), float(square[0, 0])
    (4.0, 2.0)
    """
    below, above = np.split(values[1:] - values[0], 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        fall, rise = -below / down, above / up
    fall, rise = np.where(down > 0.0, fall, rise), np.where(up > 0.0, rise, fall)
    whole = down + up
    return (fall * up + rise * down) / whole, np.where((down > 0.0) & (up > 0.0), 2.0 * (rise - fall) / whole, 0.0)


def charges_usd(excess_k: Floats, params: LinearPlanParams) -> Floats:
    """Charges for excesses (L, R), USD, (R,)."""
    usd: Floats = np.sum(_charge(params) * np.maximum(excess_k + _kept(params), 0.0), axis=0)
    return usd


def _charge(params: LinearPlanParams) -> Floats:
    """USD for each kelvin of each excess, which counts for its whole block, (L, 1)."""
    return params.charge_usd_per_k * np.repeat(params.blocks, len(LIMITS))[:, None].astype(np.float64)


def _kept(params: LinearPlanParams) -> Floats:
    """Distance kept from each limit in each block, K, (L, 1)."""
    return np.tile(params.calm_k, len(params.blocks))[:, None]


def cheapest_change(model: LinearModel, params: LinearPlanParams) -> Floats:
    """Change of settings with the least predicted cost and charges, within reach, (N, R).

    A linear program over pieces of each setting's way down and up, (2, P, N, R), and kelvins that are not kept, (L, R).

    Args:
        model: around the present settings.
        params: distances kept, charges and pieces.

    Raises:
        MissingExtraError: scipy is not installed.
        MinesimError: the solver gives up.
    """
    optimize, sparse = _scipy()
    count, halls = model.usd_slope.shape
    limits, pieces = len(model.excess_k), params.pieces
    middle = (np.arange(pieces)[:, None, None] + 0.5) / pieces
    sign = np.array([-1.0, 1.0])[:, None, None, None]
    length = np.stack([model.down, model.up])[:, None]
    cost = sign * model.usd_slope + model.usd_square * middle * length
    slack = np.broadcast_to(_charge(params), (limits, halls))
    kept = _kept(params)

    columns = np.arange(cost.size).reshape(cost.shape)
    rows = np.arange(limits * halls).reshape(limits, 1, halls)
    slope = sign[:, :, None] * model.excess_slope
    at = (
        np.broadcast_to(part, (2, pieces, limits, count, halls)).ravel() for part in (slope, rows, columns[:, :, None])
    )
    values, row, column = at
    used = values != 0.0
    matrix = sparse.hstack(
        [
            sparse.csr_array((values[used], (row[used], column[used])), shape=(limits * halls, cost.size)),
            -sparse.eye_array(limits * halls),
        ]
    )
    widest = np.concatenate([np.broadcast_to(length / pieces, cost.shape).ravel(), np.full(slack.size, np.inf)])
    found: Any = optimize.linprog(
        np.concatenate([cost.ravel(), slack.ravel()]),
        A_ub=matrix,
        b_ub=(-kept - model.excess_k).ravel(),
        bounds=np.stack([np.zeros(len(widest)), widest], axis=1),
        method="highs",
    )
    if found.x is None:
        raise MinesimError(explain(f"the linear plan was not solved: {found.message}", origin="scipy.optimize.linprog"))
    moved: Floats = np.sum(sign * found.x[: cost.size].reshape(cost.shape), axis=(0, 1))
    return np.clip(moved, -model.down, model.up)


def _scipy() -> tuple[Any, Any]:
    try:
        from scipy import optimize, sparse
    except ImportError as error:
        raise MissingExtraError(
            explain("a linear plan needs scipy", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    return optimize, sparse
