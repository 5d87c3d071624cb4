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
from minesim.errors import pick
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
    return pick("limits", name, {entry.name: entry for entry in _LIMITS})


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
    reason = 0.0 * request_w
    changed = False
    if math.isfinite(bounds.stops_per_day):
        exhausted = xp.maximum(current.run - request.run, 0.0) * (
            1.0 - xp.below(history.stops_today, bounds.stops_per_day)
        )
        if xp.maybe_any(exhausted):
            kept = 1.0 - exhausted
            request = FirmwareCommand(
                run=xp.maximum(request.run, exhausted),
                preset=request.preset * kept,
                throttle=request.throttle * kept + exhausted,
            )
            reason = exhausted * Reason.STOP_BUDGET.value
            changed = True
    if _may_be_hotter(telemetry, bounds.temp_chip_soft_c, bounds.temp_board_soft_c, xp=xp):
        soft = _hotter(telemetry, bounds.temp_chip_soft_c, bounds.temp_board_soft_c, xp=xp)
        lower = xp.minimum(xp.maximum(current.preset - 1.0, 0.0), request.preset)
        request = FirmwareCommand(
            run=xp.blend(soft, xp.minimum(request.run, current.run), request.run),
            preset=xp.blend(soft, lower, request.preset),
            throttle=xp.blend(soft, xp.minimum(request.throttle, current.throttle), request.throttle),
        )
        reason = xp.maximum(reason, soft * Reason.SOFT_TEMP.value)
        changed = True
    if changed:
        request_w = command_power_w(request, curves, xp=xp)

    rise_w = request_w - current_w
    rises = xp.above(rise_w, curves.terms.rise_min_w)
    holds: list[Array] = []
    if bounds.dwell_up_s > 0.0:
        early = rises * xp.below(history.since_up_s, bounds.dwell_up_s)
        reason = xp.maximum(reason, early * Reason.DWELL.value)
        holds.append(early)
        rises = rises - early
    if math.isfinite(bounds.ramp_up_per_5min) or math.isfinite(bounds.site_cap_w):
        ramp_w, cap_w = _budgets_w(current_w, history, bounds, curves, dt_s, xp=xp)
        rising_w = rises * rise_w
        total_w = xp.dot(rising_w, curves.count)
        # What fits as a whole needs no queue.
        if xp.maybe_any(total_w > ramp_w) or (cap_w is not None and xp.maybe_any(total_w > cap_w)):
            granted, why = _grant_in_turn(rising_w * curves.count, ramp_w, cap_w, history, curves, xp=xp)
            refused = rises - rises * granted
            reason = xp.maximum(reason, refused * why)
            holds.append(refused)
    if bounds.write_gap_s > dt_s:
        pending = xp.below(history.since_write_s, bounds.write_gap_s)
        reason = xp.maximum(reason, pending * Reason.WRITE_PENDING.value)
        holds.append(pending)
    if math.isfinite(bounds.age_max_s):
        age_max_s = bounds.age_max_s + AGE_SLACK_S
        # A failed sensor counts as stale: NaN.
        readings = telemetry.temp_chip_c + telemetry.power_w
        if xp.may_fall_to(readings, ANSWER_MIN) or xp.may_reach(telemetry.age_s, age_max_s):
            stale = 1.0 - xp.above(readings, ANSWER_MIN) * xp.below(telemetry.age_s, age_max_s)
            reason = xp.maximum(reason, stale * Reason.STALE.value)
            holds.append(stale)
    if holds:
        hold = holds[0]
        for more in holds[1:]:
            hold = xp.maximum(hold, more)
        if xp.maybe_any(hold):
            request_w = xp.blend(hold, current_w, request_w)
            request = FirmwareCommand(
                run=xp.blend(hold, current.run, request.run),
                preset=xp.blend(hold, current.preset, request.preset),
                throttle=xp.blend(hold, current.throttle, request.throttle),
            )
    if _may_be_hotter(telemetry, bounds.temp_chip_hard_c, bounds.temp_board_hard_c, xp=xp):
        hard = _hotter(telemetry, bounds.temp_chip_hard_c, bounds.temp_board_hard_c, xp=xp)
        reason = xp.maximum(reason, hard * Reason.HARD_TEMP.value)
        stays = 1.0 - hard
        request_w = request_w * stays
        request = FirmwareCommand(request.run * stays, request.preset, request.throttle)
    return request, request_w, reason


def _may_be_hotter(telemetry: Telemetry, temp_chip_c: float, temp_board_c: float, *, xp: Namespace) -> bool:
    """Whether to look at :func:`_hotter` at all."""
    return (math.isfinite(temp_chip_c) and xp.may_reach(telemetry.temp_chip_c, temp_chip_c)) or (
        math.isfinite(temp_board_c) and xp.may_reach(telemetry.temp_board_c, temp_board_c)
    )


def _hotter(telemetry: Telemetry, temp_chip_c: float, temp_board_c: float, *, xp: Namespace) -> Array:
    """1 where chip or board is above its limit; an infinite limit is none."""
    hot = xp.above(telemetry.temp_chip_c, temp_chip_c)
    if math.isfinite(temp_board_c):
        hot = xp.maximum(hot, xp.above(telemetry.temp_board_c, temp_board_c))
    return hot


def _budgets_w(
    current_w: Array, history: ControlHistory, bounds: Limits, curves: FleetCurves, dt_s: float, *, xp: Namespace
) -> tuple[Array, Array | None]:
    """How much the site's set power may still rise, W, (B,): by the ramps, and by the cap (None without one)."""
    rated_w = curves.power_rated_site_w
    ramp_w = 0.0 * current_w[..., 0] + bounds.ramp_up_per_5min * rated_w
    # The window holds the earlier steps of five minutes; this step is the last.
    if history.up_window_w.shape[-1] > 0:
        ramp_w = ramp_w - xp.sum(history.up_window_w, axis=-1)
    if math.isfinite(bounds.ramp_up_per_min):
        ramp_w = xp.minimum(ramp_w, bounds.ramp_up_per_min * rated_w * dt_s / 60.0)
    ramp_w = ramp_w * (1.0 + 1e-9)
    if not math.isfinite(bounds.site_cap_w):
        return ramp_w, None
    return ramp_w, bounds.site_cap_w - xp.dot(current_w, curves.count)


FEW_COHORTS = 32
"""Up to this many cohorts the queue is built by comparing all pairs, which is faster than sorting."""
TIE_S = 0.5
"""Waiting times this close count as equal."""
ANSWER_MIN = -1e3
"""Chip temperature (degC) plus power (W) are above this in every reading."""
AGE_SLACK_S = 1e-3
"""Rounding allowed in the age of a reading."""


def _ahead_w(asked_w: Array, since_up_s: Array, curves: FleetCurves, *, xp: Namespace) -> Array:
    """Sum of what a cohort and all before it in the queue ask for, W, (B, M).

    The longest-waiting come first, ties by index.
    """
    cohorts = asked_w.shape[-1]
    if cohorts > FEW_COHORTS:
        order = xp.argsort(-since_up_s, axis=-1)
        queued_w = xp.cumsum(xp.take_along(asked_w, order, -1), axis=-1)
        return xp.take_along(queued_w, xp.argsort(order, axis=-1), -1)
    order = curves.index_order if since_up_s.ndim > 1 else curves.index_order[:, 0]
    first = xp.above(since_up_s.T[..., None] + TIE_S * order, since_up_s)
    return xp.sum(first * asked_w.T[..., None], axis=0)


def _grant_in_turn(
    asked_w: Array,
    ramp_w: Array,
    cap_w: Array | None,
    history: ControlHistory,
    curves: FleetCurves,
    *,
    xp: Namespace,
) -> tuple[Array, Array | float]:
    """Which increases (W of the whole cohort) fit the ramp and the cap (1 or 0), and why the others do not, (B, M)."""
    queued_w = _ahead_w(asked_w, history.since_up_s, curves, xp=xp)
    # A single cohort larger than the whole budget may move alone in an empty window: else it could never move.
    empty = 1.0 - xp.above(xp.sum(history.up_window_w, axis=-1)[..., None], 0.0)
    alone = empty * (1.0 - xp.above(queued_w, asked_w))
    granted = xp.maximum(1.0 - xp.above(queued_w, ramp_w[..., None]), alone)
    if cap_w is None:
        return granted, Reason.RAMP.value
    under_cap = 1.0 - xp.above(queued_w, cap_w[..., None])
    why = Reason.SITE_CAP.value - under_cap * (Reason.SITE_CAP.value - Reason.RAMP.value)
    return granted * under_cap, why


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
    rose = xp.above(delta_w, curves.terms.rise_min_w)
    stops_today = history.stops_today
    if xp.maybe_any(local_day != history.local_day):
        stops_today = stops_today * xp.column(xp.cast(local_day == history.local_day, command_w))
    window = history.up_window_w
    if window.shape[-1] > 0:
        window = xp.concat([window[..., 1:], xp.dot(rose * delta_w, curves.count)[..., None]], -1)
    return ControlHistory(
        command=command,
        command_w=command_w,
        since_up_s=history.since_up_s - history.since_up_s * rose + dt_s,
        since_write_s=history.since_write_s
        - history.since_write_s * xp.above(xp.abs(delta_w), curves.terms.rise_min_w)
        + dt_s,
        stops_today=stops_today + xp.maximum(history.command.run - command.run, 0.0),
        up_window_w=window,
        local_day=local_day,
    )
