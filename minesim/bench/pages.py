"""Tables of a report in the pages of the docs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

RULES = {"right": "--:", "center": ":-:"}


def markdown(tables: Iterable[Table]) -> str:
    """Tables of text as Markdown, each under its title in bold."""
    return "\n\n".join(f"**{table.title}**\n\n{_table(table)}" for table in tables)


def _table(table: Table) -> str:
    columns = (
        [str(column.header), RULES.get(column.justify, "---"), *map(str, column.cells)] for column in table.columns
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*columns, strict=True))
