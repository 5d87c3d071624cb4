"""Estimators that know the room's physics: the nominal twin, calibrated twins, an ensemble and a Kalman filter."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from agents.fields.aisles import aisle_of
from agents.fields.protocol import FieldRecord, Floats, GridEstimate
from minesim.arrays import NUMPY
from minesim.calibrate.fit import (
    MODEL_COARSE_K,
    NOISE_K,
    FitSettings,
    calibrate_room,
    nominal_room,
    predict,
)
from minesim.calibrate.room_twin import room_twin
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.unknown_room import HELD_S
from minesim.physics.airflow import Grid
from minesim.physics.room_grid import DenseFactor, right_hand_side, room_model, sensor_cells, set_air
from minesim.physics.room_plan import RoomPlan

COARSE: Final = FitSettings(fine=None)


@dataclass(frozen=True)
class NominalTwin:
    """The coarse room as its layout says, without a look at the sensors; as uncertain as the priors."""

    name: str = "nominal twin 24x12"
    settings: FitSettings = COARSE

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`."""
        del rng
        room = nominal_room(_seen(record), self.settings)
        # What sensors show of the misfit is already in the priors.
        return GridEstimate(*predict(replace(room, rms_after_k=NOISE_K), record.telemetry))


@dataclass(frozen=True)
class CalibratedTwin:
    """The room of :func:`minesim.calibrate.fit.calibrate_room`."""

    name: str = "calibrated twin, faults"
    settings: FitSettings = field(default_factory=FitSettings)

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`."""
        del rng
        return GridEstimate(*predict(calibrate_room(_seen(record), self.settings), record.telemetry))


def _seen(record: FieldRecord) -> RoomTelemetry:
    return record.telemetry.rows(0, record.train)


@dataclass(frozen=True)
class Ensemble:
    """Rooms drawn from the priors; each row's readings correct them (optimal interpolation), all readings the forecast.

    Rows with readings: the ensemble's covariance of that row spreads each reading over the field. Later rows: one
    correction by all readings together (ensemble smoother), whose variance counts half an hour of rows as one.

    References: Evensen, Data Assimilation: The Ensemble Kalman Filter, ch. 9; Evensen and van Leeuwen (2000),
    doi:10.1175/1520-0493(2000)128<1852:AEKSFN>2.0.CO;2.
    """

    name: str = "ensemble 60, 24x12"
    members: int = 60
    faults: bool = True
    noise_k: float = 0.5
    lasting: float = 6.0

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`."""
        telemetry, train = record.telemetry, record.train
        prior = nominal_room(_seen(record), replace(COARSE, faults=self.faults))
        unknowns = [unknown for unknown in prior.unknowns if not unknown.is_offset]
        twin = room_twin(telemetry, prior.plan, unknowns, COARSE.nx, COARSE.ny)
        low, high = np.array([unknown.bounds for unknown in unknowns]).T
        sd = np.array([unknown.prior.sd for unknown in unknowns])
        draws = np.clip(rng.standard_normal((self.members, len(unknowns))) * sd, low, high)
        shape = (record.rows, COARSE.nx * COARSE.ny)
        fields = np.array([twin.solve(theta).air_c.numpy().transpose(2, 0, 1).reshape(shape) for theta in draws])
        mean = fields.mean(axis=0)
        away = (fields - mean) / math.sqrt(self.members - 1.0)
        grid = Grid(COARSE.nx, COARSE.ny, prior.plan.length_m, prior.plan.width_m, prior.plan.height_m)
        cells = sensor_cells(grid, {s: (x, y) for s, (x, y) in zip(telemetry.sensors, telemetry.places_m, strict=True)})
        variance = self.noise_k**2
        missed = telemetry.readings_c[:train] - mean[:train, cells]
        air, spread = np.empty(shape), np.empty(shape)
        for row in range(train):
            weights, left = _update(away[:, row, cells], missed[row], variance)
            air[row], spread[row] = mean[row] + weights @ away[:, row], _spread(left, away[:, row])
        seen = away[:, :train][:, :, cells].reshape(self.members, -1)
        weights, left = _update(seen, missed.ravel(), variance * self.lasting)
        for row in range(train, record.rows):
            air[row], spread[row] = mean[row] + weights @ away[:, row], _spread(left, away[:, row])
        on_grid = (record.rows, COARSE.nx, COARSE.ny)
        return GridEstimate(air.reshape(on_grid), np.hypot(spread, MODEL_COARSE_K).reshape(on_grid))


def _update(seen: Floats, missed: Floats, variance: float) -> tuple[Floats, Floats]:
    """Weights of members (E,) and a square root (E, E) of their covariance after readings that ``seen`` (E, K) made."""
    known = np.isfinite(missed)
    seen, missed = seen[:, known], missed[known]
    values, vectors = np.linalg.eigh(seen @ seen.T / variance)
    shrink = 1.0 / (1.0 + np.maximum(values, 0.0))
    weights = vectors @ (shrink * (vectors.T @ (seen @ missed / variance)))
    return weights, vectors * np.sqrt(shrink)


def _spread(left: Floats, away: Floats) -> Floats:
    spread: Floats = np.sqrt(((left.T @ away) ** 2).sum(axis=0))
    return spread


@dataclass(frozen=True)
class HeatKalman:
    """The nominal coarse room with unknown heat in every cell, which a Kalman filter tracks.

    Unknown heat fades with ``fading`` a row and is alike along an aisle over ``reach_m`` (assumed). Air follows it at
    once, so that it is the whole state; the structure follows the estimated air. No smoothing: each row knows the
    readings up to it.
    """

    name: str = "Kalman filter 16x8"
    nx: int = 16
    ny: int = 8
    fading: float = 0.98
    heat_share: float = 0.25
    reach_share: float = 0.15
    noise_k: float = 0.5

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`."""
        del rng
        known, cells = record.telemetry, self.nx * self.ny
        model = room_model(known.plan, self.nx, self.ny)
        grid = model.grid
        places = {s: (x, y) for s, (x, y) in zip(known.sensors, known.places_m, strict=True)}
        at = sensor_cells(grid, places)
        to_air_w = (known.heat_w @ model.heat_to.T).sum(axis=1).mean()
        stationary = self._stationary(grid, to_air_w / cells, known.plan)
        inner, outer = model.structure_w_per_k, model.envelope_w_per_k
        kept = math.exp(-(inner + outer) * known.step_s / model.structure_j_per_k)
        heat, covariance = np.zeros(cells), stationary
        shape = (record.rows, self.nx, self.ny)
        air, spread = np.empty(shape), np.empty(shape)
        structure = None
        for row in range(record.rows):
            amb_c, supply_c = float(known.temp_amb_c[row]), float(known.temp_supply_c[row])
            _, equations, factor = set_air(
                model, known.inputs_m3_per_s[row], float(known.rho_cp_j_per_m3_k[row]), HELD_S, xp=NUMPY
            )
            assert isinstance(factor, DenseFactor)
            if structure is None:
                structure = np.full(shape[1:], amb_c)
            right = right_hand_side(model, equations, structure, known.heat_w[row], supply_c, amb_c).ravel()
            heat = self.fading * heat
            covariance = self.fading**2 * covariance + (1.0 - self.fading**2) * stationary
            seen = np.flatnonzero(np.isfinite(known.readings_c[row]))
            if seen.size:
                reads = factor.inverse[at[seen]]
                across = covariance @ reads.T
                total = reads @ across + self.noise_k**2 * np.eye(seen.size)
                gain = np.linalg.solve(total, across.T).T
                heat = heat + gain @ (known.readings_c[row, seen] - reads @ (right + heat))
                covariance = covariance - gain @ across.T
            air[row] = (factor.inverse @ (right + heat)).reshape(shape[1:])
            variance = ((factor.inverse @ covariance) * factor.inverse).sum(axis=1)
            spread[row] = np.sqrt(np.maximum(variance, 0.0) + MODEL_COARSE_K**2).reshape(shape[1:])
            target = (inner * air[row] + outer * amb_c) / (inner + outer)
            structure = target if row == 0 else kept * structure + (1.0 - kept) * target
        return GridEstimate(air, spread)

    def _stationary(self, grid: Grid, heat_w: float, plan: RoomPlan) -> Floats:
        """Covariance of unknown heat between cells, (cells, cells), W2."""
        x, y = (part.ravel() for part in np.meshgrid(*grid.centres_m, indexing="ij"))
        aisle = aisle_of(plan, y)
        apart = np.abs(x[:, None] - x) / (self.reach_share * plan.length_m)
        covariance: Floats = (self.heat_share * heat_w) ** 2 * np.exp(-apart) * (aisle[:, None] == aisle)
        return covariance
