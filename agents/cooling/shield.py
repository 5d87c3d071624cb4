"""A shield for learners: an action that would break a limit is replaced by the nearest one that does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agents.cooling.follow import Follower, pick_rows, pick_weather
from agents.cooling.knowledge import Floats
from minesim.arrays import Array
from minesim.control.policy import Policy
from minesim.envs.cooling_core import CoolingWorld
from minesim.errors import ParamsError, explain
from minesim.hall import HallState
from minesim.physics.cooling import Weather
from minesim.tasks.cooling import LIMITS, setting_of

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShieldParams:
    """Parameters of :class:`Shield`.

    Attributes:
        horizon: control steps for which an action must keep all limits if it were held.
        calm_k: distance kept from each of :data:`minesim.tasks.cooling.LIMITS` (assumed).
        speeds, pads, dampers, loads: what is tried instead, shares of full (0 of load: what may not be shed).
        load_weight: how much nearer an action with as much load counts, beside fans and pad.
        batch: alternatives of a hall that are tried at once.
    """

    horizon: int = 3
    calm_k: tuple[float, ...] = (1.5, 0.2, 0.0)
    speeds: tuple[float, ...] = tuple(round(0.2 + 0.1 * n, 1) for n in range(9))
    pads: tuple[float, ...] = (0.0, 1.0)
    dampers: tuple[float, ...] = (0.0, 0.5)
    loads: tuple[float, ...] = (1.0, 0.5, 0.0)
    load_weight: float = 3.0
    batch: int = 6

    def __post_init__(self) -> None:
        """Refuse distances that do not fit the limits.

        Raises:
            ParamsError: too few or too many.
        """
        if len(self.calm_k) != len(LIMITS):
            what = f"calm_k is {self.calm_k} K"
            raise ParamsError(explain(what, allowed=f"one for each of {LIMITS}", origin="shield"))


class Shield:
    """What lies between a learner and the halls; it follows them on the twin and sees what the learner sees.

    Args:
        world: hall and task.
        params: what is asked of an action.

    Attributes:
        others: what is tried instead of a refused action, (N, A).
        changed: actions changed, and seen, so far.
    """

    def __init__(self, world: CoolingWorld, params: ShieldParams | None = None) -> None:
        self.params = params or ShieldParams()
        self.follower = Follower(world)
        self.changed = np.zeros(2)
        p, names = self.params, world.action_names
        grid = (
            p.speeds,
            p.pads if "pad_duty" in names else (0.0,),
            p.dampers if "damper" in map(setting_of, names) else (0.0,),
            p.loads,
        )
        speed, pad, damper, load = (np.ravel(part) for part in np.meshgrid(*grid, indexing="ij"))
        others = self.follower.knowledge.action(speed, speed=speed, pad_duty=pad, damper=damper, load=load)
        self.others: Floats = others.astype(np.float64)
        loads = [p.load_weight if name.startswith("load_") else 1.0 for name in names]
        self._weight = np.array(loads)

    def guard(self, observation: Array, action: Array) -> Array:
        """The actions that are sent, (B, A)."""
        state, weather = self.follower.follow(observation)
        ahead = self.follower.ahead(weather, self.params.horizon)
        sent = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        bad = np.flatnonzero(~self._keeps(state, sent, ahead, np.arange(len(sent))))
        if len(bad):
            sent[bad] = self._instead(state, sent[bad], ahead, bad)
        self.changed += (len(bad), len(sent))
        return sent.astype(np.float32)

    def _keeps(self, state: HallState, action: Floats, ahead: list[Weather], halls: Index) -> np.ndarray:
        """Whether actions (R, A) held in these halls (R,) keep every limit, (R,)."""
        outdoors = [pick_weather(weather, halls) for weather in ahead]
        return self.follower.keeps(pick_rows(state, halls), action, outdoors, self.params.calm_k)

    def _instead(self, state: HallState, action: Floats, ahead: list[Weather], halls: Index) -> Floats:
        """For each of these halls the nearest alternative that keeps every limit, or the least broken one.

        Alternatives are tried from the nearest on, a batch for each hall that has found none yet.
        """
        others, tried = self.others, 0
        far = (np.abs(others - action[:, None]) * self._weight).sum(axis=-1)
        order = far.argsort(axis=1, kind="stable")
        chosen = np.zeros(len(halls), np.int64)
        seeking = np.arange(len(halls))
        while len(seeking) and tried < len(others):
            batch = order[seeking, tried : tried + self.params.batch]
            flat = others[batch].reshape(-1, others.shape[-1])
            kept = self._keeps(state, flat, ahead, np.repeat(halls[seeking], batch.shape[1])).reshape(batch.shape)
            found = kept.any(axis=1)
            chosen[seeking[found]] = batch[found, kept[found].argmax(axis=1)]
            seeking, tried = seeking[~found], tried + self.params.batch
        if len(seeking):
            chosen[seeking] = self._least_broken(state, far[seeking], ahead, halls[seeking])
        return others[chosen]

    def _least_broken(self, state: HallState, far: Floats, ahead: list[Weather], halls: Index) -> Index:
        """Number of the alternative that breaks the fewest limits in each of these halls, early ones and chips counting
        most, of several the nearest."""
        flat = np.tile(self.others, (len(halls), 1))
        index = np.repeat(halls, len(self.others))
        outdoors = [pick_weather(weather, index) for weather in ahead]
        seen = self.follower.prospect(
            pick_rows(state, index), flat, outdoors, np.zeros(len(index)), self.params.calm_k[0]
        )
        broken: Index = ((seen.broken + seen.near).reshape(far.shape) * 1e3 + far).argmin(axis=1)
        return broken

    def reset(self, done: Array | None = None) -> None:
        """Follow finished rows anew."""
        self.follower.reset(done)


class Shielded:
    """A policy behind a shield, as a policy."""

    def __init__(self, policy: Policy, shield: Shield) -> None:
        self.policy, self.shield = policy, shield
        self.name = policy.name

    def act(self, observation: Array) -> Array:
        """What the shield lets through."""
        return self.shield.guard(observation, self.policy.act(observation))

    def reset(self, done: Array | None = None) -> None:
        """Forget the policy's memory of finished rows."""
        self.policy.reset(done)
        self.shield.reset(done)
