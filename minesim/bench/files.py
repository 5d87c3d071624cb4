"""NetCDF files and hashes of what a result depends on; other files by :mod:`minesim.files`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from minesim.errors import DataFileError, explain
from minesim.files import plain as plain
from minesim.files import write_json as write_json
from minesim.files import write_text as write_text
from minesim.files import write_whole as write_whole

COMPRESSION = {"zlib": True, "complevel": 4}


def write_netcdf(path: Path, data: xr.Dataset) -> None:
    """Write a compressed NetCDF file whole."""
    encoding = {str(name): COMPRESSION for name, part in data.data_vars.items() if part.dtype.kind == "f"}
    write_whole(path, lambda beside: _put_netcdf(beside, data, encoding))


def _put_netcdf(path: Path, data: xr.Dataset, encoding: Mapping[str, Any]) -> None:
    data.to_netcdf(path, engine="h5netcdf", encoding=dict(encoding))


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a NetCDF file into memory.

    Raises:
        DataFileError: missing or unreadable.
    """
    if not path.exists():
        raise DataFileError(explain(f"there is no file {str(path)!r}"))
    try:
        with xr.open_dataset(path, engine="h5netcdf") as data:
            return data.load()
    except (OSError, ValueError, KeyError) as error:
        raise DataFileError(explain(f"{path.name} is not a readable NetCDF file ({error})")) from error


def content_hash(content: Any) -> str:
    """SHA-256 of JSON-like content, independent of the order of keys."""
    text = json.dumps(plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def array_hash(*arrays: np.ndarray) -> str:
    """SHA-256 of arrays: shape, type and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def source_hash(*paths: Path, suffixes: Iterable[str] = (".py", ".csv", ".json")) -> str:
    """SHA-256 of source and table files, given or below given folders, so that results of other code are told apart."""
    digest = hashlib.sha256()
    wanted = tuple(suffixes)
    for root in paths:
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.suffix in wanted and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(root.parent)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
