"""Steady states of a hall over outdoor air and settings: what is allowed, what it costs, and the rule that follows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agents.cooling.knowledge import CoolingKnowledge, Floats
from minesim.arrays import NUMPY, Array
from minesim.envs.cooling_core import CoolingWorld
from minesim.hall import settle
from minesim.physics.cooling import Weather
from minesim.tasks.cooling import command_of, cost_terms, reward_terms

TEMPS_C = tuple(float(t) for t in range(-30, 49, 2))
HUMIDITIES_PCT = (10.0, 30.0, 50.0, 70.0, 80.0, 90.0, 100.0)
SPEEDS = tuple(round(0.25 + 0.05 * n, 2) for n in range(16))
PADS = (0.0, 1.0)
LOADS = (1.0, 0.0)
"""Of what may be shed: full load, and the least."""
BROKEN_USD_PER_H = 1e6
"""Above every cost."""
CALM_K = 2.0
"""Distance kept from the chip's limit in steady state, for what moves within a control step (assumed)."""


@dataclass(frozen=True)
class SteadyMap:
    """Steady states over outdoor temperature, humidity and settings.

    Attributes:
        speeds, pads, loads: of each setting, (S,); dampers are closed (open ones never paid).
        energy_w: cooling, miners' fans and leakage, W, (T, H, S).
        other_usd_per_h: water, ageing and lost hashes, (T, H, S).
        broken: limits that are broken, a chip within :data:`CALM_K` of its limit counting as one, (T, H, S).
        hottest_c: of the chips, (T, H, S).
    """

    speeds: Floats
    pads: Floats
    loads: Floats
    energy_w: Floats
    other_usd_per_h: Floats
    broken: Floats
    hottest_c: Floats

    @property
    def allowed(self) -> npt.NDArray[np.bool_]:
        """Whether no limit is broken, (T, H, S)."""
        allowed: npt.NDArray[np.bool_] = self.broken == 0.0
        return allowed

    def cell(self, temp_c: Floats, rel_humidity_pct: Floats) -> tuple[np.ndarray, np.ndarray]:
        """Row of the map for outdoor air, on the warm and humid side."""
        t = np.searchsorted(TEMPS_C, np.clip(temp_c, TEMPS_C[0], TEMPS_C[-1]))
        h = np.searchsorted(HUMIDITIES_PCT, np.clip(rel_humidity_pct, HUMIDITIES_PCT[0], HUMIDITIES_PCT[-1]))
        return t, h


def steady_map(world: CoolingWorld) -> SteadyMap:
    """Let the hall settle under every setting in every outdoor air, at the median pressure of the climate.

    The coil, where there is one, stays off.
    """
    pads = PADS if "pad_duty" in world.action_names else PADS[:1]
    settings = list(itertools.product(SPEEDS, pads, LOADS))
    parts = [_settle(world, temp_c, settings) for temp_c in TEMPS_C]
    speeds, pad_duties, loads = (np.array(column) for column in zip(*settings, strict=True))
    energy_w, other, broken, hottest_c = (np.stack(part) for part in zip(*parts, strict=True))
    return SteadyMap(speeds, pad_duties, loads, energy_w, other, broken, hottest_c)


def _settle(world: CoolingWorld, temp_c: float, settings: Sequence[tuple[float, float, float]]) -> tuple[Floats, ...]:
    """Energy, other cost, broken limits and hottest chip at one outdoor temperature, (H, S) each."""
    task, dt_s = world.config.task, world.config.dt_s
    shape = (len(HUMIDITIES_PCT), len(settings))
    rows = shape[0] * shape[1]
    hall = world.hall.to(np.asarray, batch=True)
    humidity = np.repeat(HUMIDITIES_PCT, shape[1])
    weather = Weather(np.full(rows, temp_c), humidity, np.full(rows, float(np.median(world.climate.pressure_pa))))
    speed, pad, load = (np.tile(column, shape[0]) for column in zip(*settings, strict=True))
    knowledge = CoolingKnowledge(world.names, world.action_names)
    action = knowledge.action(speed, speed=speed, pad_duty=pad, load=load).astype(np.float64)
    command = command_of(action.T, world.action_names, hall, world.parts, xp=NUMPY)
    state, outcome = settle(hall, command, weather, dt_s, xp=NUMPY)
    free = reward_terms(task, outcome, hall, np.zeros(rows), dt_s, xp=NUMPY)
    other = -sum(free.values(), np.zeros(rows)) * 3600.0 / dt_s
    count = hall.miners.count
    energy_w = outcome.power_cooling_w + np.sum(count * (outcome.power_fan_w + outcome.power_leak_w), axis=0)
    hottest_c = outcome.temp_hot_max_c.max(axis=0)
    broken = sum(cost_terms(task, outcome, state.structure_c, xp=NUMPY).values())
    near = (hottest_c > task.temp_chip_max_c - CALM_K) | (state.tripped.max(axis=0) > 0.0)
    return tuple(part.reshape(shape) for part in (energy_w, other, broken + near, hottest_c))


class SteadyBest:
    """The cheapest allowed steady setting for the outdoor air and the last price: the strongest rule without a plan.

    Where nothing is allowed it breaks the fewest limits.
    """

    name = "steady_best"

    def __init__(self, knowledge: CoolingKnowledge, found: SteadyMap) -> None:
        self.knowledge, self.found = knowledge, found

    def act(self, observation: Array) -> Array:
        """Look the outdoor air up."""
        know, found = self.knowledge, self.found
        temp_c = know.read(observation, "temp_amb_c")
        price = know.price_usd_per_mwh(observation)
        cell = found.cell(temp_c, know.read(observation, "rel_humidity_pct"))
        cost = found.energy_w[cell] * np.maximum(price, 0.0)[..., None] / 1e6 + found.other_usd_per_h[cell]
        pick = (cost + BROKEN_USD_PER_H * found.broken[cell]).argmin(axis=-1)
        return know.action(
            temp_c,
            speed=found.speeds[pick],
            pad_duty=found.pads[pick],
            load=found.loads[pick],
        )

    def reset(self, done: Array | None = None) -> None:
        """Nothing to forget."""


def least_allowed_speed(world: CoolingWorld, found: SteadyMap, split: str = "train") -> tuple[float, float]:
    """Lowest fixed speed, and whether the pad runs, that break no steady limit at full load in any hour of a split.

    Returns:
        Speed and pad duty; where none is allowed in every hour, those that are in most.
    """
    rows = np.concatenate([np.arange(begin, end) for begin, end in world.climate.splits[split]])
    cell = found.cell(world.climate.temp_amb_c[rows], world.climate.rel_humidity_pct[rows])
    allowed = found.allowed[cell].mean(axis=0)
    allowed = np.where(found.loads == 1.0, allowed, -1.0)
    best = np.flatnonzero(allowed >= allowed.max() - 1e-12)
    chosen = best[np.lexsort((found.pads[best], found.speeds[best]))[0]]
    return float(found.speeds[chosen]), float(found.pads[chosen])
