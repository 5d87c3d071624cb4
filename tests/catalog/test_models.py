"""Hardware rows: counts, units, names, sources, errors."""

from __future__ import annotations

import pytest

from minesim.catalog import canonical_name, load_models, load_presets, model, presets
from minesim.errors import CatalogError


def test_every_row_has_a_source_and_a_unique_name() -> None:
    names = [m.name for m in load_models()]
    assert len(names) == len(set(names)) == 62
    assert all(m.source for m in load_models())
    assert all(p.source for p in load_presets())


def test_all_published_points_are_there() -> None:
    points = load_presets()
    assert len(points) == 167
    assert sum(p.firmware.startswith("LuxOS") for p in points) == 38
    assert sum(p.firmware == "VNish legacy" for p in points) == 16 + 16 + 10 + 14


def test_every_published_point_belongs_to_a_model() -> None:
    found = {p for m in load_models() for p in presets(m.name)}
    assert found == set(load_presets())


def test_scrypt_is_normalised_to_terahashes() -> None:
    l9 = model("L9 (15G)")
    assert l9.algorithm == "Scrypt"
    assert l9.hashrate_ths == pytest.approx(0.015)
    assert l9.efficiency_j_per_th == pytest.approx(210e3)


def test_blanks_are_none() -> None:
    row = model("Antminer L11")
    assert (row.hashrate_ths, row.power_w, row.efficiency_j_per_th, row.release_date) == (None, None, None, None)
    assert model("S21+").temp_amb_max_c == 45.0
    assert model("S19").temp_amb_max_c is None


def test_listed_efficiency_agrees_with_power_over_hashrate() -> None:
    for row in load_models():
        if row.power_w is not None and row.hashrate_ths is not None:
            assert row.efficiency_j_per_th == pytest.approx(row.power_w / row.hashrate_ths, rel=0.02), row.name


def test_published_point_keeps_volts_and_megahertz() -> None:
    stock = next(p for p in presets("S19k Pro") if p.name == "default")
    assert (stock.power_w, stock.hashrate_ths, stock.freq_mhz, stock.volt_v) == (2794.0, 121.8, 590.0, 13.5)
    assert presets("S19")[0].freq_mhz is None


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("Antminer S19j Pro (100T)", "Antminer S19j Pro (100T)"),
        ("S19j Pro", "Antminer S19j Pro (104T)"),
        ("s19jpro", "Antminer S19j Pro (104T)"),
        ("antminer s19 xp", "Antminer S19 XP"),
        ("S19", "Antminer S19 (95T)"),
        ("S19 (76-chip)", "Antminer S19 (95T)"),
        ("S19j", "Antminer S19j (90T)"),
        ("L9", "Antminer L9 (16G)"),
        ("M30S++", "Whatsminer M30S++"),
        ("A1466", "Avalon A1466"),
    ],
)
def test_short_forms(form: str, name: str) -> None:
    assert canonical_name(form) == name


@pytest.mark.parametrize(("wrong", "meant"), [("S19j prro", "S19j Pro"), ("Antminer T21+", "T21"), ("M50SS", "M50S")])
def test_unknown_model_names_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(CatalogError, match="no hardware model") as caught:
        model(wrong)
    assert repr(meant) in str(caught.value)
    assert "models.csv" in str(caught.value)


def test_nonsense_lists_what_is_known() -> None:
    with pytest.raises(CatalogError, match=r"Known: .*S19 XP"):
        canonical_name("zzzz")
