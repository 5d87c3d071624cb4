"""The core of the cooling environments: B halls stepped together, in numpy or torch.

An adapter without formulas: it looks up weather and price, calls task and twin in their order, spoils sensors, and
keeps episodes apart. One hall in numpy is computed without an axis for halls, which costs a fraction.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minesim import noise
from minesim.arrays import NUMPY, Array, Namespace, namespace_of
from minesim.catalog.layouts import layout
from minesim.control.channels import symlog
from minesim.data import known
from minesim.errors import ActionError, ParamsError, ScenarioError, explain, nearest
from minesim.hall import Hall, HallOutcome, HallState, build_hall, start_state, transition
from minesim.physics.cooling import DxParams, PadParams, Weather
from minesim.physics.room_grid import sensor_cells
from minesim.physics.room_plan import RoomPlan
from minesim.scenario.climates import Climate, climate
from minesim.tasks.cooling import (
    ActionParts,
    CoolingTask,
    action_names,
    action_parts,
    command_of,
    cost_terms,
    reward_terms,
    setting_of,
)
from minesim.units import PRESSURE_SEA_LEVEL_PA, SECONDS_PER_DAY, SECONDS_PER_HOUR

RESET_OPTIONS = ("start_row", "split")
WEATHER = 5
"""Columns of :attr:`CoolingWorld.weather`."""
LEAD_H = 3.0
HISTORY_H = 24.0
AT_START = {"pad_duty": 0.0, "damper": 0.0, "load": 0.0}
"""Settings before an episode, shares of full: a dry pad, closed dampers and the least load; fans at full speed and no
coil. So an episode begins within its limits also on the hottest day."""
PAD = PadParams(face_m2=28.0)
"""The pad behind the louvre of the 40-ft container, as large as its south wall."""
TEMP_BOUNDS_C = (-60.0, 200.0)
OTHER_BOUNDS = (-10.0, 100.0)


@dataclass(frozen=True)
class CoolingConfig:
    """What a cooling environment is made of.

    Attributes:
        layout_name: layout or TOML file.
        nx, ny: cells along and across.
        zones: parts along the hall whose fans and dampers are set by themselves.
        scenario: weather and price: a climate or scenario by name, a Dataset or a file.
        pad, dx: what treats the supply air.
        sensors: name -> (x, y) in m; four by default, west and east in front of and behind the miners.
        noise_k, bias_k: of the air sensors: standard deviation of a reading, and of a sensor's error in an episode.
        drop_out: chance that a reading is missing and the last one stays.
        delay_s: age of the readings, whole control steps.
        episode_days: length.
        dt_s: control step; it divides the rows of the scenario.
        split: which period starts are drawn from.
        task: prices and limits.
    """

    layout_name: str = "container_40ft"
    nx: int = 8
    ny: int = 4
    zones: int = 1
    scenario: Any = "generated"
    pad: PadParams | None = PAD
    dx: DxParams | None = None
    sensors: Mapping[str, tuple[float, float]] | None = None
    noise_k: float = 0.0
    bias_k: float = 0.0
    drop_out: float = 0.0
    delay_s: float = 0.0
    episode_days: float = 7.0
    dt_s: float = 300.0
    split: str = "train"
    task: CoolingTask = field(default_factory=CoolingTask)


@dataclass(frozen=True)
class CoolingWorld:
    """What all halls of a configuration share, never changed.

    Attributes:
        config: how it was asked for.
        hall: numpy, one hall.
        climate: weather and price.
        weather: dry bulb, humidity, pressure, price and carbon of each control step, (T * steps_per_row, 5): the air
            runs straight from one row's value to the next, as EnergyPlus takes hourly weather, and holds within a
            step; price and carbon hold within a row.
        told: what an observation shows at the start of a control step, (T * steps_per_row, K).
        names: of an observation's numbers.
        action_names: of an action's.
        parts: what each of them sets.
        sensors: name -> (x, y) in m.
        cells: of the sensors.
        rated_w, fans_w: miners and room fans at full power, W.
    """

    config: CoolingConfig
    hall: Hall
    climate: Climate
    weather: np.ndarray
    told: np.ndarray
    names: tuple[str, ...]
    action_names: tuple[str, ...]
    parts: ActionParts
    sensors: Mapping[str, tuple[float, float]]
    cells: np.ndarray
    rated_w: float
    fans_w: float

    @property
    def horizon_steps(self) -> int:
        """Control steps in an episode."""
        return round(self.config.episode_days * SECONDS_PER_DAY / self.config.dt_s)

    @property
    def steps_per_row(self) -> int:
        """Control steps in a row of the climate."""
        return round(self.climate.step_s / self.config.dt_s)

    @property
    def rows(self) -> int:
        """Rows that an episode reads; one more than it settles, for the last observation."""
        return -(-self.horizon_steps // self.steps_per_row) + 1

    @property
    def last_start(self) -> int:
        """Last row of the climate at which an episode fits."""
        return len(self.climate.time_utc) - self.rows

    @property
    def delay_steps(self) -> int:
        """Age of the readings in control steps."""
        return round(self.config.delay_s / self.config.dt_s)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest observation, float32."""
        is_temp = np.array([name.endswith("_c") for name in self.names])
        low, high = (np.where(is_temp, a, b) for a, b in zip(TEMP_BOUNDS_C, OTHER_BOUNDS, strict=True))
        return low.astype(np.float32), high.astype(np.float32)


def build_cooling_world(config: CoolingConfig) -> CoolingWorld:
    """Furnish the hall and lay weather and price out by row.

    Raises:
        MinesimError: a part is unknown or impossible; the message names it.
    """
    place = climate(config.scenario)
    dt_s, row_s = config.dt_s, place.step_s
    if not (0.0 < dt_s <= row_s and row_s % dt_s == 0.0):
        raise ParamsError(explain(f"dt_s is {dt_s:g} s", allowed=f"a divisor of {row_s:g} s"))
    if not (config.noise_k >= 0.0 and config.bias_k >= 0.0 and 0.0 <= config.drop_out < 1.0):
        what = f"noise_k {config.noise_k:g} K, bias_k {config.bias_k:g} K, drop_out {config.drop_out:g}"
        raise ParamsError(explain(what, allowed="0 or more, and a drop_out below 1"))
    if not (config.delay_s >= 0.0 and config.delay_s % dt_s == 0.0):
        raise ParamsError(explain(f"delay_s is {config.delay_s:g} s", allowed=f"whole steps of {dt_s:g} s"))
    if not config.episode_days * SECONDS_PER_DAY >= dt_s:
        raise ParamsError(explain(f"episode_days is {config.episode_days:g} d", allowed="at least one control step"))
    plan = layout(config.layout_name)
    hall = build_hall(config.layout_name, nx=config.nx, ny=config.ny, pad=config.pad, dx=config.dx)
    parts = action_parts(plan, config.zones)
    places = config.sensors or default_sensors(plan)
    actions = action_names(hall.plant, parts)
    steps = round(row_s / dt_s)
    outdoors = _outdoors(place, steps)
    told = _told(place, outdoors, steps)
    names = (
        *(f"temp_{name}_c" for name in places),
        *(f"temp_chip_{group.name}_c" for group in plan.groups),
        *told,
        "power_miners_share",
        "power_cooling_share",
        *actions,
    )
    return CoolingWorld(
        config=config,
        hall=hall,
        climate=place,
        weather=outdoors,
        told=np.stack(list(told.values()), axis=1),
        names=names,
        action_names=actions,
        parts=parts,
        sensors=places,
        cells=sensor_cells(hall.room.grid, places),
        rated_w=float(sum(group.power_w * group.miners for group in plan.groups)),
        fans_w=float(sum(hall.plant.fan_power_w)),
    )


def default_sensors(plan: RoomPlan) -> dict[str, tuple[float, float]]:
    """Four air sensors, west and east on either side of the room: name -> (x, y) in m."""
    x_m, y_m = (0.25 * plan.length_m, 0.75 * plan.length_m), (0.25 * plan.width_m, 0.75 * plan.width_m)
    return {
        f"{side}_{end}": (x, y)
        for side, y in zip(("south", "north"), y_m, strict=True)
        for end, x in zip(("west", "east"), x_m, strict=True)
    }


def _outdoors(place: Climate, steps: int) -> np.ndarray:
    """:attr:`CoolingWorld.weather` of a climate whose rows have so many control steps; the last row's air stays.

    Numbers are those of single precision, in which they are observed: a pad that dries at the frost limit would else be
    wet for one and dry for the other.
    """
    rows = len(place.time_utc)
    at = np.arange(rows * steps) / steps
    air = (place.temp_amb_c, place.rel_humidity_pct, place.pressure_pa)
    held = (place.price_usd_per_mwh, place.carbon_g_per_kwh)
    columns = (*(np.interp(at, np.arange(rows), x) for x in air), *(np.repeat(x, steps) for x in held))
    return np.stack(columns, axis=1).astype(np.float32).astype(np.float64)


def _told(place: Climate, outdoors: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """What is known at the start of each control step: weather, the price of the row before, the clock, and a forecast,
    yesterday's course put on the temperature of now; the first day of the data repeats its first value."""
    per_hour = SECONDS_PER_HOUR / place.step_s * steps
    lead, history = round(LEAD_H * per_hour), round(HISTORY_H * per_hour)
    (temp_c, humidity_pct, pressure_pa), price = outdoors[:, :3].T, place.price_usd_per_mwh
    step = np.arange(len(temp_c))
    yesterday = np.maximum(step - history, 0)
    before = price[np.maximum(step // steps - 1, 0)]
    local_s = known.local_clock(place.time_utc, place.site_timezone).astype("datetime64[s]").astype(np.int64)
    clock_s = np.repeat(local_s, steps) + step % steps * (place.step_s / steps)
    day = 2.0 * math.pi * (clock_s % SECONDS_PER_DAY) / SECONDS_PER_DAY
    return {
        "temp_amb_c": temp_c,
        "rel_humidity_pct": humidity_pct,
        "pressure_atm": pressure_pa / PRESSURE_SEA_LEVEL_PA,
        "temp_amb_fc_3h_c": temp_c + temp_c[np.minimum(yesterday + lead, step)] - temp_c[yesterday],
        "price_before_usd_per_mwh_symlog": symlog(before, xp=NUMPY),
        "hour_sin": np.sin(day),
        "hour_cos": np.cos(day),
    }


def start_action(action_names: Sequence[str]) -> np.ndarray:
    """Numbers of an action that holds :data:`AT_START`, (A,)."""
    kinds = ["load" if name.startswith("load_") else setting_of(name) for name in action_names]
    return np.array([2.0 * AT_START.get(kind, 1.0) - 1.0 for kind in kinds])


class CoolingCarry(NamedTuple):
    """All that a step hands on to the next: the hall, readings of the air as they arrive (oldest first, (S,) or (S, B)
    each), constant errors of the sensors, and the last reading shown."""

    state: HallState
    arriving: tuple[Array, ...]
    bias_k: Array
    reading_c: Array


class CoolingResult(NamedTuple):
    """One step of all halls: observation (B, n) float32, reward and cost (B,), truncated (B,) numpy booleans, info by
    name (B,); without the axis of halls for a lone hall."""

    observation: Array
    reward: Array
    cost: Array
    truncated: np.ndarray
    info: dict[str, Array]


class CoolingCore:
    """B halls of one world.

    Args:
        world: hall, weather and task.
        num_envs: B.
        like: an array whose kind, dtype and device the state takes; numpy float64 by default.
        lone: compute one hall without an axis for halls; what it returns has none either.

    Attributes:
        outcome: of the last step, for drawings.
        episodes: how many each hall has begun since it was seeded, (B,).
    """

    outcome: HallOutcome

    def __init__(self, world: CoolingWorld, num_envs: int, like: Array | None = None, *, lone: bool = False) -> None:
        like = np.zeros(1) if like is None else like
        self.world, self.num_envs, self._like, self.lone = world, num_envs, like, lone
        self.xp: Namespace = namespace_of(like)
        self.hall = world.hall.to(self._array, batch=not lone)
        self._table = self._array(np.concatenate([world.weather, world.told], axis=1))
        self._start_action = self._array(start_action(world.action_names))
        self._low, self._high = (self._array(bound) for bound in world.bounds())
        self._sensors = len(world.cells)
        self._draws = self._integers(np.arange(4 * self._sensors))
        self._cells = self._integers(world.cells)
        self.row = np.zeros(num_envs, np.int64)
        self.step_count = np.zeros(num_envs, np.int64)
        self.seed(range(num_envs))
        self._carry: CoolingCarry
        self._looked_up = False

    # ------------------------------------------------------------------ arrays

    def _array(self, values: Any) -> Array:
        return self.xp.asarray(values, like=self._like)

    def _integers(self, values: np.ndarray) -> Array:
        return self._constant(np.asarray(values, np.int64))

    def _constant(self, values: np.ndarray) -> Array:
        if self.xp is NUMPY:
            return values
        import torch

        return torch.as_tensor(values, device=self._like.device)

    @property
    def state(self) -> HallState:
        """The halls."""
        return self._carry.state

    # ------------------------------------------------------------------ episodes

    def seed(self, seeds: Sequence[int], episode: int = 0) -> None:
        """Give every hall its seed; its episodes are counted from here on."""
        self.seeds = np.asarray(seeds, np.int64)
        self.episodes = np.full(self.num_envs, episode, np.int64)

    def reset(self, mask: np.ndarray | None = None, options: Mapping[str, Any] | None = None) -> Array:
        """Begin new episodes where ``mask`` is true (everywhere when None); observations.

        Options: ``split``, or ``start_row`` (one or one per hall) for the row of the climate.

        Raises:
            ParamsError: an unknown option.
            ScenarioError: an unknown split, or one too short for the episode.
        """
        given = dict(options or {})
        for name in given:
            if name not in RESET_OPTIONS:
                raise ParamsError(explain(f"reset option {name!r} is unknown", fix=nearest(name, RESET_OPTIONS)))
        chosen = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool)
        for b in np.flatnonzero(chosen):
            rng = np.random.default_rng([int(self.seeds[b]) & 0xFFFFFFFFFFFFFFFF, int(self.episodes[b])])
            self.row[b] = self._start_row(int(b), rng, given)
            self.step_count[b] = 0
            self.episodes[b] += 1
        self._looked_up = False
        fresh, outcome = self._fresh()
        if chosen.all():
            self._carry, self.outcome = fresh, outcome._replace(course=())
        else:
            self._carry = self._where(self._constant(chosen), fresh, self._carry)
            self.outcome = self._where(self._constant(chosen), outcome._replace(course=()), self.outcome)
        return self.observation(self._first_action())

    def _start_row(self, b: int, rng: np.random.Generator, given: Mapping[str, Any]) -> int:
        world, first = self.world, round(HISTORY_H * SECONDS_PER_HOUR / self.world.climate.step_s)
        if "start_row" in given:
            asked = given["start_row"]
            row = int(asked[b]) if np.ndim(asked) else int(asked)
            if not first <= row <= world.last_start:
                count = len(world.climate.time_utc)
                what = f"an episode of {world.horizon_steps} steps does not fit at row {row} of {count}"
                raise ParamsError(explain(what, fix="Shorten episode_days or start elsewhere."))
            return row
        split = given.get("split", world.config.split)
        periods = world.climate.splits.get(split)
        if periods is None:
            raise ScenarioError(explain(f"split {split!r} is unknown", fix=nearest(str(split), world.climate.splits)))
        starts = [np.arange(max(begin, first), end - world.rows + 2) for begin, end in periods]
        rows = np.concatenate(starts)
        rows = rows[rows <= world.last_start]
        if not len(rows):
            what = f"an episode of {world.horizon_steps} steps does not fit into {split!r} of {world.climate.name!r}"
            raise ScenarioError(explain(what, fix="Shorten episode_days."))
        return int(rows[rng.integers(len(rows))])

    def _fresh(self) -> tuple[CoolingCarry, HallOutcome]:
        """Halls at the start of an episode, after a step at :data:`AT_START` that makes the first readings."""
        settings, size = self.world.config, self._sensors
        weather, _ = self._outdoors()
        state = start_state(self.hall, weather.temp_c, xp=self.xp)
        state, outcome = transition(
            state, self._command(self._first_action()), weather, self.hall, settings.dt_s, xp=self.xp
        )
        first = self._uniform(np.zeros(self.num_envs, np.int64) - 1)
        bias_k = settings.bias_k * _normal(first[:size], first[size : 2 * size], xp=self.xp)
        reading_c = self._air_at(outcome) + bias_k
        return CoolingCarry(state, (reading_c,) * self.world.delay_steps, bias_k, reading_c), outcome

    def _first_action(self) -> Array:
        action = self._start_action
        return action if self.lone else action + self.xp.zeros_like(self._array(self.row)[:, None])

    def _where(self, mask: Array, new: Any, old: Any) -> Any:
        """Halls of ``new`` where the mask (B,) is true; halls are the last axis of every array."""
        if hasattr(new, "__dataclass_fields__"):
            return type(new)(
                **{f: self._where(mask, getattr(new, f), getattr(old, f)) for f in new.__dataclass_fields__}
            )
        if isinstance(new, tuple):
            parts = [self._where(mask, a, b) for a, b in zip(new, old, strict=False)]
            return type(new)(*parts) if hasattr(new, "_fields") else tuple(parts)
        return self.xp.where(mask, new, old)

    # ------------------------------------------------------------------ stepping

    def _look_up(self) -> None:
        """Weather of the coming step, and what is told of it."""
        if self._looked_up:
            return
        self._looked_up, at = True, self.row * self.world.steps_per_row + self.step_count
        found = self._table[at[0]] if self.lone else self.xp.rows(self._table, self._integers(at)).T
        self._outside, self._shown = found[:WEATHER], found[WEATHER:]

    def _outdoors(self) -> tuple[Weather, Array]:
        """Weather of the coming step; price and carbon."""
        self._look_up()
        return Weather(*self._outside[:3]), self._outside[3:]

    def _command(self, action: Array) -> Any:
        return command_of(action.T, self.world.action_names, self.hall, self.world.parts, xp=self.xp)

    def _uniform(self, steps: np.ndarray) -> Array:
        """Draws of a step, (4 S,) or (4 S, B)."""
        # Starts of two episodes of one seed differ, and so do their draws.
        seeds = self.seeds * 65_537 + self.episodes
        drawn = noise.uniform(
            self._integers(seeds & 0xFFFFFFFF)[:, None], self._integers(steps & 0xFFFFFFFF)[:, None], self._draws
        )
        drawn = self.xp.cast(drawn, self._like)
        return drawn[0] if self.lone else drawn.T

    def _air_at(self, outcome: HallOutcome) -> Array:
        air_c = outcome.air_c
        flat = air_c.reshape(-1) if self.lone else air_c.reshape(-1, self.num_envs)
        return self.xp.rows(flat, self._cells)

    def step(self, action: Array) -> CoolingResult:
        """Advance all halls by one control step.

        Args:
            action: (B, n_act) in [-1, 1]; (n_act,) for a lone hall.

        Raises:
            ActionError: misshaped, or not numbers.
        """
        xp, world, settings = self.xp, self.world, self.world.config
        action = self._checked(action)
        weather, (price, carbon) = self._outdoors()
        state, outcome = transition(self._carry.state, self._command(action), weather, self.hall, settings.dt_s, xp=xp)
        self.step_count = self.step_count + 1
        self._looked_up = False
        self._carry = self._read(self._carry._replace(state=state), outcome)
        self.outcome = outcome._replace(course=())
        terms = reward_terms(settings.task, outcome, self.hall, price, settings.dt_s, xp=xp)
        broken = cost_terms(settings.task, outcome, state.structure_c, xp=xp)
        cost = functools.reduce(operator.add, broken.values())
        cooling_w, miners_w = outcome.power_cooling_w, outcome.power_miners_w
        info = {
            **terms,
            **broken,
            "cost": cost,
            "power_cooling_w": cooling_w,
            "power_miners_w": miners_w,
            "power_miner_fans_w": xp.sum(self.hall.miners.count * outcome.power_fan_w, axis=0),
            "pue": (cooling_w + miners_w) / miners_w,
            "temp_amb_c": weather.temp_c,
            "temp_chip_max_c": xp.max(outcome.temp_hot_max_c, axis=0),
            "temp_inlet_spread_k": xp.max(outcome.temp_inlet_c, axis=0) - xp.min(outcome.temp_inlet_c, axis=0),
            "tripped": xp.sum(self.hall.miners.count * state.tripped, axis=0),
            "hashrate_ths": xp.sum(self.hall.miners.count * outcome.hashrate_ths, axis=0),
            "water_kg": outcome.plant.water_kg_per_s * settings.dt_s,
            "carbon_g": carbon * (cooling_w + miners_w) * (settings.dt_s / SECONDS_PER_HOUR * 1e-3),
        }
        reward = functools.reduce(operator.add, terms.values()) / settings.task.reward_usd
        return CoolingResult(self.observation(action), reward, cost, self.step_count >= world.horizon_steps, info)

    def _read(self, carry: CoolingCarry, outcome: HallOutcome) -> CoolingCarry:
        """Readings of the air sensors after a step: late, with their errors, or missing."""
        settings, size = self.world.config, self._sensors
        air_c = self._air_at(outcome)
        if settings.noise_k > 0.0 or settings.bias_k > 0.0 or settings.drop_out > 0.0:
            u = self._uniform(self.step_count)
            air_c = air_c + carry.bias_k + settings.noise_k * _normal(u[:size], u[size : 2 * size], xp=self.xp)
        arriving = (*carry.arriving, air_c)
        reading_c = arriving[0]
        if settings.drop_out > 0.0:
            missing = self.xp.below(u[2 * size : 3 * size], settings.drop_out)
            reading_c = self.xp.blend(missing, carry.reading_c, reading_c)
        return carry._replace(arriving=arriving[1:], reading_c=reading_c)

    def _checked(self, action: Array) -> Array:
        shape = (len(self.world.action_names),) if self.lone else (self.num_envs, len(self.world.action_names))
        if self.xp is NUMPY:
            action = np.asarray(action, np.float64)
        if tuple(action.shape) != shape:
            raise ActionError(explain(f"action has shape {tuple(action.shape)}", allowed=f"{shape}"))
        if self.xp is NUMPY and not np.isfinite(action).all():
            raise ActionError(explain(f"action is {action.tolist()}", allowed="finite numbers in -1 ... 1"))
        return self.xp.clip(self._array(action), -1.0, 1.0)

    def observation(self, action: Array) -> Array:
        """What is reported now, after ``action``: (B, n) or (n,)."""
        xp, world, outcome = self.xp, self.world, self.outcome
        self._look_up()
        shares = (outcome.power_miners_w / world.rated_w, outcome.power_cooling_w / world.fans_w)
        parts = (
            self._carry.reading_c,
            xp.round(self._carry.state.temp_hot_c),
            self._shown,
            xp.stack([share + 0.0 * self._shown[0] for share in shares], 0),
            action.T,
        )
        values = xp.concat(parts, 0)
        seen = values if self.lone else values.T
        seen = xp.minimum(xp.maximum(seen, self._low), self._high)
        return seen.astype(np.float32) if self.xp is NUMPY else seen.float()

    def flags(self, values: np.ndarray) -> Array:
        """Booleans (B,) on the device of the halls."""
        return self._constant(values)


def _normal(u: Array, v: Array, *, xp: Namespace) -> Array:
    """Standard normal numbers from two uniform draws (Box and Muller)."""
    return xp.sqrt(-2.0 * xp.log(u)) * xp.cos(2.0 * math.pi * v)
