"""Finished parts of a run, kept by the hash of everything they depend on, so that a stopped run resumes.

A cell is one policy on one scenario with its weeks and seeds. Its file is written whole or not at all; a file of
another specification, or a damaged one, is computed again, so cells are neither lost nor doubled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from minesim.bench.files import content_hash, plain, read_netcdf, write_json, write_netcdf
from minesim.errors import DataFileError

SPEC = "cell_spec"


@dataclass(frozen=True)
class CellStore:
    """A folder of cells.

    Attributes:
        folder: where the files are, ``<hash>.nc``.
    """

    folder: Path

    def path(self, spec: Mapping[str, Any]) -> Path:
        """File of a cell."""
        return self.folder / f"{content_hash(spec)[:32]}.nc"

    def load(self, spec: Mapping[str, Any]) -> xr.Dataset | None:
        """A finished cell, or None when it is missing, damaged or of another specification."""
        path = self.path(spec)
        if not path.exists():
            return None
        try:
            cell = read_netcdf(path)
        except DataFileError:
            return None
        return cell if json.loads(str(cell.attrs.get(SPEC, "null"))) == plain(dict(spec)) else None

    def save(self, spec: Mapping[str, Any], cell: xr.Dataset) -> None:
        """Keep a finished cell."""
        write_netcdf(self.path(spec), cell.assign_attrs({SPEC: json.dumps(plain(dict(spec)))}))

    def get(self, spec: Mapping[str, Any], compute: Callable[[], xr.Dataset]) -> tuple[xr.Dataset, bool]:
        """A cell, computed and kept if it is not there yet.

        Returns:
            The cell, and whether it was there already.
        """
        cell = self.load(spec)
        if cell is not None:
            return cell, True
        cell = compute()
        self.save(spec, cell)
        return cell, False


@dataclass(frozen=True)
class PlainStore:
    """A folder of cells of plain values.

    Attributes:
        folder: where the files are, ``<hash>.json``.
    """

    folder: Path

    def path(self, spec: Mapping[str, Any]) -> Path:
        """File of a cell."""
        return self.folder / f"{content_hash(spec)[:32]}.json"

    def load(self, spec: Mapping[str, Any]) -> dict[str, Any] | None:
        """A finished cell, or None when it is missing, damaged or of another specification."""
        try:
            kept = json.loads(self.path(spec).read_text(encoding="utf-8"))
            return dict(kept["result"]) if kept["spec"] == plain(dict(spec)) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, spec: Mapping[str, Any], cell: Mapping[str, Any]) -> None:
        """Keep a finished cell."""
        write_json(self.path(spec), {"spec": dict(spec), "result": dict(cell)})
