"""Bound candidate and control each by its own share of the site's cap and ramp, so that neither lives off the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from minesim.bridge.deciding import guard
from minesim.bridge.deciding.guard import Bounded, Sight, SitePower
from minesim.bridge.miners.fleet import Bools, Ints, MinerFleet
from minesim.bridge.rollouts.waves import split_by_arm
from minesim.control.envelope import ControlHistory, Limits
from minesim.control.telemetry import Telemetry
from minesim.physics.firmware import FirmwareCommand

T = TypeVar("T")


def bound_by_arm(
    request: FirmwareCommand,
    sight: Sight,
    history: ControlHistory,
    bounds: Limits,
    fleet: MinerFleet,
    site: SitePower,
    dt_s: float,
    candidate: Bools,
    window_w: tuple[float, float],
) -> Bounded:
    """Bound two groups of miners as sites of their own, then both together as the one site that they are.

    The second bound is the site's ordinary one, so nothing that a group is allowed can exceed a limit of the site.

    Args:
        request, sight, history, bounds, fleet, site, dt_s: see :func:`minesim.bridge.deciding.guard.bound`.
        candidate: miners that run the candidate, (N,); some but not all.
        window_w: what candidate and control rose by in the earlier steps of five minutes, W.
    """
    why = np.zeros(fleet.size, np.int64)
    cap_w = min(site.cap_w, bounds.site_cap_w)
    rated_w = dict(zip((member.address for member in fleet.members), fleet.curves.power_rated_w, strict=True))
    ours = [member.address for member, mine in zip(fleet.members, candidate, strict=True) if mine]
    share, caps_w = split_by_arm(1.0, rated_w, ours), split_by_arm(cap_w, rated_w, ours)
    drawn_w = np.nan_to_num(sight.telemetry.power_w)
    for arm, mask in enumerate((candidate, ~candidate)):
        chosen = np.flatnonzero(mask)
        part = share[arm] if drawn_w.sum() <= 0.0 else float(drawn_w[mask].sum() / drawn_w.sum())
        power = replace(
            site,
            cap_w=caps_w[arm],
            measured_w=None if site.measured_w is None else site.measured_w * part,
            overhead_w=site.overhead_w * share[arm],
        )
        found = guard.bound(
            _commands(request, chosen),
            _sight(sight, chosen),
            _history(history, chosen, window_w[arm]),
            replace(bounds, site_cap_w=np.inf),
            _fleet(fleet, chosen),
            power,
            dt_s,
        )
        request = _placed(request, found.command, chosen)
        why[chosen] = found.why
    whole = guard.bound(request, sight, history, bounds, fleet, site, dt_s)
    return replace(whole, why=np.maximum(whole.why, why))


def choose(mask: Bools, first: FirmwareCommand, second: FirmwareCommand) -> FirmwareCommand:
    """Commands of ``first`` where the mask holds, else of ``second``, (N,)."""
    return FirmwareCommand(
        run=np.where(mask, first.run, second.run),
        preset=np.where(mask, first.preset, second.preset),
        throttle=np.where(mask, first.throttle, second.throttle),
    )


def _commands(command: FirmwareCommand, chosen: Ints) -> FirmwareCommand:
    return FirmwareCommand(command.run[chosen], command.preset[chosen], command.throttle[chosen])


def _placed(whole: FirmwareCommand, part: FirmwareCommand, chosen: Ints) -> FirmwareCommand:
    def put(values: np.ndarray, new: np.ndarray) -> np.ndarray:
        out = np.array(values, np.float64)
        out[chosen] = new
        return out

    return FirmwareCommand(put(whole.run, part.run), put(whole.preset, part.preset), put(whole.throttle, part.throttle))


def _sight(sight: Sight, chosen: Ints) -> Sight:
    told = sight.telemetry
    return Sight(
        telemetry=Telemetry(
            hashrate_ths=told.hashrate_ths[chosen],
            power_w=told.power_w[chosen],
            temp_chip_c=told.temp_chip_c[chosen],
            temp_board_c=told.temp_board_c[chosen],
            fan_duty=told.fan_duty[chosen],
            hashing=told.hashing[chosen],
            age_s=told.age_s[chosen],
            power_site_w=told.power_site_w,
            temp_intake_c=told.temp_intake_c,
        ),
        holds={why: mask[chosen] for why, mask in sight.holds.items()},
        neighbour_unknown=sight.neighbour_unknown[chosen],
        may_draw_w=sight.may_draw_w[chosen],
    )


def _history(history: ControlHistory, chosen: Ints, window_w: float) -> ControlHistory:
    return replace(
        history,
        command=_commands(history.command, chosen),
        command_w=history.command_w[chosen],
        since_up_s=history.since_up_s[chosen],
        since_write_s=history.since_write_s[chosen],
        stops_today=history.stops_today[chosen],
        up_window_w=np.array([window_w]),
    )


def _fleet(fleet: MinerFleet, chosen: Ints) -> MinerFleet:
    def of(entries: Sequence[T]) -> tuple[T, ...]:
        return tuple(entries[int(i)] for i in chosen)

    curves = fleet.curves
    return replace(
        fleet,
        members=of(fleet.members),
        preset_names=of(fleet.preset_names),
        cohort_of=fleet.cohort_of[chosen],
        group_of=fleet.group_of[chosen],
        throttles=fleet.throttles[chosen],
        usable=fleet.usable[chosen],
        top_w=fleet.top_w[chosen],
        curves=replace(
            curves,
            models=of(curves.models),
            count=curves.count[chosen],
            power_rated_w=curves.power_rated_w[chosen],
            hashrate_rated_ths=curves.hashrate_rated_ths[chosen],
            preset_power_w=curves.preset_power_w[chosen],
            preset_hashrate_ths=curves.preset_hashrate_ths[chosen],
            preset_fixed_w=curves.preset_fixed_w[chosen],
            preset_last=curves.preset_last[chosen],
            net_revenue_factor=curves.net_revenue_factor[chosen],
            offset=np.arange(len(chosen)) * curves.preset_power_w.shape[1],
        ),
    )
