"""What an estimator of temperature fields gets and gives.

An estimator is handed a :class:`FieldRecord` and returns a :class:`FieldEstimate` of the air in every cell of a
``GRID`` over the plan of the room, at every row of the record: those with readings (reconstruction) and the later ones
(forecast, with known inputs). :class:`GridEstimate` makes one of arrays on any grid whose cells divide those of
``GRID``.

A new method is one class::

    class Mine:
        name = "mine"

        def fit(self, record: FieldRecord, rng: np.random.Generator) -> FieldEstimate:
            mean = ...                                      # (T, 24, 12), degC
            return GridEstimate(mean, np.full_like(mean, 0.5))

which is entered in :mod:`agents.fields.methods`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from minesim.calibrate.telemetry import RoomTelemetry
from minesim.errors import ParamsError, explain
from minesim.physics.airflow import Grid

Floats = npt.NDArray[Any]
Indices = npt.NDArray[np.integer[Any]]

GRID: Final = (96, 48)
"""Cells along and across on which fields are judged."""


@dataclass(frozen=True)
class FieldRecord:
    """What is known about a room: its layout, a day of readings, and what will run in the hours after it.

    Attributes:
        telemetry: nominal layout; inputs, heat and weather of all T rows as an operator knows them (so a weak fan
            counts as a sound one); sensors, whose readings are NaN after the ``train`` first rows.
        train: rows with readings; the rest is to be forecast.
    """

    telemetry: RoomTelemetry
    train: int

    @property
    def rows(self) -> int:
        """All rows, T."""
        return len(self.telemetry.time)

    @property
    def grid(self) -> Grid:
        """The cells on which fields are judged."""
        plan = self.telemetry.plan
        return Grid(*GRID, plan.length_m, plan.width_m, plan.height_m)

    @property
    def features(self) -> Floats:
        """Everything known about a row besides the readings: flows, heat, supply and outdoor air, (T, U + M + 2)."""
        known = self.telemetry
        columns = (known.inputs_m3_per_s, known.heat_w, known.temp_supply_c[:, None], known.temp_amb_c[:, None])
        return np.concatenate(columns, axis=1)


class FieldEstimate(Protocol):
    """A temperature field with its uncertainty."""

    def mean_c(self, rows: Indices, cells: Indices) -> Floats:
        """Air temperature.

        Args:
            rows: of the record, (R,).
            cells: flat indices ``i * 48 + j`` of cells (i, j) of ``GRID``, i along x, (K,).

        Returns:
            (R, K), degC.
        """
        ...

    def sd_c(self, rows: Indices, cells: Indices) -> Floats:
        """Standard deviation of the air temperature (not of a reading: without a sensor's noise), (R, K), K."""
        ...


class FieldMethod(Protocol):
    """A way to estimate fields; without memory between two calls of ``fit``."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> FieldEstimate:
        """Estimate the field.

        Args:
            record: what is known; it is not changed.
            rng: for all randomness of the method.
        """
        ...


@dataclass(frozen=True)
class GridEstimate:
    """A field on a grid whose cells each cover whole cells of ``GRID``, constant over each.

    Attributes:
        air_c: mean, (T, nx, ny), degC.
        spread_k: standard deviation, (T, nx, ny), K.
    """

    air_c: Floats
    spread_k: Floats

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit.

        Raises:
            ParamsError: see the message.
        """
        if self.air_c.shape != self.spread_k.shape or self.air_c.ndim != 3:
            raise ParamsError(
                explain(
                    f"the field is {self.air_c.shape}, its spread {self.spread_k.shape}",
                    allowed="both (rows, nx, ny)",
                    origin="field estimate",
                )
            )
        if any(of % cells for of, cells in zip(GRID, self.air_c.shape[1:], strict=True)):
            raise ParamsError(
                explain(
                    f"the field is on {self.air_c.shape[1]} x {self.air_c.shape[2]} cells",
                    allowed=f"numbers that divide {GRID[0]} and {GRID[1]}",
                    origin="field estimate",
                )
            )

    def mean_c(self, rows: Indices, cells: Indices) -> Floats:
        """See :class:`FieldEstimate`."""
        return self._at(self.air_c, rows, cells)

    def sd_c(self, rows: Indices, cells: Indices) -> Floats:
        """See :class:`FieldEstimate`."""
        return self._at(self.spread_k, rows, cells)

    def _at(self, values: Floats, rows: Indices, cells: Indices) -> Floats:
        nx, ny = values.shape[1:]
        i, j = cells // GRID[1] // (GRID[0] // nx), cells % GRID[1] // (GRID[1] // ny)
        picked: Floats = values[np.asarray(rows)[:, None], i, j]
        return picked
