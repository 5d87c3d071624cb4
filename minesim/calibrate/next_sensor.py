"""Where a room is known least: there the next sensor belongs.

The posterior of a calibration is normal and the air is linear in its unknowns near it, so that doubt follows from the
derivative of the air alone: the variance of a cell's air is that of the unknowns seen through its derivative, and
readings there, before any is taken, would add their information, less what the new sensor's own bias hides.

References: MacKay, "Information-based objective functions for active data selection", Neural Computation 4 (1992) 590,
doi:10.1162/neco.1992.4.4.590.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from minesim.calibrate.fit import Calibration
from minesim.calibrate.room_twin import room_twin
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.unknowns import FAULTS
from minesim.errors import ParamsError, explain
from minesim.physics.airflow import Grid

Floats = npt.NDArray[np.float64]

APART_M: Final = 0.5
"""A sensor nearer to another one tells the same (assumed)."""


class NextSensor(NamedTuple):
    """A place for a sensor.

    Attributes:
        x_m, y_m: where.
        sd_k: standard deviation of the air there before it is read, K.
    """

    x_m: float
    y_m: float
    sd_k: float


@dataclass(frozen=True)
class Doubt:
    """What a calibration leaves open about the air, on its coarse grid of C cells along and across.

    Attributes:
        calibration: whose.
        grid: the cells.
        covariance: of the unknowns in the air, (P, P).
        moments: mean of the derivative's outer product over rows, (C, P, P), K2.
        means: mean of the derivative over rows, (C, P), K.
        rows: of the record, with as many readings of a new sensor.
        places_m: of the sensors that hang, (N, 2).
    """

    calibration: Calibration
    grid: Grid
    covariance: Floats
    moments: Floats
    means: Floats
    rows: int
    places_m: Floats

    def variance_k2(self, covariance: Floats) -> Floats:
        """Variance of every cell's air, mean over rows, that a covariance of the unknowns (P, P) makes, (C,).

        What the model itself gets wrong is not in it: no sensor changes that.
        """
        variance: Floats = np.einsum("pq,cpq->c", covariance, self.moments)
        return variance

    @property
    def sd_k(self) -> Floats:
        """Standard deviation of the air, (nx, ny), K, as in :func:`minesim.calibrate.fit.predict`."""
        variance = self.variance_k2(self.covariance) + self.calibration.model_k**2
        sd: Floats = np.sqrt(variance).reshape(self.grid.nx, self.grid.ny)
        return sd

    def after_reading(self, covariance: Floats, cell: int) -> Floats:
        """Covariance of the unknowns after readings in a cell, (P, P)."""
        rows, variance = self.rows, self.calibration.variance_k2
        told = rows * self.moments[cell]
        if self.calibration.settings.faults:
            hidden = variance / FAULTS["bias"].sd ** 2
            told = told - (rows**2 / (rows + hidden)) * np.outer(self.means[cell], self.means[cell])
        # I + L' told L is never near singular, however little a covariance leaves open.
        half = np.linalg.cholesky(covariance)
        inner = np.eye(len(half)) + half.T @ (told / variance) @ half
        return np.asarray(half @ np.linalg.solve(inner, half.T), np.float64)

    def next(self, count: int = 1) -> list[NextSensor]:
        """Places for more sensors: where the air is known least, each as if those before it had been read already.

        Args:
            count: how many.

        Raises:
            ParamsError: so many do not fit without hanging on top of others.
        """
        covariance, places = self.covariance, [(float(x), float(y)) for x, y in self.places_m]
        at = np.stack(np.meshgrid(*self.grid.centres_m, indexing="ij"), axis=-1).reshape(-1, 2)
        chosen: list[NextSensor] = []
        for _ in range(count):
            apart = np.linalg.norm(at[:, None] - np.array(places).reshape(-1, 2), axis=-1)
            free = (apart >= APART_M).all(axis=1)
            if not free.any():
                raise ParamsError(
                    explain(f"{count} more sensors do not fit", allowed=f"{len(chosen)}, {APART_M:g} m apart")
                )
            variance = np.where(free, self.variance_k2(covariance), -np.inf)
            cell = int(variance.argmax())
            sd_k = np.sqrt(variance[cell] + self.calibration.model_k**2)
            chosen.append(NextSensor(*map(float, (*at[cell], sd_k))))
            places.append(chosen[-1][:2])
            covariance = self.after_reading(covariance, cell)
        return chosen


def doubt_of(found: Calibration, telemetry: RoomTelemetry) -> Doubt:
    """What a calibration leaves open about the air of a record.

    Args:
        found: of this room.
        telemetry: what ran, and where sensors hang.
    """
    settings, plan = found.settings, found.plan
    in_air = [p for p, unknown in enumerate(found.unknowns) if not unknown.is_offset]
    theta = found.theta[in_air]
    twin = room_twin(telemetry, plan, [found.unknowns[p] for p in in_air], settings.nx, settings.ny)
    slope = twin.derivative(theta, twin.solve(theta)).numpy()
    slope = slope.reshape(-1, *slope.shape[2:]).astype(np.float64)
    rows = slope.shape[1]
    return Doubt(
        calibration=found,
        grid=Grid(settings.nx, settings.ny, plan.length_m, plan.width_m, plan.height_m),
        covariance=found.covariance[np.ix_(in_air, in_air)],
        moments=slope.transpose(0, 2, 1) @ slope / rows,
        means=slope.mean(axis=1),
        rows=rows,
        places_m=telemetry.places_m,
    )
