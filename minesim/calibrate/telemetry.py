"""Telemetry of a room: what was running, what the weather was, and what its sensors read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from minesim.physics.room_plan import RoomPlan

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RoomTelemetry:
    """A room's record at a regular step; T rows, U inputs, M groups, N sensors.

    Inputs and heat are as an operator knows them: speed of a fan times its rated flow, power that the miners report.
    They are held over the step that ends at ``time``; sensors are read at its end.

    Attributes:
        plan: the layout, with its nominal values.
        time: end of each step, UTC, (T,).
        inputs_m3_per_s: nominal flows of groups, fans and dampers in the layout's order, (T, U).
        heat_w: electrical power of each group, (T, M).
        temp_supply_c, temp_amb_c: air behind pad or coil, and outdoors, degC, (T,).
        rho_cp_j_per_m3_k: heat capacity of the air, (T,).
        sensors: their names.
        places_m: where they hang, x and y, (N, 2).
        readings_c: what they read, NaN where nothing was read, (T, N).
    """

    plan: RoomPlan
    time: npt.NDArray[np.datetime64]
    inputs_m3_per_s: Floats
    heat_w: Floats
    temp_supply_c: Floats
    temp_amb_c: Floats
    rho_cp_j_per_m3_k: Floats
    sensors: tuple[str, ...]
    places_m: Floats
    readings_c: Floats

    @property
    def step_s(self) -> float:
        """Length of a step, s."""
        return float((self.time[1] - self.time[0]) / np.timedelta64(1, "s"))

    def rows(self, begin: int, end: int) -> RoomTelemetry:
        """The same for some of its steps."""
        names = (
            "time", "inputs_m3_per_s", "heat_w", "temp_supply_c", "temp_amb_c", "rho_cp_j_per_m3_k", "readings_c"
        )  # fmt: skip
        return replace(self, **{name: getattr(self, name)[begin:end] for name in names})
