from __future__ import annotations

import numpy as np
import pytest
import torch

from minesim.arrays import NUMPY, torch_namespace
from minesim.economics import finance
from minesim.errors import ParamsError


def test_annuity_by_hand_and_at_rate_zero() -> None:
    factor = finance.annuity_factor(np.array([0.1, 0.0, 0.1]), np.array([2.0, 5.0, 0.0]), xp=NUMPY)
    np.testing.assert_allclose(factor, [1 / 1.1 + 1 / 1.21, 5.0, 0.0], rtol=1e-12)


def test_npv_is_the_sum_of_discounted_flows() -> None:
    flows = np.array([[-1000.0, 500.0, 700.0], [-1.0, 0.0, 0.0]])
    npv = finance.npv_usd(flows, 0.2, dt_years=1.0, xp=NUMPY)
    np.testing.assert_allclose(npv, [-1000 + 500 / 1.2 + 700 / 1.44, -1.0], rtol=1e-12)
    half = finance.npv_usd(flows, 0.44, dt_years=0.5, xp=NUMPY)
    np.testing.assert_allclose(half, npv, rtol=1e-12)


def test_npv_of_an_annuity_is_its_factor() -> None:
    flows = np.concatenate([[0.0], np.ones(7)])
    factor = finance.annuity_factor(np.array(0.13), np.array(7.0), xp=NUMPY)
    assert finance.npv_usd(flows, 0.13, dt_years=1.0, xp=NUMPY) == pytest.approx(float(factor), rel=1e-12)


def test_payback_is_linear_within_a_period_and_infinite_when_never() -> None:
    outlay = np.array([250.0, 100.0, 301.0, 0.0])
    years = finance.payback_years(outlay, np.full((4, 3), 100.0), dt_years=0.5, xp=NUMPY)
    np.testing.assert_allclose(years, [1.25, 0.5, np.inf, 0.0])


def test_payback_is_the_first_time_even_when_the_flows_turn() -> None:
    flows = np.array([[60.0, 60.0, -200.0]])
    assert finance.payback_years(np.array([100.0]), flows, dt_years=1.0, xp=NUMPY) == pytest.approx(1 + 40 / 60)


def test_resale_falls_as_the_published_prices_did() -> None:
    """119.25 to 15.71 USD/TH in 1.64 years (2021-05-07 to 2022-12-25) is 1.24 a year, within the stated range."""
    decline = np.log(119.25 / 15.71) / 1.635
    low, high = finance.RESALE_DECLINE_PER_YEAR
    assert low < decline < high
    assert finance.resale_usd(np.array(119.25), np.array(1.635), decline, xp=NUMPY) == pytest.approx(15.71)


def test_depreciation_over_a_year_is_the_resale_loss() -> None:
    lost = finance.depreciation_usd(np.array(1000.0), finance.SECONDS_PER_YEAR, 1.2, xp=NUMPY)
    kept = finance.resale_usd(np.array(1000.0), np.array(1.0), 1.2, xp=NUMPY)
    assert lost + kept == pytest.approx(1000.0)


def test_expected_cost_of_stops_by_hand() -> None:
    failed = finance.failed_restart_usd(finance.board_repair_usd("hard", 2), 5.0)
    assert failed == 30.0 + 150.0 + 50.0 + 14 * 5.0
    cost = finance.expected_stop_cost_usd(np.array([0.0, 200.0]), 0.1, 2e-4, failed)
    np.testing.assert_allclose(cost, [0.0, 200 * (0.1 + 2e-4 * 300.0)])
    with pytest.raises(ParamsError, match="Did you mean 'hard'"):
        finance.board_repair_usd("hrad", 0)


def test_stopping_for_a_four_cp_month_pays_from_half_a_percent() -> None:
    """One month of 75.527 USD/kW-year for a MW against 2 h at a margin of 50 USD/MWh."""
    assert finance.break_even_probability(2 * 50.0, 75_527.0 / 4) == pytest.approx(0.0053, abs=5e-5)


def test_formulas_are_the_same_in_torch() -> None:
    xp = torch_namespace()
    flows = np.random.default_rng(2).normal(50.0, 100.0, (6, 12))
    outlay = np.full(6, 120.0)
    pairs = [
        (
            finance.npv_usd(flows, 0.1, dt_years=0.25, xp=NUMPY),
            finance.npv_usd(torch.from_numpy(flows), 0.1, dt_years=0.25, xp=xp),
        ),
        (
            finance.payback_years(outlay, flows, dt_years=1.0, xp=NUMPY),
            finance.payback_years(torch.from_numpy(outlay), torch.from_numpy(flows), dt_years=1.0, xp=xp),
        ),
        (
            finance.annuity_factor(outlay * 1e-3, outlay, xp=NUMPY),
            finance.annuity_factor(torch.from_numpy(outlay) * 1e-3, torch.from_numpy(outlay), xp=xp),
        ),
        (
            finance.depreciation_usd(outlay, 300.0, xp=NUMPY),
            finance.depreciation_usd(torch.from_numpy(outlay), 300.0, xp=xp),
        ),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-12)
