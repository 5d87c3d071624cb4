"""Cooling a hall of miners as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from minesim.arrays import NUMPY
from minesim.catalog.layouts import layout
from minesim.errors import ActionError, ParamsError, explain, nearest
from minesim.hall import HallOutcome, build_hall, start_state, transition
from minesim.physics.cooling import DxParams, PadParams, Weather
from minesim.physics.room_grid import sensor_cells
from minesim.scenario.names import scenario as find_scenario
from minesim.tasks.cooling import CoolingTask, action_names, command_of, cost_terms, reward_terms

RESET_OPTIONS = ("start_row", "split")
ROW_S = 3600
PRESSURE_PA = 101325.0
LEAD_ROWS = 3
HISTORY_ROWS = 24
PAD = PadParams(face_m2=28.0)
"""The pad behind the louvre of the 40-ft container, as large as its south wall."""


class CoolingEnv(gym.Env[np.ndarray, np.ndarray]):
    """``minesim/Cooling-v0``: see ``docs/envs/cooling.md``.

    Args:
        render_mode: None.
        layout_name: layout or TOML file.
        scenario: weather and price; a name, Dataset or file.
        pad, dx: what treats the supply air.
        sensors: name -> (x, y) in m; four by default, west and east in front of and behind the miners.
        noise_k, bias_k, drop_out: of the air sensors: standard deviation of a reading and of a sensor's constant error,
            and chance that a reading is missing and the last one stays.
        episode_days: length.
        dt_s: control step; it divides an hour.
        task: prices and limits.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        layout_name: str = "container_40ft",
        scenario: Any = "generated",
        pad: PadParams | None = PAD,
        dx: DxParams | None = None,
        sensors: Mapping[str, tuple[float, float]] | None = None,
        noise_k: float = 0.0,
        bias_k: float = 0.0,
        drop_out: float = 0.0,
        episode_days: float = 7.0,
        dt_s: float = 300.0,
        task: CoolingTask | None = None,
    ) -> None:
        if render_mode is not None:
            raise ParamsError(explain(f"render_mode is {render_mode!r}", allowed="None"))
        if not (0.0 < dt_s <= ROW_S and ROW_S % dt_s == 0.0):
            raise ParamsError(explain(f"dt_s is {dt_s:g} s", allowed="a divisor of 3600 s"))
        if not (noise_k >= 0.0 and bias_k >= 0.0 and 0.0 <= drop_out < 1.0):
            what = f"noise_k {noise_k:g} K, bias_k {bias_k:g} K, drop_out {drop_out:g}"
            raise ParamsError(explain(what, allowed="0 or more, and a drop_out below 1"))
        self.render_mode = render_mode
        self.task, self.dt_s = task or CoolingTask(), dt_s
        plan = layout(layout_name)
        self.hall = build_hall(layout_name, pad=pad, dx=dx)
        self.zones = tuple(row.name for row in plan.rows)
        self._zone_of = np.array([self.zones.index(group.row) for group in plan.groups])
        self.action_names = action_names(self.hall, self.zones)
        x_m, y_m = (0.25 * plan.length_m, 0.75 * plan.length_m), (0.25 * plan.width_m, 0.75 * plan.width_m)
        places = sensors or {
            f"{side}_{end}": (x, y)
            for side, y in zip(("south", "north"), y_m, strict=True)
            for end, x in zip(("west", "east"), x_m, strict=True)
        }
        self._cells = sensor_cells(self.hall.room.grid, places)
        self._noise = (noise_k, bias_k, drop_out)
        self.names = (
            *(f"temp_{name}_c" for name in places),
            *(f"temp_chip_{group.name}_c" for group in plan.groups),
            "temp_amb_c",
            "rel_humidity_pct",
            "temp_amb_fc_3h_c",
            "price_before_usd_per_mwh_symlog",
            "power_miners_share",
            "power_cooling_share",
            *self.action_names,
        )
        market = find_scenario(scenario)
        traces = market.traces
        hourly = ("temp_amb_c", "rel_humidity_pct", "power_price_usd_per_mwh")
        self._temp_c, self._humidity, self._price = (np.asarray(traces[n].to_numpy(), np.float64) for n in hourly)
        times = traces["time"].to_numpy().astype("datetime64[s]")
        self._splits = {
            name: (int(np.searchsorted(times, np.datetime64(a))), int(np.searchsorted(times, np.datetime64(b))))
            for name, (a, b) in market.splits.items()
        }
        self._steps = round(episode_days * 86400.0 / dt_s)
        self._row_steps = round(ROW_S / dt_s)
        self._rated_w = float(sum(group.power_w * group.miners for group in plan.groups))
        self._fans_w = sum(self.hall.plant.fan_power_w)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (len(self.action_names),), np.float32)
        is_temp = np.array([name.endswith("_c") for name in self.names])
        self._low = np.where(is_temp, -60.0, -10.0).astype(np.float32)
        self._high = np.where(is_temp, 200.0, 100.0).astype(np.float32)
        self.observation_space = gym.spaces.Box(self._low, self._high, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode at an hour of a split (``train`` where none is given).

        Options: ``split``, or ``start_row`` for the hour of the traces.

        Raises:
            ParamsError: an unknown option, or a period too short for the episode.
        """
        super().reset(seed=seed)
        given = options or {}
        for name in given:
            if name not in RESET_OPTIONS:
                raise ParamsError(explain(f"reset option {name!r} is unknown", fix=nearest(name, RESET_OPTIONS)))
        split = given.get("split", "train")
        if split not in self._splits:
            raise ParamsError(explain(f"split {split!r} is unknown", fix=nearest(str(split), self._splits)))
        first, last = self._splits[split]
        first, last = max(first, HISTORY_ROWS), last - -(-self._steps // self._row_steps)
        row = int(given.get("start_row", self.np_random.integers(first, max(last, first) + 1)))
        if last < first or not HISTORY_ROWS <= row <= len(self._temp_c) - -(-self._steps // self._row_steps):
            what = f"an episode of {self._steps} steps does not fit at row {row} of {len(self._temp_c)} ({split!r})"
            raise ParamsError(explain(what, fix="Shorten episode_days or start elsewhere."))
        self._row, self._step = row, 0
        self._state = start_state(self.hall, np.asarray(self._temp_c[row]), xp=NUMPY)
        self._bias = self._noise[1] * self.np_random.standard_normal(len(self._cells))
        self._reading = np.full(len(self._cells), self._temp_c[row])
        # A step at full fans and load makes the first readings.
        action = np.where(np.isin(self.action_names, ("pad_duty", "damper")), -1.0, 1.0)
        outcome, price = self._advance(action)
        return self._observe(outcome, action), self._info(outcome, price)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for a control step.

        Raises:
            ActionError: misshaped or not a number.
        """
        array = np.asarray(action, dtype=np.float64)
        if array.shape != self.action_space.shape or not np.isfinite(array).all():
            raise ActionError(
                explain(f"action is {array.tolist()}", allowed=f"{self.action_space.shape} finite numbers in -1 ... 1")
            )
        outcome, price = self._advance(array)
        self._step += 1
        info = self._info(outcome, price)
        reward = sum(info[name] for name in self._terms) / self.task.reward_usd
        return self._observe(outcome, array), float(reward), False, self._step >= self._steps, info

    def _now(self) -> int:
        return min(self._row + self._step // self._row_steps, len(self._temp_c) - 1)

    def _advance(self, action: np.ndarray) -> tuple[HallOutcome, float]:
        now = self._now()
        weather = Weather(*(np.asarray(value) for value in (self._temp_c[now], self._humidity[now], PRESSURE_PA)))
        command = command_of(action, self.action_names, self.hall, self.zones, self._zone_of)
        self._state, outcome = transition(self._state, command, weather, self.hall, self.dt_s, xp=NUMPY)
        return outcome, float(self._price[now])

    def _observe(self, outcome: HallOutcome, action: np.ndarray) -> np.ndarray:
        noise_k, _, drop_out = self._noise
        size = len(self._cells)
        fresh = outcome.air_c.reshape(-1)[self._cells] + self._bias + noise_k * self.np_random.standard_normal(size)
        self._reading = np.where(self.np_random.random(size) < drop_out, self._reading, fresh)
        now = self._now()
        # Persistence of yesterday's course: it knows the past alone.
        yesterday = now - HISTORY_ROWS
        forecast_c = self._temp_c[now] + self._temp_c[yesterday + LEAD_ROWS] - self._temp_c[yesterday]
        price = self._price[now - 1]
        market = (
            self._temp_c[now],
            self._humidity[now],
            forecast_c,
            np.sign(price) * np.log1p(abs(price)),
            float(outcome.power_miners_w) / self._rated_w,
            float(outcome.power_cooling_w) / self._fans_w,
        )
        values = np.concatenate([self._reading, np.round(self._state.temp_hot_c), market, np.clip(action, -1.0, 1.0)])
        bounded: np.ndarray = np.clip(values, self._low, self._high).astype(np.float32)
        return bounded

    def _info(self, outcome: HallOutcome, price_usd_per_mwh: float) -> dict[str, Any]:
        terms = reward_terms(self.task, outcome, self.hall, price_usd_per_mwh, self.dt_s)
        self._terms = tuple(terms)
        broken = cost_terms(self.task, outcome, self._state.structure_c)
        cooling_w, miners_w = float(outcome.power_cooling_w), float(outcome.power_miners_w)
        return {
            **terms,
            **broken,
            "cost": sum(broken.values()),
            "power_cooling_w": cooling_w,
            "power_miners_w": miners_w,
            "pue": (cooling_w + miners_w) / miners_w,
            "temp_chip_max_c": float(outcome.temp_hot_max_c.max()),
            "water_kg": float(outcome.plant.water_kg_per_s) * self.dt_s,
        }
