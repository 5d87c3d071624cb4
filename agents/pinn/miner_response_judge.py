"""Judgement of predicted responses against the truth, step by step."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from agents.pinn.miner_response_record import TEMPS, StepRecords
from agents.pinn.steady import Floats

HORIZONS_MIN: Final = (1, 5, 15, 60)
LEVEL: Final = 0.9
NEIGHBOURS: Final = 2
"""Readings on either side that size the band with their own."""
LEAST_STEP_K: Final = 5.0
SETTLED_K: Final = 2.0
"""A time to 90 % is asked of steps of at least this size that stay within this range in their last ten minutes."""


def rmse_k(predicted: Floats, records: StepRecords) -> dict[str, list[float]]:
    """Root mean square error of each temperature over all steps, at ``HORIZONS_MIN`` after the last reading, K."""
    at = [round(60 * m / records.sample_s) - 1 for m in HORIZONS_MIN if 60 * m <= records.after * records.sample_s]
    missed = predicted[:, at, : len(TEMPS)] - records.truth_after[:, at, : len(TEMPS)]
    rms = np.sqrt((missed**2).mean(axis=0))
    return {name: [float(x) for x in rms[:, i]] for i, name in enumerate(TEMPS)}


def settling_min(curve_c: Floats, start_c: Floats, sample_s: float) -> Floats:
    """When curves come within 10 % of their change of their last value for good, (N,), min.

    Args:
        curve_c: (N, F).
        start_c: before the step, (N,).
        sample_s: between values.
    """
    end = curve_c[:, -1:]
    outside = np.abs(curve_c - end) > 0.1 * np.abs(end - start_c[:, None])
    last = np.where(outside.any(axis=1), outside.shape[1] - outside[:, ::-1].argmax(axis=1), 0)
    minutes: Floats = (last + 1) * (sample_s / 60.0)
    return minutes


def settling_error_min(predicted: Floats, records: StepRecords) -> float:
    """Mean absolute error of the board's time to 90 % of its step, min; NaN where no step is large enough."""
    board = TEMPS.index("board")
    truth, start = records.truth_after[..., board], records.truth[:, records.before, board]
    tail = truth[:, -round(600 / records.sample_s) :]
    large = (np.abs(truth[:, -1] - start) > LEAST_STEP_K) & (np.ptp(tail, axis=1) < SETTLED_K)
    if not large.any():
        return float("nan")
    times = [settling_min(curve[large], start[large], records.sample_s) for curve in (predicted[..., board], truth)]
    return float(np.abs(times[0] - times[1]).mean())


def band_k(predicted: Floats, records: StepRecords) -> Floats:
    """Half width of a 90 % band by minute and temperature, (F, 4), K, from the errors on a validation's steps.

    Split conformal prediction (Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094) with steps as the exchangeable parts:
    of n steps the quantile (1 + 1/n) 90 % is taken, since readings of one step err together.
    """
    missed = np.abs(predicted[..., : len(TEMPS)] - records.readings_after[..., : len(TEMPS)])
    count = missed.shape[1]
    near = [missed[:, max(0, k - NEIGHBOURS) : k + NEIGHBOURS + 1].reshape(-1, len(TEMPS)) for k in range(count)]
    level = min((1.0 + 1.0 / len(missed)) * LEVEL, 1.0)
    widths: Floats = np.array([np.quantile(part, level, axis=0) for part in near])
    return widths


def judged(predicted: Floats, records: StepRecords, band: Floats | None = None) -> dict[str, Any]:
    """All numbers of a method on unseen steps; with a band also how many readings lie in it."""
    found: dict[str, Any] = {
        "rmse_k": rmse_k(predicted, records),
        "settling_min": settling_error_min(predicted, records),
    }
    if band is not None:
        inside = np.abs(predicted[..., : len(TEMPS)] - records.readings_after[..., : len(TEMPS)]) <= band
        found["inside"] = float(inside.mean())
    return found
