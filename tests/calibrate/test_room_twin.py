"""The twin of a record: the room of the step-by-step solver, and derivatives that are those of differences."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.arrays import NUMPY
from minesim.calibrate.fine_twin import fine_fields
from minesim.calibrate.room_twin import room_twin
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.unknowns import room_unknowns, split_openings
from minesim.physics.room_grid import advance, room_model, set_air

SUB_STEPS = 5


def test_all_rows_at_once_are_the_room_step_by_step(record: RoomTelemetry) -> None:
    twin = room_twin(record, record.plan, (), 8, 4)
    ours = twin.solve(np.zeros(0)).air_c.numpy()
    model, structure, worst = room_model(record.plan, 8, 4), np.zeros((8, 4)), 0.0
    for row in range(len(record.time)):
        given = (record.heat_w[row], record.temp_supply_c[row], record.temp_amb_c[row])
        flows, cp = record.inputs_m3_per_s[row], record.rho_cp_j_per_m3_k[row]
        if row == 0:
            _, equations, factor = set_air(model, flows, cp, np.inf, xp=NUMPY)
            structure = advance(model, equations, factor, structure, *given).structure_c
        _, equations, factor = set_air(model, flows, cp, record.step_s / SUB_STEPS, xp=NUMPY)
        for _ in range(SUB_STEPS):
            air, structure = advance(model, equations, factor, structure, *given)
        worst = max(worst, float(np.abs(air - ours[:, :, row]).max()))
    assert worst < 0.05


def test_derivatives_are_those_of_differences(record: RoomTelemetry) -> None:
    short = record.rows(0, 24)
    plan = split_openings(record.plan, 2)
    unknowns = room_unknowns(plan, ())
    twin = room_twin(short, plan, unknowns, 8, 4)
    theta = 0.1 * np.random.default_rng(0).standard_normal(len(unknowns))
    derivative = twin.derivative(theta, twin.solve(theta)).numpy()
    assert {unknown.kind for unknown in unknowns} >= {"gap", "eddy", "structure_j", "heat", "fan", "group", "free"}
    for p, unknown in enumerate(unknowns):
        step = 1e-5 * np.eye(len(unknowns))[p]
        differences = (twin.solve(theta + step).air_c - twin.solve(theta - step).air_c).numpy() / 2e-5
        # A flow that turns within the step has no derivative there: a few cells may differ.
        missed = np.abs(differences - derivative[..., p])
        assert np.quantile(missed, 0.999) < 1e-3 * max(np.abs(differences).max(), 0.1), unknown.title


def test_the_fine_scheme_without_its_correction_is_near_the_twin(record: RoomTelemetry) -> None:
    unknowns = room_unknowns(record.plan, ())
    theta = np.full(len(unknowns), 0.05)
    fine = fine_fields(record.rows(0, 12), record.plan, unknowns, theta, 16, 8)
    coarse = room_twin(record.rows(0, 12), record.plan, unknowns, 16, 8).solve(theta).air_c.numpy()
    difference = fine - coarse.transpose(2, 0, 1)
    assert np.sqrt((difference**2).mean()) < 1.0
    # What leaves with the air is the same heat, however it is spread.
    assert difference.mean() == pytest.approx(0.0, abs=0.4)
