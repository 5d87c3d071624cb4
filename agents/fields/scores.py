"""How well an estimate fits the truth: errors over the whole field, and whether its intervals hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.fields.hidden import HiddenRoom
from agents.fields.protocol import GRID, FieldEstimate
from minesim.calibrate.fit import Z_90


@dataclass(frozen=True)
class Score:
    """Of one estimate of one room.

    Attributes:
        rmse_k, forecast_rmse_k: over all cells, of rows with readings and of the rows after them.
        coverage, forecast_coverage: share of cells and rows within the 90 % interval.
        width_k: mean width of the 90 % interval over all rows.
        worst_k: greatest error that is exceeded in 1 % of cells and rows.
    """

    rmse_k: float
    forecast_rmse_k: float
    coverage: float
    forecast_coverage: float
    width_k: float
    worst_k: float


def score(estimate: FieldEstimate, room: HiddenRoom) -> Score:
    """Compare an estimate with the truth of a room in every cell at every row."""
    rows, cells, train = np.arange(room.record.rows), np.arange(GRID[0] * GRID[1]), room.record.train
    error = estimate.mean_c(rows, cells) - room.truth_c.reshape(len(rows), -1)
    half = Z_90 * estimate.sd_c(rows, cells)
    inside = np.abs(error) <= half

    def rms(part: slice) -> float:
        return float(np.sqrt(np.mean(error[part] ** 2)))

    seen, later = slice(0, train), slice(train, None)
    return Score(
        rmse_k=rms(seen),
        forecast_rmse_k=rms(later),
        coverage=float(inside[seen].mean()),
        forecast_coverage=float(inside[later].mean()),
        width_k=float(2.0 * half.mean()),
        worst_k=float(np.quantile(np.abs(error), 0.99)),
    )
