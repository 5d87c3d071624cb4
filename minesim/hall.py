"""The cooled hall as a twin: groups of miners in a spatial room with its cooling plant, one control step at a time.

:func:`transition` composes chips, heatsinks and fan loops (:mod:`minesim.physics.heatsink`, ``fan``), the room of
cells (``room_grid``) and fans, pad, coil and dampers (``cooling``). Miners' fans follow their own loop, so the air and
the room's factor are new in every sub-step; the heat that falls with a warm intake enters the room implicitly.

Shapes: M groups, B halls **last**: groups (M,) or (M, B), cells (nx, ny) or (nx, ny, B), the rest () or (B,). All
miners of a group are alike, and the boards of a miner count as one chip and one heatsink (silicon of mean quality).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minesim.arrays import Array, Namespace
from minesim.catalog.layouts import layout
from minesim.control.fleet import CohortSpec
from minesim.errors import ParamsError, explain
from minesim.physics import asic, fan, heatsink, room_grid, wear
from minesim.physics.cooling import DxParams, PadParams, PlantCommand, PlantOutcome, PlantParams, Weather, plant_of
from minesim.physics.cooling import run_plant as run_cooling_plant
from minesim.physics.firmware import FirmwareParams
from minesim.physics.room_grid import RoomEquations, RoomModel, RoomTemps
from minesim.physics.room_plan import RoomPlan
from minesim.site import DENSITY_REF, HA_EXPONENT, LOG_DUTY_OFF, SiteParams, WearParams
from minesim.site_spec import SiteSpec, build_site
from minesim.units import CP_AIR_J_PER_KG_K, SECONDS_PER_HOUR

LOG_RHO_CP_REF = math.log(DENSITY_REF * CP_AIR_J_PER_KG_K)


@dataclass(frozen=True)
class HallMiners:
    """Constants of one miner of each group at its stock preset, all its boards together, (M,) or (M, 1) for batches.

    Attributes:
        count: miners in the group.
        dyn_w: switching power at full load, DC, W.
        leak_0c_w: leakage at 0 degC chip temperature, DC, W.
        beta_per_k: growth of leakage.
        psu_linear, psu_per_w: loss of the supply per W and W^2.
        on_w: control board and standby loss of a hashing miner, W.
        started_w: a started miner that does not hash, W.
        fan_max_w, flow_max_m3_per_s: fans at full speed.
        ntu_ref: transfer units of the heatsinks at full speed in air of reference density.
        chip_j_per_k, sink_j_per_k, chip_sink_w_per_k: thermal network.
        hashrate_ths: at full load.
        wear_usd_per_h: expected repair cost at the reference temperature.
    """

    count: Array
    dyn_w: Array
    leak_0c_w: Array
    beta_per_k: Array
    psu_linear: Array
    psu_per_w: Array
    on_w: Array
    started_w: Array
    fan_max_w: Array
    flow_max_m3_per_s: Array
    ntu_ref: Array
    chip_j_per_k: Array
    sink_j_per_k: Array
    chip_sink_w_per_k: Array
    hashrate_ths: Array
    wear_usd_per_h: Array


@dataclass(frozen=True)
class Hall:
    """Everything that stays: room, plant, miners and firmware.

    Attributes:
        room: cells of the room.
        plant: fans, dampers, pad and coil.
        miners: constants of the groups.
        firmware: set points of the fan loop and the trip.
        wear: ageing of chips.
        sub_steps: integration steps of a control step.
        off_w: a stopped miner, W.
    """

    room: RoomModel
    plant: PlantParams
    miners: HallMiners
    firmware: FirmwareParams
    wear: WearParams
    sub_steps: int
    off_w: float

    def to(self, convert: Callable[[Array], Array], batch: bool) -> Hall:
        """The same hall with its arrays passed through ``convert``; with ``batch``, laid out for halls side by side."""
        values = {f.name: getattr(self.miners, f.name) for f in fields(self.miners)}
        laid = {name: convert(value[:, None] if batch else value) for name, value in values.items()}
        return replace(self, room=self.room.to(convert), miners=HallMiners(**laid))


def build_hall(
    name: str | Path = "container_40ft",
    model: str | Sequence[str] = "Antminer S19j Pro (104T)",
    nx: int = 8,
    ny: int = 4,
    pad: PadParams | None = None,
    dx: DxParams | None = None,
    sub_steps: int = 5,
) -> Hall:
    """Furnish a layout with miners.

    Args:
        name: a layout or a TOML file, see :func:`minesim.catalog.layouts.layout`.
        model: hardware model of every miner, or one for each group; air-cooled.
        nx, ny: cells along and across.
        pad, dx: what treats the supply air.
        sub_steps: integration steps of a control step.

    Returns:
        The hall in numpy double precision.

    Raises:
        CatalogError, ParamsError, DataFileError: unknown or impossible parts.
    """
    plan = layout(name)
    if sub_steps < 1:
        raise ParamsError(explain(f"sub_steps is {sub_steps}", allowed="1 or more", origin=f"hall {plan.name!r}"))
    cohorts = cohorts_in(plan, [CohortSpec(name, 1) for name in ((model,) if isinstance(model, str) else model)])
    return furnish(plan, build_site(SiteSpec(plan.name, cohorts, sub_steps=sub_steps)), nx, ny, pad, dx)


def cohorts_in(plan: RoomPlan, cohorts: Sequence[CohortSpec]) -> tuple[CohortSpec, ...]:
    """The miners of a layout as cohorts: one a group, as many as stand in it.

    Args:
        plan: the layout.
        cohorts: what stands in each group, or in all; their counts are not used.

    Raises:
        ParamsError: another number of cohorts.
    """
    groups = plan.groups
    if len(cohorts) not in (1, len(groups)):
        allowed = f"1, or one for each of {len(groups)} groups"
        raise ParamsError(explain(f"{len(cohorts)} models", allowed=allowed, origin=f"layout {plan.name!r}"))
    each = cohorts if len(cohorts) == len(groups) else [cohorts[0]] * len(groups)
    return tuple(replace(cohort, count=group.miners) for cohort, group in zip(each, groups, strict=True))


def furnish(
    plan: RoomPlan, site: SiteParams, nx: int = 8, ny: int = 4, pad: PadParams | None = None, dx: DxParams | None = None
) -> Hall:
    """Put the miners of a site into a layout, cohort by group, at their stock presets.

    Args:
        plan: the layout; the full flow of a miner is its group's.
        site: one air-cooled cohort for each group.
        nx, ny: cells along and across.
        pad, dx: what treats the supply air.

    Returns:
        The hall in numpy double precision.

    Raises:
        ParamsError: a liquid-cooled model, or impossible parts.
    """
    one, curves = site.miners, site.curves
    for model, liquid in zip(curves.models, one.liquid, strict=True):
        if liquid > 0.0:
            raise ParamsError(
                explain(
                    f"model {model!r} is liquid-cooled", allowed="an air-cooled model", origin=f"hall {plan.name!r}"
                )
            )
    boards = one.board_present.sum(axis=0)
    tables = preset_tables(site)
    groups = np.arange(len(curves.models))
    stock = np.abs(curves.preset_power_w - curves.power_rated_w[:, None]).argmin(axis=1)
    return Hall(
        room=room_grid.room_model(plan, nx, ny),
        plant=plant_of(plan, pad, dx),
        miners=HallMiners(
            count=curves.count,
            dyn_w=tables.dyn_w[groups, stock],
            leak_0c_w=tables.leak_0c_w[groups, stock],
            beta_per_k=one.beta_per_k,
            psu_linear=one.psu_linear,
            psu_per_w=one.psu_per_w,
            on_w=one.ctrl_w + one.psu_standby_w,
            started_w=one.ctrl_w + site.boot_w,
            fan_max_w=one.fan_max_w,
            flow_max_m3_per_s=np.array([group.flow_m3_per_s for group in plan.groups]),
            ntu_ref=one.ntu_ref,
            chip_j_per_k=boards * one.chip_j_per_k,
            sink_j_per_k=boards * one.sink_j_per_k,
            chip_sink_w_per_k=boards * one.chip_sink_w_per_k,
            hashrate_ths=tables.hashrate_ths[groups, stock],
            wear_usd_per_h=one.wear_usd_per_h,
        ),
        firmware=site.firmware,
        wear=site.wear,
        sub_steps=site.sub_steps,
        off_w=site.off_w,
    )


class PresetTables(NamedTuple):
    """One miner of each group at each preset, all its boards together, (M, P): see :class:`HallMiners`."""

    dyn_w: np.ndarray
    leak_0c_w: np.ndarray
    hashrate_ths: np.ndarray


def preset_tables(site: SiteParams) -> PresetTables:
    """What changes with the preset, for miners whose boards count as one."""
    one = site.miners
    boards = one.board_present.sum(axis=0)[:, None]
    from_0c = np.exp(-one.beta_per_k * one.temp_ref_c)[:, None]
    return PresetTables(
        boards * one.board_dyn_w, boards * one.board_leak_w * from_0c, np.asarray(site.curves.preset_hashrate_ths)
    )


@dataclass(frozen=True)
class HallState:
    """Memory of a hall.

    Attributes:
        temp_chip_c, temp_sink_c: the two nodes of a miner, degC, (M, B).
        temp_hot_c: hottest chip as the firmware estimates it (hot side of the board plus its offset), degC, (M, B).
        log_duty: logarithm of the miners' fan speed, (M, B).
        tripped: 1 after an over-temperature stop until the board has cooled, (M, B).
        structure_c: walls, racks and metal, degC, (nx, ny, B).
    """

    temp_chip_c: Array
    temp_sink_c: Array
    temp_hot_c: Array
    log_duty: Array
    tripped: Array
    structure_c: Array


SETTLING_S = 2.0 * SECONDS_PER_HOUR
"""Nearly three time constants of the structure: a hall that is left alone for so long counts as settled."""


def settle(
    hall: Hall, command: HallCommand, weather: Weather, dt_s: float, *, xp: Namespace
) -> tuple[HallState, HallOutcome]:
    """Hold a command in the same weather until the hall has settled, see :data:`SETTLING_S`; arguments as of
    :func:`transition`.

    Returns:
        State at the end, and what happened in the last step.
    """
    state = start_state(hall, weather.temp_c, xp=xp)
    for _ in range(round(SETTLING_S / dt_s)):
        state, outcome = transition(state, command, weather, hall, dt_s, xp=xp)
    return state, outcome


def start_state(hall: Hall, temp_amb_c: Array, *, xp: Namespace) -> HallState:
    """A hall whose miners have hashed for a while, held near the fans' target whatever the weather (assumed).

    Args:
        hall: converted to the arrays of ``temp_amb_c``.
        temp_amb_c: outdoor air, degC, () or (B,).
        xp: namespace of the arrays.
    """
    zero = 0.0 * (hall.miners.count + temp_amb_c)
    cells = xp.zeros_like(hall.room.treated_share)
    cells = cells[:, :, None] + temp_amb_c if temp_amb_c.ndim else cells + temp_amb_c
    return HallState(
        temp_chip_c=zero + 60.0,
        temp_sink_c=zero + 48.0,
        temp_hot_c=zero + 68.0,
        log_duty=zero + math.log(0.6),
        tripped=zero,
        structure_c=cells,
    )


class HallCommand(NamedTuple):
    """What is set for a control step.

    Attributes:
        plant: fans, dampers, pad and coil.
        load: each group's share of its full frequency, 0 to 1, (M, B), or (S, M, B) for each sub-step.
        running, booting: 1 for miners that are started, and for those that wait for their first hashes, (M, B). A
            started miner draws power and blows also while it does not hash. None: what hashes is started, and at once.
    """

    plant: PlantCommand
    load: Array
    running: Array | None = None
    booting: Array | None = None


class SubStepRecord(NamedTuple):
    """What :func:`energy_balance_j` needs of a sub-step."""

    equations: RoomEquations
    structure_before_c: Array
    temps: RoomTemps
    heat_w: Array


class HallOutcome(NamedTuple):
    """What happened in a control step; means over it where not said otherwise.

    Attributes:
        power_w: at the wall, of one miner of each group, (M, B).
        power_fan_w, power_leak_w: of that, fans and leakage, (M, B).
        power_miners_w, power_cooling_w: of the hall, () or (B,); cooling is fans of the room, pump and coil.
        hashrate_ths: of one miner of each group, (M, B).
        temp_inlet_c: air that each group takes in, at the end, (M, B).
        temp_hot_max_c: hottest chip within the step, firmware's estimate, (M, B).
        duty: speed of the miners' fans, at the end, (M, B).
        air_c: the field at the end, (nx, ny, B): for drawings and sensors, never for an agent.
        wear_usd: ageing of all miners over the step, () or (B,).
        plant: supply air, water and power.
        course: sub-steps in order.
    """

    power_w: Array
    power_fan_w: Array
    power_leak_w: Array
    power_miners_w: Array
    power_cooling_w: Array
    hashrate_ths: Array
    temp_inlet_c: Array
    temp_hot_max_c: Array
    duty: Array
    air_c: Array
    wear_usd: Array
    plant: PlantOutcome
    course: tuple[SubStepRecord, ...]


def transition(
    state: HallState, command: HallCommand, weather: Weather, hall: Hall, dt_s: float, *, xp: Namespace
) -> tuple[HallState, HallOutcome]:
    """Advance a hall by one control step.

    A start waits for nothing here: what firmware does over time is in the command (:mod:`minesim.site_hall`).

    Args:
        state: at the start.
        command: plant and load.
        weather: outdoor air over the step.
        hall: in the arrays of the state.
        dt_s: control step, s.
        xp: namespace of the arrays.

    Returns:
        State at the end and what happened; :func:`energy_balance_j` accounts for every joule.
    """
    miners, fw, sub_dt_s = hall.miners, hall.firmware, dt_s / hall.sub_steps
    plant = run_cooling_plant(hall.plant, command.plant, weather, xp=xp)
    rho_cp = plant.rho_cp_j_per_m3_k
    network = heatsink.board_network(miners.chip_j_per_k, miners.sink_j_per_k, miners.chip_sink_w_per_k, sub_dt_s)
    minus_capacity_full = -miners.flow_max_m3_per_s * rho_cp
    minus_ntu_full = heatsink.ntu_at_flow(-miners.ntu_ref, xp.log(rho_cp) - LOG_RHO_CP_REF, HA_EXPONENT, xp=xp)
    group_flow_max = miners.count * miners.flow_max_m3_per_s
    fixed_flows = [plant.fan_flow_m3_per_s, plant.damper_flow_m3_per_s]
    loads, asks = command.load, xp.above(command.load, 0.0)
    held = loads.ndim == state.temp_chip_c.ndim
    if held:
        loads, asks = [loads] * hall.sub_steps, [asks] * hall.sub_steps
    log_least: Any = math.log(fw.fan_duty_min)
    if command.booting is not None:
        log_least = log_least + command.booting * math.log(fw.fan_duty_boot / fw.fan_duty_min)
    started, idle_w = command.running, hall.off_w
    if started is not None:
        idle_w = hall.off_w + started * (miners.started_w - hall.off_w)
    on_over_w = miners.on_w - (hall.off_w if started is None else miners.started_w)
    integral = fw.fan_integral_per_k_min * sub_dt_s / 60.0
    chip_c, sink_c, hot_c, log_duty = state.temp_chip_c, state.temp_sink_c, state.temp_hot_c, state.log_duty
    tripped, structure_c = state.tripped, state.structure_c
    nothing = 0.0 * chip_c
    power_sum, fan_sum, leak_sum, load_sum, ageing, hot_max = nothing, nothing, nothing, nothing, nothing, hot_c
    air_c = inlet_c = duty = nothing
    course = []
    switched = True
    for load, asked in zip(loads, asks, strict=True):
        # --- what hashes and blows, as long as no load changes and no miner trips or comes back
        if switched:
            on = asked * (1.0 - tripped)
            up = on if started is None else started
            low = LOG_DUTY_OFF + up * (log_least - LOG_DUTY_OFF)
            high = LOG_DUTY_OFF - LOG_DUTY_OFF * up
            log_duty = xp.minimum(xp.maximum(log_duty, low), high)
            on_load, leak_0c_w, base_w = on * load, on * miners.leak_0c_w, idle_w + on * on_over_w
            dyn_w, fan_max_w = on_load * miners.dyn_w, up * miners.fan_max_w
        switched = not held

        # --- electrical, at the temperatures of the sub-step's start
        duty = xp.exp(log_duty)
        leak_w = leak_0c_w * asic.leakage_growth_from_0c(chip_c, miners.beta_per_k, xp=xp)
        dc_w = dyn_w + leak_w
        fans_w = fan.fan_power_w(duty, fan_max_w)
        beside_w = base_w + dc_w * (miners.psu_linear + miners.psu_per_w * dc_w) + fans_w

        # --- air and room, with the heatsinks' dependence on their intake
        minus_capacity = minus_capacity_full * duty
        minus_ntu = heatsink.ntu_at_flow(minus_ntu_full, log_duty, HA_EXPONENT, xp=xp)
        ua = heatsink.ua_stream_w_per_k(minus_capacity, minus_ntu, xp=xp)
        chip_source, sink_source = heatsink.sink_source_w(chip_c, sink_c, dc_w, network)
        diagonal = network.sink_diagonal + ua
        share = ua / diagonal
        slope = share * network.sink_diagonal
        cold_w = share * sink_source  # to the stream, were its intake at 0 degC
        heat_w = miners.count * (cold_w + beside_w)
        inputs = xp.concat([group_flow_max * duty, *fixed_flows], 0)
        _, equations, factor = room_grid.set_air(
            hall.room, inputs, rho_cp, sub_dt_s, miners.count * slope, once=True, xp=xp
        )
        temps = room_grid.advance(
            hall.room, equations, factor, structure_c, heat_w, plant.temp_supply_c, weather.temp_c
        )
        course.append(SubStepRecord(equations, structure_c, temps, heat_w))
        air_c, structure_c = temps
        inlet_c = room_grid.inlet_temps_c(hall.room, equations, air_c)

        # --- chips, their fans and the trip
        chip_c, sink_c = heatsink.node_temps_c(chip_source, sink_source, ua * inlet_c, diagonal, network)
        rise_k = (slope * inlet_c - cold_w) / minus_capacity
        before_c, hot_c = hot_c, heatsink.board_sensor_temps_c(sink_c, rise_k)[1] + fw.chip_offset_k
        log_duty = fan.log_duty_step(
            log_duty, hot_c, before_c, fw.fan_target_c, integral, fw.fan_proportional_per_k, low, high, xp=xp
        )
        if xp.may_reach(hot_c, fw.temp_trip_c) or xp.maybe_any(tripped):
            cooled = xp.below(hot_c, fw.temp_resume_c + fw.chip_offset_k)
            tripped = xp.maximum(tripped * (1.0 - cooled), xp.above(hot_c, fw.temp_trip_c))
            switched = True
        power_sum, fan_sum = power_sum + (dc_w + beside_w), fan_sum + fans_w
        leak_sum, load_sum = leak_sum + leak_w, load_sum + on_load
        ageing = ageing + on * wear.arrhenius_factor(hot_c, hall.wear.temp_ref_c, hall.wear.activation_ev, xp=xp)
        hot_max = xp.maximum(hot_max, hot_c)
    mean = 1.0 / hall.sub_steps
    outcome = HallOutcome(
        power_w=power_sum * mean,
        power_fan_w=fan_sum * mean,
        power_leak_w=leak_sum * mean,
        power_miners_w=xp.sum(miners.count * power_sum, axis=0) * mean,
        power_cooling_w=plant.power_fans_w + plant.power_pad_w + plant.power_dx_w,
        hashrate_ths=load_sum * miners.hashrate_ths * mean,
        temp_inlet_c=inlet_c,
        temp_hot_max_c=hot_max,
        duty=duty,
        air_c=air_c,
        wear_usd=xp.sum(miners.count * miners.wear_usd_per_h * ageing, axis=0)
        * (hall.wear.scale * sub_dt_s / SECONDS_PER_HOUR),
        plant=plant,
        course=tuple(course),
    )
    return HallState(chip_c, sink_c, hot_c, log_duty, tripped, structure_c), outcome


class EnergyBalance(NamedTuple):
    """Energy of a control step, J, () or (B,): ``electrical = air_out + envelope + stored`` to rounding."""

    electrical_j: Array
    air_out_j: Array
    envelope_j: Array
    stored_j: Array


def energy_balance_j(
    before: HallState,
    after: HallState,
    outcome: HallOutcome,
    weather: Weather,
    hall: Hall,
    dt_s: float,
    *,
    xp: Namespace,
) -> EnergyBalance:
    """Account for the electrical energy of the miners: what left with the air and the walls, and what is still there.

    Args:
        before, after: states around the step.
        outcome: of :func:`transition`.
        weather, hall, dt_s, xp: as there.
    """
    miners, sub_dt_s = hall.miners, dt_s / hall.sub_steps
    chips = miners.chip_j_per_k * (after.temp_chip_c - before.temp_chip_c)
    sinks = miners.sink_j_per_k * (after.temp_sink_c - before.temp_sink_c)
    totals: list[Any] = [0.0, 0.0, xp.sum(miners.count * (chips + sinks), axis=0)]
    for part in outcome.course:
        balance = room_grid.heat_balance(
            hall.room,
            part.equations,
            part.structure_before_c,
            part.temps,
            part.heat_w,
            outcome.plant.temp_supply_c,
            weather.temp_c,
            sub_dt_s,
            xp=xp,
        )
        went = (balance.air_out_w, balance.envelope_w, balance.stored_w)
        totals = [total + sub_dt_s * flow_w for total, flow_w in zip(totals, went, strict=True)]
    return EnergyBalance(outcome.power_miners_w * dt_s, *totals)
