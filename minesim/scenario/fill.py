"""Fill marked missing values from the past only, and record how."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from minesim.scenario.variables import BY_NAME, IS_MISSING
from minesim.units import SECONDS_PER_DAY

FILL_NOTE = "missing rows hold the value of the same time of the latest earlier day that has one (past only)"


def fill_from_past(values: npt.NDArray[np.float64], day_rows: int) -> npt.NDArray[np.float64]:
    """Replace NaN by the value of the same time of the latest earlier day; with none, by the last earlier value.

    Args:
        values: (T,) series; leading NaN stay.
        day_rows: rows in 24 hours.

    Returns:
        (T,) copy. Row ``t`` depends on rows up to ``t`` only.
    """
    padded = np.concatenate([values, np.full(-len(values) % day_rows, np.nan)]).reshape(-1, day_rows)
    index = np.where(np.isnan(padded), -1, np.arange(len(padded))[:, None])
    latest = np.maximum.accumulate(index, axis=0)
    filled = np.where(latest >= 0, np.take_along_axis(padded, np.maximum(latest, 0), axis=0), np.nan)
    filled = filled.reshape(-1)[: len(values)]
    row = np.maximum.accumulate(np.where(np.isnan(filled), -1, np.arange(len(filled))))
    return np.where(row >= 0, filled[np.maximum(row, 0)], np.nan)


def fill_missing(traces: xr.Dataset) -> xr.Dataset:
    """Fill every numeric variable of a validated Dataset and note it in the variable's ``fill`` attribute.

    Leading NaN of an optional variable (a series that begins later than the axis) stay NaN.

    Args:
        traces: variables over ``time``.

    Returns:
        A new Dataset; ``is_missing`` says which rows were empty.
    """
    seconds = np.diff(traces["time"].to_numpy()[:2]).astype("timedelta64[s]").astype(np.int64)[0]
    day_rows = round(SECONDS_PER_DAY / float(seconds))
    filled = traces.copy()
    missing = (
        traces[IS_MISSING].to_numpy().astype(bool) if IS_MISSING in traces else np.zeros(traces.sizes["time"], bool)
    )
    for name in traces.data_vars:
        if name not in BY_NAME:
            continue
        data = traces[name].transpose("time", ...)
        values = data.to_numpy().astype(np.float64)
        if not np.isnan(values).any():
            continue
        columns = values.reshape(len(values), -1)
        whole = np.stack([fill_from_past(column, day_rows) for column in columns.T], axis=1).reshape(values.shape)
        note = {"fill": FILL_NOTE} if (np.isnan(values) & ~np.isnan(whole)).any() else {}
        filled[name] = (data.dims, whole, {**data.attrs, **note})
    filled[IS_MISSING] = ("time", missing, {"long_name": "the source has no value; see the attribute 'fill'"})
    return filled
