"""Files that are whole or absent, and hashes of what a result depends on."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from minesim.errors import DataFileError, explain

COMPRESSION = {"zlib": True, "complevel": 4}


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside its place, then move it there, so that no reader ever sees half of it.

    Args:
        path: where the file belongs; its folder is made.
        write: writes to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        write(beside)
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    write_whole(path, lambda beside: _put_text(beside, text))


def _put_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole; NaN becomes null."""
    write_text(path, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


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


def plain(value: Any) -> Any:
    """Content as JSON types: arrays as lists, times as text, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist() if value.dtype.kind != "M" else value.astype("datetime64[s]").astype(str).tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]"))
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    return value


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
