"""What an order of miners in a hall costs: steady states under typical hours of a climate, at the cheapest settings.

An **order** says for each group of the layout which group's miners stand there; the order as it stands is 0, 1, 2, ...
Miners move as whole groups, so groups only change places with groups of as many miners: the fleet stays what it is.

Shapes: N orders, M groups, K typical hours; columns of the hall are orders times hours.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minesim.arrays import NUMPY
from minesim.errors import ParamsError, ScenarioError, explain, nearest
from minesim.hall import Hall, HallCommand, HallMiners, HallOutcome, settle
from minesim.physics.cooling import OFF, PlantCommand, Weather
from minesim.physics.room_plan import RoomPlan
from minesim.scenario.climates import Climate
from minesim.tasks.cooling import CoolingTask, cost_terms, reward_terms
from minesim.units import SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Orders = npt.NDArray[np.int64]
HOURS_PER_YEAR: Final = 8760.0
QUANTILES: Final = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
"""Where the hours of a climate are cut by outdoor temperature; the hottest 2 % are a part of their own."""
SPEEDS: Final = tuple(round(0.3 + 0.05 * n, 2) for n in range(15))
PADS: Final = (0.0, 1.0)
DT_S: Final = 300.0
OF_PLACE: Final = ("count", "flow_max_m3_per_s")
"""What belongs to a place in the layout; everything else moves with the miners."""


class TypicalHours(NamedTuple):
    """Parts of a climate's hours by temperature: share of each, its mean weather and energy price, (K,) each."""

    share: Floats
    weather: Weather
    price_usd_per_mwh: Floats


def typical_hours(place: Climate, split: str = "train") -> TypicalHours:
    """Cut the hours of a split by outdoor temperature, see :data:`QUANTILES`.

    Raises:
        ScenarioError: an unknown split.
    """
    if split not in place.splits:
        raise ScenarioError(explain(f"split {split!r} is unknown", fix=nearest(split, place.splits)))
    rows = np.concatenate([np.arange(begin, end) for begin, end in place.splits[split]])
    by_temp = rows[np.argsort(place.temp_amb_c[rows], kind="stable")]
    parts = [part for part in np.split(by_temp, (np.array(QUANTILES[1:-1]) * len(rows)).astype(int)) if len(part)]

    def means(values: Floats) -> Floats:
        return np.array([values[part].mean() for part in parts])

    weather = Weather(means(place.temp_amb_c), means(place.rel_humidity_pct), means(place.pressure_pa))
    share = np.array([len(part) / len(rows) for part in parts])
    return TypicalHours(share, weather, means(place.price_usd_per_mwh))


class Settings(NamedTuple):
    """Speed of the room fans and duty of the pad in each part of the hours, (K,)."""

    speed: Floats
    pad_duty: Floats


class Verdict(NamedTuple):
    """What orders cost and break.

    Attributes:
        usd_per_year: cost of cooling as in :mod:`minesim.tasks.cooling`: energy of room fans, miners' fans and
            leakage, water, lost hashes, ageing, (N,).
        broken: share of the year's hours with a limit broken, limits counted one by one, (N,).
        temp_chip_c: hottest chip in each part of the hours, degC, (N, K).
        temp_inlet_c: air that each group takes in, degC, (N, K, M).
    """

    usd_per_year: Floats
    broken: Floats
    temp_chip_c: Floats
    temp_inlet_c: Floats

    def best(self) -> int:
        """The order that breaks least, and costs least among those."""
        return int(np.lexsort((self.usd_per_year, np.round(self.broken, 9)))[0])

    def better(self, n: int, other: Verdict, tolerance_usd: float = 0.0) -> bool:
        """Whether order ``n`` is better than the one order of ``other`` by more than a tolerance in USD a year."""
        gain = float(other.broken[0] - self.broken[n])
        if abs(gain) > 1e-9:
            return gain > 0.0
        return bool(self.usd_per_year[n] < other.usd_per_year[0] - tolerance_usd)


@dataclass(frozen=True)
class Judge:
    """Judges orders of one hall under typical hours.

    Attributes:
        hall: numpy, one hall, in the order as it stands.
        hours: of the climate.
        task: prices and limits.
        fan_runs: 1 for each fan of the room that runs, 0 for one that is broken, (F,).
    """

    hall: Hall
    hours: TypicalHours
    task: CoolingTask
    fan_runs: Floats

    def judge(self, orders: Orders, settings: Settings) -> Verdict:
        """Let every order settle in every part of the hours.

        Args:
            orders: (N, M).
            settings: of the plant.
        """
        outcome, usd_per_h, broken = self._settle(orders, settings)
        shape = (len(orders), len(self.hours.share))
        inlets_c = outcome.temp_inlet_c.reshape(-1, *shape)
        return Verdict(
            usd_per_year=usd_per_h.reshape(shape) @ self.hours.share * HOURS_PER_YEAR,
            broken=broken.reshape(shape) @ self.hours.share,
            temp_chip_c=outcome.temp_hot_max_c.max(axis=0).reshape(shape),
            temp_inlet_c=np.moveaxis(inlets_c, 0, -1),
        )

    def settings_for(self, order: Orders) -> Settings:
        """The settings of :data:`SPEEDS` and :data:`PADS` that break least and cost least, in each part of the hours.

        Args:
            order: (M,).
        """
        pads = PADS if self.hall.plant.pad is not None else PADS[:1]
        grid = np.array([(speed, pad) for speed in SPEEDS for pad in pads])
        parts = len(self.hours.share)
        speed, pad = (np.repeat(column[:, None], parts, axis=1) for column in grid.T)
        orders = np.repeat(order[None], len(grid), axis=0)
        _, usd_per_h, broken = self._settle(orders, Settings(speed, pad))
        shape = (len(grid), parts)
        usd_per_h, broken = usd_per_h.reshape(shape), broken.reshape(shape)
        chosen = [int(np.lexsort((usd_per_h[:, k], broken[:, k]))[0]) for k in range(parts)]
        return Settings(grid[chosen, 0], grid[chosen, 1])

    def outcome(self, order: Orders, settings: Settings) -> HallOutcome:
        """What happens in the hall under one order, parts of the hours last."""
        return self._settle(order[None], settings)[0]

    def _settle(self, orders: Orders, settings: Settings) -> tuple[HallOutcome, Floats, Floats]:
        """Outcome, USD an hour and broken limits of orders times hours, (N K,); settings (K,) or (N, K)."""
        parts = len(self.hours.share)
        columns = len(orders) * parts
        hall = replace(self.hall, miners=miners_in(self.hall.miners, np.repeat(orders, parts, axis=0)))
        weather = Weather(*(np.tile(values, len(orders)) for values in self.hours.weather))
        price = np.tile(self.hours.price_usd_per_mwh, len(orders))
        speed, pad = (np.broadcast_to(values, (len(orders), parts)).reshape(-1) for values in settings)
        plant = PlantCommand(
            fan_speed=self.fan_runs[:, None] * speed,
            damper=np.zeros((len(hall.plant.damper_flow_m3_per_s), columns)),
            pad_duty=pad,
            temp_dx_set_c=np.full(columns, OFF),
        )
        command = HallCommand(plant, np.ones((len(hall.miners.count), columns)))
        state, outcome = settle(hall, command, weather, DT_S, xp=NUMPY)
        terms = reward_terms(self.task, outcome, hall, price, DT_S, xp=NUMPY)
        usd_per_h = -functools.reduce(operator.add, terms.values()) * (SECONDS_PER_HOUR / DT_S)
        broken = functools.reduce(operator.add, cost_terms(self.task, outcome, state.structure_c, xp=NUMPY).values())
        return outcome._replace(course=()), usd_per_h, broken


def judge_of(
    plan: RoomPlan, hall: Hall, place: Climate, task: CoolingTask | None = None, broken_fans: Sequence[str] = ()
) -> Judge:
    """A judge of a hall in a climate.

    Args:
        plan: the layout that the hall was furnished from.
        hall: numpy, one hall.
        place: its training hours count.
        task: prices and limits.
        broken_fans: names of fans that stand still.

    Raises:
        ParamsError: no such fan (nearest names suggested).
    """
    names = [fan.name for fan in plan.fans]
    for name in broken_fans:
        if name not in names:
            raise ParamsError(explain(f"layout {plan.name!r} has no fan {name!r}", fix=nearest(name, names)))
    runs = np.array([0.0 if name in broken_fans else 1.0 for name in names])
    return Judge(hall, typical_hours(place), task or CoolingTask(), runs)


def miners_in(miners: HallMiners, orders: Orders) -> HallMiners:
    """The miners of a hall in other orders, side by side: constants (M, N) of orders (N, M).

    Raises:
        ParamsError: miners would stand where there is room for another number.
    """
    if (miners.count[orders] != miners.count).any():
        raise ParamsError(explain("an order changes the number of miners of a model", allowed="groups of equal size"))
    values = {field.name: getattr(miners, field.name) for field in fields(miners)}
    return HallMiners(
        **{name: value[:, None] if name in OF_PLACE else value[orders].T for name, value in values.items()}
    )
