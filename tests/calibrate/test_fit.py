"""Fits find what was wrong, say how sure they are, and leave what they are given alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minesim.calibrate.fine_twin import fine_fields
from minesim.calibrate.fit import FitSettings, calibrate_room, nominal_room, predict
from minesim.calibrate.room_twin import room_twin
from minesim.calibrate.telemetry import Floats, RoomTelemetry
from minesim.calibrate.unknowns import Unknown, room_unknowns, split_openings
from minesim.errors import TelemetryError
from minesim.physics.airflow import Grid
from minesim.physics.room_grid import sensor_cells

SMALL = FitSettings(nx=8, ny=4, fine=None, opening_parts=2)
WRONG = {"fan fan_1": np.log(0.6), "group h3": np.log(0.75), "eddy hydro_row": np.log(1.5), "gap cabinets": 0.4}
BIAS_K = 0.8


def read(record: RoomTelemetry, fields: Floats, seed: int = 0) -> RoomTelemetry:
    """The record with what its sensors read in a field (T, nx, ny), one of them biased, some readings lost."""
    rng = np.random.default_rng(seed)
    plan, (_, nx, ny) = record.plan, fields.shape
    grid = Grid(nx, ny, plan.length_m, plan.width_m, plan.height_m)
    places = {name: (x, y) for name, (x, y) in zip(record.sensors, record.places_m, strict=True)}
    readings = fields.reshape(len(fields), -1)[:, sensor_cells(grid, places)] + 0.05 * rng.standard_normal(
        record.readings_c.shape
    )
    readings[:, 0] += BIAS_K
    readings[rng.random(readings.shape) < 0.1] = np.nan
    return replace(record, readings_c=readings)


def unknowns_of(record: RoomTelemetry) -> tuple[Unknown, ...]:
    return room_unknowns(split_openings(record.plan, SMALL.opening_parts), ())


def wrong(record: RoomTelemetry) -> Floats:
    return np.array([WRONG.get(unknown.title, 0.0) for unknown in unknowns_of(record)])


def test_a_fit_finds_faults_and_says_what_it_cannot(record: RoomTelemetry) -> None:
    plan = split_openings(record.plan, SMALL.opening_parts)
    truth = room_twin(record, plan, unknowns_of(record), 8, 4).solve(wrong(record)).air_c.numpy().transpose(2, 0, 1)
    given = read(record, truth)
    before = given.readings_c.copy()
    found = calibrate_room(given, SMALL)
    assert np.array_equal(before, given.readings_c, equal_nan=True)
    assert found.rms_before_k > 0.5
    assert found.rms_after_k < 0.07
    by_title = {finding.unknown.title: finding for finding in found.values()}
    assert by_title["fan fan_1"].value / 4.0 == pytest.approx(0.6, abs=0.05)
    assert by_title["group h3"].high < by_title["group h3"].unknown.nominal
    assert by_title[f"bias {record.sensors[0]}"].value == pytest.approx(BIAS_K, abs=0.25)
    inside = [f.low <= f.unknown.value(WRONG.get(t, 0.0)) <= f.high for t, f in by_title.items() if "bias" not in t]
    assert np.mean(inside) > 0.85
    band = predict(found, given)
    assert np.sqrt(((band.air_c - truth) ** 2).mean()) < 0.2
    prior = predict(nominal_room(given, SMALL), given)
    assert band.spread_k.mean() < 0.5 * prior.spread_k.mean()


def test_what_never_ran_stays_undetermined(record: RoomTelemetry) -> None:
    still = [group.name for group in record.plan.groups].index("h8")
    inputs, heat = record.inputs_m3_per_s.copy(), record.heat_w.copy()
    inputs[:, still] = heat[:, still] = 0.0
    stopped = replace(record, inputs_m3_per_s=inputs, heat_w=heat)
    truth = room_twin(stopped, stopped.plan, (), 8, 4).solve(np.zeros(0)).air_c.numpy().transpose(2, 0, 1)
    undetermined = {unknown.title for unknown in calibrate_room(read(stopped, truth), SMALL).undetermined}
    assert {"heat h8", "group h8"} <= undetermined
    assert not {"fan fan_1", "eddy hydro_row"} & undetermined


def test_space_mapping_fits_the_fine_room_with_coarse_derivatives(record: RoomTelemetry) -> None:
    plan = split_openings(record.plan, SMALL.opening_parts)
    truth = fine_fields(record, plan, unknowns_of(record), wrong(record), 32, 16)
    given = read(record, truth)
    coarse = calibrate_room(given, SMALL)
    mapped = calibrate_room(given, replace(SMALL, fine=(32, 16), renewals=2))

    def error(found: object) -> float:
        air = predict(found, given).air_c  # type: ignore[arg-type]
        finer = air.repeat(32 // air.shape[1], axis=1).repeat(16 // air.shape[2], axis=2)
        return float(np.sqrt(((finer - truth) ** 2).mean()))

    assert error(mapped) < 0.2
    assert error(mapped) < 0.5 * error(coarse)


def test_too_few_readings_are_refused(record: RoomTelemetry) -> None:
    with pytest.raises(TelemetryError, match="0 readings"):
        calibrate_room(record, SMALL)
