"""What reacting to changing prices can earn and what a run earned of it, and how soon its power followed a price.

Both are computed after a run from what was commanded and drawn, on nameplate power, so they cost a rollout next to
nothing and one run can be judged without another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minesim.arrays import NUMPY
from minesim.control.actuate import THROTTLE_MIN, FleetCurves
from minesim.envs.core import World
from minesim.units import SECONDS_PER_HOUR

FloatArray = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS_PER_DAY = 24.0
W_PER_MW = 1e6
KW_PER_MW = 1e3
RESPONSE_SHARE = 0.9
"""A response is over when power has made this share of its change (the usual 90 % response time)."""
RESPONSE_MIN_FRAC = 0.1
"""A smaller change, as a share of rated power, is neither a crossing nor a response (assumed)."""
STEADY_H = 1.0
"""A crossing counts if nothing crosses for this long after it: not a flicker (assumed)."""
WINDOW_H = 2.0
"""Power is watched for this long after a crossing, or until the next one; a full ramp takes about half an hour."""


class Options(NamedTuple):
    """What one miner of each kind can be set to; G kinds of like cohorts, P settings.

    Attributes:
        miners: of the kind, (G,).
        power_w: nameplate power at each setting, (G, P).
        paid_ths: hashrate that is paid, after fees and rejects, (G, P).
    """

    miners: FloatArray
    power_w: FloatArray
    paid_ths: FloatArray


def fleet_options(curves: FleetCurves) -> Options:
    """The settings that a command can reach: every preset, throttled down to rated power where it lies above.

    A deeper throttle is never worth more than the better of the full preset and off, because it only takes hashrate
    away in proportion and leaves the fixed part of the power.
    """
    throttled_w = curves.preset_power_w - curves.preset_fixed_w
    headroom = (curves.power_rated_w[:, None] - curves.preset_fixed_w) / np.maximum(throttled_w, 1e-9)
    throttle = np.clip(headroom, THROTTLE_MIN, 1.0)
    power_w = curves.preset_fixed_w + throttle * throttled_w
    paid_ths = throttle * curves.preset_hashrate_ths * curves.net_revenue_factor[:, None]
    kinds, kind_of = np.unique(np.concatenate([power_w, paid_ths], axis=1), axis=0, return_inverse=True)
    miners = np.bincount(kind_of.reshape(-1), weights=curves.count).astype(np.float64)
    power_w, paid_ths = np.split(kinds, 2, axis=1)
    return Options(miners, power_w, paid_ths)


def gain_usd_per_h(
    paid_ths: FloatArray | float, power_w: FloatArray | float, revenue_usd_per_ths_day: FloatArray, price: FloatArray
) -> FloatArray:
    """Mining revenue less energy of one miner at a price (USD/MWh), USD per hour; shapes broadcast."""
    return revenue_usd_per_ths_day * (paid_ths / HOURS_PER_DAY) - price * (power_w / W_PER_MW)


def effective_price_usd_per_mwh(world: World, rows: Ints) -> FloatArray:
    """All-in energy price as settled, with the charge of a coincident peak spread over its interval, USD/MWh."""
    energy = world.table.column("energy_price_usd_per_mwh")[rows]
    peak = world.table.column("cp_charge_usd_per_kw")[rows]
    return np.asarray(energy + peak * KW_PER_MW / (world.table.dt_s / SECONDS_PER_HOUR))


class Reaction(NamedTuple):
    """Money of reacting, USD, (B,) each.

    Attributes:
        adapted: what the run earned over the best fixed command.
        adaptable: what the best command of every quarter hour earns over it; never below ``adapted`` but for rounding.
        possible: revenue of the rated fleet hashing all the time.
    """

    adapted: FloatArray
    adaptable: FloatArray
    possible: FloatArray


def reaction(world: World, start_row: Ints, revenue_usd: FloatArray, commanded_kw: FloatArray) -> Reaction:
    """Compare a run with the best fixed command and with the best command of every quarter hour, in hindsight.

    All three are mining revenue less nameplate energy at settled prices and coincident-peak charges. The run's revenue
    is what was really hashed, so ramps, boots and failures count against it; hindsight has none of them. Demand
    charges, reserve, wear and stops are left out: they do not belong to single hours.

    Args:
        world: traces and site.
        start_row: row of the traces where each run starts, (B,).
        revenue_usd: mining revenue of each run, USD, (B,).
        commanded_kw: nameplate power of the command in force, kW, (B, T).
    """
    steps, per_row = commanded_kw.shape[1], world.steps_per_row
    dt_h = world.config.dt_ctrl_s / SECONDS_PER_HOUR
    row_of_step = np.arange(steps) // per_row
    hours = np.bincount(row_of_step) * dt_h
    rows = start_row[:, None] + np.arange(len(hours))
    price = effective_price_usd_per_mwh(world, rows)
    hash_revenue = world.table.column("hash_revenue_usd_per_ths_day")[rows]
    energy_usd = (np.take(price, row_of_step, axis=1) * commanded_kw).sum(axis=1) * (dt_h / KW_PER_MW)
    best, fixed = np.zeros(len(rows)), np.zeros(len(rows))
    options = fleet_options(world.params.curves)
    for miners, power_w, paid_ths in zip(*options, strict=True):
        gain = gain_usd_per_h(paid_ths[:, None, None], power_w[:, None, None], hash_revenue, price) * hours
        best += miners * np.maximum(gain.max(axis=0), 0.0).sum(axis=1)
        fixed += miners * np.maximum(gain.sum(axis=2).max(axis=0), 0.0)
    curves = world.params.curves
    rated_ths = float((curves.paid_count * curves.hashrate_rated_ths).sum())
    possible = (hash_revenue * hours).sum(axis=1) * (rated_ths / HOURS_PER_DAY)
    return Reaction(adapted=revenue_usd - energy_usd - fixed, adaptable=best - fixed, possible=possible)


class Response(NamedTuple):
    """How power followed the known price, (B,) each.

    Attributes:
        minutes: median over answered crossings of the time until 90 % of the change was made; NaN without any.
        crossings: steady crossings of break-even.
        answered: of them, those that power followed in the right direction.
    """

    minutes: FloatArray
    crossings: FloatArray
    answered: FloatArray


def paying_share(world: World, rows: Ints) -> FloatArray:
    """Share of the fleet's rated power that at the known price earns more than its energy costs, shape of ``rows``."""
    curves = world.params.curves
    values = {}
    for column, channel in enumerate(world.table.market_channels):
        if channel.name in ("price_last_usd_per_mwh", "hash_revenue_usd_per_ths_day"):
            values[channel.name] = channel.decode(world.table.market[rows, column].astype(np.float64), xp=NUMPY)
    price, hash_revenue = values["price_last_usd_per_mwh"], values["hash_revenue_usd_per_ths_day"]
    weight = curves.count * curves.power_rated_w / curves.power_rated_site_w
    paid_ths = curves.net_revenue_factor * curves.hashrate_rated_ths
    share = np.zeros(rows.shape)
    kinds, kind_of = np.unique(np.stack([paid_ths, curves.power_rated_w], axis=1), axis=0, return_inverse=True)
    for (ths, watts), part in zip(kinds, np.bincount(kind_of.reshape(-1), weights=weight), strict=True):
        share += (gain_usd_per_h(ths, watts, hash_revenue, price) > 0.0) * part
    return share


def response(world: World, start_row: Ints, power_kw: FloatArray) -> Response:
    """Time from a crossing of break-even by the known price until site power has made 90 % of its change.

    At a crossing the share of the fleet that earns at the known price changes, by at least a tenth of rated power, and
    then stays for an hour. The change of power is that from an hour before (or from the crossing before) to two hours
    after (or to the next crossing). One made before the crossing, on a price known ahead, took 0 minutes. Times are
    resolved to the control step and count to its end.

    Args:
        world: traces and site.
        start_row: row of the traces where each run starts, (B,).
        power_kw: site power, kW, (B, T).
    """
    runs, steps = power_kw.shape
    per_row = world.steps_per_row
    rows_per_h = SECONDS_PER_HOUR / world.table.dt_s
    steady, window = round(STEADY_H * rows_per_h), round(WINDOW_H * rows_per_h)
    row_count = steps // per_row
    share = paying_share(world, start_row[:, None] + np.arange(row_count))
    change_min_kw = RESPONSE_MIN_FRAC * world.params.curves.power_rated_site_w / KW_PER_MW
    step_min = world.config.dt_ctrl_s / 60.0
    medians, crossings, answered = np.full(runs, np.nan), np.zeros(runs), np.zeros(runs)
    for run in range(runs):
        wished = np.diff(share[run])
        moves = np.flatnonzero(np.abs(wished) > 1e-9) + 1
        ends = np.append(moves[1:], row_count)
        begins = np.append(0, moves[:-1])
        minutes = []
        for begin, row, end in zip(begins, moves, ends, strict=False):
            if end - row < steady or abs(wished[row - 1]) < RESPONSE_MIN_FRAC:
                continue
            crossings[run] += 1
            first, at, last = (per_row * int(r) for r in (max(begin, row - steady), row, min(end, row + window)))
            moved = power_kw[run, first:last] - power_kw[run, first]
            change = moved[-1]
            if change * np.sign(wished[row - 1]) >= change_min_kw:
                done = first + int(np.argmax(moved / change >= RESPONSE_SHARE))
                minutes.append(max(0.0, (done + 1 - at) * step_min))
        answered[run] = len(minutes)
        if minutes:
            medians[run] = float(np.median(minutes))
    return Response(medians, crossings, answered)
