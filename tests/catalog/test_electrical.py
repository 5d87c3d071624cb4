"""Electrical models: sane numbers for every model, the grid, field figures, errors."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from minesim.catalog import electrical, electrical_models, load_models, model, preset_grid, presets
from minesim.catalog.electrical import load_electrical
from minesim.errors import CatalogError, ParamsError

ALL = [pytest.param(unit, id=f"{unit.model}, {unit.table}") for unit in load_electrical()]


def test_every_model_with_numbers_has_an_electrical_model() -> None:
    with_numbers = {m.name for m in load_models() if (m.hashrate_ths and m.power_w) or presets(m.name)}
    assert set(electrical_models()) == with_numbers
    assert len(with_numbers) == 55


@pytest.mark.parametrize("unit", ALL)
def test_power_hashrate_and_rail_rise_with_frequency(unit) -> None:
    freq = np.linspace(unit.freq_min_mhz, unit.freq_max_mhz, 200)
    assert (np.diff(unit.power_w(freq)) > 0).all()
    assert (np.diff(unit.hashrate_ths(freq)) > 0).all()
    assert (np.diff(unit.rail_volt_v(freq)) >= 0).all()
    assert (unit.needed_volt_v(freq) < unit.rail_volt_v(freq)).all()
    assert unit.volt_min_v == pytest.approx(unit.rail_volt_v(unit.freq_min_mhz))
    assert unit.volt_max_v == pytest.approx(unit.rail_volt_v(unit.freq_max_mhz))


@pytest.mark.parametrize("unit", ALL)
def test_coefficients_are_physical(unit) -> None:
    assert unit.c_w_per_mhz_v2 > 0
    assert unit.g_w_per_v2 > 0
    assert unit.freq_min_mhz < unit.freq_max_mhz
    assert unit.freq_min_mhz <= unit.freq_stock_mhz <= unit.freq_max_mhz
    assert 0 < unit.psu_eta_rated < 1
    assert 0.04 < unit.uncertainty_power < (0.25 if "performance" not in unit.table else 0.45)
    stock = unit.freq_stock_mhz
    assert unit.power_w(stock) == pytest.approx(unit.power_stock_w, rel=1e-6)
    assert unit.hashrate_ths(stock) == pytest.approx(unit.hashrate_stock_ths, rel=1e-6)
    leak = unit.g_w_per_v2 * unit.rail_volt_v(stock) ** 2 / unit.power_stock_w
    assert 0.02 < leak < 0.25


@pytest.mark.parametrize("name", [n for n in electrical_models() if model(n).power_w is not None])
def test_stock_efficiency_is_near_the_nameplate(name: str) -> None:
    row, unit = model(name), electrical(name)
    efficiency = unit.power_stock_w / unit.hashrate_stock_ths
    # Firmware tables of tuned X17 and S19 units are up to 17 % better than their nameplates.
    tolerance = 1e-6 if unit.table == "nameplate" else 0.17
    assert efficiency == pytest.approx(row.efficiency_j_per_th, rel=max(tolerance, 0.006))


@pytest.mark.parametrize("name", electrical_models())
def test_every_parameter_says_where_it_comes_from(name: str) -> None:
    unit = electrical(name)
    assert {p.parameter for p in unit.provenance} >= {"c_w_per_mhz_v2", "g_w_per_v2", "rail_volt_v", "psu_eta_rated"}
    assert {p.kind for p in unit.provenance} <= {"measured", "published", "fitted", "borrowed", "assumed"}
    assert all(p.note for p in unit.provenance)


def test_a_borrowed_curve_is_less_certain_than_its_donor() -> None:
    assert electrical("S21").uncertainty_power > electrical("S19k Pro").uncertainty_power
    assert electrical("S19 Pro").uncertainty_power > electrical("S19").uncertainty_power
    assert electrical("M50S").uncertainty_power > electrical("S21").uncertainty_power


def _efficiency(name: str, temp_chip_c: float) -> float:
    unit = electrical(name)
    return float(unit.power_w(unit.freq_stock_mhz, temp_chip_c=np.float64(temp_chip_c))) / unit.hashrate_stock_ths


def test_s19j_pro_goes_from_24_to_34_joules_between_20_and_75_c_on_the_board() -> None:
    cold, hot = _efficiency("S19j Pro", 35.0), _efficiency("S19j Pro", 90.0)
    assert hot / cold == pytest.approx(34 / 24, rel=1e-3)
    assert cold == pytest.approx(24.0, rel=0.08)
    assert hot == pytest.approx(34.0, rel=0.08)


def test_s19j_pro_and_t21_agree_on_the_slope_at_stock_without_having_been_fitted_together() -> None:
    cold, hot = _efficiency("S19j Pro", 59.5), _efficiency("S19j Pro", 70.5)
    assert 2 * (hot - cold) / (hot + cold) == pytest.approx(0.073, rel=0.1)


def test_t21_swings_by_7_percent_over_11_k() -> None:
    cold, hot = _efficiency("T21", 59.5), _efficiency("T21", 70.5)
    assert 2 * (hot - cold) / (hot + cold) == pytest.approx(0.073, rel=1e-3)


@pytest.mark.parametrize("name", ["S9", "S17 Pro", "T17+"])
def test_old_generations_feel_heat_far_less(name: str) -> None:
    assert _efficiency(name, 75.0) / _efficiency(name, 20.0) < 1.06


def test_fans_cost_the_cube_of_their_duty() -> None:
    unit = electrical("S19 Pro")
    freq = unit.freq_stock_mhz
    full, half = (float(unit.power_w(freq, fan_duty=duty)) for duty in (1.0, 0.5))
    assert full - half == pytest.approx(4 * 19.8 * (1 - 0.125))


def test_torch_gives_the_same_power() -> None:
    torch = pytest.importorskip("torch")
    unit = electrical("S19k Pro")
    freq, temp = np.linspace(190, 790, 9), np.linspace(20, 90, 9)
    there = unit.power_w(torch.tensor(freq), temp_chip_c=torch.tensor(temp))
    np.testing.assert_allclose(there.numpy(), unit.power_w(freq, temp_chip_c=temp), rtol=1e-13)
    plain = unit.power_w(590.0, temp_chip_c=torch.tensor([65.0], dtype=torch.float64))
    assert float(plain[0]) == pytest.approx(float(unit.power_w(590.0)))


@pytest.mark.parametrize("name", electrical_models())
def test_grid_rises_to_stock_in_eight_steps_and_matches_the_model(name: str) -> None:
    unit, grid = electrical(name), preset_grid(name)
    assert grid[0].power_w == pytest.approx(float(unit.power_w(unit.freq_min_mhz)))
    assert grid[7].power_w == pytest.approx(unit.power_stock_w, rel=1e-6)
    assert len(grid) in (8, 11)
    assert all(b.power_w > a.power_w and b.hashrate_ths > a.hashrate_ths for a, b in itertools.pairwise(grid))
    for preset in grid:
        assert float(unit.power_w(preset.freq_mhz, volt_v=preset.volt_v)) == pytest.approx(preset.power_w, rel=1e-9)
        assert float(unit.hashrate_ths(preset.freq_mhz)) == pytest.approx(preset.hashrate_ths)
    assert len({p.name for p in grid}) == len(grid)


def test_grid_offers_overclocks_only_where_the_curve_has_them() -> None:
    assert preset_grid("S19k Pro")[-1].power_w == pytest.approx(4217, abs=5)
    assert preset_grid("S19j Pro")[-1].power_w == pytest.approx(electrical("S19j Pro").power_stock_w)


def test_frequency_at_a_power_inverts_the_curve_and_refuses_what_is_outside() -> None:
    unit = electrical("S19j Pro")
    assert float(unit.power_w(unit.freq_at_power_mhz(2000.0))) == pytest.approx(2000.0, abs=1e-6)
    with pytest.raises(ParamsError, match=r"5000 W.*allowed: 99[0-9] to 31[0-9][0-9] W"):
        unit.freq_at_power_mhz(5000.0)


@pytest.mark.parametrize("name", ["Antminer L11", "Elphapex DG1+", "Goldshell LT6", "Antminer S17"])
def test_a_model_without_numbers_says_so(name: str) -> None:
    assert model(name).name == name
    with pytest.raises(CatalogError, match=r"no electrical model.*models\.csv"):
        electrical(name)
    with pytest.raises(CatalogError, match="no electrical model"):
        preset_grid(name)


def test_other_tables_are_asked_for_by_name() -> None:
    assert electrical("S19k Pro", "VNish").table == "VNish"
    assert electrical("S19k Pro").table == "LuxOS 2025.4.8"
    with pytest.raises(CatalogError, match=r"no table 'Braiins'; allowed: 'LuxOS 2025.4.8', 'VNish'"):
        electrical("S19k Pro", "Braiins")


def test_results_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        electrical("S9").c_w_per_mhz_v2 = 0.0
    assert electrical("S9") is electrical("S9")
