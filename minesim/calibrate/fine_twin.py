"""The room of a record on a sharper grid, of limited second order: no derivatives, but little numerical mixing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.unknown_room import HELD_S
from minesim.calibrate.unknowns import Unknown, factors, fitted_plan, input_factors
from minesim.physics.room_fine import advance_fine, fine_room
from minesim.physics.room_grid import room_model
from minesim.physics.room_plan import RoomPlan

Floats = npt.NDArray[np.float64]


def fine_fields(
    telemetry: RoomTelemetry, plan: RoomPlan, unknowns: Sequence[Unknown], theta: Floats, nx: int, ny: int
) -> Floats:
    """Air of every row as :class:`minesim.calibrate.room_twin.RoomTwin` has it, by the fine scheme.

    Args:
        telemetry: what ran.
        plan, unknowns, theta: the room and what was found about it.
        nx, ny: cells; 48 x 24 takes about 1 s of one core for a day of 5-minute steps.

    Returns:
        (T, nx, ny), degC.
    """
    model = room_model(fitted_plan(plan, unknowns, theta), nx, ny)
    flows = telemetry.inputs_m3_per_s * input_factors(plan, unknowns, theta)
    heat = telemetry.heat_w * factors(unknowns, theta, "heat", len(plan.groups))
    inner, outer = model.structure_w_per_k, model.envelope_w_per_k
    kept = math.exp(-(inner + outer) * telemetry.step_s / model.structure_j_per_k)
    share = inner / (inner + outer)
    fields = np.empty((len(telemetry.time), nx, ny))
    structure = None
    for row in range(len(fields)):
        cp, amb_c = float(telemetry.rho_cp_j_per_m3_k[row]), float(telemetry.temp_amb_c[row])
        supply_c = float(telemetry.temp_supply_c[row])
        room = fine_room(model, flows[row], cp, HELD_S)
        if structure is None:
            settled = fine_room(model, flows[row], cp, math.inf)
            air = advance_fine(settled, np.zeros((nx, ny)), heat[row], supply_c, amb_c, corrections=3).air_c
            structure = share * air + (1.0 - share) * amb_c
        air = advance_fine(room, structure, heat[row], supply_c, amb_c, corrections=2).air_c
        structure = kept * structure + (1.0 - kept) * (share * air + (1.0 - share) * amb_c)
        fields[row] = advance_fine(room, structure, heat[row], supply_c, amb_c, corrections=2, start_c=air).air_c
    return fields
