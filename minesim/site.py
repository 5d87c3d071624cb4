"""The site twin: one control step of miners, fans, room and wear, composed from the formulas of ``physics``.

:func:`transition` is a pure function of state, command and exogenous values. Shapes: ``B`` sites, ``M`` cohorts,
``K`` hashboards. The board axis comes first: sums over boards then run over contiguous memory, and cohort values
broadcast without an inner loop of length three (twice as fast in both libraries). Whatever is constant over the
control step is computed once, before the sub-steps; what is constant over the episode, in :func:`prepare`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from minesim.arrays import Array, Namespace, namespace_of
from minesim.control.actuate import FleetCurves, convert
from minesim.control.telemetry import MINER_READINGS, NO_ANSWER_AGE_S, Telemetry
from minesim.errors import ParamsError, explain
from minesim.physics import asic, fan, firmware, heatsink, psychrometrics, room, wear
from minesim.physics.firmware import FirmwareCommand, FirmwareParams, FirmwareState
from minesim.physics.heatsink import BoardNetwork
from minesim.units import SECONDS_PER_HOUR

DENSITY_REF = 1.204
"""Dry air at 20 C and sea level, kg/m3."""
HA_EXPONENT = 0.7
"""Heat transfer grows as flow to this power; see :func:`minesim.physics.heatsink.ntu_at_flow`."""
LOG_DUTY_OFF = math.log(0.02)
"""Air through a standing miner as a share of full flow, 2 % (natural draught and room pressure; assumed)."""


@dataclass(frozen=True)
class MinerArrays:
    """Constants of the miners: per miner of a cohort (M,), per preset (M, P).

    Attributes:
        board_present: 1 for a real board, 0 for padding, (K, M).
        board_dyn_w: switching power of one board at each preset, DC, (M, P).
        board_leak_w: leakage of one board of mean silicon at each preset and ``temp_ref_c``, DC, (M, P).
        beta_per_k, temp_ref_c: growth of leakage.
        psu_standby_w, psu_linear, psu_per_w: loss coefficients of the supply.
        ctrl_w: control board.
        fan_max_w: power of all fans of a miner at full speed, W.
        liquid: 1 for a liquid-cooled unit, whose flow does not follow its chips (pump outside), else 0.
        flow_max_w_per_k: capacity rate of the coolant at full speed and 20 C sea-level air, W/K.
        ntu_ref: transfer units at full speed.
        chip_j_per_k, sink_j_per_k, chip_sink_w_per_k: thermal network of each board.
        wear_usd_per_h: expected repair cost per hour at the reference temperature, USD.
        stop_usd: expected solder-fatigue cost of a stop of reference depth, USD.
        failed_restart_usd: cost of one miner that does not come back, USD.
    """

    board_present: Array
    board_dyn_w: Array
    board_leak_w: Array
    beta_per_k: Array
    temp_ref_c: Array
    psu_standby_w: Array
    psu_linear: Array
    psu_per_w: Array
    ctrl_w: Array
    fan_max_w: Array
    liquid: Array
    flow_max_w_per_k: Array
    ntu_ref: Array
    chip_j_per_k: Array
    sink_j_per_k: Array
    chip_sink_w_per_k: Array
    wear_usd_per_h: Array
    stop_usd: Array
    failed_restart_usd: Array


@dataclass(frozen=True)
class RoomParams:
    """The hall or container around the miners; one well-mixed hot zone.

    Attributes:
        vent_ratio: exchanged air over the air that the running miners move; room fans follow the miners (assumed 1.15,
            within what a container's exhaust fans are sized for).
        vent_min_share: exchanged air at standstill as a share of the full flow (open louvres, assumed).
        share_leak: recirculated share with enough room air (assumed).
        fan_w_per_w_per_k: room fan power per capacity rate at full speed, W per W/K (assumed 0.06: about 1.2 % of the
            miners' power at 15 K rise, PUE 1.02 with losses).
        pad_effectiveness: of the evaporative pad; 0 for none.
        pad_on_c: the pad runs above this outdoor temperature.
        pad_pump_w_per_w_per_k: pump power per capacity rate (assumed).
        wall_s: time constant of structure against air at full flow, 45 min measured in the room prototype.
        wall_share: conductance to the structure as a share of the full capacity rate (assumed).
        envelope_share: structure to outdoors, likewise (assumed).
    """

    vent_ratio: float = 1.15
    vent_min_share: float = 0.05
    share_leak: float = 0.02
    fan_w_per_w_per_k: float = 0.18
    pad_effectiveness: float = 0.75
    pad_on_c: float = 27.0
    pad_pump_w_per_w_per_k: float = 0.01
    wall_s: float = 2700.0
    wall_share: float = 0.05
    envelope_share: float = 0.01


@dataclass(frozen=True)
class WearParams:
    """Forms have sources, sizes are assumed; results that hang on them are repeated at scales 0, 0.5, 1, 2 and 4.

    Attributes:
        scale: multiplies every cost of wear and stops.
        temp_ref_c: chip temperature at which ageing is 1.
        activation_ev: Arrhenius energy (0.7 eV, integrated circuits).
        restart_failure_base: chance that a start at 40 C board temperature fails (assumed).
        restart_cold_scale_k: kelvins of further cooling for a factor e (assumed).
        sample_failures: draw failed restarts instead of charging their expectation.
        repair_days: mean time until a failed miner is back (14 days: weak source).
    """

    scale: float = 1.0
    temp_ref_c: float = 65.0
    activation_ev: float = 0.7
    restart_failure_base: float = 2e-4
    restart_cold_scale_k: float = 25.0
    sample_failures: bool = False
    repair_days: float = 14.0


@dataclass(frozen=True)
class SiteParams:
    """Everything that does not change during an episode."""

    curves: FleetCurves
    miners: MinerArrays
    firmware: FirmwareParams = field(default_factory=FirmwareParams)
    room: RoomParams = field(default_factory=RoomParams)
    wear: WearParams = field(default_factory=WearParams)
    sub_steps: int = 5
    boot_w: float = 120.0
    """Extra draw while booting: about 150 W in all, 21 s after the start of an S19j Pro (VNish 1.2.0-rc5)."""
    off_w: float = 15.0
    """A stopped miner; LuxOS states about 25 W asleep with the control board on."""


@dataclass(frozen=True)
class PreparedSite:
    """A site laid out for B sites and one control step: all that need not be computed again in a step.

    Attributes:
        params: the site in the arrays of the batch.
        dt_s, sub_dt_s: control step and sub-step, s.
        miners, count: constants of the miners, (B, M) and (K, B, M).
        boards: number of boards, (B, M).
        padded: whether some model has fewer boards than the widest.
        network: thermal network of a board, (B, M).
        dyn_w, leak_w, hashrate_ths: flat preset tables, (M P,).
        offset: first entry of each cohort in the flat tables, (M,) integers.
        log_duty_min, log_duty_boot: logarithms of the lowest duty while hashing and while booting, (B, M).
        minus_per_board, minus_ntu_ref, sink_diagonal_sum: products of the constants, (B, M).
        fan_integral_per_k: integral gain of the fan loop for this sub-step.
        sub_index: 0, 1, ... as floats, (S, 1, 1).
        xp: namespace of the arrays.
        sub_step: :func:`sub_step`, or a compiled form of it.
    """

    params: SiteParams
    dt_s: float
    sub_dt_s: float
    miners: MinerArrays
    count: Array
    boards: Array
    padded: bool
    network: BoardNetwork
    dyn_w: Array
    leak_w: Array
    hashrate_ths: Array
    offset: Array
    log_duty_min: Array
    log_duty_boot: Array
    minus_per_board: Array
    minus_ntu_ref: Array
    sink_diagonal_sum: Array
    fan_integral_per_k: float
    sub_index: Array
    xp: Namespace
    sub_step: Callable[[SubStep, SubStepDrive, SubStepTerms, room.RoomTerms, PreparedSite], SubStep]


SMALL = 4096
"""Up to this many cohorts board constants are laid out per board: operations on equal shapes then cost half of those
that broadcast. In large batches memory traffic matters more, and broadcasting wins."""


def _compiled(function: Any, xp: Namespace) -> Any:
    if xp.name != "torch":
        raise ParamsError(explain("compilation was asked for numpy arrays", allowed="torch tensors"))
    import torch

    return torch.compile(function, dynamic=False)


def prepare(params: SiteParams, num_envs: int, dt_s: float, like: Array, *, compiled: bool = False) -> PreparedSite:
    """Lay a site out for ``num_envs`` sites in the kind, dtype and device of ``like``.

    Args:
        params: the site in numpy arrays.
        num_envs: B.
        dt_s: control step, s.
        like: an array of the wanted kind.
        compiled: compile the sub-step with ``torch.compile`` (needs a C++ compiler on the machine).
    """
    xp = namespace_of(like)
    cohorts, presets = params.curves.preset_power_w.shape
    boards = params.miners.board_present.shape[0]
    spread: dict[str, Array] = {}
    for name, value in convert(params.miners, like).items():
        if name == "board_present":
            spread[name] = xp.broadcast(value[:, None, :], (boards, num_envs, cohorts))
        elif value.ndim == 1:
            spread[name] = xp.broadcast(value, (num_envs, cohorts))
        else:
            spread[name] = value
    miners = MinerArrays(**spread)
    sub_dt_s = dt_s / params.sub_steps
    curves = params.curves.to(like)
    present = xp.sum(miners.board_present, axis=0)
    network = heatsink.board_network(miners.chip_j_per_k, miners.sink_j_per_k, miners.chip_sink_w_per_k, sub_dt_s)
    sink_diagonal_sum = network.sink_diagonal * present
    if num_envs * cohorts <= SMALL:
        shape = (boards, num_envs, cohorts)
        network = BoardNetwork(
            *(xp.broadcast(value, shape) for value in network[:-1]), sink_diagonal=network.sink_diagonal
        )
        miners = replace(
            miners, beta_per_k=xp.broadcast(miners.beta_per_k, shape), temp_ref_c=xp.broadcast(miners.temp_ref_c, shape)
        )
    return PreparedSite(
        params=replace(params, curves=curves, miners=miners),
        dt_s=dt_s,
        sub_dt_s=sub_dt_s,
        miners=miners,
        count=xp.broadcast(curves.count, (num_envs, cohorts)),
        boards=present,
        padded=bool((params.miners.board_present < 1.0).any()),
        network=network,
        dyn_w=miners.board_dyn_w.reshape(-1),
        leak_w=miners.board_leak_w.reshape(-1),
        hashrate_ths=curves.preset_hashrate_ths.reshape(-1),
        offset=xp.int64(xp.asarray(np.arange(cohorts) * presets, like=like)),
        log_duty_min=math.log(params.firmware.fan_duty_min) * (1.0 - miners.liquid),
        log_duty_boot=math.log(params.firmware.fan_duty_boot) * (1.0 - miners.liquid),
        minus_per_board=-1.0 / present,
        minus_ntu_ref=-miners.ntu_ref,
        sink_diagonal_sum=sink_diagonal_sum,
        fan_integral_per_k=params.firmware.fan_integral_per_k_min * sub_dt_s / 60.0,
        xp=xp,
        sub_step=_compiled(sub_step, xp) if compiled else sub_step,
        sub_index=xp.asarray(np.arange(float(params.sub_steps)).reshape(-1, 1, 1), like=like),
    )


@dataclass(frozen=True)
class SiteState:
    """The physical state.

    Attributes:
        firmware: memory of the miners' firmware, (B, M) each.
        temp_chip_c, temp_sink_c: board nodes, degC, (K, B, M).
        log_duty: logarithm of the miners' fan duty, (B, M).
        air_rise_k: outlet minus intake air of the last sub-step, K, (B, M).
        share_up: share of a cohort that is not waiting for repair, (B, M).
        temp_wall_c: structure, degC, (B,).
        silicon_leak: leakage of each board relative to its model, drawn at reset, (K, B, M).
        power_bias: relative error of the firmware's power estimate, drawn at reset, (B, M).
    """

    firmware: FirmwareState
    temp_chip_c: Array
    temp_sink_c: Array
    log_duty: Array
    air_rise_k: Array
    share_up: Array
    temp_wall_c: Array
    silicon_leak: Array
    power_bias: Array


@dataclass(frozen=True)
class Exogenous:
    """What the world does in a control step.

    Attributes:
        temp_amb_c, temp_wetbulb_c: outdoor air, degC, (B,).
        air_density_ratio: density of outdoor air over 1.204 kg/m3, (B,).
        u_restart: uniform draw for failed restarts, (B, M).
    """

    temp_amb_c: Array
    temp_wetbulb_c: Array
    air_density_ratio: Array
    u_restart: Array


def weather_terms(
    temp_amb_c: Array, rel_humidity_pct: Array, pressure_pa: Array, *, xp: Namespace
) -> tuple[Array, Array]:
    """What the twin needs of moist air: wet bulb (degC) and density ratio, for any shape of weather."""
    density = psychrometrics.density_air_kg_per_m3(temp_amb_c, pressure_pa)
    return psychrometrics.temp_wetbulb_c(temp_amb_c, rel_humidity_pct, xp=xp), density / DENSITY_REF


@dataclass(frozen=True)
class Outcome:
    """What happened in a control step.

    Attributes:
        power_w: mean wall power of one miner, (B, M).
        hashrate_ths: mean hashrate of one miner, (B, M).
        hashing: hashing share at the end of the step, (B, M).
        temp_chip_max_c: hottest chip of the step as the firmware estimates it (board + offset), degC, (B, M).
        power_miners_w: mean power of all miners, (B,).
        power_cooling_w: room fans and pad pump, (B,).
        power_site_w: miners and cooling; the tariff's loss factor adds the transformer, (B,).
        temp_intake_c, temp_hot_c: air at the end of the step, degC, (B,).
        heat_out_j: heat that left with the air and through the envelope, J, (B,).
        heat_stored_j: heat that boards and structure took up, J, (B,).
        wear_usd: expected ageing cost, USD, (B,).
        restart_usd: cost of stops and of failed restarts, USD, (B,).
        stops: stops of miners, weighted by their number, (B,).
        tripped: miners that tripped in this step, (B,).
    """

    power_w: Array
    hashrate_ths: Array
    hashing: Array
    temp_chip_max_c: Array
    power_miners_w: Array
    power_cooling_w: Array
    power_site_w: Array
    temp_intake_c: Array
    temp_hot_c: Array
    heat_out_j: Array
    heat_stored_j: Array
    wear_usd: Array
    restart_usd: Array
    stops: Array
    tripped: Array


class SubStep(NamedTuple):
    """What sub-steps hand on: nodes (K, B, M), cohorts (B, M), sites (B,)."""

    temp_chip_c: Array
    temp_sink_c: Array
    temp_wall_c: Array
    log_duty: Array
    alive: Array
    air_rise_k: Array
    power_sum_w: Array
    hash_sum: Array
    hot_sum_c: Array
    wall_sum_c: Array
    temp_hot_c: Array
    hottest_c: Array


class SubStepDrive(NamedTuple):
    """What the firmware does in a sub-step, (B, M): rail on, switching power of a board, hashing, constant power."""

    rail: Array
    dyn_w: Array
    active: Array
    constant_w: Array


class SubStepTerms(NamedTuple):
    """What holds over a control step: leakage (K, B, M), flows and fan bounds (B, M)."""

    leak_w: Array
    flow: Array
    minus_flow_board: Array
    minus_ntu: Array
    duty_low: Array
    duty_high: Array


def sub_step(
    carry: SubStep, drive: SubStepDrive, terms: SubStepTerms, air: room.RoomTerms, site: PreparedSite
) -> SubStep:
    """Integrate one sub-step: leakage at the old temperature, everything else implicit in the new ones.

    The one function to compile: it is straight-line, and five calls make a control step.
    """
    xp = site.xp
    miners, network, fw = site.miners, site.network, site.params.firmware
    growth = asic.leakage_growth(carry.temp_chip_c, miners.beta_per_k, miners.temp_ref_c, xp=xp)
    board_w = (terms.leak_w * growth * drive.rail + drive.dyn_w) * carry.alive
    if site.padded:
        board_w = board_w * miners.board_present
    dc_w = xp.sum(board_w, axis=0)
    duty = xp.exp(carry.log_duty)
    minus_ntu = heatsink.ntu_at_flow(terms.minus_ntu, carry.log_duty, HA_EXPONENT, xp=xp)
    ua = heatsink.ua_stream_w_per_k(terms.minus_flow_board * duty, minus_ntu, xp=xp)
    supply_loss_w = dc_w * (miners.psu_linear + miners.psu_per_w * dc_w)
    bypass_w = drive.constant_w + supply_loss_w + fan.fan_power_w(duty, miners.fan_max_w)
    chip_source, sink_source = heatsink.sink_source_w(carry.temp_chip_c, carry.temp_sink_c, board_w, network)
    diagonal = network.sink_diagonal + ua
    share = ua / diagonal
    heat_w = share * xp.sum(sink_source * miners.board_present if site.padded else sink_source, axis=0)
    slope = share * site.sink_diagonal_sum
    temp_hot_c, temp_intake_c, temp_wall_c = room.solve_air(
        air,
        xp.sum(site.count * (heat_w + bypass_w), axis=-1),
        xp.sum(site.count * slope, axis=-1),
        carry.temp_wall_c,
    )
    intake = temp_intake_c[..., None]
    temp_chip_c, temp_sink_c = heatsink.node_temps_c(chip_source, sink_source, ua * intake, diagonal, network)
    air_rise_k = (heat_w - slope * intake) / (terms.flow * duty)
    hottest_c = xp.max(temp_sink_c, axis=0) + (0.5 * air_rise_k + fw.chip_offset_k)
    return SubStep(
        temp_chip_c=temp_chip_c,
        temp_sink_c=temp_sink_c,
        temp_wall_c=temp_wall_c,
        log_duty=fan.log_duty_step(
            carry.log_duty,
            hottest_c,
            carry.hottest_c,
            fw.fan_target_c,
            site.fan_integral_per_k,
            fw.fan_proportional_per_k,
            terms.duty_low,
            terms.duty_high,
            xp=xp,
        ),
        alive=carry.alive * (hottest_c < fw.temp_trip_c),
        air_rise_k=air_rise_k,
        power_sum_w=carry.power_sum_w + (dc_w + bypass_w),
        hash_sum=carry.hash_sum + drive.active * carry.alive,
        hot_sum_c=carry.hot_sum_c + temp_hot_c,
        wall_sum_c=carry.wall_sum_c + temp_wall_c,
        temp_hot_c=temp_hot_c,
        hottest_c=hottest_c,
    )


def transition(
    state: SiteState, command: FirmwareCommand, exog: Exogenous, site: PreparedSite
) -> tuple[SiteState, Outcome]:
    """Advance a site by one control step.

    Args:
        state: at the start.
        command: what was written to the firmware, (B, M).
        exog: weather and draws.
        site: constants, from :func:`prepare`.

    Returns:
        State at the end and what happened. Energy is balanced: miners' power times time equals
        ``heat_out_j + heat_stored_j`` to rounding.
    """
    xp = namespace_of(state.temp_chip_c)
    params, miners, count, dt = site.params, site.miners, site.count, site.sub_dt_s
    fw = params.firmware

    # --- firmware: what runs in each sub-step
    half_rise_k = 0.5 * state.air_rise_k
    board_start_c = xp.max(state.temp_sink_c, axis=0) + half_rise_k
    chip_start_c = board_start_c + fw.chip_offset_k
    fw_state, started, stopped = firmware.accept(state.firmware, command, chip_start_c, board_start_c, fw, xp=xp)
    hashing, throttle = firmware.hashing_profile(fw_state, command.throttle, site.sub_index, dt, fw, xp=xp)
    share_up, failed_usd = _restarts(state, started, board_start_c, exog, site, xp=xp)
    running = fw_state.running
    active = hashing * throttle
    rail = xp.cast(hashing > 0.0, hashing)

    # --- electrical: the preset that runs
    entry = site.offset + xp.int64(firmware.effective_preset(fw_state))
    dyn_w = active * xp.take(site.dyn_w, entry)
    leak_full_w = state.silicon_leak * xp.take(site.leak_w, entry)
    standing_w = running * (miners.ctrl_w + params.boot_w) + (1.0 - running) * params.off_w
    constant_w = standing_w + rail * (miners.psu_standby_w - params.boot_w)

    # --- thermal: flows and the room
    ratio = exog.air_density_ratio[..., None]
    density = ratio + miners.liquid * (1.0 - ratio)
    flow_full = miners.flow_max_w_per_k * density
    duty_low = xp.where(fw_state.wait_s > 0.0, site.log_duty_boot, site.log_duty_min)
    terms = SubStepTerms(
        leak_w=leak_full_w,
        flow=flow_full,
        minus_flow_board=flow_full * site.minus_per_board,
        minus_ntu=heatsink.ntu_at_flow(site.minus_ntu_ref, xp.log(density), HA_EXPONENT, xp=xp),
        duty_low=LOG_DUTY_OFF + running * (duty_low - LOG_DUTY_OFF),
        duty_high=LOG_DUTY_OFF * (1.0 - running),
    )
    log_duty = xp.minimum(xp.maximum(state.log_duty, terms.duty_low), terms.duty_high)
    air, envelope_w_per_k, cooling_w = _air_terms(log_duty, flow_full, exog, site, xp=xp)

    one = xp.ones_like(running)
    zero = one - one
    zero_site = zero[:, 0]
    carry = SubStep(
        state.temp_chip_c,
        state.temp_sink_c,
        state.temp_wall_c,
        log_duty,
        one,
        zero,
        zero,
        zero,
        zero_site,
        zero_site,
        zero_site,
        chip_start_c,
    )
    course: list[Array] = []
    for k in range(params.sub_steps):
        carry = site.sub_step(carry, SubStepDrive(rail[k], dyn_w[k], active[k], constant_w[k]), terms, air, site)
        course.append(carry.hottest_c)
    temp_chip_c, temp_sink_c, temp_wall_c = carry.temp_chip_c, carry.temp_sink_c, carry.temp_wall_c
    alive, temp_hot_c = carry.alive, carry.temp_hot_c

    per_sub = 1.0 / params.sub_steps
    power_w = carry.power_sum_w * per_sub
    power_miners_w = xp.sum(count * power_w, axis=-1)
    power_site_w = power_miners_w + cooling_w
    course_c = xp.stack(course, 0)
    ageing = rail * wear.arrhenius_factor(course_c, params.wear.temp_ref_c, params.wear.activation_ev, xp=xp)
    heat_out_w = air.vent_w_per_k * (carry.hot_sum_c - params.sub_steps * air.temp_supply_c) + envelope_w_per_k * (
        carry.wall_sum_c - params.sub_steps * exog.temp_amb_c
    )
    stored_j = miners.chip_j_per_k * (temp_chip_c - state.temp_chip_c) + miners.sink_j_per_k * (
        temp_sink_c - state.temp_sink_c
    )
    if site.padded:
        stored_j = stored_j * miners.board_present
    wall_j_per_k = params.room.wall_share * params.room.wall_s * _full_flow(flow_full, site, xp=xp)
    restart_usd = failed_usd
    if xp.maybe_any(stopped):
        depth_k = xp.maximum(chip_start_c - exog.temp_amb_c[..., None], 0.0)
        stop_usd = miners.stop_usd * stopped * wear.cycling_damage(depth_k, xp=xp)
        restart_usd = restart_usd + xp.sum(count * stop_usd, axis=-1)
    wear_usd = xp.sum(count * miners.wear_usd_per_h * xp.sum(ageing, axis=0), axis=-1) * (dt / SECONDS_PER_HOUR)
    new = SiteState(
        firmware=firmware.advance(fw_state, command.throttle, alive, site.dt_s, fw, xp=xp),
        temp_chip_c=temp_chip_c,
        temp_sink_c=temp_sink_c,
        log_duty=carry.log_duty,
        air_rise_k=carry.air_rise_k,
        share_up=share_up,
        temp_wall_c=temp_wall_c,
        silicon_leak=state.silicon_leak,
        power_bias=state.power_bias,
    )
    outcome = Outcome(
        power_w=power_w,
        hashrate_ths=xp.take(site.hashrate_ths, entry) * share_up * (carry.hash_sum * per_sub),
        hashing=hashing[-1] * alive,
        temp_chip_max_c=xp.maximum(chip_start_c, xp.max(course_c, axis=0)),
        power_miners_w=power_miners_w,
        power_cooling_w=cooling_w,
        power_site_w=power_site_w,
        temp_intake_c=air.fresh_c + air.recirculation * temp_hot_c,
        temp_hot_c=temp_hot_c,
        heat_out_j=heat_out_w * dt,
        heat_stored_j=xp.sum(count * xp.sum(stored_j, axis=0), axis=-1)
        + wall_j_per_k * (temp_wall_c - state.temp_wall_c),
        wear_usd=params.wear.scale * wear_usd,
        restart_usd=params.wear.scale * restart_usd,
        stops=xp.sum(count * stopped, axis=-1),
        tripped=xp.sum(count * (1.0 - alive) * running, axis=-1),
    )
    return new, outcome


def _full_flow(flow_full: Array, site: PreparedSite, *, xp: Namespace) -> Array:
    return xp.sum(site.count * flow_full, axis=-1)


def _restarts(
    state: SiteState, started: Array, temp_board_c: Array, exog: Exogenous, site: PreparedSite, *, xp: Namespace
) -> tuple[Array, Array]:
    """Share of each cohort that is up after this step's starts, (B, M), and the cost of failures, USD, (B,)."""
    spec, count, failed_usd = site.params.wear, site.count, site.miners.failed_restart_usd
    if not spec.sample_failures and not xp.maybe_any(started):
        return state.share_up, xp.zeros_like(state.temp_wall_c)
    chance = started * wear.restart_failure_probability(
        temp_board_c, spec.restart_failure_base, spec.restart_cold_scale_k, 40.0, xp=xp
    )
    if not spec.sample_failures:
        return state.share_up, xp.sum(count * chance * failed_usd, axis=-1)
    # Systematic sampling: unbiased for any count, and a plain coin toss for a count of one.
    failed = xp.floor(count * state.share_up * chance + exog.u_restart)
    failed = xp.minimum(failed, count * state.share_up)
    repaired = (1.0 - state.share_up) * (1.0 - math.exp(-site.dt_s / (spec.repair_days * 86400.0)))
    share_up = xp.clip(state.share_up + repaired - failed / count, 0.0, 1.0)
    return share_up, xp.sum(failed * failed_usd, axis=-1)


def _air_terms(
    log_duty: Array, flow_full: Array, exog: Exogenous, site: PreparedSite, *, xp: Namespace
) -> tuple[room.RoomTerms, Array, Array]:
    """Room terms, envelope conductance (W/K) and cooling power (W) of a control step, (B,).

    The room fans follow the miners' flow at the start of the step.
    """
    spec = site.params.room
    full = _full_flow(flow_full, site, xp=xp)
    moved = _full_flow(flow_full * xp.exp(log_duty), site, xp=xp)
    vent = xp.maximum(spec.vent_ratio * moved, spec.vent_min_share * full)
    vent_max = spec.vent_ratio * full
    supply_c = exog.temp_amb_c
    cooling_w = fan.fan_power_w(vent / vent_max, spec.fan_w_per_w_per_k * vent_max)
    hot = exog.temp_amb_c > spec.pad_on_c
    if spec.pad_effectiveness > 0.0 and xp.maybe_any(hot):
        wetted = xp.cast(hot, vent)
        supply_c = psychrometrics.temp_pad_outlet_c(
            exog.temp_amb_c, exog.temp_wetbulb_c, spec.pad_effectiveness, wetted
        )
        cooling_w = cooling_w + wetted * (spec.pad_pump_w_per_w_per_k * vent)
    envelope_w_per_k = spec.envelope_share * full
    terms = room.room_terms(
        vent_w_per_k=vent,
        recirculation=room.recirculated_share(vent, moved, spec.share_leak, xp=xp),
        temp_supply_c=supply_c,
        temp_amb_c=exog.temp_amb_c,
        wall_w_per_k=spec.wall_share * full,
        envelope_w_per_k=envelope_w_per_k,
        wall_capacity_rate=(spec.wall_share * spec.wall_s / site.sub_dt_s) * full,
    )
    return terms, envelope_w_per_k, cooling_w


def measure(
    state: SiteState, outcome: Outcome, noise: Array, fault: Array, age_s: float, chip_offset_k: float
) -> Telemetry:
    """What the site's instruments report after a step.

    The firmware reports whole degrees, its chip temperature is the hottest board plus an offset, and its power is an
    estimate with a
    fixed relative error per miner (+-5 %); the site meter is exact to its noise-free class.

    Args:
        state: after the step.
        outcome: of the step.
        noise: uniform in (0, 1): relative noise of the hashrate reading, (B, M).
        fault: true where the miner did not answer in this step, (B, M).
        age_s: age of the reading, s.
        chip_offset_k: what the firmware adds to the board's temperature, K.

    Returns:
        Telemetry; faulty readings are NaN.
    """
    xp = namespace_of(state.temp_chip_c)
    board_c = xp.round(xp.max(state.temp_sink_c, axis=0) + 0.5 * state.air_rise_k)
    chip_c = board_c + chip_offset_k
    reading = Telemetry(
        hashrate_ths=outcome.hashrate_ths * (0.98 + 0.04 * noise),
        power_w=outcome.power_w * (1.0 + state.power_bias),
        temp_chip_c=chip_c,
        temp_board_c=board_c,
        fan_duty=xp.exp(state.log_duty),
        hashing=outcome.hashing,
        age_s=age_s + xp.zeros_like(chip_c),
        power_site_w=outcome.power_site_w,
        temp_intake_c=outcome.temp_intake_c,
    )
    if not xp.maybe_any(fault):
        return reading
    lost = {name: xp.where(fault, math.nan, getattr(reading, name)) for name in MINER_READINGS}
    return replace(reading, **lost, age_s=xp.where(fault, NO_ANSWER_AGE_S, reading.age_s))


def initial_state(
    site: PreparedSite,
    temp_amb_c: Array,
    silicon_leak: Array,
    power_bias: Array,
    *,
    running: float = 1.0,
    preset: Array,
) -> SiteState:
    """A site that has been running (or standing) for a while; the first minutes settle the temperatures.

    Args:
        site: the site.
        temp_amb_c: outdoor temperature, (B,).
        silicon_leak: leakage of the boards relative to their model, (K, B, M).
        power_bias: relative error of the power estimates, (B, M).
        running: 1 for a running, 0 for a standing site.
        preset: preset index per cohort, (B, M).
    """
    xp = namespace_of(temp_amb_c)
    fw = site.params.firmware
    one = xp.ones_like(power_bias)
    chip_rise, sink_rise = (50.0, 38.0) if running > 0.0 else (0.0, 0.0)
    amb = temp_amb_c[..., None] * xp.ones_like(silicon_leak)
    chip = xp.clip(amb + chip_rise, amb, xp.maximum(amb, fw.fan_target_c - 10.0))
    sink = xp.clip(amb + sink_rise, amb, xp.maximum(amb, fw.fan_target_c - 22.0))
    liquid = site.miners.liquid
    return SiteState(
        firmware=FirmwareState(
            running=one * running,
            preset=preset,
            switcher_steps=0.0 * one,
            throttle=one,
            wait_s=one * -fw.ramp_s,
            tripped=0.0 * one,
        ),
        temp_chip_c=chip,
        temp_sink_c=sink,
        log_duty=one * (math.log(0.6) * (1.0 - liquid) if running > 0.0 else LOG_DUTY_OFF),
        air_rise_k=0.0 * one,
        share_up=one,
        temp_wall_c=temp_amb_c + (10.0 if running > 0.0 else 0.0),
        silicon_leak=silicon_leak,
        power_bias=power_bias,
    )


def state_where(mask: Array, new: Any, old: Any) -> Any:
    """Field by field, rows of ``new`` where ``mask`` (B,) is true, else of ``old``; works on nested dataclasses."""
    if hasattr(new, "__dataclass_fields__"):
        changed = {name: state_where(mask, getattr(new, name), getattr(old, name)) for name in new.__dataclass_fields__}
        return replace(new, **changed)
    return namespace_of(new).where(mask if new.ndim == 1 else mask[:, None], new, old)
