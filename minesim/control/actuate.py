"""From an action to what firmware can carry out: run or stop, a tuned preset, a throttle.

The same code drives the twin, an emulator and a real site. It knows the fleet only through :class:`FleetCurves`, which
is public: nameplates, preset tables and fees.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from minesim.arrays import Array, Namespace, namespace_of
from minesim.physics.firmware import FirmwareCommand

OFF_BELOW = -0.9
"""An action below this stops a running cohort."""
ON_ABOVE = -0.85
"""A stopped cohort starts only above this (hysteresis)."""
THROTTLE_MIN = 0.2
"""VNish accepts 20 to 100 %."""
THROTTLE_PREFERRED_MIN = 0.7
"""Deeper cuts change the preset, which is more efficient but costs minutes (assumed trade-off)."""


@dataclass(frozen=True)
class FleetCurves:
    """What is publicly known of a fleet; M cohorts, P presets (tables padded with their last entry).

    Attributes:
        models: hardware model of each cohort.
        count: miners in each cohort, (M,).
        power_rated_w: stock wall power of one miner, (M,).
        hashrate_rated_ths: stock hashrate of one miner, (M,).
        preset_power_w: wall power of each preset, rising, (M, P).
        preset_hashrate_ths: hashrate of each preset, (M, P).
        preset_fixed_w: the part of it that a throttle does not reduce (leakage, fans, control board), (M, P).
        preset_last: index of the highest preset, (M,).
        net_revenue_factor: share of gross revenue that is paid out after developer fee, pool fee and rejects, (M,).
        offset: first entry of each cohort in a flattened preset table, (M,) integers.
        has_throttle: whether the firmware can throttle.
    """

    models: tuple[str, ...]
    count: Array
    power_rated_w: Array
    hashrate_rated_ths: Array
    preset_power_w: Array
    preset_hashrate_ths: Array
    preset_fixed_w: Array
    preset_last: Array
    net_revenue_factor: Array
    offset: Array
    has_throttle: bool = True

    @property
    def power_rated_site_w(self) -> float:
        """Rated power of all miners together, W."""
        return float((self.count * self.power_rated_w).sum())

    @property
    def level_min(self) -> Array:
        """Power of the lowest preset as a share of rated power, (M,)."""
        return self.preset_power_w[:, 0] / self.power_rated_w

    def to(self, like: Array) -> FleetCurves:
        """The same curves as arrays of the kind, dtype and device of ``like``."""
        xp = namespace_of(like)
        return replace(self, **(convert(self, like) | {"offset": xp.index(xp.asarray(self.offset, like=like))}))

    def at_preset(self, table: Array, preset: Array, *, xp: Namespace) -> Array:
        """Entries of a preset table (M, P) at preset indices (B, M)."""
        return xp.take(table.reshape(-1), self.offset + xp.index(preset))


def convert(record: Any, like: Array) -> dict[str, Array]:
    """All array fields of a dataclass as arrays of the kind, dtype and device of ``like``."""
    xp = namespace_of(like)
    arrays = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: xp.asarray(value, like=like) for name, value in arrays.items() if isinstance(value, np.ndarray)}


def command_power_w(command: FirmwareCommand, curves: FleetCurves, *, xp: Namespace) -> Array:
    """Expected wall power of one miner under a command, W, (B, M).

    Args:
        command: run, preset and throttle, (B, M).
        curves: the fleet.
        xp: namespace of the arrays.
    """
    full_w = curves.at_preset(curves.preset_power_w, command.preset, xp=xp)
    fixed_w = curves.at_preset(curves.preset_fixed_w, command.preset, xp=xp)
    return command.run * (fixed_w + command.throttle * (full_w - fixed_w))


def target_level(action: Array, running: Array, level_min: Array, *, xp: Namespace) -> Array:
    """Requested power as a share of rated power, 0 for off, (B, M).

    Below -0.9 a running cohort stops; a stopped one starts above -0.85; in between the level goes linearly from the
    lowest tuned preset to rated power.

    Args:
        action: in [-1, 1], (B, M).
        running: 1 where started, (B, M).
        level_min: share of the lowest preset, (M,).
        xp: namespace of the arrays.
    """
    span = xp.clip((action - OFF_BELOW) / (1.0 - OFF_BELOW), 0.0, 1.0)
    on = action > OFF_BELOW + (ON_ABOVE - OFF_BELOW) * (1.0 - running)
    return xp.where(on, level_min + span * (1.0 - level_min), 0.0)


def actuate(
    action: Array, current: FirmwareCommand, curves: FleetCurves, *, xp: Namespace
) -> tuple[FirmwareCommand, Array]:
    """Turn an action into a firmware command per cohort.

    The present preset is kept while throttling by at most 30 % reaches the target; otherwise the smallest preset that
    reaches it is taken and throttled down to it. Firmware without a throttle takes the highest preset that does not
    exceed the target.

    Args:
        action: in [-1, 1], (B, M).
        current: the command in force, (B, M).
        curves: the fleet.
        xp: namespace of the arrays.

    Returns:
        Requested command and the wall power that it means for one miner, W, (B, M); a stopped cohort keeps its preset.
    """
    level = target_level(action, current.run, curves.level_min, xp=xp)
    target_w = level * curves.power_rated_w
    stands = level <= 0.0
    run = xp.cast(level > 0.0, level)
    slack_w = 1e-3 * curves.power_rated_w
    table = curves.preset_power_w
    if not curves.has_throttle:
        fitting = xp.sum(xp.cast(table <= (target_w + slack_w)[..., None], table), axis=-1)
        preset = xp.clip(fitting - 1.0, 0.0, curves.preset_last)
        command = FirmwareCommand(run, xp.where(stands, current.preset, preset), xp.ones_like(run))
        return command, command_power_w(command, curves, xp=xp)
    below = xp.sum(xp.cast(table < (target_w - slack_w)[..., None], table), axis=-1)
    kept_w = curves.at_preset(table, current.preset, xp=xp)
    kept_fixed_w = curves.at_preset(curves.preset_fixed_w, current.preset, xp=xp)
    deepest_w = kept_fixed_w + THROTTLE_PREFERRED_MIN * (kept_w - kept_fixed_w)
    keep = (target_w >= deepest_w) & (target_w <= kept_w + slack_w) | stands
    preset = xp.where(keep, current.preset, xp.minimum(below, curves.preset_last))
    full_w = curves.at_preset(table, preset, xp=xp)
    fixed_w = curves.at_preset(curves.preset_fixed_w, preset, xp=xp)
    throttle = xp.where(stands, 1.0, xp.clip((target_w - fixed_w) / (full_w - fixed_w), THROTTLE_MIN, 1.0))
    return FirmwareCommand(run, preset, throttle), run * (fixed_w + throttle * (full_w - fixed_w))
