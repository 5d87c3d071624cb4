"""Instability: the measured sweep, more volts never hurt at a fixed temperature, cold and hot, bad input."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.arrays import NUMPY, torch_namespace
from minesim.errors import DataFileError
from minesim.physics import asic, stability
from minesim.tuning import fit_stability

SWEEP = Path(os.environ.get("MINESIM_SWEEP", ""))
"""File of the measured sweep, whose licence (GPL-3.0) keeps it out of the project."""


@pytest.fixture(scope="module")
def sweep() -> fit_stability.Sweep:
    if not SWEEP.is_file():
        pytest.skip("MINESIM_SWEEP names no file")
    return fit_stability.read_sweep(SWEEP)


def test_points_and_frequencies_left_out_of_the_sweep_are_predicted_within_five_points(sweep) -> None:
    one_out = fit_stability.left_out_errors(sweep, np.arange(len(sweep.volt_v), dtype=np.float64))
    assert one_out.mean() < 0.05
    assert fit_stability.left_out_errors(sweep, sweep.freq_mhz).mean() < 0.05
    # The fall itself, not only the plateau.
    assert one_out[sweep.hash_ratio < 0.75].mean() < 0.1


def test_the_constants_of_the_formula_are_those_of_the_sweep(sweep) -> None:
    found = fit_stability.fit(sweep)
    assert found.width_rel == pytest.approx(asic.HW_ERROR_WIDTH_REL, rel=0.05)
    assert found.onset_v == pytest.approx(1.165, abs=0.005)
    assert found.slope_rel == pytest.approx(0.216, abs=0.02)


@given(
    volt_v=st.floats(9.0, 16.0),
    more_v=st.floats(0.0, 3.0),
    freq_mhz=st.floats(100.0, 900.0),
    temp_c=st.floats(-30.0, 110.0),
    quality=st.floats(-0.05, 0.05),
)
def test_more_volts_never_lower_the_stable_share_at_a_fixed_temperature(
    volt_v: float, more_v: float, freq_mhz: float, temp_c: float, quality: float
) -> None:
    needed_v = asic.needed_volt_v(np.float64(freq_mhz), 11.88, 225.0, 0.006, 545.0, 0.006, 0.03, xp=NUMPY)

    def lost(rail_v: float) -> float:
        margin = stability.margin_rel(np.float64(rail_v), needed_v, np.float64(temp_c), quality, 65.0, xp=NUMPY)
        return float(stability.error_ratio_at(margin, xp=NUMPY))

    assert 0.0 <= lost(volt_v + more_v) <= lost(volt_v) <= 1.0


@given(error=st.floats(1e-6, 0.99))
def test_the_margin_of_a_lost_share_gives_the_share_back(error: float) -> None:
    margin = stability.margin_at(np.float64(error), xp=NUMPY)
    assert float(stability.error_ratio_at(margin, xp=NUMPY)) == pytest.approx(error, rel=1e-6)


def test_a_margin_says_the_same_as_volts_and_needs() -> None:
    volt_v, temp_c = np.array([12.0, 13.0, 14.0]), np.array([30.0, 65.0, 80.0])
    margin = stability.margin_rel(volt_v, 13.0, temp_c, 0.01, 65.0, xp=NUMPY)
    direct = asic.hw_error_ratio(volt_v, 13.0, temp_c, 0.01, 65.0, xp=NUMPY)
    # Errors follow the lack relative to the onset, which is the margin with the other sign.
    np.testing.assert_allclose(stability.error_ratio_at(margin, xp=NUMPY), direct, rtol=1e-9)


def test_cold_chips_need_more_rail_and_hot_ones_too() -> None:
    temp_c = np.array([-20.0, 10.0, 65.0, 95.0])
    margin = stability.margin_rel(np.full(4, 13.0), 13.0, temp_c, 0.0, 65.0, xp=NUMPY)
    assert margin[0] == pytest.approx((1 / (1.03 * (1 - 0.0005 * 85))) - 1)
    assert margin[0] < margin[1] > margin[2] > margin[3]
    assert margin[2] == 0.0


def test_boards_are_lost_to_gross_errors_only_and_ageing_doubles_with_nine_percent_of_rail() -> None:
    chance = stability.lost_board_probability(np.array([0.0, 0.04, 0.25, 0.45]), xp=NUMPY)
    assert chance[0] == 0.0
    assert 0.0 < chance[1] < 1e-3
    assert abs(chance[2] - 0.5) < 1e-3
    assert chance[3] > 0.99
    factor = stability.volt_ageing_factor(np.array([13.8, 13.8 * 2 ** (1 / 8)]), 13.8, xp=NUMPY)
    np.testing.assert_allclose(factor, [1.0, 2.0])


def test_torch_agrees_with_numpy() -> None:
    torch = pytest.importorskip("torch")
    xp, margin = torch_namespace(), np.linspace(-0.2, 0.1, 7)
    there = stability.error_ratio_at(torch.tensor(margin), xp=xp)
    np.testing.assert_allclose(there.numpy(), stability.error_ratio_at(margin, xp=NUMPY), rtol=1e-12)
    cold = stability.cold_need_rel(torch.tensor([-10.0, 20.0]), xp=xp)
    assert cold.tolist() == pytest.approx([0.02, 0.0])


def test_a_missing_or_foreign_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="there is no file"):
        fit_stability.read_sweep(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_text("run,core_voltage_mv\nref,1100\n")
    with pytest.raises(DataFileError, match="frequency_mhz"):
        fit_stability.read_sweep(tmp_path / "odd.csv")
