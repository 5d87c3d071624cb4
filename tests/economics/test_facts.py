from __future__ import annotations

import pytest

from minesim.economics import facts
from minesim.errors import DataFileError


@pytest.mark.parametrize("table", facts.TABLES)
def test_every_fact_names_its_source(table: str) -> None:
    rows = facts.fact_rows(table)
    assert rows
    column = {"pool_fee_terms": "source_page", "pool_payout_schemes": "rule"}.get(table, "source")
    assert all(row[column] for row in rows)


def test_one_fact_by_its_columns() -> None:
    value = facts.fact_value("capacity_transmission_prices", market="PJM", period="2025/26", zone_or_utility="DOM")
    assert value == 444.26


@pytest.mark.parametrize(
    ("table", "where", "message"),
    [
        ("dr_ancilary_figures", {}, "dr_ancillary_figures"),
        ("dr_ancillary_figures", {"markt": "PJM"}, "market"),
        ("dr_ancillary_figures", {"market": "PJM"}, "5 rows"),
        ("dr_ancillary_figures", {"market": "NONE"}, "0 rows"),
    ],
)
def test_unknown_or_ambiguous_fact_is_refused(table: str, where: dict[str, str], message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        facts.fact(table, **where)


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        facts.fact_rows("pool_fee_terms")[0]["fee_pct"] = "0"  # type: ignore[index]
