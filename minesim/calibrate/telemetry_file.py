"""Telemetry of a room as a Parquet file: one row a step, one column a number; everything is checked before it is used.

| column | unit | what |
|---|---|---|
| `time` | UTC | end of the step; strictly rising, equal steps of 10 s to 15 min |
| `speed_GROUP` | 0 to 1 | mean fan speed of the group's miners over all of them, a stopped one counts 0 |
| `power_GROUP_w` | W | electrical power of the group's miners together |
| `speed_FAN` | 0 to 1 | of each room fan |
| `open_DAMPER` | 0 to 1 | of each recirculation damper |
| `temp_amb_c` | degC | outdoor air |
| `temp_supply_c` | degC | air behind pad or coil; outdoor air if absent |
| `pressure_pa` | Pa | barometric; 101,325 if absent |
| `NAME_c@X,Y` | degC | a sensor, with its place in the room in metres, e.g. `cold_1_c@1.50,0.60` |

GROUP, FAN and DAMPER are names of the layout. All but the sensors must be complete; a sensor may miss up to half of its
readings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from minesim.calibrate.telemetry import RoomTelemetry
from minesim.errors import DataFileError, ParamsError, TelemetryError, explain, nearest
from minesim.physics.airflow import Grid
from minesim.physics.psychrometrics import heat_capacity_air_j_per_m3_k
from minesim.physics.room_grid import sensor_cells
from minesim.physics.room_plan import RoomPlan
from minesim.units import PRESSURE_SEA_LEVEL_PA

Floats = npt.NDArray[np.float64]

SENSOR: Final = re.compile(r"(?P<name>.+)_c@(?P<x>-?\d+(\.\d+)?),(?P<y>-?\d+(\.\d+)?)")
STEP_RANGE_S: Final = (10.0, 900.0)
MISSING_MAX: Final = 0.5
"""A sensor may miss this share of its readings."""
RANGES: Final = {
    "speed": (0.0, 1.0, ""),
    "open": (0.0, 1.0, ""),
    "power": (0.0, 1e8, " W"),
    "temp": (-60.0, 150.0, " degC"),
    "pressure": (5e4, 1.1e5, " Pa"),
}
"""Possible values by the first word of a column; a sensor's are those of ``temp``."""


def input_columns(plan: RoomPlan) -> tuple[str, ...]:
    """Columns of flows in the order of :attr:`RoomTelemetry.inputs_m3_per_s`."""
    turning = [group.name for group in plan.groups] + [fan.name for fan in plan.fans]
    return (*(f"speed_{name}" for name in turning), *(f"open_{damper.name}" for damper in plan.dampers))


def rated_flows_m3_per_s(plan: RoomPlan) -> Floats:
    """Flow of every input at full speed, (U,)."""
    groups = [group.miners * group.flow_m3_per_s for group in plan.groups]
    fans, dampers = ([thing.flow_m3_per_s for thing in things] for things in (plan.fans, plan.dampers))
    return np.array([*groups, *fans, *dampers])


def read_telemetry(path: Path, plan: RoomPlan) -> RoomTelemetry:
    """Read and check a file.

    Args:
        path: Parquet.
        plan: the layout whose names its columns carry.

    Raises:
        DataFileError: missing, or not Parquet.
        TelemetryError: a column that is unknown or missing, not a number, out of range; a time axis that does not rise
            in equal steps; a sensor outside the room or without enough readings. The culprit is named.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataFileError(
            explain(f"{str(path)!r} is not a readable Parquet file ({str(error).splitlines()[0]})")
        ) from error
    return telemetry_of(frame, plan, origin=path.name)


def telemetry_of(frame: pd.DataFrame, plan: RoomPlan, origin: str = "telemetry") -> RoomTelemetry:
    """Check a table and make a record of it; the table is not changed.

    Args:
        frame: columns as above.
        plan: the layout.
        origin: where the table comes from, for messages.

    Raises:
        TelemetryError: see :func:`read_telemetry`.
    """
    inputs = input_columns(plan)
    powers = tuple(f"power_{group.name}_w" for group in plan.groups)
    needed, optional = ("time", *inputs, *powers, "temp_amb_c"), ("temp_supply_c", "pressure_pa")
    columns = [str(column) for column in frame.columns]
    places: dict[str, tuple[float, float]] = {}
    for column in columns:
        match = SENSOR.fullmatch(column)
        if match:
            places[column] = float(match["x"]), float(match["y"])
        elif column not in needed and column not in optional:
            raise _error(f"there is an unknown column {column!r}", origin, fix=nearest(column, (*needed, *optional)))
    for column in needed:
        if column not in columns:
            raise _error(f"the column {column!r} is missing", origin, fix="Add it; see docs/calibrate.md.")
    if not places:
        raise _error("there is no sensor", origin, allowed="columns such as 'cold_1_c@1.50,0.60'")
    sensors = [column.split("_c@")[0] for column in places]
    twice = {name for name in sensors if sensors.count(name) > 1}
    if twice:
        raise _error(f"the sensor name {min(twice)!r} is used twice", origin, allowed="one sensor a name")
    time = _time(frame["time"], origin)
    values = {c: _numbers(frame[c], time, origin, c in places) for c in columns if c != "time"}
    try:
        sensor_cells(Grid(1, 1, plan.length_m, plan.width_m, plan.height_m), places)
    except ParamsError as error:
        raise TelemetryError(f"{error} (column of {origin})") from error
    amb_c = values["temp_amb_c"]
    pressure = values.get("pressure_pa", np.full(len(time), PRESSURE_SEA_LEVEL_PA))
    return RoomTelemetry(
        plan=plan,
        time=time,
        inputs_m3_per_s=np.stack([values[column] for column in inputs], axis=1) * rated_flows_m3_per_s(plan),
        heat_w=np.stack([values[column] for column in powers], axis=1),
        temp_supply_c=values.get("temp_supply_c", amb_c),
        temp_amb_c=amb_c,
        rho_cp_j_per_m3_k=heat_capacity_air_j_per_m3_k(amb_c, pressure),
        sensors=tuple(sensors),
        places_m=np.array(list(places.values())),
        readings_c=np.stack([values[column] for column in places], axis=1),
    )


def table_of(telemetry: RoomTelemetry) -> pd.DataFrame:
    """A record as a table, to be written with ``to_parquet``; air of 101,325 Pa."""
    plan = telemetry.plan
    columns: dict[str, Any] = {"time": pd.DatetimeIndex(telemetry.time, tz="UTC")}
    shares = telemetry.inputs_m3_per_s / rated_flows_m3_per_s(plan)
    columns |= dict(zip(input_columns(plan), shares.T, strict=True))
    columns |= {f"power_{group.name}_w": heat for group, heat in zip(plan.groups, telemetry.heat_w.T, strict=True)}
    columns |= {"temp_amb_c": telemetry.temp_amb_c, "temp_supply_c": telemetry.temp_supply_c}
    for name, (x_m, y_m), read in zip(telemetry.sensors, telemetry.places_m, telemetry.readings_c.T, strict=True):
        columns[f"{name}_c@{x_m:.3f},{y_m:.3f}"] = read
    return pd.DataFrame(columns)


def _time(column: pd.Series[Any], origin: str) -> npt.NDArray[np.datetime64]:
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise _error(f"the column 'time' is of type {column.dtype}", origin, allowed="timestamps, UTC")
    if column.isna().any():
        raise _error(f"the time of row {int(column.isna().argmax())} is missing", origin)
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
    time = utc.to_numpy().astype("datetime64[ns]")
    if len(time) < 3:
        raise _error(f"there are {len(time)} rows", origin, allowed="3 or more, best a day")
    steps_s = np.diff(time) / np.timedelta64(1, "s")
    for what, broken in (
        ("goes back", steps_s < 0.0),
        ("stands still (a duplicate)", steps_s == 0.0),
        (f"steps by another time than {steps_s[0]:g} s", np.abs(steps_s - steps_s[0]) > 1e-3),
    ):
        if broken.any():
            row = int(broken.argmax()) + 1
            raise _error(
                f"time {what} at row {row}: {time[row].astype('datetime64[s]')} after "
                f"{time[row - 1].astype('datetime64[s]')}",
                origin,
                allowed="strictly rising in equal steps",
                fix="Sort the rows, drop duplicates and resample to one step.",
            )
    if not STEP_RANGE_S[0] <= steps_s[0] <= STEP_RANGE_S[1]:
        allowed = f"{STEP_RANGE_S[0]:g} to {STEP_RANGE_S[1]:g} s"
        raise _error(f"a step is {steps_s[0]:g} s", origin, allowed=allowed, fix="Resample, best to 300 s.")
    return time


def _numbers(column: pd.Series[Any], time: npt.NDArray[np.datetime64], origin: str, sensor: bool) -> Floats:
    name = str(column.name)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise _error(f"the column {name!r} is of type {column.dtype}", origin, allowed="numbers")
    values = np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))  # a copy: the table stays as it is
    missing = np.isnan(values)
    if missing.any() and not sensor:
        at = time[missing.argmax()].astype("datetime64[s]")
        raise _error(
            f"{name!r} is missing (NaN) in {int(missing.sum())} of {len(values)} rows, first at {at}",
            origin,
            fix="Fill the gap, or calibrate on a stretch without one.",
        )
    if sensor and missing.mean() > MISSING_MAX:
        raise _error(
            f"sensor {name!r} misses {100 * missing.mean():.0f} % of its readings",
            origin,
            allowed=f"at most {100 * MISSING_MAX:.0f} %",
            fix="Leave its column out.",
        )
    low, high, unit = RANGES["temp" if sensor else name.split("_")[0]]
    broken = ~missing & ~((values >= low) & (values <= high))
    if broken.any():
        at = int(broken.argmax())
        raise _error(
            f"{name!r} is {values[at]:g}{unit} at {time[at].astype('datetime64[s]')}",
            origin,
            allowed=f"{low:g} to {high:g}{unit}",
        )
    return values


def _error(what: str, origin: str, allowed: str = "", fix: str = "") -> TelemetryError:
    return TelemetryError(explain(what, allowed=allowed, origin=origin, fix=fix))
