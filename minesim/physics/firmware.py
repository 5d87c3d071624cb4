"""What the miner's firmware does by itself: start-up, preset changes, throttle lag, preset switcher, trip.

A module of its own, because the twin and an emulator of the firmware's interface must behave alike. Times are the
firmware's: throttling takes about 80 s, changing a preset or restarting costs minutes without hashing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from minesim.arrays import Array, Namespace


@dataclass(frozen=True)
class FirmwareParams:
    """Constants of the firmware; times in s, temperatures in degC.

    Attributes:
        start_delay_s: from start to the first hashes. 300 s assumed (documented: under 10 s from LuxOS sleep, 10 to
            15 min after a reboot).
        preset_change_s: without hashing while a preset changes. 180 s assumed ("minutes").
        ramp_s: from the first hashes to full hashrate, 120 s assumed.
        throttle_tau_s: time constant of a throttle change; three of them are the 80 s that hass-miner states.
        has_throttle: VNish from 1.3.3 on; 1.2.x has none.
        chip_offset_k: the firmware's chip temperature is its hottest board plus this (LuxOS documentation; 15 on 63 of
            77 VNish models).
        temp_trip_c: chip temperature at which mining stops (VNish `restart_temp`, default 90).
        temp_resume_c: a tripped or hot miner starts again below this board temperature (VNish normal start, 40).
        temp_start_min_c: no start below this board temperature (VNish: -30 on 62 of 77 models).
        switcher_on: automatic preset switcher (VNish default: off).
        switcher_decrease_c, switcher_rise_c: steps a preset down above, up again below (84 and 79 at a live site).
        fan_target_c: chip temperature that the automatic fan mode holds; 70 assumed (settable 20 to 90).
        fan_duty_min: lowest duty while hashing (VNish allows 10 %).
        fan_duty_boot: lowest duty while booting (assumed; miners are loud at their start).
        fan_integral_per_k_min, fan_proportional_per_k: gains of :func:`minesim.physics.fan.log_duty_step`, per kelvin
            and minute, and per kelvin (assumed).
    """

    start_delay_s: float = 300.0
    preset_change_s: float = 180.0
    ramp_s: float = 120.0
    throttle_tau_s: float = 80.0 / 3.0
    has_throttle: bool = True
    chip_offset_k: float = 15.0
    temp_trip_c: float = 90.0
    temp_resume_c: float = 40.0
    temp_start_min_c: float = -30.0
    switcher_on: bool = True
    switcher_decrease_c: float = 84.0
    switcher_rise_c: float = 79.0
    fan_target_c: float = 70.0
    fan_duty_min: float = 0.1
    fan_duty_boot: float = 0.5
    fan_integral_per_k_min: float = 1.0 / 60.0
    fan_proportional_per_k: float = 1.0 / 40.0


@dataclass(frozen=True)
class FirmwareState:
    """Memory of the firmware, each (B, M).

    Attributes:
        running: 1 while started (booting or hashing), 0 while stopped.
        preset: configured preset index (float, whole numbers).
        switcher_steps: presets that the switcher is below the configured one (whole numbers).
        throttle: present throttle as a fraction, 0.2 to 1.
        wait_s: time until hashing begins; falls to minus the ramp time, which is full hashing.
        tripped: 1 after an over-temperature stop until the board has cooled.
    """

    running: Array
    preset: Array
    switcher_steps: Array
    throttle: Array
    wait_s: Array
    tripped: Array


def settled_state(like: Array, running: float, preset: Array, params: FirmwareParams) -> FirmwareState:
    """Firmware that has been running (1) or standing (0) for a while, at full throttle.

    Args:
        like: ones, (B, M).
        running: 1 or 0, for all.
        preset: configured preset index, (B, M).
        params: of the firmware.
    """
    none = 0.0 * like
    return FirmwareState(
        running=like * running,
        preset=preset,
        switcher_steps=none,
        throttle=like,
        wait_s=like * -params.ramp_s,
        tripped=none,
    )


@dataclass(frozen=True)
class FirmwareCommand:
    """What is written to the miner, each (B, M): run (0 or 1), preset index, throttle fraction."""

    run: Array
    preset: Array
    throttle: Array


def accept(
    state: FirmwareState,
    command: FirmwareCommand,
    temp_chip_reported_c: Array,
    temp_board_c: Array,
    params: FirmwareParams,
    *,
    xp: Namespace,
) -> tuple[FirmwareState, Array, Array]:
    """Take a command at the start of a control step.

    Args:
        state: firmware memory.
        command: what was written.
        temp_chip_reported_c: hottest chip as the firmware reports it, degC, (B, M).
        temp_board_c: hottest board, degC, (B, M).
        params: constants.
        xp: namespace of the arrays.

    Returns:
        New state, and two 0/1 arrays (B, M): started now, stopped now.
    """
    # The automatic stop ends when the board has cooled; the start that follows waits like any other.
    running, steps, tripped = state.running, state.switcher_steps, state.tripped
    change = command.run - running
    started = xp.maximum(change, 0.0)
    stopped = started - change
    restart = started
    if xp.maybe_any(tripped):
        recovered = tripped * xp.below(temp_board_c, params.temp_resume_c)
        tripped = tripped - recovered
        restart = xp.maximum(started, recovered * command.run)
    moved = command.preset != state.preset
    if params.switcher_on and (xp.may_reach(temp_chip_reported_c, params.switcher_decrease_c) or xp.maybe_any(steps)):
        hot = xp.above(temp_chip_reported_c, params.switcher_decrease_c)
        cool = xp.below(temp_chip_reported_c, params.switcher_rise_c)
        steps = xp.minimum(xp.maximum(steps + (running * hot - cool), 0.0), command.preset)
        moved = command.preset - steps != state.preset - state.switcher_steps
    # The wait is never below minus the ramp time, so that where nothing happens the maximum keeps it. That of a stopped
    # miner means nothing: its start waits longer than any change of preset.
    full = -params.ramp_s
    wait_s = state.wait_s
    changed = xp.cast(moved, running)
    events_s = xp.maximum(restart * (params.start_delay_s - full), changed * (params.preset_change_s - full))
    if xp.maybe_any(events_s):
        wait_s = xp.maximum(wait_s, events_s + full)
    if xp.may_fall_to(temp_board_c, params.temp_start_min_c):
        cold = xp.below(temp_board_c, params.temp_start_min_c)
        waits = 1.0 - xp.below(wait_s, 0.0)
        wait_s = xp.maximum(wait_s, cold * waits * (params.start_delay_s - full) + full)
    new = FirmwareState(command.run, command.preset, steps, state.throttle, wait_s, tripped)
    return new, started, stopped


def effective_preset(state: FirmwareState) -> Array:
    """Index of the preset that really runs, (B, M): the configured one less what the switcher took."""
    return state.preset - state.switcher_steps


class StepClock(NamedTuple):
    """What the sub-steps of a control step share, (S, 1, 1): see :func:`step_clock`."""

    mid_ramps: Array
    throttle_left: Array


def step_clock(sub_index: Array, sub_dt_s: float, params: FirmwareParams, *, xp: Namespace) -> StepClock:
    """Compute the middle of each sub-step in ramp times, and how much of a throttle change is left in its mean.

    Args:
        sub_index: 0, 1, ... as floats, shaped (S, 1, 1).
        sub_dt_s: sub-step, s.
        params: constants.
        xp: namespace of the arrays.
    """
    tau_s = params.throttle_tau_s
    mean_of_first = float(tau_s / sub_dt_s * (1.0 - math.exp(-sub_dt_s / tau_s)))
    return StepClock(
        mid_ramps=(sub_index + 0.5) * (sub_dt_s / params.ramp_s),
        throttle_left=xp.exp(-sub_dt_s / tau_s * sub_index) * mean_of_first,
    )


def hashing_profile(
    state: FirmwareState,
    throttle_set: Array,
    sub_index: Array,
    sub_dt_s: float,
    params: FirmwareParams,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Plan a control step: how much of full hashing and which throttle hold in each sub-step.

    Args:
        state: after :func:`accept`.
        throttle_set: commanded throttle, (B, M).
        sub_index: 0, 1, ... as floats, shaped (S, 1, 1).
        sub_dt_s: sub-step, s.
        params: constants.
        xp: namespace of the arrays.

    Returns:
        Hashing share 0 to 1 and mean throttle, both (S, B, M). The share follows the mid-point of the sub-step on the
        ramp; the throttle is the exact mean of its exponential.
    """
    return profile_of(state, throttle_set, step_clock(sub_index, sub_dt_s, params, xp=xp), params, xp=xp)


def profile_of(
    state: FirmwareState, throttle_set: Array, clock: StepClock, params: FirmwareParams, *, xp: Namespace
) -> tuple[Array, Array]:
    """:func:`hashing_profile` for a caller that has the clock of its control step already."""
    alive = state.running
    if xp.maybe_any(state.tripped):
        alive = alive * (1.0 - state.tripped)
    since_start_ramps = clock.mid_ramps - state.wait_s * (1.0 / params.ramp_s)
    hashing = xp.minimum(xp.maximum(since_start_ramps, 0.0), alive)
    return hashing, throttle_set + (state.throttle - throttle_set) * clock.throttle_left


def advance(
    state: FirmwareState,
    throttle_set: Array,
    alive: Array | None,
    dt_s: float,
    params: FirmwareParams,
    *,
    xp: Namespace,
) -> FirmwareState:
    """Finish a control step.

    Args:
        state: after :func:`accept`.
        throttle_set: commanded throttle, (B, M).
        alive: 1 where no trip happened in this step, (B, M); None where none did at all.
        dt_s: control step, s.
        params: constants.
        xp: namespace of the arrays.

    Returns:
        State at the end of the step.
    """
    left = math.exp(-dt_s / params.throttle_tau_s)
    tripped = state.tripped
    if alive is not None:
        tripped = xp.maximum(tripped, (1.0 - alive) * state.running)
    return FirmwareState(
        running=state.running,
        preset=state.preset,
        switcher_steps=state.switcher_steps,
        throttle=throttle_set + (state.throttle - throttle_set) * left,
        wait_s=xp.maximum(state.wait_s - dt_s, -params.ramp_s),
        tripped=tripped,
    )
