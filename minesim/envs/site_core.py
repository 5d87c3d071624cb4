"""The core of ``minesim/Site-v0``: sites whose miners stand in a hall, stepped together, in numpy or torch.

Control, money, market and episodes are those of :mod:`minesim.envs.core`; the twin is :mod:`minesim.site_hall`.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, field, fields, replace
from typing import cast

import numpy as np

from minesim.arrays import Array
from minesim.catalog.layouts import layout
from minesim.control import hall_sensors
from minesim.control.actuate import convert
from minesim.control.channels import Channel
from minesim.control.hall_sensors import HallTelemetry, hall_channels, observe_hall
from minesim.control.observe import Encoding
from minesim.control.telemetry import Telemetry
from minesim.envs.cooling_core import PAD, default_sensors
from minesim.envs.core import (
    WEATHER,
    EnvConfig,
    Fixed,
    SiteCarry,
    SiteCore,
    StepInputs,
    Told,
    World,
    account,
    build_world,
    decide,
)
from minesim.errors import ParamsError, explain
from minesim.hall import Hall, HallOutcome, cohorts_in, furnish
from minesim.physics.cooling import DxParams, PadParams, PlantCommand, Weather
from minesim.physics.firmware import FirmwareCommand
from minesim.physics.room_grid import sensor_cells
from minesim.site import hashrate_noise, measure
from minesim.site_hall import HallSite, HallSiteState, hall_cells, initial_state, prepare_hall_site, transition
from minesim.site_spec import site_spec
from minesim.tasks.cooling import (
    ActionParts,
    CoolingTask,
    action_parts,
    plant_command,
    plant_names,
    setting_of,
    water_usd,
)
from minesim.tasks.site import room_costs, water_term

AT_START = {"pad_duty": -1.0, "damper": -1.0}
"""Settings of the plant before an episode: fans full, a dry pad, closed dampers, no coil."""


@dataclass(frozen=True)
class SiteConfig(EnvConfig):
    """What ``minesim/Site-v0`` is made of, beside what every site is.

    The miners of cohort m of ``site`` stand in group m of the layout, as many as the layout has there; a site of one
    cohort fills all groups.

    Attributes:
        layout_name: layout or TOML file.
        nx, ny: cells along and across.
        zones: parts along the hall whose fans and dampers are set by themselves.
        pad, dx: what treats the supply air.
        cooling: price of water, limits of the room.
    """

    layout_name: str = "container_40ft"
    nx: int = 8
    ny: int = 4
    zones: int = 1
    pad: PadParams | None = PAD
    dx: DxParams | None = None
    cooling: CoolingTask = field(default_factory=CoolingTask)


@dataclass(frozen=True)
class SiteWorld(World):
    """What all sites of a configuration share, never changed.

    Attributes:
        hall: numpy, one hall.
        parts: what each setting of the plant sets.
        settings: names of the plant's numbers in an action, behind those of the cohorts.
        channels: what is observed of the hall.
        cells: of the air sensors.
        fans_w: room fans at full speed, W.
    """

    config: SiteConfig
    hall: Hall
    parts: ActionParts
    settings: tuple[str, ...]
    channels: tuple[Channel, ...]
    cells: np.ndarray
    fans_w: float

    @property
    def action_size(self) -> int:
        """One number per cohort, one for the reserve offer where the tariff has it, and the settings of the plant."""
        return super().action_size + len(self.settings)


def build_site_world(config: SiteConfig) -> SiteWorld:
    """Put the miners of a site into a layout and compile the traces.

    Raises:
        MinesimError: a part is unknown or impossible; the message names it.
    """
    plan, spec = layout(config.layout_name), site_spec(config.site)
    spec = replace(spec, cohorts=cohorts_in(plan, spec.cohorts))
    base = build_world(replace(config, site=spec))
    hall = furnish(plan, base.params, config.nx, config.ny, config.pad, config.dx)
    parts = action_parts(plan, config.zones)
    settings, sensors = plant_names(hall.plant, parts), default_sensors(plan)
    return SiteWorld(
        config=config,
        scenario=base.scenario,
        table=base.table,
        params=base.params,
        limits=base.limits,
        difficulty=base.difficulty,
        hall=hall,
        parts=parts,
        settings=settings,
        channels=hall_channels(tuple(sensors), settings),
        cells=sensor_cells(hall.room.grid, sensors),
        fans_w=float(sum(hall.plant.fan_power_w)),
    )


@dataclass(frozen=True)
class SiteFixed(Fixed):
    """What never changes between the steps of a core.

    Attributes:
        twin: the site in its hall.
        cells: of the air sensors.
        hall_encoding: of the hall's readings.
    """

    world: SiteWorld
    twin: HallSite
    cells: Array
    hall_encoding: Encoding

    def plant(self, settings: Array) -> PlantCommand:
        """Command of the plant's numbers of an action, (B, A)."""
        shares = 0.5 + 0.5 * settings.T
        named = dict(zip(self.world.settings, shares, strict=True))
        return plant_command(named, self.twin.hall.plant, self.world.parts, 0.0 * shares[0], xp=self.site.xp)

    def with_hall(self, reading: Telemetry, hall: HallOutcome, settings: Array) -> HallTelemetry:
        """A site's reading with that of its hall."""
        air_c = hall.air_c.reshape(-1, *hall.air_c.shape[2:])
        return HallTelemetry(
            **{field_.name: getattr(reading, field_.name) for field_ in fields(Telemetry)},
            temp_air_c=self.site.xp.rows(air_c, self.cells).T,
            power_cooling_w=hall.power_cooling_w,
            settings=settings,
        )


def advance(carry: SiteCarry, inputs: StepInputs, fixed: SiteFixed) -> tuple[Told, HallOutcome]:
    """Advance all sites by one control step: control, twin, money, observation; and what happened in the hall."""
    world, xp, twin = fixed.world, fixed.site.xp, fixed.twin
    history, reason = decide(carry, inputs, fixed)
    settings = inputs.action[..., -len(world.settings) :]
    u_restart = inputs.u[..., : world.cohorts]
    state, (outcome, hall) = transition(
        carry.state, history.command, fixed.plant(settings), inputs.row.exog, u_restart, twin
    )
    reading = measure(state.power_bias, outcome, inputs.noise, fixed.age_s, twin.hall.firmware.chip_offset_k, xp=xp)
    telemetry = fixed.with_hall(reading, hall, settings)
    carry, observation, reward, cost, info = account(carry, inputs, fixed, history, reason, state, outcome, telemetry)
    cooling, dt_s = world.config.cooling, world.config.dt_ctrl_s
    paid_usd = water_usd(cooling, hall, dt_s)
    water = water_term(world.config.task, paid_usd, fixed.scale_usd)
    broken = room_costs(cooling, hall, hall_cells(state.structure_c, twin.hall), xp=xp)
    cost = functools.reduce(operator.add, broken.values(), cost)
    count, inlet_c = twin.hall.miners.count, hall.temp_inlet_c
    info |= {
        "cost": cost,
        "profit_usd": info["profit_usd"] - paid_usd,
        "water_usd": paid_usd,
        "reward_water": water,
        **broken,
        "power_miner_fans_kw": xp.sum(count * hall.power_fan_w, axis=0) * 1e-3,
        "temp_inlet_spread_k": xp.max(inlet_c, axis=0) - xp.min(inlet_c, axis=0),
        "water_kg": hall.plant.water_kg_per_s * dt_s,
    }
    seen = xp.concat([observation, observe_hall(telemetry, fixed.hall_encoding, observation, xp=xp)], -1)
    return (carry, seen, reward + water, cost, info), hall


class SiteHallCore(SiteCore):
    """B sites of one world, each in its hall.

    Args:
        world: compiled traces, site and hall.
        num_envs: B.
        like: an array whose kind, dtype and device the state takes; numpy float64 by default.

    Attributes:
        outcome: of the hall in the last step, for drawings.
    """

    world: SiteWorld
    outcome: HallOutcome

    def __init__(self, world: SiteWorld, num_envs: int, like: Array | None = None, *, compiled: bool = False) -> None:
        if compiled:
            raise ParamsError(explain("a site in a hall is not compiled", fix="Leave compiled out."))
        super().__init__(world, num_envs, like)
        self.schema = hall_sensors.schema(world.cohorts, world.channels)
        self._peak_before_kw += world.fans_w * 1e-3
        hall = world.hall.to(self._state_array, batch=not self._lone)
        encoding = hall_sensors.encoding(world.channels, world.fans_w)
        self._fixed: SiteFixed = SiteFixed(
            **{field_.name: getattr(self._fixed, field_.name) for field_ in fields(Fixed)},
            twin=prepare_hall_site(self.site, world.params, hall, self._like),
            cells=self._integers(world.cells),
            hall_encoding=Encoding(**convert(encoding, self._like)),
        )
        self._advance = self._advance_hall

    @property
    def hall(self) -> Hall:
        """Room, plant and miners in the arrays of the batch."""
        return self._fixed.twin.hall

    def _advance_hall(self, carry: SiteCarry, inputs: StepInputs, fixed: SiteFixed) -> Told:
        told, outcome = advance(carry, inputs, fixed)
        self.outcome = outcome._replace(course=())
        return told

    def _weather_columns(self) -> np.ndarray:
        return np.stack([self.world.table.column(name) for name in WEATHER], axis=1)

    def _exogenous(self, weather: Array) -> Weather:
        return Weather(*weather)

    def _begin(
        self, running: float, command: FirmwareCommand, power_w: Array, leak: Array, bias: Array, row: Array
    ) -> tuple[HallSiteState, Telemetry]:
        """After a step with fans at full speed, which makes the first readings."""
        xp, fixed = self.xp, self._fixed
        weather = Weather(*(xp.cast(row[self._columns[name]], self._like) for name in WEATHER))
        state = initial_state(fixed.twin, weather.temp_c, leak, bias, running=running, preset=command.preset)
        settings = command.run[..., :1] * 0.0 + self._state_array(
            np.array([AT_START.get(setting_of(name), 1.0) for name in self.world.settings])
        )
        state, (outcome, hall) = transition(
            state, command, fixed.plant(settings), weather, 0.5 + 0.0 * command.run, fixed.twin
        )
        self.outcome = hall._replace(course=())
        exact = hashrate_noise(0.5)
        reading = measure(bias, outcome, exact, 0.0 * command.run, self.world.hall.firmware.chip_offset_k, xp=xp)
        return state, fixed.with_hall(reading, hall, settings)

    def observation(self) -> Array:
        """What every site reports now, (B, n)."""
        seen, telemetry = super().observation(), cast(HallTelemetry, self._carry.telemetry)
        hall = observe_hall(telemetry, self._fixed.hall_encoding, seen, xp=self.xp)
        return self.xp.concat([seen, hall[None] if self._lone else hall], -1)
