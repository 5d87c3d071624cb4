"""Tables in pages of the docs, and the places that results are written to."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.table import Table

from experiments.fill_results import END, SECTIONS
from minesim.bench.pages import markdown

ROOT = Path(__file__).parents[2]


def test_a_table_becomes_markdown_with_its_title_and_sides() -> None:
    table = Table(title="cost")
    table.add_column("")
    table.add_column("USD", justify="right")
    table.add_row("plan", "1,296")
    assert markdown([table, table]) == "\n\n".join(["**cost**\n\n|  | USD |\n| --- | --: |\n| plan | 1,296 |"] * 2)


@pytest.mark.parametrize("page", SECTIONS, ids=str)
def test_every_page_has_one_place_for_its_results(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    begin, _ = SECTIONS[page]
    assert text.count(begin) == text.count(END) == 1
    assert text.index(begin) < text.index(END)
