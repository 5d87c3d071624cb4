"""The envelope: one pure function between what a policy asks for and what is done, in the twin and on hardware.

Causes are ordered by severity and the worst active one wins. Increases bind the site as a whole, so cohorts (or
miners) move in turn, the longest-waiting first; decreases are never rate-limited. Recovery is slower than onset: after
any upward move a cohort waits ``dwell_up_s``.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from minesim.arrays import Array, Namespace
from minesim.control.actuate import FleetCurves, command_power_w
from minesim.control.telemetry import Telemetry
from minesim.errors import ParamsError, explain, nearest
from minesim.physics.firmware import FirmwareCommand


class Reason(enum.IntEnum):
    """Why a request was changed, by rising severity."""

    NONE = 0
    WRITE_PENDING = 1
    DWELL = 2
    RAMP = 3
    STOP_BUDGET = 4
    SITE_CAP = 5
    SOFT_TEMP = 6
    STALE = 7
    HARD_TEMP = 8


@dataclass(frozen=True)
class Limits:
    """What a site may do; travels in scenarios and bundles.

    Attributes:
        name: which preset of limits this is.
        temp_chip_soft_c, temp_chip_hard_c: chip limits, degC: above soft a cohort steps down, above hard it stops.
        temp_board_soft_c, temp_board_hard_c: the same for boards.
        ramp_up_per_min: largest increase of the site's set power per minute, share of rated power.
        ramp_up_per_5min: the same within any five minutes.
        dwell_up_s: shortest time between two upward moves of one cohort.
        write_gap_s: no second write to a cohort before this time (read-back).
        stops_per_day: stops of one cohort and local day; a further stop becomes the lowest preset.
        site_cap_w: cap on the site's set power, W.
        age_max_s: older telemetry holds.
    """

    name: str
    temp_chip_soft_c: float = math.inf
    temp_chip_hard_c: float = math.inf
    temp_board_soft_c: float = math.inf
    temp_board_hard_c: float = math.inf
    ramp_up_per_min: float = math.inf
    ramp_up_per_5min: float = math.inf
    dwell_up_s: float = 0.0
    write_gap_s: float = 0.0
    stops_per_day: float = math.inf
    site_cap_w: float = math.inf
    age_max_s: float = math.inf


_LIMITS = (
    Limits(name="free"),
    # The published training recipe: chip temperature 80 C, power change 0.2 a step.
    Limits(name="seed", temp_chip_soft_c=80.0, temp_chip_hard_c=85.0, ramp_up_per_5min=0.2, age_max_s=600.0),
    Limits(
        name="bridge",
        temp_chip_soft_c=80.0,
        temp_chip_hard_c=85.0,
        temp_board_soft_c=70.0,
        temp_board_hard_c=75.0,
        ramp_up_per_min=0.05,
        ramp_up_per_5min=0.10,
        dwell_up_s=600.0,
        write_gap_s=120.0,
        stops_per_day=6.0,
        age_max_s=60.0,
    ),
)


def limits(name: str | Limits) -> Limits:
    """Limits by name: ``free`` (firmware protection only), ``seed`` (the published recipe), ``bridge`` (hardware).

    Raises:
        ParamsError: unknown name (nearest names suggested).
    """
    if isinstance(name, Limits):
        return name
    table = {entry.name: entry for entry in _LIMITS}
    if name not in table:
        raise ParamsError(explain(f"limits {name!r} are unknown", fix=nearest(name, table)))
    return table[name]


@dataclass(frozen=True)
class ControlHistory:
    """What the controller remembers of its own writes; each (B, M) unless said. Survives a restart of a bridge.

    Attributes:
        command: the command in force.
        command_w: wall power of one miner that it means, W.
        since_up_s: time since the last upward move.
        since_write_s: time since the last write.
        stops_today: stops in the present local day.
        up_window_w: increases of the site's set power in the earlier steps of a 5-minute window, W, (B, n), where n is
            one less than the steps in five minutes.
        local_day: number of the present local day, (B,).
    """

    command: FirmwareCommand
    command_w: Array
    since_up_s: Array
    since_write_s: Array
    stops_today: Array
    up_window_w: Array
    local_day: Array


def apply_envelope(
    request: FirmwareCommand,
    request_w: Array,
    telemetry: Telemetry,
    history: ControlHistory,
    bounds: Limits,
    curves: FleetCurves,
    dt_s: float,
    *,
    xp: Namespace,
) -> tuple[FirmwareCommand, Array, Array]:
    """Bound a request.

    Args:
        request, request_w: what :func:`minesim.control.actuate.actuate` asks for, (B, M).
        telemetry: latest reading.
        history: own writes.
        bounds: limits in force.
        curves: the fleet.
        dt_s: control step, s.
        xp: namespace of the arrays.

    Returns:
        Command to write, the wall power of one miner that it means (W), and the worst :class:`Reason` per cohort (as
        floats), each (B, M).
    """
    current, current_w = history.command, history.command_w
    reason = 0.0 * request.run
    changed = False
    if math.isfinite(bounds.stops_per_day):
        exhausted = (current.run > request.run) & (history.stops_today >= bounds.stops_per_day)
        if xp.maybe_any(exhausted):
            request = FirmwareCommand(
                run=xp.where(exhausted, 1.0, request.run),
                preset=xp.where(exhausted, 0.0, request.preset),
                throttle=xp.where(exhausted, 1.0, request.throttle),
            )
            reason = xp.where(exhausted, float(Reason.STOP_BUDGET), reason)
            changed = True
    hard = None
    if math.isfinite(bounds.temp_chip_soft_c):
        soft = (telemetry.temp_chip_c > bounds.temp_chip_soft_c) | (telemetry.temp_board_c > bounds.temp_board_soft_c)
        hard = (telemetry.temp_chip_c > bounds.temp_chip_hard_c) | (telemetry.temp_board_c > bounds.temp_board_hard_c)
        if xp.maybe_any(soft):
            lower = xp.minimum(xp.maximum(current.preset - 1.0, 0.0), request.preset)
            request = FirmwareCommand(
                run=xp.where(soft, xp.minimum(request.run, current.run), request.run),
                preset=xp.where(soft, lower, request.preset),
                throttle=xp.where(soft, xp.minimum(request.throttle, current.throttle), request.throttle),
            )
            reason = xp.where(soft, float(Reason.SOFT_TEMP), reason)
            changed = True
    if changed:
        request_w = command_power_w(request, curves, xp=xp)

    rise_w = request_w - current_w
    rises = rise_w > 1e-6 * curves.power_rated_w
    hold = rise_w != rise_w
    if bounds.dwell_up_s > 0.0:
        early = rises & (history.since_up_s < bounds.dwell_up_s)
        reason = xp.where(early, xp.maximum(reason, float(Reason.DWELL)), reason)
        hold = hold | early
        rises = rises & ~early
    bound = math.isfinite(bounds.ramp_up_per_5min) or math.isfinite(bounds.site_cap_w)
    if bound and xp.maybe_any(rises):
        rise_site_w = xp.where(rises, rise_w, 0.0) * curves.count
        granted, why = _grant_in_turn(rise_site_w, current_w, history, bounds, curves, dt_s, xp=xp)
        refused = rises & ~granted
        reason = xp.where(refused, xp.maximum(reason, why), reason)
        hold = hold | refused
    if bounds.write_gap_s > dt_s:
        pending = history.since_write_s < bounds.write_gap_s
        reason = xp.where(pending, xp.maximum(reason, float(Reason.WRITE_PENDING)), reason)
        hold = hold | pending
    if math.isfinite(bounds.age_max_s):
        # NaN compares false: a failed sensor counts as stale.
        fresh = (telemetry.age_s <= bounds.age_max_s) & (telemetry.temp_chip_c > -1e3) & (telemetry.power_w > -1.0)
        if xp.maybe_any(~fresh):
            reason = xp.where(fresh, reason, float(Reason.STALE))
            hold = hold | ~fresh
    if xp.maybe_any(hold):
        request_w = xp.where(hold, current_w, request_w)
        request = FirmwareCommand(
            run=xp.where(hold, current.run, request.run),
            preset=xp.where(hold, current.preset, request.preset),
            throttle=xp.where(hold, current.throttle, request.throttle),
        )
    if hard is not None and xp.maybe_any(hard):
        reason = xp.where(hard, float(Reason.HARD_TEMP), reason)
        request_w = xp.where(hard, 0.0, request_w)
        request = FirmwareCommand(xp.where(hard, 0.0, request.run), request.preset, request.throttle)
    return request, request_w, reason


def _grant_in_turn(
    rise_w: Array,
    current_w: Array,
    history: ControlHistory,
    bounds: Limits,
    curves: FleetCurves,
    dt_s: float,
    *,
    xp: Namespace,
) -> tuple[Array, Array | float]:
    """Which increases (W of the whole cohort) fit the ramp and the cap, the longest-waiting first, ties by index."""
    rated_w = curves.power_rated_site_w
    in_window_w = xp.sum(history.up_window_w, axis=-1)[..., None]
    # The window already holds n - 1 earlier steps; this step is the n-th.
    ramp_w = xp.minimum(bounds.ramp_up_per_5min * rated_w - in_window_w, bounds.ramp_up_per_min * rated_w * dt_s / 60.0)
    order = xp.argsort(-history.since_up_s, axis=-1)
    sorted_w = xp.take_along(rise_w, order, -1)
    queued_w = xp.cumsum(sorted_w, axis=-1)
    # A single cohort larger than the whole budget may move alone in an empty window: else it could never move.
    alone = (queued_w <= sorted_w) & (in_window_w <= 0.0)
    fits = (queued_w <= ramp_w * (1.0 + 1e-9)) | alone
    back = xp.argsort(order, axis=-1)
    why: Array | float = float(Reason.RAMP)
    if math.isfinite(bounds.site_cap_w):
        under_cap = queued_w + xp.sum(current_w * curves.count, axis=-1)[..., None] <= bounds.site_cap_w
        fits = fits & under_cap
        why = xp.where(xp.take_along(under_cap, back, -1), float(Reason.RAMP), float(Reason.SITE_CAP) + 0.0 * rise_w)
    return xp.take_along(fits, back, -1), why


def advance_history(
    history: ControlHistory,
    command: FirmwareCommand,
    command_w: Array,
    local_day: Array,
    curves: FleetCurves,
    dt_s: float,
    *,
    xp: Namespace,
) -> ControlHistory:
    """Remember a written command; times are counted to the end of the control step.

    Args:
        history: before the write.
        command, command_w: what was written and the power of one miner that it means, (B, M).
        local_day: number of the local day, (B,); a new day renews the budget of stops.
        curves: the fleet.
        dt_s: control step, s.
        xp: namespace of the arrays.
    """
    delta_w = command_w - history.command_w
    slack_w = 1e-6 * curves.power_rated_w
    rose = delta_w > slack_w
    moved = rose | (delta_w < -slack_w)
    up_w = xp.sum(xp.where(rose, delta_w, 0.0) * curves.count, axis=-1)[..., None]
    same_day = (local_day == history.local_day)[..., None]
    stopped = history.command.run * (1.0 - command.run)
    window = history.up_window_w
    if window.shape[-1] > 0:
        window = xp.concat([window[..., 1:], up_w], -1)
    return ControlHistory(
        command=command,
        command_w=command_w,
        since_up_s=xp.where(rose, 0.0, history.since_up_s) + dt_s,
        since_write_s=xp.where(moved, 0.0, history.since_write_s) + dt_s,
        stops_today=xp.where(same_day, history.stops_today, 0.0) + stopped,
        up_window_w=window,
        local_day=local_day,
    )
