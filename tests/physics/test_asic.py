"""Chip physics: hand numbers, limits, monotonicity, numpy against torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.arrays import NUMPY, torch_namespace
from minesim.physics import asic

RAIL = (11.88, 225.0, 0.006, 545.0, 0.006)


def test_hashrate_of_an_s19j_pro_at_stock() -> None:
    assert asic.hashrate_ths(545.0, 3 * 126, 0.514e-3) == pytest.approx(105.8, rel=1e-3)


def test_switching_power_is_linear_in_frequency_and_square_in_voltage() -> None:
    base = asic.dynamic_power_w(500.0, 13.0, 0.02)
    assert base == pytest.approx(0.02 * 500 * 169)
    assert asic.dynamic_power_w(1000.0, 13.0, 0.02) == pytest.approx(2 * base)
    assert asic.dynamic_power_w(500.0, 26.0, 0.02) == pytest.approx(4 * base)


def test_leakage_equals_its_coefficient_at_the_reference_and_doubles_every_ln2_over_beta() -> None:
    at_ref = asic.leakage_power_w(13.0, np.float64(65.0), 3.0, 0.05, 65.0, xp=NUMPY)
    hotter = asic.leakage_power_w(13.0, np.float64(65.0 + np.log(2) / 0.05), 3.0, 0.05, 65.0, xp=NUMPY)
    assert at_ref == pytest.approx(3.0 * 169)
    assert hotter == pytest.approx(2 * at_ref)


@pytest.mark.parametrize(
    ("freq_mhz", "volt_v"), [(145, 11.88), (220, 11.88), (245, 12.0), (320, 12.45), (420, 13.05), (545, 13.8)]
)
def test_rail_reproduces_the_live_luxos_profile_of_an_s19j_pro(freq_mhz: float, volt_v: float) -> None:
    assert asic.rail_volt_v(np.float64(freq_mhz), *RAIL, xp=NUMPY) == pytest.approx(volt_v, abs=1e-9)


def test_rail_changes_slope_at_the_second_knee() -> None:
    freq = np.array([100.0, 300.0, 500.0, 700.0])
    rail = asic.rail_volt_v(freq, 10.0, 200.0, 0.01, 500.0, 0.002, xp=NUMPY)
    np.testing.assert_allclose(rail, [10.0, 11.0, 13.0, 13.4])


def test_needed_voltage_ignores_the_floor_and_keeps_the_guard_above_it() -> None:
    freq = np.array([145.0, 225.0, 545.0])
    needed = asic.needed_volt_v(freq, *RAIL, 0.03, xp=NUMPY)
    np.testing.assert_allclose(needed, 0.97 * np.array([11.88 - 80 * 0.006, 11.88, 13.8]))
    assert (needed < asic.rail_volt_v(freq, *RAIL, xp=NUMPY)).all()


def _errors(volt_v: float, *, temp_chip_c: float = 65.0, quality_rel: float = 0.0, needed_v: float = 13.0) -> float:
    return float(asic.hw_error_ratio(volt_v, needed_v, np.float64(temp_chip_c), quality_rel, 65.0, xp=NUMPY))


def test_errors_are_negligible_on_the_tuned_rail_and_steep_below_the_need() -> None:
    assert _errors(13.0 / 0.97) < 1e-4
    assert 0.01 < _errors(13.0) < 0.05
    assert 0.15 < _errors(0.98 * 13.0) < 0.30
    assert 0.6 < _errors(0.90 * 13.0) < 0.75
    assert _errors(0.0) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    # Points of the public sweep; its onset is at 1.1655 V for 500 MHz and rises by 0.216 % per 1 % of frequency.
    ("volt_v", "freq_mhz", "lost"),
    [(1.100, 500, 0.462), (1.150, 500, 0.131), (1.175, 500, 0.0), (1.125, 575, 0.473), (1.100, 625, 0.716)],
)
def test_errors_follow_the_measured_single_chip(volt_v: float, freq_mhz: float, lost: float) -> None:
    needed_v = 1.1655 * (1 + 0.216 * (freq_mhz / 500 - 1))
    assert _errors(volt_v, needed_v=needed_v) == pytest.approx(lost, abs=0.05)


@given(
    volt_v=st.floats(0.0, 20.0),
    temp_c=st.floats(-40.0, 120.0),
    quality=st.floats(-0.05, 0.05),
)
def test_errors_are_a_share_and_grow_with_heat_and_poor_silicon(volt_v: float, temp_c: float, quality: float) -> None:
    here = _errors(volt_v, temp_chip_c=temp_c, quality_rel=quality)
    assert 0.0 <= here <= 1.0
    assert _errors(volt_v + 0.1, temp_chip_c=temp_c, quality_rel=quality) <= here
    assert _errors(volt_v, temp_chip_c=temp_c + 5.0, quality_rel=quality) >= here
    assert _errors(volt_v, temp_chip_c=temp_c, quality_rel=quality + 0.01) >= here


def test_torch_agrees_with_numpy_and_has_finite_slopes_even_without_voltage() -> None:
    torch = pytest.importorskip("torch")
    xp = torch_namespace()
    freq, volt, temp = np.linspace(0, 900, 7), np.linspace(0, 16, 7), np.linspace(-40, 110, 7)
    freq_t, volt_t, temp_t = (torch.tensor(x, requires_grad=True) for x in (freq, volt, temp))

    def both(f: object, v: object, t: object, space: object) -> object:
        leak = asic.leakage_power_w(v, t, 3.6, 0.0557, 65.0, xp=space)
        needed = asic.needed_volt_v(f, *RAIL, 0.03, xp=space)
        lost = asic.hw_error_ratio(v, needed, t, 0.01, 65.0, xp=space)
        return asic.dynamic_power_w(f, v, 0.022) + leak + asic.rail_volt_v(f, *RAIL, xp=space) + lost

    result = both(freq_t, volt_t, temp_t, xp)
    np.testing.assert_allclose(result.detach().numpy(), both(freq, volt, temp, NUMPY), rtol=1e-13)
    result.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in (freq_t, volt_t, temp_t))
    single = asic.hw_error_ratio(torch.zeros(3), torch.full((3,), 13.0), torch.full((3,), 65.0), 0.0, 65.0, xp=xp)
    assert single.dtype == torch.float32
    assert torch.isfinite(single).all()
