"""What all plans share: halls are followed at every step, planned for every so many, and sent what the plan says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from agents.cooling.follow import Follower
from agents.cooling.knowledge import Floats
from minesim.arrays import Array
from minesim.errors import ParamsError, explain
from minesim.hall import HallState
from minesim.physics.cooling import Weather


class PlanPolicy(ABC):
    """A plan as a policy; with true weather ahead all rows begin together.

    Args:
        name: what tables call it.
        follower: of the halls.
        blocks: control steps over which settings are held, one after the other; together the horizon.
        every: control steps between two plans, at most the horizon.

    Attributes:
        horizon: control steps looked ahead.

    Raises:
        ParamsError: it would end before the next one begins.
    """

    def __init__(self, name: str, follower: Follower, blocks: Sequence[int], every: int) -> None:
        self.name, self.follower, self.horizon = name, follower, sum(blocks)
        if not 1 <= every <= self.horizon:
            allowed = f"1 to {self.horizon}, the steps of its horizon"
            raise ParamsError(explain(f"every is {every}", allowed=allowed, origin=name))
        self._block_of_step = np.repeat(np.arange(len(blocks)), blocks)
        self._every = every
        self._plan: Floats | None = None
        self._step = 0

    @abstractmethod
    def plan(self, observation: Array, state: HallState, ahead: list[Weather]) -> Floats:
        """Settings of each block, numbers of an action, (K, A, R).

        Args:
            observation: of the halls, (R, n_obs).
            state: halls now.
            ahead: outdoor air of each control step of the horizon.
        """

    def act(self, observation: Array) -> Array:
        """Follow the halls, and plan where it is time."""
        state, weather = self.follower.follow(observation)
        into = self._step % self._every
        if self._plan is None or into == 0:
            self._plan = self.plan(observation, state, self.follower.ahead(weather, self.horizon))
        self._step += 1
        return np.clip(self._plan[self._block_of_step[into]].T, -1.0, 1.0).astype(np.float32)

    def reset(self, done: Array | None = None) -> None:
        """Follow finished rows anew, and plan at once."""
        self.follower.reset(done)
        self._plan, self._step = None, 0
