"""Fit the instability curve to a measured sweep of voltage and frequency, and predict the points left out.

``python -m minesim.tuning.fit_stability FILE.csv`` prints constants and errors. The sweep (dr0ther/Bitaxebench, one
chip, GPL-3.0 data) is not part of the project: only the constants are, in :mod:`minesim.physics.asic`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.console import Console

from minesim.arrays import NUMPY
from minesim.errors import DataFileError, explain
from minesim.physics import asic, stability

Vector = np.ndarray[Any, np.dtype[np.float64]]

COLUMNS: Final = ("run", "core_voltage_mv", "frequency_mhz", "chip_temp_c", "hash_ratio")
FREQ_REF_MHZ, TEMP_REF_C = 500.0, 50.0
LOSS_SCALE: Final = 0.02
"""Residuals beyond this count linearly: a few points of the sweep hash more at less voltage."""
START: Final = (1.165, 0.22, 0.09, 1.08, 0.0, 1.03, 1.0)


@dataclass(frozen=True)
class Sweep:
    """Measured points, each (N,): rail V, clock MHz, chip degC, hashrate over nominal, 1 for the second chip."""

    volt_v: Vector
    freq_mhz: Vector
    temp_chip_c: Vector
    hash_ratio: Vector
    second_chip: Vector

    def at(self, chosen: Vector) -> Sweep:
        """Some of the points, by mask or index."""
        return Sweep(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class StabilityFit:
    """Constants of the curve.

    Attributes:
        onset_v: rail at which errors begin at 500 MHz and 50 degC, V.
        slope_rel: growth of that onset, relative per relative frequency.
        width_rel: lack of voltage over which good work falls to 1/e.
        full_ratio, full_slope: hash ratio with enough voltage, and its growth per relative frequency.
        cap_ratio: hash ratio at 500 MHz of a constant hashrate that the sweep does not exceed (work is not delivered
            faster); a property of that device, not of the silicon.
        second_ratio: hashrate of the second chip relative to the first.
    """

    onset_v: float
    slope_rel: float
    width_rel: float
    full_ratio: float
    full_slope: float
    cap_ratio: float
    second_ratio: float

    def hash_ratio(self, sweep: Sweep) -> Vector:
        """Predict the hash ratio of points, (N,)."""
        relative = sweep.freq_mhz / FREQ_REF_MHZ
        needed_v = self.onset_v * (1.0 + self.slope_rel * (relative - 1.0))
        margin = stability.margin_rel(sweep.volt_v, needed_v, sweep.temp_chip_c, 0.0, TEMP_REF_C, xp=NUMPY)
        # The width is a constant of the formula; another width is the same curve at a rescaled exponent.
        kept = 1.0 - stability.error_ratio_at(margin, xp=NUMPY)
        stable = kept ** (asic.HW_ERROR_WIDTH_REL / self.width_rel)
        full = np.minimum(self.full_ratio + self.full_slope * (relative - 1.0), self.cap_ratio / relative)
        return np.asarray(full * stable * self.second_ratio**sweep.second_chip)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep.

    Raises:
        DataFileError: missing, or without one of the columns.
    """
    if not path.exists():
        raise DataFileError(explain(f"there is no file {str(path)!r}", fix="Give the CSV of a sweep."))
    table = pd.read_csv(path)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise DataFileError(explain(f"columns {', '.join(missing)} are missing", origin=str(path)))
    numbers = {name: table[name].to_numpy(dtype=np.float64) for name in COLUMNS[1:]}
    return Sweep(
        volt_v=numbers["core_voltage_mv"] / 1000.0,
        freq_mhz=numbers["frequency_mhz"],
        temp_chip_c=numbers["chip_temp_c"],
        hash_ratio=numbers["hash_ratio"],
        second_chip=(table["run"] != table["run"].iloc[0]).to_numpy(dtype=np.float64),
    )


def fit(sweep: Sweep) -> StabilityFit:
    """Fit the curve to points by robust least squares."""
    from scipy.optimize import least_squares

    def residuals(values: Vector) -> Vector:
        return np.asarray(StabilityFit(*values).hash_ratio(sweep) - sweep.hash_ratio)

    scale = (0.01, 0.02, 0.01, 0.01, 0.05, 0.01, 0.02)
    found = least_squares(residuals, START, loss="soft_l1", f_scale=LOSS_SCALE, x_scale=scale)
    return StabilityFit(*(float(value) for value in found.x))


def left_out_errors(sweep: Sweep, groups: Vector) -> Vector:
    """Absolute error in hash ratio of each point, predicted from the points of the other groups, (N,)."""
    errors = np.zeros(len(groups))
    for group in np.unique(groups):
        out = groups == group
        errors[out] = np.abs(fit(sweep.at(~out)).hash_ratio(sweep.at(out)) - sweep.hash_ratio[out])
    return errors


def main() -> None:
    """Print the fit and its errors."""
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m minesim.tuning.fit_stability FILE.csv")
    sweep, console = read_sweep(Path(sys.argv[1])), Console()
    console.print(fit(sweep))
    single = left_out_errors(sweep, np.arange(len(sweep.volt_v), dtype=np.float64))
    column = left_out_errors(sweep, sweep.freq_mhz)
    console.print(f"mean error, one point left out: {single.mean():.4f}; worst {single.max():.3f}")
    console.print(f"mean error, one frequency left out: {column.mean():.4f}")


if __name__ == "__main__":
    main()
