"""Which aisle a place belongs to, and fields on a grid that respects rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agents.fields.protocol import FieldRecord, Floats
from minesim.physics.room_plan import RoomPlan

COARSE = (24, 12)
"""Cells on which methods without physics estimate."""


def aisle_of(plan: RoomPlan, y_m: Floats) -> npt.NDArray[np.int64]:
    """Number of the aisle, from south to north; rows part them."""
    return np.searchsorted(np.sort([row.y_m for row in plan.rows]), y_m)


def is_hot(plan: RoomPlan, aisle: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether miners blow into an aisle."""
    rows = sorted(plan.rows, key=lambda row: row.y_m)
    return np.isin(aisle, [number + (row.blows == "north") for number, row in enumerate(rows)])


def coarse_places_m(record: FieldRecord) -> Floats:
    """Centres of the cells of ``COARSE``, (288, 2), m, in flat order."""
    plan = record.telemetry.plan
    x = (np.arange(COARSE[0]) + 0.5) * plan.length_m / COARSE[0]
    y = (np.arange(COARSE[1]) + 0.5) * plan.width_m / COARSE[1]
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
