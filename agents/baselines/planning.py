"""Plan run, stop and preset of each kind of miner over the coming hours: a dynamic programme over all sites at once.

States are off and the presets; a stage is an hour. What couples the cohorts of a site (peaks, reserve) enters as a
price, so that each kind of miner is planned alone and cohorts of a kind share one value function. Formulas and what
they leave out: ``docs/mpc.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minesim.control.actuate import THROTTLE_PREFERRED_MIN, FleetCurves

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS_PER_DAY = 24.0
W_PER_MW = 1e6


@dataclass(frozen=True)
class Moves:
    """Assumed cost of a change, of one miner.

    Attributes:
        stop_usd: wear of a stop and the expected cost of a start that fails, USD.
        start_h: time without hashing after a start, h.
        change_h: time without hashing after a change of preset, h.
    """

    stop_usd: float
    start_h: float
    change_h: float


@dataclass(frozen=True)
class Kinds:
    """The N different kinds of miners of a fleet and their S states: off, then the P presets.

    Attributes:
        of_cohort: kind of each cohort, (M,).
        power_mw: power of one miner in each state, 0 when off, (N, S).
        earn_ths: paid hashrate in each state, (N, S); in states that firmware reaches by throttling from stock, that of
            throttled stock.
        stop: 1 where a move is a stop, (S, S), from row to column.
        start: 1 where it is a start, (S, S).
        change: 1 where it changes the preset, (N, S, S).
        held_mw: power that is drawn both before and after a move, (N, S, S).
        step_earn_ths_per_mw: marginal paid hashrate of the fleet's next power, from dear to cheap, (J,).
        step_power_frac: share of rated power up to and with each step, rising to 1, (J,).
    """

    of_cohort: Ints
    power_mw: Floats
    earn_ths: Floats
    stop: Floats
    start: Floats
    change: Floats
    held_mw: Floats
    step_earn_ths_per_mw: Floats
    step_power_frac: Floats


def kinds_of(fleet: FleetCurves) -> Kinds:
    """Group like cohorts and tabulate their states and the cost-free part of every move."""
    rows = np.concatenate(
        [
            fleet.preset_power_w,
            fleet.preset_hashrate_ths,
            fleet.preset_fixed_w,
            np.stack([fleet.power_rated_w, fleet.net_revenue_factor], axis=1),
        ],
        axis=1,
    )
    _, first, of_cohort = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    power_w, hashrate_ths = fleet.preset_power_w[first], fleet.preset_hashrate_ths[first]
    fixed_w, rated_w = fleet.preset_fixed_w[first], fleet.power_rated_w[first]
    stock = np.abs(power_w - rated_w[:, None]).argmin(axis=1)
    at = np.arange(len(first))
    power_w = np.minimum(power_w, rated_w[:, None])
    stock_fixed_w, stock_ths = fixed_w[at, stock][:, None], hashrate_ths[at, stock][:, None]
    throttle = (power_w - stock_fixed_w) / np.maximum(rated_w[:, None] - stock_fixed_w, 1e-9)
    throttled = np.full_like(throttle, 0.0) if not fleet.has_throttle else 1.0 * (throttle >= THROTTLE_PREFERRED_MIN)
    throttled[at, stock] = 1.0
    earn_ths = np.where(throttled > 0.0, np.minimum(throttle, 1.0) * stock_ths, hashrate_ths)
    earn_ths = earn_ths * fleet.net_revenue_factor[first][:, None]
    presets = power_w.shape[1]
    stop = np.zeros((presets + 1, presets + 1))
    start = stop.copy()
    stop[1:, 0], start[0, 1:] = 1.0, 1.0
    change = np.zeros((len(first), presets + 1, presets + 1))
    differs = 1.0 - np.eye(presets)
    change[:, 1:, 1:] = differs * (1.0 - throttled[:, :, None] * throttled[:, None, :])
    off = np.zeros((len(first), 1))
    power_mw = np.concatenate([off, power_w], axis=1) / W_PER_MW
    step_earn, step_frac = _steps(power_mw, np.concatenate([off, earn_ths], axis=1), fleet, of_cohort.reshape(-1))
    return Kinds(
        of_cohort=of_cohort.reshape(-1),
        power_mw=power_mw,
        earn_ths=np.concatenate([off, earn_ths], axis=1),
        stop=stop,
        start=start,
        change=change,
        held_mw=np.minimum(power_mw[:, :, None], power_mw[:, None, :]),
        step_earn_ths_per_mw=step_earn,
        step_power_frac=step_frac,
    )


def _steps(power_mw: Floats, earn_ths: Floats, fleet: FleetCurves, of_cohort: Ints) -> tuple[Floats, Floats]:
    """Steps of the concave envelope of earnings over power of all miners, from dear to cheap."""
    slopes, widths = [], []
    for kind in range(len(power_mw)):
        count = float(fleet.count[of_cohort == kind].sum())
        power, earn = power_mw[kind], earn_ths[kind]
        at, last = 0, int(power.argmax())
        while at != last:
            beyond = np.flatnonzero(power > power[at] + 1e-12)
            slope = (earn[beyond] - earn[at]) / (power[beyond] - power[at])
            best = int(beyond[slope.argmax()])
            slopes.append(float(slope.max()))
            widths.append(count * (power[best] - power[at]))
            at = best
    order = np.argsort(-np.array(slopes), kind="stable")
    width = np.array(widths)[order]
    return np.array(slopes)[order], np.cumsum(width) / width.sum()


def price_of_load(kinds: Kinds, load_frac: Floats, revenue_usd_per_ths_day: Floats) -> Floats:
    """Energy price at which the fleet would just use this much power, USD/MWh; minus infinity from full load on.

    Args:
        kinds: of the fleet.
        load_frac: power of the miners over rated, (R,).
        revenue_usd_per_ths_day: gross revenue of 1 TH/s and day, USD, (R,).
    """
    step = np.searchsorted(kinds.step_power_frac, load_frac + 1e-6, side="right")
    full = step >= len(kinds.step_power_frac)
    earn = kinds.step_earn_ths_per_mw[np.minimum(step, len(kinds.step_earn_ths_per_mw) - 1)]
    return np.where(full, -np.inf, revenue_usd_per_ths_day / HOURS_PER_DAY * earn)


def nearest_state(kinds: Kinds, level: Floats) -> Ints:
    """State that a commanded level (share of rated power, 0 for off) is closest to, (R, M)."""
    power_mw = kinds.power_mw[kinds.of_cohort]
    rated_mw = power_mw.max(axis=-1, keepdims=True)
    distance = np.abs(level[..., None] - (power_mw / rated_mw)[:, 1:])
    return np.where(level > 0.0, 1 + distance.argmin(axis=-1), 0)


def plan(
    kinds: Kinds,
    moves: Moves,
    revenue_usd_per_ths_day: Floats,
    price_usd_per_mwh: Floats,
    worth_usd_per_mw_h: Floats,
    standing_usd_per_mw_h: Floats,
    first_h: Floats,
    state: Ints,
) -> Ints:
    """Best state of each cohort for the present block.

    Args:
        kinds: of the fleet.
        moves: assumed cost of changes.
        revenue_usd_per_ths_day: gross revenue of 1 TH/s and day, held over the horizon, USD, (R,).
        price_usd_per_mwh: what a MWh costs in each block, all shadow prices in it, (R, K).
        worth_usd_per_mw_h: what a MW earns as reserve that runs in a block and ran in the one before, (R, K, N).
        standing_usd_per_mw_h: what a MW earns under the offer that stands in the present block, (R,).
        first_h: length of the present block, h, (R,); the others last an hour.
        state: of each cohort now, (R, M).

    Returns:
        States, (R, M); the first of equals in the order off, lowest preset, ..., stock.
    """
    hourly = revenue_usd_per_ths_day[:, None, None] / HOURS_PER_DAY * kinds.earn_ths
    value = np.zeros((len(state), *kinds.power_mw.shape))
    for block in range(price_usd_per_mwh.shape[1] - 1, 0, -1):
        gain = hourly - price_usd_per_mwh[:, block, None, None] * kinds.power_mw
        best = _moves_worth(kinds, moves, gain, worth_usd_per_mw_h[:, block])
        best += (gain + value)[:, :, None, :]
        value = best.max(axis=-1)
    gain = hourly - price_usd_per_mwh[:, 0, None, None] * kinds.power_mw
    standing = standing_usd_per_mw_h[:, None, None] * kinds.power_mw
    best = _moves_worth(kinds, moves, gain, worth_usd_per_mw_h[:, 0])
    best += (first_h[:, None, None] * (gain + standing) + value)[:, :, None, :]
    rows = np.arange(len(state))[:, None]
    return np.asarray(best[rows, kinds.of_cohort, state].argmax(axis=-1), np.int64)


def _moves_worth(kinds: Kinds, moves: Moves, gain: Floats, worth_usd_per_mw_h: Floats) -> Floats:
    """Reserve income less cost of every move in a block, USD, (R, N, S, S)."""
    lost = np.maximum(gain, 0.0)[:, :, None, :]
    idle_h = moves.start_h * kinds.start + moves.change_h * kinds.change
    return worth_usd_per_mw_h[:, :, None, None] * kinds.held_mw - moves.stop_usd * kinds.stop - lost * idle_h
