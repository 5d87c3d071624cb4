"""The guard: the twin's envelope for each miner, and what only hardware has around it.

:func:`bound` is pure. It never raises a miner of which it does not know enough, and it takes power off when the site
is over its cap; what :func:`minesim.control.envelope.apply_envelope` decides, it decides here as well.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.bridge.miners.fleet import Bools, Floats, Ints, MinerFleet
from minesim.control.actuate import THROTTLE_MIN, actuate, command_power_w
from minesim.control.envelope import ControlHistory, Limits, Reason, apply_envelope
from minesim.control.telemetry import NO_ANSWER_AGE_S, Telemetry
from minesim.physics.firmware import FirmwareCommand

AGE_MAX_S: Final = 60.0
"""An older reading holds, whatever the limits of a bundle say."""
ESTIMATE_TOLERANCE: Final = 0.05
"""Firmware estimates power to 5 % unless it is metered (nameplate tolerance)."""
SETTLE_S: Final = 300.0
"""A step down for heat is given this long before the next: a change of preset takes minutes to cool a miner, and the
twin steps once in a control step (assumed)."""
COOL_K: Final = 15.0
"""A miner that was stopped for heat starts again this far below the soft limit, so that it does not swing between the
two (assumed; firmware waits even longer after its own stop, for a board of 40 C)."""
RAMP_WINDOW_S: Final = 300.0
MINUTE_S: Final = 60.0
FALLING: Final = 1.1
"""A miner that draws more than this times its command after a fresh write is still on its way down."""


class Why(enum.IntEnum):
    """Why a miner does not do what the policy asked for, by rising severity."""

    NONE = 0
    DWELL = 1
    RAMP = 2
    STOP_BUDGET = 3
    SITE_CAP = 4
    NEIGHBOUR_UNKNOWN = 5
    HOT_BEFORE = 6
    SOFT_TEMP = 7
    COOLING = 8
    WRITE_PENDING = 9
    HOLD = 10
    FALLBACK = 11
    MANUAL_MODE = 12
    BY_HAND = 13
    STOPPED_BY_SOMEBODY = 14
    TUNING = 15
    NO_PRESETS = 16
    FAILURE = 17
    CONTRADICTORY = 18
    STALE = 19
    UNREACHABLE = 20
    OVER_CAP = 21
    HARD_TEMP = 22

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES: Final[Mapping[Why, str]] = {
    Why.NONE: "It does what the policy asks for.",
    Why.DWELL: "It was raised a short while ago and waits before it may be raised again.",
    Why.RAMP: "The site may not rise faster; it waits for its turn.",
    Why.STOP_BUDGET: "It has used up its stops of today and goes to its lowest preset instead.",
    Why.SITE_CAP: "A rise would bring the site over its cap.",
    Why.NEIGHBOUR_UNKNOWN: "A miner of its group does not answer; nothing of the group rises until that is cleared up.",
    Why.HOT_BEFORE: "It got too hot at a higher preset within the last hour and stays below that one.",
    Why.SOFT_TEMP: "It is hotter than the soft limit and steps down.",
    Why.COOLING: "It was stopped for heat and stands until it has cooled down.",
    Why.WRITE_PENDING: "An earlier write to it has not been read back yet.",
    Why.HOLD: "The bridge lacks a feed, a policy or a sound clock; it holds.",
    Why.FALLBACK: "The bridge has lacked a feed, a policy or a sound clock for too long; it goes down to its fallback.",
    Why.MANUAL_MODE: "Voltage and clocks are set by hand (manual mode); it is left alone.",
    Why.BY_HAND: "Somebody changed it by hand; it is left alone until it is released.",
    Why.STOPPED_BY_SOMEBODY: "It stands, but the bridge did not stop it; whoever did has to start it.",
    Why.TUNING: "It is tuning a preset; it is left alone until it is done.",
    Why.FAILURE: "Its firmware reports a failure, or does not tell what it does; it is left alone.",
    Why.NO_PRESETS: "It has told no tuned preset that the bridge may use; it is left alone.",
    Why.CONTRADICTORY: "What it reports contradicts itself; it holds.",
    Why.STALE: "Its last reading is too old, or its sensors are silent; it holds.",
    Why.UNREACHABLE: "It does not answer; it is counted at its highest preset and read back before any write.",
    Why.OVER_CAP: "The site is over its cap; it gives power back.",
    Why.HARD_TEMP: "It is hotter than the hard limit and stops.",
}

_OF_ENVELOPE: Final[Mapping[Reason, Why]] = {
    Reason.NONE: Why.NONE,
    Reason.WRITE_PENDING: Why.WRITE_PENDING,
    Reason.DWELL: Why.DWELL,
    Reason.RAMP: Why.RAMP,
    Reason.STOP_BUDGET: Why.STOP_BUDGET,
    Reason.SITE_CAP: Why.SITE_CAP,
    Reason.SOFT_TEMP: Why.SOFT_TEMP,
    Reason.STALE: Why.STALE,
    Reason.HARD_TEMP: Why.HARD_TEMP,
}


@dataclass(frozen=True)
class Sight:
    """What is known of each miner in a pass.

    Attributes:
        telemetry: latest readings, (N,) each; temperatures are NaN where no sensor speaks, ages in s.
        holds: reasons to leave a miner as it is, each with its miners, (N,); those in ``UNKNOWN`` make it unknown.
        neighbour_unknown: true for a miner of whose group another one is freshly unknown, (N,).
        may_draw_w: power that a miner may still reach by itself or by a write that is on its way, W, (N,).
    """

    telemetry: Telemetry
    holds: Mapping[Why, Bools]
    neighbour_unknown: Bools
    may_draw_w: Floats

    def held(self) -> Bools:
        """Miners that are left as they are, (N,)."""
        return _any([self._too_old(), *self.holds.values()])

    def unknown(self) -> Bools:
        """Miners whose power may be anything up to their highest preset, (N,)."""
        return _any([self._too_old(), *(mask for why, mask in self.holds.items() if why in UNKNOWN)])

    def _too_old(self) -> Bools:
        return np.asarray(self.telemetry.age_s > AGE_MAX_S)


UNKNOWN: Final = frozenset(
    {Why.UNREACHABLE, Why.STALE, Why.MANUAL_MODE, Why.BY_HAND, Why.NO_PRESETS, Why.FAILURE, Why.TUNING}
)
"""Holds under which a miner counts at its highest preset."""


LEFT_ALONE: Final = frozenset({Why.UNREACHABLE, Why.MANUAL_MODE, Why.BY_HAND})
"""Holds under which not even heat stops a miner: it cannot be written to, or a person has it. Its firmware's own
over-temperature stop remains."""


@dataclass(frozen=True)
class SitePower:
    """The site's cap and what is known of its power.

    Attributes:
        cap_w: highest power of the site, W; infinite for none.
        measured_w: fresh reading of the site's meter, W; None without one.
        meter_tolerance: relative error of that meter.
        overhead_w: what the site draws beside its miners (room fans, transformer), W; counted where no meter sees it.
    """

    cap_w: float = math.inf
    measured_w: float | None = None
    meter_tolerance: float = 0.01
    overhead_w: float = 0.0

    @property
    def safe_w(self) -> float:
        """The cap less the uncertainty of how power is known, W."""
        return self.cap_w / (1.0 + (ESTIMATE_TOLERANCE if self.measured_w is None else self.meter_tolerance))


@dataclass(frozen=True)
class Bounded:
    """What comes out of the guard, (N,) each.

    Attributes:
        command, command_w: what each miner should do, and the wall power that it means, W.
        why: the worst :class:`Why` of each miner.
        counted_w: power at which each miner is counted against the cap, W.
    """

    command: FirmwareCommand
    command_w: Floats
    why: Ints
    counted_w: Floats


def ask(action: Floats, current: FirmwareCommand, fleet: MinerFleet) -> tuple[FirmwareCommand, Floats]:
    """What the actions of cohorts ask of each miner: the twin's actuation, by each miner's own presets and firmware.

    Args:
        action: of the M cohorts, in [-1, 1].
        current: commands in force, (N,).
        fleet: the miners.

    Returns:
        Request and the wall power that it means, W, (N,).
    """
    actions, curves = fleet.miner_actions(action, current.run), fleet.curves
    with_throttle, with_w = actuate(actions, current, curves, xp=NUMPY)
    if bool(fleet.throttles.all()):
        return with_throttle, with_w
    without, without_w = actuate(actions, current, replace(curves, has_throttle=False), xp=NUMPY)
    return _choose(fleet.throttles, with_throttle, without), _pick(fleet.throttles, with_w, without_w)


def bound(
    request: FirmwareCommand,
    sight: Sight,
    history: ControlHistory,
    bounds: Limits,
    fleet: MinerFleet,
    site: SitePower,
    dt_s: float,
) -> Bounded:
    """Bound a request.

    A held miner keeps its command, except that a hard temperature of a reading that counts stops it. Rises bind the
    site by the envelope's ramp and queue; the cap is that of ``site``, with unknown miners at their highest preset.
    Over the cap, power comes off the least efficient miners first: by throttle where the firmware has one, then by
    preset, then by stopping.

    Args:
        request: what is asked of each miner, (N,).
        sight: what is known of them.
        history: own writes, (N,), with the commands in force.
        bounds: limits in force; their ``site_cap_w`` is bound too.
        fleet: the miners.
        site: the cap and the meter.
        dt_s: time until the next request that may raise power, s.

    Returns:
        Commands and reasons; never above the commands in force for a miner that is held or unknown.
    """
    current, current_w, curves = history.command, history.command_w, fleet.curves
    held, unknown = sight.held(), sight.unknown()
    why = np.zeros(fleet.size, np.int64)
    for reason, mask in sight.holds.items():
        why = np.where(mask, np.maximum(why, int(reason)), why)

    request = _choose(held, current, request)
    # A miner is started before it gets its throttle, and until then draws what the throttle that it has lets it.
    starts, wanted = request.run > current.run, request
    throttle = _pick(starts, np.maximum(request.throttle, current.throttle), request.throttle)
    request = replace(request, throttle=throttle)
    request_w = _pick(held, current_w, command_power_w(request, curves, xp=NUMPY))
    shy = sight.neighbour_unknown & (request_w > current_w + curves.terms.rise_min_w)
    request, request_w = _choose(shy, current, request), _pick(shy, current_w, request_w)

    floor_w = np.where(unknown, np.maximum(sight.may_draw_w, fleet.top_w), sight.may_draw_w)
    counted_w = np.maximum(current_w, floor_w)
    site = replace(site, cap_w=min(site.cap_w, bounds.site_cap_w))
    base_w = max(float(counted_w.sum()) + site.overhead_w, site.measured_w or 0.0)
    room_w = site.safe_w - base_w
    command, command_w, reason = apply_envelope(
        request,
        request_w,
        _for_envelope(sight, held, history, bounds),
        history,
        replace(
            bounds,
            site_cap_w=room_w + float(current_w.sum()) if math.isfinite(room_w) else math.inf,
            write_gap_s=0.0,  # a write that is not read back is a hold of its own
            age_max_s=min(bounds.age_max_s, AGE_MAX_S),
        ),
        curves,
        dt_s,
        xp=NUMPY,
    )
    started = starts & (command.run > 0.0) & (command.preset == wanted.preset)
    command = replace(command, throttle=_pick(started, wanted.throttle, command.throttle))
    enveloped = np.array([int(_OF_ENVELOPE[Reason(int(value))]) for value in reason], np.int64)
    stale = (enveloped == int(Why.STALE)) & held
    why = np.maximum(why, np.where(stale & (why > 0), 0, enveloped))
    why = np.where(shy, np.maximum(why, int(Why.NEIGHBOUR_UNKNOWN)), why)
    command, command_w, shed = _shed(command, command_w, floor_w, held | unknown, sight, history, fleet, site)
    why = np.where(shed, np.maximum(why, int(Why.OVER_CAP)), why)
    return Bounded(command, command_w, why, _reach_w(command_w, current_w, floor_w, held | unknown))


def _reach_w(command_w: Floats, current_w: Floats, floor_w: Floats, barred: Bools) -> Floats:
    """Power at which each miner counts, W: a lower command takes down what it could reach by itself as well.

    Not that of a ``barred`` miner, for which it is not known when the command arrives.
    """
    return _pick((command_w < current_w) & ~barred, command_w, np.maximum(command_w, floor_w))


def release(
    rise_w: Floats,
    since_up_s: Floats,
    risen: Sequence[tuple[float, float]],
    bounds: Limits,
    rated_w: float,
) -> Bools:
    """Tell which granted rises may be made now, so that the ramps hold in every minute and in any five, (N,).

    The envelope grants what a whole control step may rise; this spreads it over the step. The queue is the same:
    longest-waiting first, ties by number, and nobody overtakes. A miner larger than a limit may rise alone where
    nothing rose before.

    Args:
        rise_w: granted rise of each miner, W, 0 for none, (N,).
        since_up_s: time since each miner's last rise, s, (N,).
        risen: rises of the last minutes, how long ago (s) and by how much (W).
        bounds: limits in force.
        rated_w: rated power of the site, W.
    """
    released = np.zeros(len(rise_w), bool)
    minute_w = sum(size_w for ago_s, size_w in risen if ago_s < MINUTE_S)
    window_w = sum(size_w for ago_s, size_w in risen if ago_s < RAMP_WINDOW_S)
    room_w = rated_w * (1.0 + 1e-9)
    for i in np.argsort(-since_up_s, kind="stable"):
        if rise_w[i] <= 0.0:
            continue
        minute_w, window_w = minute_w + rise_w[i], window_w + rise_w[i]
        fits = minute_w <= bounds.ramp_up_per_min * room_w and window_w <= bounds.ramp_up_per_5min * room_w
        if not fits and window_w > rise_w[i]:
            break
        released[i] = True
    return released


def _any(masks: list[Bools]) -> Bools:
    return np.asarray(np.any(np.stack(masks), axis=0))


def _pick(mask: Bools, first: Floats, second: Floats) -> Floats:
    return np.where(mask, first, second)


def _choose(mask: Bools, first: FirmwareCommand, second: FirmwareCommand) -> FirmwareCommand:
    return FirmwareCommand(
        run=_pick(mask, first.run, second.run),
        preset=_pick(mask, first.preset, second.preset),
        throttle=_pick(mask, first.throttle, second.throttle),
    )


def _for_envelope(sight: Sight, held: Bools, history: ControlHistory, bounds: Limits) -> Telemetry:
    """Readings as the envelope is to judge them.

    A held miner is stale to it. One that was written to a short while ago is not above the soft limit unless it is
    above the hard one: the step before has not cooled it yet. What cannot or must not be written to is not hot.
    """
    told = sight.telemetry
    chip_c, board_c = told.temp_chip_c, told.temp_board_c
    hard = (chip_c > bounds.temp_chip_hard_c) | (board_c > bounds.temp_board_hard_c)
    settling = (history.since_write_s < SETTLE_S - 1e-6) & ~hard
    chip_c = np.where(settling, np.minimum(chip_c, bounds.temp_chip_soft_c), chip_c)
    board_c = np.where(settling, np.minimum(board_c, bounds.temp_board_soft_c), board_c)
    silent = _any([np.zeros(len(chip_c), bool), *(mask for why, mask in sight.holds.items() if why in LEFT_ALONE)])
    return replace(
        told,
        temp_chip_c=np.where(silent, np.nan, chip_c),
        temp_board_c=np.where(silent, np.nan, board_c),
        age_s=np.where(held, NO_ANSWER_AGE_S, told.age_s),
    )


def _shed(
    command: FirmwareCommand,
    command_w: Floats,
    floor_w: Floats,
    barred: Bools,
    sight: Sight,
    history: ControlHistory,
    fleet: MinerFleet,
    site: SitePower,
) -> tuple[FirmwareCommand, Floats, Bools]:
    """Take power off until the site fits under its cap; ``barred`` miners are left alone."""
    shed = np.zeros(fleet.size, bool)
    if not math.isfinite(site.cap_w):
        return command, command_w, shed
    fell_w = float((history.command_w - command_w).sum())
    draws_w = np.nan_to_num(sight.telemetry.power_w)
    falling_w = np.where(history.since_write_s < SETTLE_S, np.maximum(draws_w - FALLING * history.command_w, 0.0), 0.0)
    drawn_w = float(draws_w.sum()) + site.overhead_w if site.measured_w is None else site.measured_w
    # What was asked to come down already, here or a moment ago, will come down without being asked again.
    excess_w = drawn_w - float(falling_w.sum()) - max(fell_w, 0.0) - site.safe_w
    if site.measured_w is None:
        planned_w = float(_reach_w(command_w, history.command_w, floor_w, barred).sum()) + site.overhead_w
        excess_w = max(excess_w, planned_w - site.safe_w)
    if excess_w <= 0.0:
        return command, command_w, shed

    curves, xp = fleet.curves, NUMPY
    hashrate_ths = curves.at_preset(curves.preset_hashrate_ths, command.preset, xp=xp) * command.throttle * command.run
    j_per_th = command_w / np.maximum(hashrate_ths, 1e-9)
    order = [int(i) for i in np.argsort(-j_per_th, kind="stable") if command.run[i] > 0.0 and not barred[i]]
    run, preset, throttle = command.run.copy(), command.preset.copy(), command.throttle.copy()
    power_w = _reach_w(command_w, history.command_w, floor_w, barred) if site.measured_w is None else command_w.copy()
    for stop in (False, True):
        for i in order:
            if excess_w <= 1e-6:
                break
            lower_w = 0.0
            if stop:
                run[i] = 0.0
            else:
                entry, share = _lower(i, power_w[i] - excess_w, preset, throttle, fleet)
                fixed_w = curves.preset_fixed_w[i, int(entry)]
                lower_w = fixed_w + share * (curves.preset_power_w[i, int(entry)] - fixed_w)
                if lower_w >= power_w[i]:
                    continue
                preset[i], throttle[i] = entry, share
            excess_w -= power_w[i] - lower_w
            power_w[i], shed[i] = lower_w, True
    return FirmwareCommand(run, preset, throttle), np.where(shed, power_w, command_w), shed


def _lower(miner: int, target_w: float, preset: Floats, throttle: Floats, fleet: MinerFleet) -> tuple[float, float]:
    """Preset and throttle of a miner that bring it to ``target_w`` or as near as it gets without stopping."""
    curves, index = fleet.curves, int(preset[miner])
    if fleet.throttles[miner]:
        fixed_w = curves.preset_fixed_w[miner, index]
        share = (target_w - fixed_w) / (curves.preset_power_w[miner, index] - fixed_w)
        # Firmware throttles in whole percent: rounded down, so that it is enough.
        percent = math.floor(share * 100.0)
        return preset[miner], min(max(percent / 100.0, THROTTLE_MIN), throttle[miner])
    fits = int(np.count_nonzero(curves.preset_power_w[miner, : index + 1] <= target_w))
    return float(max(fits - 1, 0)), throttle[miner]
