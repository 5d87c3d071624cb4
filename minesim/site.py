"""The site twin: one control step of miners, fans, room and wear, composed from the formulas of ``physics``.

:func:`transition` is a pure function of state, command and exogenous values. Shapes: ``B`` sites, ``M`` cohorts,
``K`` hashboards. Whatever is constant over the control step is computed once, before the sub-steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minesim.arrays import NUMPY, Array, Namespace, namespace_of
from minesim.control.actuate import FleetCurves, convert
from minesim.control.telemetry import Telemetry
from minesim.physics import fan, firmware, heatsink, psu, psychrometrics, room, wear
from minesim.physics.firmware import FirmwareCommand, FirmwareParams, FirmwareState
from minesim.units import SECONDS_PER_HOUR

LOG_DUTY_OFF = math.log(0.02)
"""Air through a standing miner as a share of full flow, 2 % (natural draught and room pressure; assumed)."""


@dataclass(frozen=True)
class MinerArrays:
    """Constants of the miners as arrays; per miner of a cohort (M,), per board (M, K), per preset (M, P).

    Attributes:
        board_present: 1 for a real board, 0 for padding, (M, K).
        dyn_w_per_mhz_v2, leak_w_per_v2: electrical coefficients of each board, (M, K).
        beta_per_k, temp_ref_c: growth of leakage, (M, 1).
        ths_per_mhz: TH/s per MHz of the whole miner, (M,).
        preset_freq_mhz, preset_volt_v: the preset table, (M, P).
        psu_rated_w, psu_eta, ctrl_w: supply and control board, (M,).
        fan_max_w: power of all fans at full speed, W, (M,).
        fan_duty_fixed: 1 where the fans do not follow the chips (liquid-cooled units: pump outside), (M,).
        flow_max_w_per_k: capacity rate of the coolant at full speed and 20 C sea-level air, W/K, (M,).
        ntu_ref: transfer units at full speed, (M,).
        chip_j_per_k, sink_j_per_k, chip_sink_w_per_k: thermal network of each board, (M, 1).
        volt_margin: how far the rail sits above the need of mean silicon at each preset; see ``asic.hw_error_ratio``.
        wear_usd_per_h: expected repair cost per hour at the reference temperature, USD, (M,).
        stop_usd: expected solder-fatigue cost of a stop of reference depth, USD, (M,).
        failed_restart_usd: cost of one miner that does not come back, USD, (M,).
    """

    board_present: Array
    dyn_w_per_mhz_v2: Array
    leak_w_per_v2: Array
    beta_per_k: Array
    temp_ref_c: Array
    ths_per_mhz: Array
    preset_freq_mhz: Array
    preset_volt_v: Array
    psu_rated_w: Array
    psu_eta: Array
    ctrl_w: Array
    fan_max_w: Array
    fan_duty_fixed: Array
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
    cohort: Array = field(default_factory=lambda: np.arange(0))
    sub_index: Array = field(default_factory=lambda: np.zeros((0, 1, 1)))

    def to(self, like: Array) -> SiteParams:
        """The same site as arrays of the kind, dtype and device of ``like``."""
        xp = namespace_of(like)
        cohort = self.cohort if xp is NUMPY else xp.int64(xp.asarray(self.cohort, like=like))
        return replace(
            self,
            curves=self.curves.to(like),
            miners=replace(self.miners, **convert(self.miners, like)),
            cohort=cohort,
            sub_index=xp.asarray(self.sub_index, like=like),
        )


@dataclass(frozen=True)
class SiteState:
    """The physical state.

    Attributes:
        firmware: memory of the miners' firmware, (B, M) each.
        temp_chip_c, temp_sink_c: board nodes, degC, (B, M, K).
        log_duty: logarithm of the miners' fan duty, (B, M).
        air_rise_k: outlet minus intake air of the last sub-step, K, (B, M).
        share_up: share of a cohort that is not waiting for repair, (B, M).
        temp_wall_c: structure, degC, (B,).
        silicon_leak: leakage of each board relative to its model, drawn at reset, (B, M, K).
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
        temp_amb_c, rel_humidity_pct, pressure_pa: weather, (B,).
        u_restart: uniform draw for failed restarts, (B, M).
    """

    temp_amb_c: Array
    rel_humidity_pct: Array
    pressure_pa: Array
    u_restart: Array


@dataclass(frozen=True)
class Outcome:
    """What happened in a control step.

    Attributes:
        power_w: mean wall power of one miner, (B, M).
        hashrate_ths: mean hashrate of one miner, (B, M).
        hashing: hashing share at the end of the step, (B, M).
        temp_chip_max_c: hottest chip of the step, degC, (B, M).
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


def transition(
    state: SiteState, command: FirmwareCommand, exog: Exogenous, params: SiteParams, dt_s: float
) -> tuple[SiteState, Outcome]:
    """Advance a site by one control step.

    Args:
        state: at the start.
        command: what was written to the firmware, (B, M).
        exog: weather and draws.
        params: constants.
        dt_s: control step, s; split into ``params.sub_steps``.

    Returns:
        State at the end and what happened. Energy is balanced: miners' power times time equals
        ``heat_out_j + heat_stored_j`` to rounding.
    """
    xp = namespace_of(state.temp_chip_c)
    miners, fw = params.miners, params.firmware
    count = params.curves.count
    dt = dt_s / params.sub_steps

    # --- firmware: what runs in each sub-step
    half_rise_k = 0.5 * state.air_rise_k
    temp_chip_hot_c = xp.max(state.temp_chip_c, axis=-1) + half_rise_k
    temp_board_hot_c = xp.max(state.temp_sink_c, axis=-1) + half_rise_k
    fw_state, started, stopped = firmware.accept(state.firmware, command, temp_chip_hot_c, temp_board_hot_c, fw, xp=xp)
    hashing, throttle = firmware.hashing_profile(fw_state, command.throttle, params.sub_index, dt, fw, xp=xp)
    share_up, failed_usd = _restarts(state, started, temp_board_hot_c, exog, params, dt_s, xp=xp)
    running = fw_state.running
    active = hashing * throttle

    # --- electrical constants of the preset that runs
    preset = xp.int64(firmware.effective_preset(fw_state))
    freq_mhz = miners.preset_freq_mhz[params.cohort, preset]
    volt2 = miners.preset_volt_v[params.cohort, preset] ** 2
    dyn_full_w = miners.dyn_w_per_mhz_v2 * (freq_mhz * volt2)[..., None]
    leak_ref_w = miners.leak_w_per_v2 * state.silicon_leak * volt2[..., None]
    hash_full_ths = miners.ths_per_mhz * freq_mhz * share_up
    beta_ref = miners.beta_per_k * miners.temp_ref_c
    standby_w = running * miners.ctrl_w + (1.0 - running) * params.off_w

    # --- thermal constants
    chip_rate = miners.chip_j_per_k / dt
    sink_rate = miners.sink_j_per_k / dt
    chip_diagonal = chip_rate + miners.chip_sink_w_per_k
    chip_share = miners.chip_sink_w_per_k / chip_diagonal
    sink_diagonal = sink_rate + chip_share * chip_rate
    boards = xp.sum(miners.board_present, axis=-1)
    density = psychrometrics.density_air_kg_per_m3(exog.temp_amb_c, exog.pressure_pa)[..., None] / 1.204
    liquid = miners.fan_duty_fixed
    density = liquid + (1.0 - liquid) * density
    flow_full = miners.flow_max_w_per_k * density
    ntu_full = heatsink.ntu_at_flow(miners.ntu_ref, xp.log(density), 0.7, xp=xp)
    duty_low = xp.where(running > 0.0, math.log(fw.fan_duty_min) * (1.0 - liquid), LOG_DUTY_OFF)
    duty_high = xp.where(running > 0.0, 0.0, LOG_DUTY_OFF)
    log_duty = xp.minimum(xp.maximum(state.log_duty, duty_low), duty_high)
    air, cooling_w = _air_terms(log_duty, flow_full, count, exog, params, dt, xp=xp)

    temp_chip_c, temp_sink_c, temp_wall_c = state.temp_chip_c, state.temp_sink_c, state.temp_wall_c
    alive = xp.ones_like(running)
    temp_chip_max_c = temp_chip_hot_c
    energy_w = hashes = ageing = heat_out_w = 0.0
    for k in range(params.sub_steps):
        hashing_k = hashing[k] * alive
        active_k = active[k] * alive
        rail = xp.where(hashing_k > 0.0, 1.0, 0.0)
        leak_w = leak_ref_w * xp.exp(miners.beta_per_k * temp_chip_c - beta_ref)
        board_w = dyn_full_w * active_k[..., None] + leak_w * rail[..., None]
        dc_w = xp.sum(board_w, axis=-1)
        duty = xp.exp(log_duty)
        flow = flow_full * duty
        ntu = heatsink.ntu_at_flow(ntu_full, log_duty, 0.7, xp=xp)
        ua = (heatsink.ua_stream_w_per_k(flow, ntu, xp=xp) / boards)[..., None]
        bypass_w = (
            rail * (psu.input_power_w(dc_w, miners.psu_rated_w, miners.psu_eta) - dc_w)
            + standby_w
            + (running - rail) * params.boot_w
            + fan.fan_power_w(duty, miners.fan_max_w)
        )
        source = heatsink.sink_terms(temp_chip_c, temp_sink_c, board_w, chip_rate, sink_rate, chip_share)
        share = ua / (sink_diagonal + ua)
        heat_w = xp.sum(share * source * miners.board_present, axis=-1)
        slope = (share * sink_diagonal)[..., 0] * boards
        temp_hot_c, temp_intake_c, temp_wall_new_c = room.solve_air(
            air,
            xp.sum(count * (heat_w + bypass_w), axis=-1),
            xp.sum(count * slope, axis=-1),
            temp_wall_c,
        )
        intake = temp_intake_c[..., None]
        temp_chip_c, temp_sink_c = heatsink.node_temps(
            source,
            temp_chip_c,
            board_w,
            intake[..., None],
            ua,
            sink_diagonal,
            chip_rate,
            miners.chip_sink_w_per_k,
            chip_diagonal,
        )
        temp_wall_c = temp_wall_new_c
        air_rise_k = (heat_w - slope * intake) / flow
        temp_hottest_c = xp.max(temp_chip_c, axis=-1) + 0.5 * air_rise_k
        log_duty = fan.log_duty_step(
            log_duty, temp_hottest_c, fw.fan_target_c, fw.fan_gain_per_k * dt / 60.0, duty_low, duty_high, xp=xp
        )
        alive = alive * xp.where(temp_hottest_c < fw.temp_trip_c, 1.0, 0.0)
        temp_chip_max_c = xp.maximum(temp_chip_max_c, temp_hottest_c)
        energy_w = energy_w + dc_w + bypass_w
        hashes = hashes + active_k
        ageing = ageing + rail * wear.arrhenius_factor(
            temp_hottest_c, params.wear.temp_ref_c, params.wear.activation_ev, xp=xp
        )
        heat_out_w = (
            heat_out_w
            + air.vent_w_per_k * (temp_hot_c - air.temp_supply_c)
            + air.envelope_w_per_k * (temp_wall_c - air.temp_amb_c)
        )

    per_sub = 1.0 / params.sub_steps
    power_w = energy_w * per_sub
    hash_ths = hash_full_ths * (hashes * per_sub)
    power_miners_w = xp.sum(count * power_w, axis=-1)
    power_site_w = power_miners_w + cooling_w
    stored_w = (
        miners.chip_j_per_k * (temp_chip_c - state.temp_chip_c)
        + miners.sink_j_per_k * (temp_sink_c - state.temp_sink_c)
    ) * miners.board_present
    heat_stored_j = xp.sum(count * xp.sum(stored_w, axis=-1), axis=-1) + air.wall_capacity_rate * dt * (
        temp_wall_c - state.temp_wall_c
    )
    depth_k = xp.maximum(temp_chip_hot_c - exog.temp_amb_c[..., None], 0.0)
    stop_usd = miners.stop_usd * stopped * wear.cycling_damage(depth_k, xp=xp)
    wear_usd = xp.sum(count * miners.wear_usd_per_h * ageing, axis=-1) * (per_sub * dt_s / SECONDS_PER_HOUR)
    tripped = (1.0 - alive) * running * (1.0 - fw_state.tripped)
    new = replace(
        state,
        firmware=firmware.advance(fw_state, command.throttle, alive, dt_s, fw, xp=xp),
        temp_chip_c=temp_chip_c,
        temp_sink_c=temp_sink_c,
        log_duty=log_duty,
        air_rise_k=air_rise_k,
        share_up=share_up,
        temp_wall_c=temp_wall_c,
    )
    outcome = Outcome(
        power_w=power_w,
        hashrate_ths=hash_ths,
        hashing=hashing_k,
        temp_chip_max_c=temp_chip_max_c,
        power_miners_w=power_miners_w,
        power_cooling_w=cooling_w,
        power_site_w=power_site_w,
        temp_intake_c=temp_intake_c,
        temp_hot_c=temp_hot_c,
        heat_out_j=heat_out_w * dt,
        heat_stored_j=heat_stored_j,
        wear_usd=params.wear.scale * wear_usd,
        restart_usd=params.wear.scale * (xp.sum(count * stop_usd, axis=-1) + failed_usd),
        stops=xp.sum(count * stopped, axis=-1),
        tripped=xp.sum(count * tripped, axis=-1),
    )
    return new, outcome


def _restarts(
    state: SiteState,
    started: Array,
    temp_board_c: Array,
    exog: Exogenous,
    params: SiteParams,
    dt_s: float,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Share of each cohort that is up after this step's starts, (B, M), and the cost of failures, USD, (B,)."""
    spec = params.wear
    chance = started * wear.restart_failure_probability(
        temp_board_c, spec.restart_failure_base, spec.restart_cold_scale_k, 40.0, xp=xp
    )
    count = params.curves.count
    if not spec.sample_failures:
        return state.share_up, xp.sum(count * chance * params.miners.failed_restart_usd, axis=-1)
    # Systematic sampling: unbiased for any count, and a plain coin toss for a count of one.
    failed = xp.floor(count * state.share_up * chance + exog.u_restart)
    failed = xp.minimum(failed, count * state.share_up)
    repaired = (1.0 - state.share_up) * (1.0 - math.exp(-dt_s / (spec.repair_days * 86400.0)))
    share_up = xp.clip(state.share_up + repaired - failed / count, 0.0, 1.0)
    return share_up, xp.sum(failed * params.miners.failed_restart_usd, axis=-1)


def _air_terms(
    log_duty: Array, flow_full: Array, count: Array, exog: Exogenous, params: SiteParams, dt: float, *, xp: Namespace
) -> tuple[room.RoomTerms, Array]:
    """Air exchange, supply temperature and cooling power for a control step; room fans follow the miners' flow."""
    spec = params.room
    full = xp.sum(count * flow_full, axis=-1)
    moved = xp.sum(count * flow_full * xp.exp(log_duty), axis=-1)
    vent = xp.maximum(spec.vent_ratio * moved, spec.vent_min_share * full)
    vent_max = spec.vent_ratio * full
    wetbulb_c = psychrometrics.temp_wetbulb_c(exog.temp_amb_c, exog.rel_humidity_pct, xp=xp)
    pad = xp.where(exog.temp_amb_c > spec.pad_on_c, 1.0, 0.0)
    supply_c = psychrometrics.temp_pad_outlet_c(exog.temp_amb_c, wetbulb_c, spec.pad_effectiveness, pad)
    speed = vent / vent_max
    cooling_w = fan.fan_power_w(speed, spec.fan_w_per_w_per_k * vent_max) + pad * (
        spec.pad_pump_w_per_w_per_k * vent if spec.pad_effectiveness > 0.0 else 0.0 * vent
    )
    terms = room.room_terms(
        vent_w_per_k=vent,
        recirculation=room.recirculated_share(vent, moved, spec.share_leak, xp=xp),
        temp_supply_c=supply_c,
        temp_amb_c=exog.temp_amb_c,
        wall_w_per_k=spec.wall_share * full,
        envelope_w_per_k=spec.envelope_share * full,
        wall_capacity_rate=spec.wall_share * full * spec.wall_s / dt,
    )
    return terms, cooling_w


def measure(state: SiteState, outcome: Outcome, noise: Array, fault: Array, age_s: float) -> Telemetry:
    """What the site's instruments report after a step.

    The firmware reports whole degrees, its chip temperature is the hottest chip, and its power is an estimate with a
    fixed relative error per miner (+-5 %); the site meter is exact to its noise-free class.

    Args:
        state: after the step.
        outcome: of the step.
        noise: uniform in (0, 1): relative noise of the hashrate reading, (B, M).
        fault: 1 where the miner did not answer in this step, (B, M).
        age_s: age of the reading, s.

    Returns:
        Telemetry; faulty readings are NaN.
    """
    xp = namespace_of(state.temp_chip_c)
    half_rise_k = 0.5 * state.air_rise_k
    chip_c = xp.round(xp.max(state.temp_chip_c, axis=-1) + half_rise_k)
    board_c = xp.round(xp.max(state.temp_sink_c, axis=-1) + half_rise_k)
    bad = fault > 0.5
    nan = math.nan
    return Telemetry(
        hashrate_ths=xp.where(bad, nan, outcome.hashrate_ths * (0.98 + 0.04 * noise)),
        power_w=xp.where(bad, nan, outcome.power_w * (1.0 + state.power_bias)),
        temp_chip_c=xp.where(bad, nan, chip_c),
        temp_board_c=xp.where(bad, nan, board_c),
        fan_duty=xp.where(bad, nan, xp.exp(state.log_duty)),
        hashing=xp.where(bad, nan, outcome.hashing),
        age_s=xp.where(bad, 1e6, age_s + 0.0 * outcome.hashing),
        power_site_w=outcome.power_site_w,
        temp_intake_c=outcome.temp_intake_c,
    )


def initial_state(
    params: SiteParams,
    temp_amb_c: Array,
    silicon_leak: Array,
    power_bias: Array,
    *,
    running: float = 1.0,
    preset: Array,
) -> SiteState:
    """A site that has been running (or standing) for a while; the first minutes settle the temperatures.

    Args:
        params: the site.
        temp_amb_c: outdoor temperature, (B,).
        silicon_leak: leakage of the boards relative to their model, (B, M, K).
        power_bias: relative error of the power estimates, (B, M).
        running: 1 for a running, 0 for a standing site.
        preset: preset index per cohort, (B, M).
    """
    xp = namespace_of(temp_amb_c)
    fw = params.firmware
    one = xp.ones_like(power_bias)
    chip_rise, sink_rise = (50.0, 38.0) if running > 0.0 else (0.0, 0.0)
    amb = temp_amb_c[..., None, None] * xp.ones_like(silicon_leak)
    chip = xp.clip(amb + chip_rise, amb, xp.maximum(amb, fw.fan_target_c - 10.0))
    sink = xp.clip(amb + sink_rise, amb, xp.maximum(amb, fw.fan_target_c - 22.0))
    liquid = params.miners.fan_duty_fixed
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
    shaped = mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim))
    return namespace_of(new).where(shaped, new, old)
