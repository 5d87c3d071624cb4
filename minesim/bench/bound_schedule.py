"""The best on-off schedule of every cohort at given prices: dynamic programming over quarter hours, many sites at once.

With prices for everything that couples cohorts, each cohort is a shortest-path problem of its own: on, or off for so
many rows. The path polytope has integer corners, so this is also the optimum of its linear relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SwitchCosts:
    """What stops and starts at the beginning of each row cost, USD at wear scale 1, of whole cohorts.

    Attributes:
        stop_usd: (T, R, M).
        start_usd: by rows off so far, (T, A, R, M); the last entry holds for longer.
        start_gain_usd: energy that a cold start saves, at the prices of the iteration, (T, R, S, M).
    """

    stop_usd: Floats
    start_usd: Floats
    start_gain_usd: Floats


@dataclass(frozen=True)
class Schedules:
    """Optimal schedules.

    Attributes:
        value_usd: objective summed over cohorts, (R, S).
        on: state in each row, (T, R, S, M).
        restart_usd: stops and starts at their scale, before the gain of cold starts, (R, S).
        start_gain_usd: that gain, (R, S).
    """

    value_usd: Floats
    on: Flags
    restart_usd: Floats
    start_gain_usd: Floats


def best_schedules(on_usd: Floats, off_usd: Floats, costs: SwitchCosts, scales: Floats, running: bool) -> Schedules:
    """Find the schedule of the highest value for R runs, S cost scales and M cohorts.

    Args:
        on_usd, off_usd: what a row is worth in either state, (T, R, S, M).
        costs: of switching.
        scales: of the wear and stop costs, (S,).
        running: whether cohorts run at the beginning; else they have been off for long.
    """
    rows, runs, sizes, cohorts = on_usd.shape
    ages = costs.start_usd.shape[1]
    scale = scales[:, None]
    to_go_on = np.zeros((runs, sizes, cohorts))
    to_go_off = np.zeros((ages, runs, sizes, cohorts))
    stops = np.empty((rows, runs, sizes, cohorts), bool)
    starts = np.empty((rows, ages, runs, sizes, cohorts), bool)
    for t in range(rows - 1, -1, -1):
        at_on = on_usd[t] + to_go_on
        start = (at_on + costs.start_gain_usd[t]) - costs.start_usd[t][:, :, None, :] * scale
        at_off = off_usd[t] + to_go_off
        stop = at_off[0] - costs.stop_usd[t][:, None, :] * scale
        np.greater(stop, at_on, out=stops[t])
        to_go_on = np.maximum(at_on, stop)
        # Off for a rows before this one, a + 1 after it.
        stay = np.concatenate([at_off[1:], at_off[-1:]])
        np.greater(start, stay, out=starts[t])
        to_go_off = np.maximum(start, stay)
    return _follow(stops, starts, costs, scales, to_go_on if running else to_go_off[-1], running)


def _follow(
    stops: Flags, starts: Flags, costs: SwitchCosts, scales: Floats, value_usd: Floats, running: bool
) -> Schedules:
    rows, runs, sizes, cohorts = stops.shape
    ages = starts.shape[1]
    on = np.empty(stops.shape, bool)
    now = np.full(stops.shape[1:], running)
    age = np.full(stops.shape[1:], ages - 1)
    restart_usd = np.zeros(stops.shape[1:])
    gain_usd = np.zeros(stops.shape[1:])
    r, s, m = np.ogrid[:runs, :sizes, :cohorts]
    scale = scales[:, None]
    for t in range(rows):
        stop = now & stops[t]
        start = ~now & starts[t, age, r, s, m]
        if stop.any():
            restart_usd += stop * (costs.stop_usd[t][:, None, :] * scale)
        if start.any():
            restart_usd += start * (costs.start_usd[t, age, r, m] * scale)
            gain_usd += start * costs.start_gain_usd[t]
        # ``age`` counts the rows off before the coming one, less one.
        age = np.where(stop, 0, np.where(now, age, np.minimum(age + 1, ages - 1)))
        now = (now & ~stop) | start
        on[t] = now
    return Schedules(value_usd.sum(axis=-1), on, restart_usd.sum(axis=-1), gain_usd.sum(axis=-1))
