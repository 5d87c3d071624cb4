"""Fidelity card: what it says, and that it draws."""

from __future__ import annotations

import pytest

from minesim.catalog import electrical_models
from minesim.catalog.card import KINDS, fidelity_card, plot_card, render_text
from minesim.errors import CatalogError, DataFileError


def test_card_of_a_measured_model() -> None:
    card = fidelity_card("S19j Pro")
    inside = [c for c in card.checks if c.point.firmware.startswith("LuxOS")]
    assert len(inside) == 13
    assert max(abs(c.error) for c in inside) < 0.01
    assert card.best_efficiency_j_per_th == pytest.approx(27.65, abs=0.1)
    assert card.leak_share == pytest.approx(0.2, abs=0.02)
    assert card.nameplate_gap == pytest.approx(-0.002, abs=0.003)
    assert {e.parameter for e in card.entries("fitted")} == {
        "ths_per_mhz_chip",
        "c_w_per_mhz_v2",
        "g_w_per_v2",
        "beta_per_k",
    }


def test_card_of_a_nameplate_only_model_says_what_it_borrows() -> None:
    text = render_text(fidelity_card("S21"))
    assert "No table of this model is known: shape of Antminer S19k Pro" in text
    assert "No published operating point." in text
    assert "borrowed  switching power" in text
    assert "assumed   fan duty" in text


def test_disagreeing_firmware_is_shown_not_hidden() -> None:
    card = fidelity_card("S19k Pro")
    vnish = [c.error for c in card.checks if c.point.firmware == "VNish 1.3.5"]
    assert all(-0.25 < error < -0.15 for error in vnish)
    assert card.unit.uncertainty_power > 0.09
    outside = [c for c in card.checks if c.power_w is None]
    assert [c.point.name for c in outside] == ["4860"]
    assert card.other_tables == ("VNish", "VNish performance")


def test_scrypt_is_told_in_gigahashes() -> None:
    text = render_text(fidelity_card("L9"))
    assert "16 GH/s" in text
    assert "J/GH" in text


@pytest.mark.parametrize("name", electrical_models())
def test_text_names_every_kind_of_source_and_fits_100_columns(name: str) -> None:
    card = fidelity_card(name)
    lines = render_text(card).splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(len(card.entries(kind)) for kind in KINDS) == len(card.unit.provenance)
    assert any(line.startswith("assumed") for line in lines)


@pytest.mark.parametrize("name", ["S19k Pro", "S21", "L9"])
def test_plot_is_a_real_picture_and_leaves_nothing_beside(name: str, tmp_path) -> None:
    image = pytest.importorskip("matplotlib.image")
    path = plot_card(fidelity_card(name), tmp_path / "card.png")
    pixels = image.imread(path)
    assert pixels.shape[0] > 800
    assert pixels.shape[1] > 1200
    assert (pixels[..., :3].min(axis=2) < 0.5).mean() > 0.005
    assert [p.name for p in tmp_path.iterdir()] == ["card.png"]


@pytest.mark.parametrize("target", ["card.doc", "card", "nowhere/card.png"])
def test_impossible_image_path_is_refused_before_writing(target: str, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(DataFileError, match="cannot write an image"):
        plot_card(fidelity_card("S9"), tmp_path / target)
    assert not list(tmp_path.iterdir())


def test_no_card_without_numbers() -> None:
    with pytest.raises(CatalogError, match="no electrical model"):
        fidelity_card("L11")
