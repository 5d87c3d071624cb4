"""Power supply: efficiency at rated load, standby, monotone, numpy against torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.physics.psu import input_power_w


@pytest.mark.parametrize("eta", [0.85, 0.88, 0.91, 0.93])
def test_efficiency_at_rated_load_is_the_rated_one(eta: float) -> None:
    assert 3500.0 / input_power_w(3500.0, 3500.0, eta) == pytest.approx(eta)


def test_parts_of_the_loss_by_hand() -> None:
    # Rated loss 3500 (1/0.93 - 1) = 263.44 W; at half load (0.010 + 0.015 + 0.00875) / 0.075 = 0.45 of it.
    assert input_power_w(1750.0, 3500.0, 0.93) == pytest.approx(1750.0 + 0.45 * 263.4409, abs=1e-3)
    assert input_power_w(0.0, 3500.0, 0.93) == pytest.approx(263.4409 * 0.010 / 0.075, abs=1e-3)


@given(power=st.floats(0.0, 10_000.0), step=st.floats(1.0, 500.0), eta=st.floats(0.5, 0.99))
def test_monotone_and_never_below_the_load(power: float, step: float, eta: float) -> None:
    assert input_power_w(power, 3500.0, eta) > power
    assert input_power_w(power + step, 3500.0, eta) - input_power_w(power, 3500.0, eta) >= step


def test_torch_and_broadcasting() -> None:
    torch = pytest.importorskip("torch")
    load, rated, eta = np.linspace(0, 4000, 12).reshape(4, 3), np.array([1600.0, 3000.0, 3500.0]), 0.9
    there = input_power_w(torch.tensor(load), torch.tensor(rated), eta)
    np.testing.assert_allclose(there.numpy(), input_power_w(load, rated, eta), rtol=1e-14)
