"""A day and a quarter in a room: real weather, loads that follow prices and faults, fans that follow nobody's optimum.

All draws come from the generator that is passed in.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from agents.fields.protocol import Floats
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.data.traces_io import load_weather
from minesim.physics.psychrometrics import heat_capacity_air_j_per_m3_k
from minesim.physics.room_plan import RoomPlan
from minesim.units import PRESSURE_SEA_LEVEL_PA

STEP_S: Final = 300.0
CITY: Final = "dallas_tx"
STOPPED_SHARE: Final = 0.03
"""Share of the time in which a group is off (assumed)."""
DAMPER_SHARE: Final = 0.15
"""Share of the time in which a damper is open (assumed)."""


def draw_course(plan: RoomPlan, rows: int, ratio: tuple[float, float], rng: np.random.Generator) -> RoomTelemetry:
    """Draw what runs in a room, step by step; nothing is read yet.

    Every setting holds for a random while (half an hour to two hours on average, assumed) and then jumps.

    Args:
        plan: the layout.
        rows: steps of 5 minutes, T.
        ratio: range of room fans over miners' flow, as commanded.
        rng: for all draws.

    Returns:
        A record without sensors.
    """
    hours = load_weather(CITY)
    begin = hours["time"].to_numpy()[int(rng.integers(0, int(hours.sizes["time"] - rows * STEP_S / 3600.0 - 2)))]
    time = begin + (np.arange(rows) + 1) * np.timedelta64(int(STEP_S), "s")
    temp_amb_c = hours["temp_amb_c"].interp(time=time).to_numpy()
    groups, fans, dampers = plan.groups, plan.fans, plan.dampers
    count, rated_flow, rated_w = (
        np.array([getattr(group, name) for group in groups]) for name in ("miners", "flow_m3_per_s", "power_w")
    )
    runs = _held(rng, rows, len(groups), 24.0) > STOPPED_SHARE
    speed = _between(_held(rng, rows, 1, 12.0), 0.65, 1.0) * _between(_held(rng, rows, len(groups), 24.0), 0.85, 1.0)
    flow = count * rated_flow * speed * runs
    load = _between(_held(rng, rows, 1, 12.0), 0.6, 1.0) * _between(_held(rng, rows, len(groups), 12.0), 0.7, 1.0)
    uneven = _between(_held(rng, rows, len(fans), 24.0), 0.7, 1.3)
    fan_rated = np.array([fan.flow_m3_per_s for fan in fans])
    uneven *= fan_rated / (uneven @ fan_rated)[:, None]
    wanted = flow.sum(axis=1, keepdims=True) * _between(_held(rng, rows, 1, 6.0), *ratio)
    open_ = (_held(rng, rows, len(dampers), 12.0) < DAMPER_SHARE) * _between(
        _held(rng, rows, len(dampers), 12.0), 0, 0.5
    )
    damper_rated = np.array([damper.flow_m3_per_s for damper in dampers])
    return RoomTelemetry(
        plan=plan,
        time=time,
        inputs_m3_per_s=np.concatenate([flow, np.minimum(wanted * uneven, fan_rated), open_ * damper_rated], axis=1),
        heat_w=count * rated_w * load * runs,
        temp_supply_c=temp_amb_c,
        temp_amb_c=temp_amb_c,
        rho_cp_j_per_m3_k=heat_capacity_air_j_per_m3_k(temp_amb_c, PRESSURE_SEA_LEVEL_PA),
        sensors=(),
        places_m=np.zeros((0, 2)),
        readings_c=np.zeros((rows, 0)),
    )


def _held(rng: np.random.Generator, rows: int, width: int, mean_rows: float) -> Floats:
    """Numbers in 0 to 1 that jump at random rows, each column by itself, (rows, width)."""
    jumps = rng.random((rows, width)) < 1.0 / mean_rows
    jumps[0] = True
    levels = rng.random((rows, width))
    since = np.maximum.accumulate(np.where(jumps, np.arange(rows)[:, None], 0), axis=0)
    return np.take_along_axis(levels, since, axis=0)


def _between(share: Floats, low: float, high: float) -> Floats:
    return low + (high - low) * share
