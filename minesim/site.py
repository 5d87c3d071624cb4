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
from typing import Any, NamedTuple, Protocol

import numpy as np

from minesim.arrays import Array, Namespace, namespace_of
from minesim.control.actuate import FleetCurves, convert
from minesim.control.telemetry import Telemetry
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
        fan_w_per_w_per_k: room fan power per capacity rate at full speed, W per W/K (assumed 0.18: 1.2 % of the heat
            that this air carries at 15 K rise).
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

    Scalars of the inner loop are arrays without dimensions, which cost less than Python numbers in both libraries.

    Attributes:
        params: the site in the arrays of the batch.
        dt_s, sub_dt_s: control step and sub-step, s.
        miners, count: constants of the miners, (B, M) and (K, B, M).
        weights: count of each cohort, (M,).
        boards: number of boards, (B, M).
        padded: whether some model has fewer boards than the widest.
        per_board: 1 for a real board, (K, B, M), where a cohort's values must be laid out for its boards; None where
            they broadcast.
        liquid_cooled: whether some model is liquid-cooled.
        network: thermal network of a board, (B, M).
        dyn_w, leak_w, hashrate_ths: flat preset tables, (M P,); leakage refers to 0 degC, hashrate to a sub-step's
            share of the control step.
        offset: first entry of each cohort in the flat tables, (M,).
        standing_w, hashing_w: constant power of a started miner over a stopped one, and of a hashing one over a started
            one, (B, M).
        log_duty_run, log_duty_boot: logarithms of the lowest duty while started over that of a standing miner, and
            while booting over that while hashing, (B, M).
        minus_flow_board, minus_ntu_ref, sink_diagonal_sum: products of the constants, (B, M).
        slope_weights, wear_weights, failed_weights, stop_weights: count times sink diagonal (W/K), cost of ageing over
            a sub-step, of a failed restart and of a stop of reference depth (USD, scaled), (M,).
        structure: see :class:`minesim.physics.room.StructureShares`.
        fan_integral_per_k, fan_proportional_per_k: gains of the fan loop for this sub-step.
        board_target_c, board_trip_c: the firmware's set points as board temperatures.
        chip_offset_k: what the firmware adds to the board's temperature.
        step_share: a sub-step's share of the control step.
        off_w, log_duty_off: power and logarithm of the duty of a standing miner.
        vent_ratio: see :class:`RoomParams`.
        one, zero: ones and zeros, (B, M).
        none: zeros, (B,).
        board_ones, step_ones: ones to add up boards and sub-steps with, (K,) and (S,).
        clock: see :func:`minesim.physics.firmware.step_clock`.
        looks: whether looking at values on the host is cheap.
        xp: namespace of the arrays.
    """

    params: SiteParams
    dt_s: float
    sub_dt_s: float
    miners: MinerArrays
    count: Array
    weights: Array
    boards: Array
    padded: bool
    per_board: Array | None
    liquid_cooled: bool
    network: BoardNetwork
    dyn_w: Array
    leak_w: Array
    hashrate_ths: Array
    offset: Array
    standing_w: Array
    hashing_w: Array
    log_duty_run: Array
    log_duty_boot: Array
    minus_flow_board: Array
    minus_ntu_ref: Array
    sink_diagonal_sum: Array
    slope_weights: Array
    wear_weights: Array
    failed_weights: Array
    stop_weights: Array
    structure: room.StructureShares
    fan_integral_per_k: Array
    fan_proportional_per_k: Array
    board_target_c: Array
    board_trip_c: Array
    chip_offset_k: Array
    step_share: Array
    off_w: Array
    log_duty_off: Array
    vent_ratio: Array
    one: Array
    zero: Array
    none: Array
    board_ones: Array
    step_ones: Array
    clock: firmware.StepClock
    looks: bool
    xp: Namespace


SMALL = 4096
"""Up to this many cohorts board constants are laid out per board: operations on equal shapes then cost half of those
that broadcast. In large batches memory traffic matters more, and broadcasting wins."""


def prepare(params: SiteParams, num_envs: int | None, dt_s: float, like: Array) -> PreparedSite:
    """Lay a site out for ``num_envs`` sites in the kind, dtype and device of ``like``.

    Args:
        params: the site in numpy arrays.
        num_envs: B; None for one site without a batch axis, in numpy: cohorts (M,) and sites as scalars. What a batch
            of one computes with arrays of one number then costs a fifth.
        dt_s: control step, s.
        like: an array of the wanted kind.
    """
    xp = namespace_of(like)
    fw, wearing = params.firmware, params.wear
    cohorts, presets = params.curves.preset_power_w.shape
    boards = params.miners.board_present.shape[0]

    def constant(value: Any) -> Array:
        return xp.asarray(np.asarray(value, np.float64), like=like)

    # One site without a batch axis computes with numpy's scalars where a batch has arrays (B,).
    site_constant = np.float64 if num_envs is None else constant
    row = (cohorts,) if num_envs is None else (num_envs, cohorts)
    flat = convert(params.miners, like)
    spread: dict[str, Array] = {}
    for name, value in flat.items():
        if name == "board_present":
            spread[name] = xp.broadcast(value.reshape(boards, *(1,) * (len(row) - 1), cohorts), (boards, *row))
        elif value.ndim == 1:
            spread[name] = xp.broadcast(value, row)
        else:
            spread[name] = value
    miners = MinerArrays(**spread)
    sub_dt_s = dt_s / params.sub_steps
    curves = params.curves.to(like)
    present = xp.sum(miners.board_present, axis=0)
    network = heatsink.board_network(miners.chip_j_per_k, miners.sink_j_per_k, miners.chip_sink_w_per_k, sub_dt_s)
    sink_diagonal_sum = network.sink_diagonal * present
    padded = bool((params.miners.board_present < 1.0).any())
    small = math.prod(row) <= SMALL
    if small:
        shape = (boards, *row)
        network = network._replace(
            **{name: xp.broadcast(getattr(network, name), shape) for name in network._fields if name != "sink_diagonal"}
        )
        miners = replace(
            miners, beta_per_k=xp.broadcast(miners.beta_per_k, shape), temp_ref_c=xp.broadcast(miners.temp_ref_c, shape)
        )
    from_0c = asic.leakage_growth(0.0 * flat["beta_per_k"], flat["beta_per_k"], flat["temp_ref_c"], xp=xp)
    air_cooled = 1.0 - miners.liquid
    log_duty_min = math.log(fw.fan_duty_min) * air_cooled
    wall = params.room.wall_share
    return PreparedSite(
        params=replace(params, curves=curves, miners=miners),
        dt_s=dt_s,
        sub_dt_s=sub_dt_s,
        miners=miners,
        count=xp.broadcast(curves.count, row),
        weights=curves.count,
        boards=present,
        padded=padded,
        per_board=miners.board_present if small or padded else None,
        liquid_cooled=bool((params.miners.liquid > 0.0).any()),
        network=network,
        dyn_w=miners.board_dyn_w.reshape(-1),
        leak_w=(miners.board_leak_w * from_0c[:, None]).reshape(-1),
        hashrate_ths=curves.preset_hashrate_ths.reshape(-1) * (1.0 / params.sub_steps),
        offset=xp.index(constant(np.arange(cohorts) * presets)),
        standing_w=miners.ctrl_w + (params.boot_w - params.off_w),
        hashing_w=miners.psu_standby_w - params.boot_w,
        log_duty_run=log_duty_min - LOG_DUTY_OFF,
        log_duty_boot=math.log(fw.fan_duty_boot) * air_cooled - log_duty_min,
        minus_flow_board=-miners.flow_max_w_per_k / present,
        minus_ntu_ref=-miners.ntu_ref,
        sink_diagonal_sum=sink_diagonal_sum,
        slope_weights=curves.count * sink_diagonal_sum.reshape(-1, cohorts)[0],
        wear_weights=curves.count * flat["wear_usd_per_h"] * (wearing.scale * sub_dt_s / SECONDS_PER_HOUR),
        failed_weights=curves.count * flat["failed_restart_usd"] * wearing.scale,
        stop_weights=curves.count * flat["stop_usd"] * wearing.scale,
        structure=room.StructureShares(
            *map(
                site_constant,
                room.structure_shares(wall, params.room.envelope_share, wall * params.room.wall_s / sub_dt_s),
            )
        ),
        fan_integral_per_k=constant(fw.fan_integral_per_k_min * sub_dt_s / 60.0),
        fan_proportional_per_k=constant(fw.fan_proportional_per_k),
        board_target_c=constant(fw.fan_target_c - fw.chip_offset_k),
        board_trip_c=constant(fw.temp_trip_c - fw.chip_offset_k),
        chip_offset_k=constant(fw.chip_offset_k),
        step_share=constant(1.0 / params.sub_steps),
        off_w=constant(params.off_w),
        log_duty_off=constant(LOG_DUTY_OFF),
        vent_ratio=site_constant(params.room.vent_ratio),
        one=xp.ones_like(present),
        zero=xp.zeros_like(present),
        none=xp.sum(xp.zeros_like(present), axis=-1),
        board_ones=constant(np.ones(boards)),
        step_ones=constant(np.ones(params.sub_steps)),
        clock=firmware.step_clock(
            constant(np.arange(params.sub_steps)).reshape(-1, *(1,) * len(row)), sub_dt_s, fw, xp=xp
        ),
        looks=xp.name == "numpy",
        xp=xp,
    )


@dataclass(frozen=True)
class SiteState:
    """The physical state.

    Attributes:
        firmware: memory of the miners' firmware, (B, M) each.
        temp_chip_c, temp_sink_c: board nodes, degC, (K, B, M).
        log_duty: logarithm of the miners' fan duty, (B, M).
        temp_board_c: hottest board on its outlet side, degC, (B, M).
        share_up: share of a cohort that is not waiting for repair, (B, M).
        temp_wall_c: structure, degC, (B,).
        silicon_leak: leakage of each board relative to its model, drawn at reset, (K, B, M).
        power_bias: relative error of the firmware's power estimate, drawn at reset, (B, M).
    """

    firmware: FirmwareState
    temp_chip_c: Array
    temp_sink_c: Array
    log_duty: Array
    temp_board_c: Array
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
        terms: what :func:`weather_of_site` makes of the weather; None to have it computed.
    """

    temp_amb_c: Array
    temp_wetbulb_c: Array
    air_density_ratio: Array
    u_restart: Array
    terms: SiteWeather | None = None


class SiteWeather(NamedTuple):
    """What a site makes of the weather, to be computed once while it stays: cohorts (B, M), sites (B,).

    ``flow_twice`` is the flow of two miners, so that it gives half of the air's rise.
    """

    flow_full: Array
    flow_twice: Array
    minus_flow_board: Array
    minus_ntu: Array
    full_w_per_k: Array
    vent_min_w_per_k: Array
    vent_max_w_per_k: Array
    fan_max_w: Array
    pump_w_per_w_per_k: Array | None
    temp_supply_c: Array
    structure: room.StructureTerms


def weather_terms(
    temp_amb_c: Array, rel_humidity_pct: Array, pressure_pa: Array, *, xp: Namespace
) -> tuple[Array, Array]:
    """What the twin needs of moist air: wet bulb (degC) and density ratio, for any shape of weather."""
    density = psychrometrics.density_air_kg_per_m3(temp_amb_c, pressure_pa)
    return psychrometrics.temp_wetbulb_c(temp_amb_c, rel_humidity_pct, xp=xp), density / DENSITY_REF


class HeatRecord(NamedTuple):
    """What the heat balance of a control step is computed from, when somebody asks for it.

    Attributes:
        before, after: states at the start and at the end.
        temps_hot_c, temps_wall_c: hot air and structure in each sub-step, degC, (B,) each.
        air: terms of the room.
        temp_amb_c: outdoor air, degC, (B,).
        full_w_per_k: capacity rate of all miners at full speed, (B,).
        site: constants.
    """

    before: SiteState
    after: SiteState
    temps_hot_c: list[Array]
    temps_wall_c: list[Array]
    air: room.RoomTerms
    temp_amb_c: Array
    full_w_per_k: Array
    site: PreparedSite

    def out_j(self) -> Array:
        """Heat that left with the air and through the envelope, J, (B,)."""
        room_spec, dt = self.site.params.room, self.site.sub_dt_s
        envelope_w_per_k = room_spec.envelope_share * self.full_w_per_k
        steps = self.site.params.sub_steps
        vented_w = self.air.vent_w_per_k * (sum(self.temps_hot_c) - steps * self.air.temp_supply_c)
        return (vented_w + envelope_w_per_k * (sum(self.temps_wall_c) - steps * self.temp_amb_c)) * dt

    def stored_j(self) -> Array:
        """Heat that boards and structure took up, J, (B,)."""
        site, before, after = self.site, self.before, self.after
        xp, miners, room_spec = site.xp, site.miners, site.params.room
        boards_j = miners.chip_j_per_k * (after.temp_chip_c - before.temp_chip_c)
        boards_j = boards_j + miners.sink_j_per_k * (after.temp_sink_c - before.temp_sink_c)
        wall_j_per_k = room_spec.wall_share * room_spec.wall_s * self.full_w_per_k
        miners_j = xp.sum(site.count * xp.sum(boards_j * miners.board_present, axis=0), axis=-1)
        return miners_j + wall_j_per_k * (after.temp_wall_c - before.temp_wall_c)


class Heat(Protocol):
    """Where the heat of a control step went, J, (B,)."""

    def out_j(self) -> Array:
        """Heat that left with the air and through the envelope."""
        ...

    def stored_j(self) -> Array:
        """Heat that boards and structure took up."""
        ...


class Outcome(NamedTuple):
    """What happened in a control step.

    Attributes:
        power_w: mean wall power of one miner, (B, M).
        hashrate_ths: mean hashrate of one miner, (B, M).
        hashing: hashing share at the end of the step, (B, M).
        temp_board_c: hottest board at the end of the step, degC, (B, M).
        temp_chip_max_c: hottest chip of the step as the firmware estimates it (board + offset), degC, (B, M).
        fan_duty: speed of the miners' fans at the end of the step, share of full speed, (B, M).
        power_miners_w: mean power of all miners, (B,).
        power_cooling_w: room fans and pad pump, (B,).
        power_site_w: miners and cooling; the tariff's loss factor adds the transformer, (B,).
        temp_intake_c, temp_hot_c: air at the end of the step, degC, (B,).
        wear_usd: expected ageing cost, USD, (B,).
        restart_usd: cost of stops and of failed restarts, USD, (B,).
        stopped: 1 for a cohort that was stopped in this step, else 0, (B, M).
        stops: stops of miners, weighted by their number, (B,).
        tripped: miners that tripped in this step, (B,).
        heat: for the heat balance.
    """

    power_w: Array
    hashrate_ths: Array
    hashing: Array
    temp_board_c: Array
    temp_chip_max_c: Array
    fan_duty: Array
    power_miners_w: Array
    power_cooling_w: Array
    power_site_w: Array
    temp_intake_c: Array
    temp_hot_c: Array
    wear_usd: Array
    restart_usd: Array
    stopped: Array
    stops: Array
    tripped: Array
    heat: Heat

    @property
    def heat_out_j(self) -> Array:
        """Heat that left with the air and through the envelope, J, (B,)."""
        return self.heat.out_j()

    @property
    def heat_stored_j(self) -> Array:
        """Heat that boards and structure took up, J, (B,)."""
        return self.heat.stored_j()


class SubStep(NamedTuple):
    """What sub-steps hand on: nodes (K, B, M), cohorts (B, M), sites (B,).

    ``alive`` is 1 until a miner trips, None while none is to be watched; ``temp_board_c`` is the hottest board's outlet
    side; powers are sums over the sub-steps so far.
    """

    temp_chip_c: Array
    temp_sink_c: Array
    temp_wall_c: Array
    temp_hot_c: Array
    temp_board_c: Array
    log_duty: Array
    duty: Array
    alive: Array | None
    power_sum_w: Array


class SubStepTerms(NamedTuple):
    """What holds over a control step, (B, M): full flow of two miners (of which half the rise is asked) and minus that
    of a board, transfer units at full speed, fan bounds."""

    flow_twice: Array
    minus_flow_board: Array
    minus_ntu: Array
    duty_low: Array
    duty_high: Array


def sub_step(
    carry: SubStep,
    leak_w: Array,
    dyn_w: Array,
    constant_w: Array,
    terms: SubStepTerms,
    air: room.RoomTerms,
    site: PreparedSite,
) -> SubStep:
    """Integrate one sub-step: leakage at the old temperature, everything else implicit in the new ones.

    Args:
        carry: at its start.
        leak_w, dyn_w: leakage at 0 degC and switching power of a board, W, (K, B, M) where laid out per board, else
            (B, M).
        constant_w: what else a miner draws without its fans, W, (B, M).
        terms: of the control step.
        air: terms of the room.
        site: constants.
    """
    xp, miners, network, duty = site.xp, site.miners, site.network, carry.duty
    growth = asic.leakage_growth_from_0c(carry.temp_chip_c, miners.beta_per_k, xp=xp)
    board_w = leak_w * growth + dyn_w
    if carry.alive is not None:
        board_w = board_w * carry.alive
    dc_w = xp.add_up(site.board_ones, board_w)
    minus_ntu = heatsink.ntu_at_flow(terms.minus_ntu, carry.log_duty, HA_EXPONENT, xp=xp)
    ua = heatsink.ua_stream_w_per_k(terms.minus_flow_board * duty, minus_ntu, xp=xp)
    supply_loss_w = dc_w * (miners.psu_linear + miners.psu_per_w * dc_w)
    bypass_w = constant_w + supply_loss_w + fan.fan_power_w(duty, miners.fan_max_w)
    chip_source, sink_source = heatsink.sink_source_w(carry.temp_chip_c, carry.temp_sink_c, board_w, network)
    diagonal = network.sink_diagonal + ua
    share = ua / diagonal
    heat_w = share * xp.add_up(site.board_ones, sink_source * miners.board_present if site.padded else sink_source)
    temp_hot_c, temp_intake_c, temp_wall_c = room.solve_air(
        air,
        xp.dot(heat_w + bypass_w, site.weights),
        xp.dot(share, site.slope_weights),
        carry.temp_wall_c,
    )
    intake = xp.column(temp_intake_c)
    temp_chip_c, temp_sink_c = heatsink.node_temps_c(chip_source, sink_source, ua * intake, diagonal, network)
    half_rise_k = (heat_w - share * (site.sink_diagonal_sum * intake)) / (terms.flow_twice * duty)
    temp_board_c = xp.max(temp_sink_c, axis=0) + half_rise_k
    log_duty = fan.log_duty_step(
        carry.log_duty,
        temp_board_c,
        carry.temp_board_c,
        site.board_target_c,
        site.fan_integral_per_k,
        site.fan_proportional_per_k,
        terms.duty_low,
        terms.duty_high,
        xp=xp,
    )
    return SubStep(
        temp_chip_c,
        temp_sink_c,
        temp_wall_c,
        temp_hot_c,
        temp_board_c,
        log_duty,
        xp.exp(log_duty),
        None if carry.alive is None else carry.alive * xp.below(temp_board_c, site.board_trip_c),
        carry.power_sum_w + (dc_w + bypass_w),
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
    xp, params = site.xp, site.params
    fw, wearing = params.firmware, params.wear

    # --- firmware: what runs in each sub-step
    board_start_c = state.temp_board_c
    chip_start_c = board_start_c + site.chip_offset_k
    fw_state, started, stopped = firmware.accept(state.firmware, command, chip_start_c, board_start_c, fw, xp=xp)
    hashing, throttle = firmware.profile_of(fw_state, command.throttle, site.clock, fw, xp=xp)
    share_up, restart_usd = restarts(
        state.share_up, started, stopped, board_start_c, exog.temp_amb_c, exog.u_restart, site, xp=xp
    )
    running = fw_state.running
    active = hashing * throttle
    rail = xp.above(hashing, 0.0)
    if params.wear.sample_failures:
        # A failed miner boots in vain until it is repaired.
        active, rail = active * share_up, rail * share_up

    # --- electrical: the preset that runs
    entry = site.offset + xp.index(firmware.effective_preset(fw_state))
    dyn_w = active * xp.take(site.dyn_w, entry)
    leak_full_w = state.silicon_leak * xp.take(site.leak_w, entry)
    constant_w = (site.off_w + running * site.standing_w) + rail * site.hashing_w

    # --- thermal: flows and the room
    weather = exog.terms if exog.terms is not None else weather_of_site(exog, site)
    booting = xp.above(fw_state.wait_s, 0.0)
    duty_low = site.log_duty_off + running * (site.log_duty_run + booting * site.log_duty_boot)
    duty_high = site.log_duty_off - site.log_duty_off * running
    terms = SubStepTerms(weather.flow_twice, weather.minus_flow_board, weather.minus_ntu, duty_low, duty_high)
    log_duty = xp.minimum(xp.maximum(state.log_duty, duty_low), duty_high)
    duty = xp.exp(log_duty)
    moved = xp.dot(weather.flow_full * duty, site.weights)
    air, cooling_w = _air_terms(moved, weather, site, xp=xp)

    carry = SubStep(
        state.temp_chip_c,
        state.temp_sink_c,
        state.temp_wall_c,
        exog.temp_amb_c,
        board_start_c,
        log_duty,
        duty,
        None,
        site.zero,
    )
    leak_w, dyn_board_w = rail[:, None] * leak_full_w, dyn_w[:, None]
    if site.per_board is not None:
        dyn_board_w = dyn_board_w * site.per_board
        if site.padded:
            leak_w = leak_w * site.per_board
    drives = (leak_w, dyn_board_w, constant_w)
    # Trips are rare: where looking is cheap, a course without them comes first, and is taken if it shows none.
    course = _integrate(carry, drives, terms, air, site) if site.looks else []
    boards_c = xp.stack([c.temp_board_c for c in course], 0) if course else site.one
    if not site.looks or xp.may_reach(boards_c, fw.temp_trip_c - fw.chip_offset_k):
        course = _integrate(carry._replace(alive=site.one), drives, terms, air, site)
        boards_c = xp.stack([c.temp_board_c for c in course], 0)
        # A miner hashes in a sub-step unless it tripped in an earlier one.
        active = active * xp.stack([site.one, *(c.alive for c in course[:-1])], 0)
    carry = course[-1]
    alive, hashing_last, tripped = carry.alive, hashing[-1], site.none
    if alive is not None:
        hashing_last, tripped = hashing_last * alive, xp.dot(running - running * alive, site.weights)
    chips_c = boards_c + site.chip_offset_k
    power_w = carry.power_sum_w * site.step_share
    power_miners_w = xp.dot(power_w, site.weights)
    ageing = rail * wear.arrhenius_factor(chips_c, wearing.temp_ref_c, wearing.activation_ev, xp=xp)
    new = SiteState(
        firmware=firmware.advance(fw_state, command.throttle, alive, site.dt_s, fw, xp=xp),
        temp_chip_c=carry.temp_chip_c,
        temp_sink_c=carry.temp_sink_c,
        log_duty=carry.log_duty,
        temp_board_c=carry.temp_board_c,
        share_up=share_up,
        temp_wall_c=carry.temp_wall_c,
        silicon_leak=state.silicon_leak,
        power_bias=state.power_bias,
    )
    outcome = Outcome(
        power_w=power_w,
        hashrate_ths=xp.take(site.hashrate_ths, entry) * xp.add_up(site.step_ones, active),
        hashing=hashing_last,
        temp_board_c=carry.temp_board_c,
        temp_chip_max_c=xp.maximum(chip_start_c, xp.max(chips_c, axis=0)),
        fan_duty=carry.duty,
        power_miners_w=power_miners_w,
        power_cooling_w=cooling_w,
        power_site_w=power_miners_w + cooling_w,
        temp_intake_c=air.fresh_c + air.recirculation * carry.temp_hot_c,
        temp_hot_c=carry.temp_hot_c,
        wear_usd=xp.dot(xp.add_up(site.step_ones, ageing), site.wear_weights),
        restart_usd=restart_usd,
        stopped=stopped,
        stops=xp.dot(stopped, site.weights),
        tripped=tripped,
        heat=HeatRecord(
            before=state,
            after=new,
            temps_hot_c=[c.temp_hot_c for c in course],
            temps_wall_c=[c.temp_wall_c for c in course],
            air=air,
            temp_amb_c=exog.temp_amb_c,
            full_w_per_k=weather.full_w_per_k,
            site=site,
        ),
    )
    return new, outcome


def restarts(
    share_up: Array,
    started: Array,
    stopped: Array,
    temp_board_c: Array,
    temp_amb_c: Array,
    u_restart: Array,
    site: PreparedSite,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """What starts and stops of a control step do to the miners.

    Args:
        share_up: share of each cohort that is not waiting for repair, (B, M).
        started, stopped: 1 for a cohort that starts or stops now, else 0, (B, M).
        temp_board_c: hottest board before, degC, (B, M).
        temp_amb_c: what a stopped board cools towards, degC, (B,).
        u_restart: uniform draw for failed restarts, (B, M).
        site: constants.
        xp: namespace of the arrays.

    Returns:
        Share that is up after this step's starts, (B, M), and the cost of failures and of stops, USD, (B,).
    """
    spec, count = site.params.wear, site.count
    usd = site.none
    if spec.sample_failures or xp.maybe_any(started):
        chance = started * wear.restart_failure_probability(
            temp_board_c, spec.restart_failure_base, spec.restart_cold_scale_k, 40.0, xp=xp
        )
        if spec.sample_failures:
            # Systematic sampling: unbiased for any count, and a plain coin toss for a count of one.
            failed = xp.floor(count * share_up * chance + u_restart)
            failed = xp.minimum(failed, count * share_up)
            repaired = (1.0 - share_up) * (1.0 - math.exp(-site.dt_s / (spec.repair_days * 86400.0)))
            share_up = xp.clip(share_up + repaired - failed / count, 0.0, 1.0)
            chance = failed / count
        usd = xp.dot(chance, site.failed_weights)
    if xp.maybe_any(stopped):
        depth_k = xp.maximum(temp_board_c + site.chip_offset_k - xp.column(temp_amb_c), 0.0)
        usd = usd + xp.dot(stopped * wear.cycling_damage(depth_k, xp=xp), site.stop_weights)
    return share_up, usd


def _integrate(
    carry: SubStep,
    drives: tuple[Array, Array, Array],
    terms: SubStepTerms,
    air: room.RoomTerms,
    site: PreparedSite,
) -> list[SubStep]:
    """All sub-steps of a control step, in order."""
    course: list[SubStep] = []
    leak_w, dyn_w, constant_w = drives
    for i in range(site.params.sub_steps):
        carry = sub_step(carry, leak_w[i], dyn_w[i], constant_w[i], terms, air, site)
        course.append(carry)
    return course


def weather_of_site(exog: Exogenous, site: PreparedSite) -> SiteWeather:
    """Prepare flows, supply air and structure of a site for its weather."""
    xp, spec, miners, amb_c = site.xp, site.params.room, site.miners, exog.temp_amb_c
    density = xp.column(exog.air_density_ratio)
    if site.liquid_cooled:
        density = density + miners.liquid * (1.0 - density)
    flow_full = miners.flow_max_w_per_k * density
    full = xp.dot(flow_full, site.weights)
    vent_max = spec.vent_ratio * full
    supply_c, pump = amb_c, None
    wetted = xp.above(amb_c, spec.pad_on_c)
    if spec.pad_effectiveness > 0.0 and xp.maybe_any(wetted):
        wetbulb_c = exog.temp_wetbulb_c
        supply_c = psychrometrics.temp_pad_outlet_c(amb_c, wetbulb_c, spec.pad_effectiveness, wetted)
        pump = wetted * spec.pad_pump_w_per_w_per_k
    return SiteWeather(
        flow_full=flow_full,
        flow_twice=flow_full + flow_full,
        minus_flow_board=site.minus_flow_board * density,
        minus_ntu=heatsink.ntu_at_flow(site.minus_ntu_ref, xp.log(density), HA_EXPONENT, xp=xp),
        full_w_per_k=full,
        vent_min_w_per_k=spec.vent_min_share * full,
        vent_max_w_per_k=vent_max,
        fan_max_w=spec.fan_w_per_w_per_k * vent_max,
        pump_w_per_w_per_k=pump,
        temp_supply_c=supply_c,
        structure=room.structure_terms(spec.wall_share * full, amb_c, site.structure),
    )


def _air_terms(
    moved: Array, weather: SiteWeather, site: PreparedSite, *, xp: Namespace
) -> tuple[room.RoomTerms, Array]:
    """Room terms and cooling power (W) of a control step, (B,), from the miners' capacity rate at its start.

    The room fans follow the miners' flow at the start of the step.
    """
    vent = xp.maximum(site.vent_ratio * moved, weather.vent_min_w_per_k)
    cooling_w = fan.fan_power_w(vent / weather.vent_max_w_per_k, weather.fan_max_w)
    if weather.pump_w_per_w_per_k is not None:
        cooling_w = cooling_w + weather.pump_w_per_w_per_k * vent
    recirculation = room.recirculated_share(vent, moved, site.params.room.share_leak, xp=xp)
    return room.room_terms_of(vent, recirculation, weather.temp_supply_c, weather.structure), cooling_w


def hashrate_noise(u: Array) -> Array:
    """Relative noise of a hashrate reading, +-2 %, from uniform draws in (0, 1)."""
    return 0.98 + 0.04 * u


def measure(
    power_bias: Array, outcome: Outcome, noise: Array, age_s: Array, chip_offset_k: float, *, xp: Namespace
) -> Telemetry:
    """What the site's instruments report after a step.

    The firmware measures whole degrees, its chip temperature is the hottest board plus an offset, and its power is an
    estimate with a fixed relative error per miner (+-5 %); the site meter is exact to its noise-free class.

    Args:
        power_bias: relative error of the power estimates, (B, M).
        outcome: of the step.
        noise: factor on the hashrate reading, (B, M), from :func:`hashrate_noise`.
        age_s: age of the reading, s, (B, M).
        chip_offset_k: what the firmware adds to the board's temperature, K.
        xp: namespace of the arrays.

    Returns:
        Telemetry, as if every miner answered.
    """
    board_c = xp.round(outcome.temp_board_c)
    return Telemetry(
        hashrate_ths=outcome.hashrate_ths * noise,
        power_w=outcome.power_w * (1.0 + power_bias),
        temp_chip_c=board_c + chip_offset_k,
        temp_board_c=board_c,
        fan_duty=outcome.fan_duty,
        hashing=outcome.hashing,
        age_s=age_s,
        power_site_w=outcome.power_site_w,
        temp_intake_c=outcome.temp_intake_c,
    )


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
        firmware=firmware.settled_state(one, running, preset, fw),
        temp_chip_c=chip,
        temp_sink_c=sink,
        log_duty=one * (math.log(0.6) * (1.0 - liquid) if running > 0.0 else LOG_DUTY_OFF),
        temp_board_c=xp.max(sink, axis=0),
        share_up=one,
        temp_wall_c=temp_amb_c + (10.0 if running > 0.0 else 0.0),
        silicon_leak=silicon_leak,
        power_bias=power_bias,
    )


def map_arrays(function: Callable[..., Array], *records: Any) -> Any:
    """Apply a function to like arrays of like records, field by field; works on nested dataclasses and tuples."""
    first = records[0]
    if hasattr(first, "__dataclass_fields__"):
        names = first.__dataclass_fields__
        return replace(first, **{name: map_arrays(function, *(getattr(r, name) for r in records)) for name in names})
    if isinstance(first, tuple):
        parts = [map_arrays(function, *column) for column in zip(*records, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return function(*records)


def state_where(mask: Array, new: Any, old: Any) -> Any:
    """Field by field, rows of ``new`` where ``mask`` (B,) is true, else of ``old``; works on nested dataclasses."""
    xp = namespace_of(mask)
    return map_arrays(lambda x, y: xp.where(mask if x.ndim == 1 else mask[:, None], x, y), new, old)


def with_batch_axis(record: Any) -> Any:
    """The arrays of a site without a batch axis as those of a batch of one."""
    return map_arrays(lambda x: x[..., None, :] if np.ndim(x) else np.reshape(x, 1), record)


def without_batch_axis(record: Any) -> Any:
    """The arrays of a batch of one as those of a site without a batch axis."""
    return map_arrays(lambda x: x[..., 0, :] if x.ndim > 1 else x[0], record)
