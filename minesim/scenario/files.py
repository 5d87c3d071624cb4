"""Read a user's traces from a file: csv, parquet, nc or zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from minesim.errors import DataFileError, MissingExtraError, explain
from minesim.scenario.variables import BY_NAME, IS_MISSING

SUFFIXES: Final = (".csv", ".parquet", ".nc", ".zarr")
TIME_NAMES: Final = ("time", "timestamp_utc", "timestamp", "time_utc")


def read_traces(path: str | Path, *, site_timezone: str | None = None) -> xr.Dataset:
    """Read a trace file into a Dataset; :func:`minesim.scenario.validate` says whether it is good.

    A csv has a column ``time`` (or ``timestamp_utc``) in UTC and one column a variable. Lines ``# key: value`` at its
    top become attributes: ``# site_timezone: America/Chicago``, ``# power_price_usd_per_mwh.known: day_ahead``.
    Parquet is read alike (attributes: only ``site_timezone`` from the argument).

    Args:
        path: file, or folder of a zarr store.
        site_timezone: IANA name; overrides the file's.

    Returns:
        The Dataset as found, not validated.

    Raises:
        DataFileError: no such file, unknown kind, or unreadable.
        MissingExtraError: nc or zarr support is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise DataFileError(explain(f"cannot read {path.name!r} as traces", allowed=", ".join(SUFFIXES)))
    if not path.exists():
        raise DataFileError(explain(f"no file {path}", fix="Check the path."))
    if path.suffix == ".csv":
        traces = _of_frame(_read_csv(path), _csv_attributes(path), path)
    elif path.suffix == ".parquet":
        traces = _of_frame(_read_parquet(path), {}, path)
    else:
        traces = _read_store(path)
    if site_timezone is not None:
        traces.attrs["site_timezone"] = site_timezone
    traces.attrs.setdefault("name", path.stem)
    return traces


def _unreadable(path: Path, error: Exception) -> DataFileError:
    reason = " ".join(str(error).split())
    return DataFileError(explain(f"cannot read {path}: {reason}", fix="Check that the file is what its name says."))


def _csv_attributes(path: Path) -> dict[str, str]:
    attributes: dict[str, str] = {}
    with path.open(encoding="utf-8") as handle:
        for line in handle:
            if not line.startswith("#"):
                break
            key, _, value = line[1:].partition(":")
            attributes[key.strip()] = value.strip()
    return attributes


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, comment="#", skip_blank_lines=True)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return frame.reset_index() if frame.index.name in TIME_NAMES else frame


def _read_store(path: Path) -> xr.Dataset:
    try:
        if path.suffix == ".zarr":
            loaded: xr.Dataset = xr.open_zarr(path).load()
            return loaded
        with xr.open_dataset(path) as stored:
            loaded = stored.load()
            return loaded
    except ImportError as error:
        raise _no_support(path, error) from error
    except (OSError, ValueError, KeyError) as error:
        if "install" in str(error):
            raise _no_support(path, error) from error
        raise _unreadable(path, error) from error


def _no_support(path: Path, error: Exception) -> MissingExtraError:
    return MissingExtraError(
        explain(
            f"{path.suffix} support is not installed: {error}",
            fix="Install it (nc: pip install 'minesim[report]'; zarr: pip install zarr), or give csv or parquet.",
        )
    )


def _of_frame(frame: pd.DataFrame, attributes: dict[str, str], path: Path) -> xr.Dataset:
    found = next((name for name in TIME_NAMES if name in frame.columns), None)
    if found is None:
        raise DataFileError(
            explain(
                f"{path.name} has no time column; its columns are {', '.join(map(str, frame.columns))}",
                allowed=" or ".join(TIME_NAMES),
            )
        )
    try:
        time = pd.to_datetime(frame[found], utc=True).dt.tz_localize(None)
    except (ValueError, TypeError) as error:
        raise DataFileError(
            explain(f"column {found!r} of {path.name} is not a time: {error}", allowed="e.g. 2023-07-01T05:00 (UTC)")
        ) from error
    variables: dict[str, Any] = {}
    for name in frame.columns:
        if name == found:
            continue
        column = frame[name]
        if name == IS_MISSING:
            variables[name] = ("time", column.astype(str).str.lower().isin(("true", "1", "1.0", "yes")).to_numpy())
            continue
        if name in BY_NAME:
            column = _as_numbers(column, str(name), time, path)
        attrs = {key.split(".", 1)[1]: value for key, value in attributes.items() if key.startswith(f"{name}.")}
        variables[str(name)] = ("time", column.to_numpy(), attrs)
    data = xr.Dataset(variables, coords={"time": np.asarray(time.to_numpy(), "datetime64[ns]")})
    data.attrs = {key: value for key, value in attributes.items() if "." not in key}
    return data


def _as_numbers(column: pd.Series[Any], name: str, time: pd.Series[Any], path: Path) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = numbers.isna() & column.notna()
    if wrong.any():
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        raise DataFileError(
            explain(f"{name} is {column.iloc[row]!r} at {time.iloc[row]} UTC", allowed="a number", origin=path.name)
        )
    return numbers
