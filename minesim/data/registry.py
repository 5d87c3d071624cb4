"""The packaged traces as rows: name, file, licence, columns, origin; one row a file in ``traces/SOURCES.csv``."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from minesim.errors import DataFileError, explain, nearest

TRACES_DIR = Path(__file__).parent / "traces"


@dataclass(frozen=True)
class TraceFile:
    """One packaged trace file.

    Attributes:
        name: what loaders and ``minesim data describe`` call it, e.g. ``power_ercot``.
        kind: ``power``, ``weather``, ``typical_year``, ``btc``, ``carbon``, ``blocks`` or ``peaks``.
        file: path below ``minesim/data/traces``.
        licence: SPDX identifier, ``facts`` or ``unverified``.
        in_wheel: whether an installed wheel carries it; the others live in a repository checkout only.
        site_timezone: IANA name of the local clock that the series belongs to.
        columns: column names as stored.
        origin, commit, terms: where it was read, at which commit, and what may be done with it.
    """

    name: str
    kind: str
    file: str
    licence: str
    in_wheel: bool
    site_timezone: str
    columns: tuple[str, ...]
    origin: str
    commit: str
    terms: str

    @property
    def path(self) -> Path:
        """Where the file is, present or not."""
        return TRACES_DIR / self.file


@functools.cache
def registry() -> tuple[TraceFile, ...]:
    """All packaged traces, in the order of ``SOURCES.csv``.

    Raises:
        DataFileError: ``SOURCES.csv`` is missing from the installation.
    """
    path = TRACES_DIR / "SOURCES.csv"
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except OSError as error:
        raise DataFileError(explain(f"cannot read {path}: {error}", fix="Reinstall minesim.")) from error
    return tuple(
        TraceFile(
            name=row["name"],
            kind=row["kind"],
            file=row["file"],
            licence=row["licence"],
            in_wheel=row["in_wheel"] == "yes",
            site_timezone=row["site_timezone"],
            columns=tuple(row["columns"].split()),
            origin=row["origin"],
            commit=row["commit"],
            terms=row["terms"],
        )
        for row in rows
    )


def trace_file(name: str) -> TraceFile:
    """The registry row called ``name``.

    Raises:
        DataFileError: no such trace (nearest names suggested).
    """
    by_name = {row.name: row for row in registry()}
    if name not in by_name:
        raise DataFileError(explain(f"no packaged trace {name!r}", fix=nearest(name, by_name), origin="SOURCES.csv"))
    return by_name[name]


def require(name: str) -> Path:
    """Path of the packaged trace ``name``.

    Raises:
        DataFileError: unknown name, or the file is not part of this installation (says why and what works without).
    """
    row = trace_file(name)
    if row.path.is_file():
        return row.path
    if row.in_wheel:
        raise DataFileError(
            explain(f"trace file {row.file} is missing", origin=str(row.path), fix="Reinstall minesim.")
        )
    reason = f"its licence is {row.licence} ({row.terms})"
    raise DataFileError(
        explain(
            f"trace {name!r} is not part of an installed package, because {reason}; "
            "it lives in a repository checkout only",
            origin=str(row.path),
            fix="Clone the repository and install it with 'pip install -e .', or use the scenario 'generated', "
            "which needs no such file.",
        )
    )
