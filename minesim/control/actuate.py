"""From an action to what firmware can carry out: run or stop, a tuned preset, a throttle.

The same code drives the twin, an emulator and a real site. It knows the fleet only through :class:`FleetCurves`, which
is public: nameplates, preset tables and fees.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from minesim.arrays import Array, Namespace, namespace_of
from minesim.physics.firmware import FirmwareCommand

OFF_BELOW = -0.9
"""An action below this stops a running cohort."""
ON_ABOVE = -0.85
"""A stopped cohort starts only above this (hysteresis)."""
THROTTLE_MIN = 0.2
"""VNish accepts 20 to 100 %."""
MATCH = 1e-3
"""A preset that misses a target by less than this share of rated power reaches it."""
THROTTLE_PREFERRED_MIN = 0.7
"""Deeper cuts change the preset, which is more efficient but costs minutes (assumed trade-off)."""


class FleetTerms(NamedTuple):
    """What :func:`actuate` and the envelope compute of a fleet once, (M,) each; numbers that stand beside arrays too.

    Attributes:
        lowest_w, rated_w: power of one miner at its lowest preset and at its rating, W.
        at_zero_w, per_action_w: power that an action of 0 asks for, and by how much it grows with the action, W.
        rise_min_w: a smaller change of one miner's set power counts as none, W.
        on_above, hysteresis: a stopped cohort starts above the first, a running one stops the second below it.
        throttle_min, one: lowest throttle, and ones.
        reached_w: up to which target each preset is taken, W, (M, P).
        flat_keep_above_w, flat_keep_below_w: between which targets a preset that is in force is kept, W, (M P,).
        preset_ones: ones, (P,).
    """

    lowest_w: Array
    rated_w: Array
    at_zero_w: Array
    per_action_w: Array
    rise_min_w: Array
    on_above: Array
    hysteresis: Array
    throttle_min: Array
    one: Array
    reached_w: Array
    flat_keep_above_w: Array
    flat_keep_below_w: Array
    preset_ones: Array


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

    @functools.cached_property
    def power_rated_site_w(self) -> float:
        """Rated power of all miners together, W."""
        return float((self.count * self.power_rated_w).sum())

    @functools.cached_property
    def hashrate_rated_site_ths(self) -> float:
        """Rated hashrate of all miners together, TH/s."""
        return float((self.count * self.hashrate_rated_ths).sum())

    @functools.cached_property
    def count_share(self) -> Array:
        """Share of each cohort in the number of miners, (M,)."""
        return self.count / self.count.sum()

    @functools.cached_property
    def paid_count(self) -> Array:
        """Miners of a cohort whose revenue is paid out, after fees and rejects, (M,)."""
        return self.count * self.net_revenue_factor

    @functools.cached_property
    def level_min(self) -> Array:
        """Power of the lowest preset as a share of rated power, (M,)."""
        return self.preset_power_w[:, 0] / self.power_rated_w

    @functools.cached_property
    def flat_split_w(self) -> tuple[Array, Array]:
        """The parts of each preset's power that a throttle leaves alone and that it scales, W, (M P,) each."""
        return self.preset_fixed_w.reshape(-1), (self.preset_power_w - self.preset_fixed_w).reshape(-1)

    @functools.cached_property
    def index_order(self) -> Array:
        """1 where the first index is not above the last one, else -1, (M, 1, M)."""
        index = np.arange(len(self.models))
        order = np.where(index[:, None] <= index, 1.0, -1.0)[:, None, :]
        return namespace_of(self.count).asarray(order, like=self.count)

    @functools.cached_property
    def terms(self) -> FleetTerms:
        """Constants of :func:`actuate` and of the envelope."""
        xp = namespace_of(self.count)
        lowest_w, one = self.preset_power_w[:, 0], xp.ones_like(self.count)
        per_action_w = (self.power_rated_w - lowest_w) * (1.0 / (1.0 - OFF_BELOW))
        # A preset that misses a target by less than this reaches it.
        reached_w = self.preset_power_w + MATCH * self.power_rated_w[:, None]
        fixed_w, throttled_w = self.flat_split_w
        return FleetTerms(
            lowest_w=lowest_w,
            rated_w=self.power_rated_w,
            at_zero_w=self.power_rated_w - per_action_w,
            per_action_w=per_action_w,
            rise_min_w=1e-6 * self.power_rated_w,
            on_above=one * ON_ABOVE,
            hysteresis=one * (ON_ABOVE - OFF_BELOW),
            throttle_min=one * THROTTLE_MIN,
            one=one,
            reached_w=reached_w,
            flat_keep_above_w=fixed_w + THROTTLE_PREFERRED_MIN * throttled_w,
            flat_keep_below_w=reached_w.reshape(-1),
            preset_ones=xp.ones_like(self.preset_power_w[0]),
        )

    def to(self, like: Array) -> FleetCurves:
        """The same curves as arrays of the kind, dtype and device of ``like``."""
        xp = namespace_of(like)
        return replace(self, **(convert(self, like) | {"offset": xp.index(xp.asarray(self.offset, like=like))}))

    def at_preset(self, table: Array, preset: Array, *, xp: Namespace) -> Array:
        """Entries of a preset table (M, P) at preset indices (B, M)."""
        return xp.take(table.reshape(-1), self.offset + xp.index(preset))

    def split_power_w(self, preset: Array, *, xp: Namespace) -> tuple[Array, Array]:
        """Power of one miner at preset indices (B, M): what a throttle leaves alone, and what it scales, W."""
        entry = self.offset + xp.index(preset)
        fixed_w, throttled_w = self.flat_split_w
        return xp.take(fixed_w, entry), xp.take(throttled_w, entry)


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
    fixed_w, throttled_w = curves.split_power_w(command.preset, xp=xp)
    return command.run * (fixed_w + command.throttle * throttled_w)


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
    gap = (1.0 - xp.clip(action, OFF_BELOW, 1.0)) * (1.0 / (1.0 - OFF_BELOW))
    return xp.above(action, ON_ABOVE - (ON_ABOVE - OFF_BELOW) * running) * (1.0 - gap * (1.0 - level_min))


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
    # target_level in watts
    terms = curves.terms
    run = xp.above(action, terms.on_above - terms.hysteresis * current.run)
    asked_w = terms.at_zero_w + terms.per_action_w * action
    target_w = run * xp.minimum(xp.maximum(asked_w, terms.lowest_w), terms.rated_w)
    stands = terms.one - run
    if not curves.has_throttle:
        table = curves.preset_power_w
        missed = xp.sum(xp.above(table, (target_w + MATCH * terms.rated_w)[..., None]), axis=-1)
        preset = xp.clip(table.shape[-1] - 1.0 - missed, 0.0, curves.preset_last)
        command = FirmwareCommand(run, xp.blend(stands, current.preset, preset), xp.ones_like(run))
        return command, command_power_w(command, curves, xp=xp)
    kept = curves.offset + xp.index(current.preset)
    leaves = xp.maximum(
        xp.below(target_w, xp.take(terms.flat_keep_above_w, kept)),
        xp.above(target_w, xp.take(terms.flat_keep_below_w, kept)),
    )
    short = xp.sum_last(xp.below(terms.reached_w, target_w[..., None]), terms.preset_ones)
    preset = xp.blend(leaves * run, xp.minimum(short, curves.preset_last), current.preset)
    fixed_w, throttled_w = curves.split_power_w(preset, xp=xp)
    wanted = xp.maximum((target_w - fixed_w) / throttled_w, terms.throttle_min)
    throttle = xp.maximum(xp.minimum(wanted, terms.one), stands)
    return FirmwareCommand(run, preset, throttle), run * (fixed_w + throttle * throttled_w)
