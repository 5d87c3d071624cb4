"""A copy of the twin that follows halls by what they report of settings and outdoor air, for plans and shields.

Chips are moved to what the firmware reports where they differ. In a hall as the model says they never do, and what
stands on it is the best that a model could give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.cooling.knowledge import Floats, knowledge_of
from minesim.arrays import NUMPY, Array
from minesim.envs.cooling_core import CoolingWorld, start_action
from minesim.hall import HallOutcome, HallState, start_state, transition
from minesim.physics.cooling import Weather
from minesim.tasks.cooling import LIMITS, command_of, cost_terms, excess_terms, reward_terms

ROUNDED_K = 0.6
"""Chips are reported in whole degrees; nearer than this a followed chip is as reported."""
NO_CALM = (0.0,) * len(LIMITS)


class Prospect(NamedTuple):
    """What settings held for some steps come to, (R,) each: cost without penalties, USD; limits broken, counted over
    the steps; steps in which a chip came near its limit."""

    cost_usd: Floats
    broken: Floats
    near: Floats


class Follower:
    """Halls followed side by side.

    Args:
        world: hall and task.
        rows: first rows of the episodes, for those who may know the weather ahead; all halls then begin together.
    """

    def __init__(self, world: CoolingWorld, rows: npt.NDArray[np.int64] | None = None) -> None:
        self.world, self.knowledge, self.rows = world, knowledge_of(world), rows
        self.hall = world.hall.to(np.asarray, batch=True)
        self._first = start_action(world.action_names)
        self.reset()

    def reset(self, done: Array | None = None) -> None:
        """Begin anew where ``done``, or everywhere."""
        if done is None or self._fresh is None:
            self._state: HallState | None = None
            self._fresh: np.ndarray | None = None
            self._weather: Weather | None = None
            self._trend: Weather | None = None
            self._step = -1
        else:
            self._fresh = self._fresh | np.asarray(done, bool)

    def follow(self, observation: Array) -> tuple[HallState, Weather]:
        """State of the halls now, and the outdoor air of the coming step; to be asked once in each step."""
        know = self.knowledge
        weather = know.weather(observation)
        before, self._trend = self._state, None
        if before is not None and self._weather is not None:
            before = self.advance(before, know.last_action(observation), self._weather)[0]
            before = _corrected(before, know.each_chip_c(observation).T)
            moved = Weather(*(now - then for now, then in zip(weather, self._weather, strict=True)))
            still = 0.0 if self._fresh is None else self._fresh
            self._trend = Weather(*(part * (1.0 - still) for part in moved))
        if before is None or (self._fresh is not None and self._fresh.any()):
            first = start_state(self.hall, weather.temp_c, xp=NUMPY)
            begun = self.advance(first, np.tile(self._first, (len(observation), 1)), weather)[0]
            fresh = np.ones(len(observation), bool) if before is None or self._fresh is None else self._fresh
            before = begun if before is None else _where(fresh, begun, before)
        self._state, self._fresh = before, np.zeros(len(observation), bool)
        self._weather, self._step = weather, self._step + 1
        return before, weather

    def ahead(self, weather: Weather, steps: int) -> list[Weather]:
        """Outdoor air of the coming steps: what it did in the last step goes on, as now in the first of an episode; the
        true one where it may be known."""
        if self.rows is not None:
            return [true_weather(self.world, self.rows, self._step + step) for step in range(steps)]
        if self._trend is None:
            return [weather] * steps
        temp_c, humidity_pct, pressure_pa = self._trend
        return [
            Weather(
                weather.temp_c + step * temp_c,
                np.clip(weather.rel_humidity_pct + step * humidity_pct, 0.0, 100.0),
                weather.pressure_pa + step * pressure_pa,
            )
            for step in range(steps)
        ]

    def advance(self, state: HallState, action: Floats, weather: Weather) -> tuple[HallState, HallOutcome]:
        """One control step of the twin; action (R, A)."""
        command = command_of(action.T, self.world.action_names, self.hall, self.world.parts, xp=NUMPY)
        return transition(state, command, weather, self.hall, self.world.config.dt_s, xp=NUMPY)

    def prospect(
        self, state: HallState, action: Floats, weather: list[Weather], price_usd_per_mwh: Floats, calm_k: float
    ) -> Prospect:
        """Hold an action for as many steps as there is weather.

        Args:
            state: rows of halls, R.
            action: (R, A).
            weather: of each step.
            price_usd_per_mwh: (R,).
            calm_k: a chip is near its limit within so much.
        """
        task, dt_s = self.world.config.task, self.world.config.dt_s
        cost, broken, near = (np.zeros(len(action)) for _ in range(3))
        for outdoors in weather:
            state, outcome = self.advance(state, action, outdoors)
            terms = reward_terms(task, outcome, self.hall, price_usd_per_mwh, dt_s, xp=NUMPY)
            cost = cost - sum(terms.values())
            broken = broken + sum(cost_terms(task, outcome, state.structure_c, xp=NUMPY).values())
            near = near + (outcome.temp_hot_max_c.max(axis=0) > task.temp_chip_max_c - calm_k)
        return Prospect(cost, broken, near)

    def keeps(
        self, state: HallState, action: Floats, weather: list[Weather], calm_k: Sequence[float] = NO_CALM
    ) -> np.ndarray:
        """Whether an action held for as many steps as there is weather keeps so far from each limit, (R,).

        Arguments as of :meth:`prospect`, but for the distances, one for each of :data:`minesim.tasks.cooling.LIMITS`. A
        row is followed no further than its first break.
        """
        task, calm = self.world.config.task, np.array(calm_k)[:, None]
        left = np.arange(len(action))
        for outdoors in weather:
            state, outcome = self.advance(state, action[left], pick_weather(outdoors, left))
            excess_k = excess_terms(task, outcome, state.structure_c, xp=NUMPY)
            fine = np.flatnonzero((np.stack(list(excess_k.values())) <= -calm).all(axis=0))
            state, left = pick_rows(state, fine), left[fine]
        kept = np.zeros(len(action), bool)
        kept[left] = True
        return kept


def _corrected(state: HallState, reported_c: Floats) -> HallState:
    """A followed hall whose chips are moved to what the firmware reports, (M, B), where that is not just rounded."""
    off_k = reported_c - state.temp_hot_c
    off_k = np.where(np.abs(off_k) > ROUNDED_K, off_k, 0.0)
    return replace(
        state,
        temp_chip_c=state.temp_chip_c + off_k,
        temp_sink_c=state.temp_sink_c + off_k,
        temp_hot_c=state.temp_hot_c + off_k,
    )


def pick_rows(state: HallState, index: np.ndarray) -> HallState:
    """Halls by index, repeated as often as they are named."""
    return HallState(**{f.name: getattr(state, f.name)[..., index] for f in fields(HallState)})


def pick_weather(weather: Weather, index: np.ndarray) -> Weather:
    """Outdoor air of halls by index."""
    return Weather(*(part[index] for part in weather))


def true_weather(world: CoolingWorld, rows: npt.NDArray[np.int64], step: int) -> Weather:
    """Outdoor air of a control step of episodes that began at these rows of the climate, for those who may know it."""
    at = np.minimum(rows * world.steps_per_row + step, len(world.weather) - 1)
    return Weather(*world.weather[at, :3].T)


def _where(mask: np.ndarray, new: HallState, old: HallState) -> HallState:
    return HallState(**{f.name: np.where(mask, getattr(new, f.name), getattr(old, f.name)) for f in fields(HallState)})
