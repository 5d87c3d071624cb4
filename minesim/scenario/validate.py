"""Check a trace Dataset against the contract and name every fault with the first time it happens."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from minesim.data import known
from minesim.errors import TraceError, explain, nearest
from minesim.scenario.variables import BY_NAME, IS_MISSING, VARIABLES, TraceVariable
from minesim.units import SECONDS_PER_DAY

ROW_S = 900
"""Rows of the compiled table; every trace step is a multiple of it."""


def validate(traces: xr.Dataset) -> None:
    """Check names, units, time axis and values of a trace Dataset.

    Args:
        traces: variables over a UTC ``time`` axis of interval starts; see ``minesim.scenario.variables``.

    Raises:
        TraceError: one line a fault: missing variable, wrong unit, gap, duplicate, unsorted time, value that is
            missing without being marked in ``is_missing``, or impossible value, with the first offending time.
    """
    faults = list(_faults(traces))
    if faults:
        origin = str(traces.attrs.get("name", traces.encoding.get("source", "trace Dataset")))
        what = "; ".join(faults) if len(faults) == 1 else "".join(f"\n  - {fault}" for fault in faults)
        raise TraceError(
            explain(
                f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the trace: {what}",
                origin=origin,
                fix="Correct the named rows; see docs/data.md for the contract.",
            )
        )


def _faults(traces: xr.Dataset) -> Iterator[str]:
    yield from _time_faults(traces)
    yield from _timezone_faults(traces)
    present = [variable for variable in VARIABLES if variable.name in traces.variables]
    for variable in VARIABLES:
        if variable.required and variable.name not in traces.variables:
            yield (
                f"variable {variable.name} ({variable.units}, {variable.meaning}) is missing"
                f"{_meant(traces, variable.name)}"
            )
    for variable in present:
        yield from _variable_faults(traces, variable)


def _meant(traces: xr.Dataset, name: str) -> str:
    strangers = [str(other) for other in traces.data_vars if other not in BY_NAME and other != IS_MISSING]
    hint = nearest(name, strangers) if strangers else ""
    return f" ({hint.replace('Did you mean', 'is it')[:-1]}?)" if hint.startswith("Did") else ""


def _time_faults(traces: xr.Dataset) -> Iterator[str]:
    if "time" not in traces.dims or "time" not in traces.coords:
        yield "there is no coordinate 'time' (UTC interval starts)"
        return
    if traces["time"].dtype.kind != "M":
        yield f"'time' has type {traces['time'].dtype}, not datetime64 (naive, UTC)"
        return
    time = traces["time"].to_numpy()
    if len(time) < 2:
        yield f"'time' has {len(time)} rows; at least 2 are needed"
        return
    if np.isnat(time).any():
        yield f"'time' is empty (NaT) at row {int(np.flatnonzero(np.isnat(time))[0])}"
        return
    step = np.diff(time).astype("timedelta64[ns]").astype(np.int64) / 1e9
    usual = float(np.median(step[step > 0])) if (step > 0).any() else 0.0
    if (step < 0).any():
        at = int(np.flatnonzero(step < 0)[0])
        yield f"'time' is not sorted: {_stamp(time[at + 1])} follows {_stamp(time[at])}"
    if (step == 0).any():
        yield f"'time' has a duplicate at {_stamp(time[1:][step == 0][0])} ({int((step == 0).sum())} in all)"
    if usual % ROW_S or (usual and SECONDS_PER_DAY % usual):
        yield f"the usual step is {usual:g} s; allowed: a multiple of {ROW_S} s that divides a day"
    elif usual and int(time[0].astype("datetime64[s]").astype(np.int64)) % ROW_S:
        yield f"'time' starts at {_stamp(time[0])}; interval starts have to be whole quarter hours"
    gap = (step > 0) & (step != usual)
    if gap.any():
        at = int(np.flatnonzero(gap)[0])
        yield (
            f"'time' has a gap: {_stamp(time[at])} is followed by {_stamp(time[at + 1])}, the usual step is "
            f"{usual:g} s ({int(gap.sum())} in all)"
        )


def _timezone_faults(traces: xr.Dataset) -> Iterator[str]:
    zone = traces.attrs.get("site_timezone")
    if zone is None:
        yield "attribute site_timezone is missing (an IANA name, e.g. 'America/Chicago')"
        return
    try:
        zoneinfo.ZoneInfo(str(zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        yield f"site_timezone is {zone!r}, which is no IANA name such as 'America/Chicago'"


def _variable_faults(traces: xr.Dataset, variable: TraceVariable) -> Iterator[str]:
    data = traces[variable.name]
    name = variable.name
    allowed_dims = ({"time"}, {"time", "coin"}) if variable.per_coin else ({"time"},)
    if set(data.dims) not in allowed_dims:
        yield f"{name} has dimensions {tuple(data.dims)}; allowed: {' or '.join(str(sorted(d)) for d in allowed_dims)}"
        return
    if data.dtype.kind not in "fiub":
        yield f"{name} has type {data.dtype}, not a number"
        return
    units = str(data.attrs.get("units", variable.units))
    if units != variable.units:
        yield f"{name} has units {units!r}; allowed: {variable.units!r}"
    rule = str(data.attrs.get("known", variable.known))
    if rule not in known.RULES:
        yield f"{name} has known={rule!r}; allowed: {', '.join(known.RULES)}"
    time = traces["time"].to_numpy() if "time" in traces.coords else np.arange(traces.sizes["time"])
    values = data.transpose("time", ...).to_numpy().astype(np.float64).reshape(len(time), -1)
    empty = np.asarray(np.isnan(values).any(axis=1), bool)
    marked = (
        traces[IS_MISSING].to_numpy().astype(bool)
        if IS_MISSING in traces and traces[IS_MISSING].dims == ("time",)
        else np.zeros(len(time), bool)
    )
    unmarked = empty & ~marked
    if not variable.required:
        # An optional series may begin later than the axis: it is absent until then.
        unmarked &= np.cumsum(~empty) > 0
    if unmarked.any():
        yield (
            f"{name} has no value at {_stamp(time[unmarked][0])} and is_missing is not set there "
            f"({int(unmarked.sum())} rows in all)"
        )
    if empty.all() and variable.required:
        yield f"{name} has no value at all"
    elif empty[0] and variable.required and marked[0]:
        yield f"{name} has no value at {_stamp(time[0])}, the first row, so nothing past can fill it"
    bad = ((values < variable.low) | (values > variable.high) | np.isinf(values)).any(axis=1)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        row = values[at]
        worst = float(np.extract((row < variable.low) | (row > variable.high), row)[0])
        yield (
            f"{name} is {worst:g} {variable.units} at {_stamp(time[at])}; allowed: {variable.low:g} to "
            f"{variable.high:g} {variable.units} ({int(bad.sum())} rows in all)"
        )


def _stamp(time: np.datetime64 | int) -> str:
    return f"{pd.Timestamp(time):%Y-%m-%d %H:%M} UTC" if isinstance(time, np.datetime64) else f"row {time}"
