"""Small tables of published prices and terms; each row carries its source."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

from minesim.errors import DataFileError, explain, nearest

TABLES: Final = ("capacity_transmission_prices", "dr_ancillary_figures", "pool_fee_terms", "pool_payout_schemes")


@functools.cache
def fact_rows(table: str) -> tuple[Mapping[str, str], ...]:
    """Read one table of facts.

    Args:
        table: one of :data:`TABLES`.

    Returns:
        Its rows, column name -> text, in file order.

    Raises:
        DataFileError: no such table (nearest names suggested).
    """
    if table not in TABLES:
        raise DataFileError(explain(f"no table of facts {table!r}", fix=nearest(table, TABLES)))
    text = resources.files(__name__).joinpath(f"{table}.csv").read_text(encoding="utf-8")
    return tuple(MappingProxyType(row) for row in csv.DictReader(text.splitlines()))


def fact(table: str, **where: str) -> Mapping[str, str]:
    """Find the one row of a table whose columns equal ``where``.

    Args:
        table: one of :data:`TABLES`.
        where: column name -> exact text.

    Returns:
        The row, column name -> text.

    Raises:
        DataFileError: no such table or column, or not exactly one such row.
    """
    rows = fact_rows(table)
    for column in where:
        if column not in rows[0]:
            raise DataFileError(
                explain(f"no column {column!r}", fix=nearest(column, rows[0]), origin=f"table of facts {table!r}")
            )
    found = [row for row in rows if all(row[column] == text for column, text in where.items())]
    if len(found) != 1:
        raise DataFileError(
            explain(f"{len(found)} rows with {where}", allowed="exactly one", origin=f"table of facts {table!r}")
        )
    return found[0]


def fact_value(table: str, **where: str) -> float:
    """Find the number in the ``value`` column of the one row whose columns equal ``where``.

    >>> fact_value("capacity_transmission_prices", charge="postage stamp transmission rate", period="2024")
    66.756998

    Raises:
        DataFileError: as :func:`fact`.
    """
    return float(fact(table, **where)["value"])
