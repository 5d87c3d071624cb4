"""The layer of returned air in front of a row: against its exact form, in its limits, and how it vanishes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.arrays import NUMPY
from minesim.physics.intake_layer import mixing_m3_per_s, returned_share

FLOWS = st.floats(0.0, 50.0)
EXCHANGE = st.floats(0.01, 10.0)


def exact_rho(peclet: float) -> float:
    """f Pe / (1 - f), f = (1 - exp(-Pe)) / Pe."""
    f = -math.expm1(-peclet) / peclet
    return f * peclet / (1.0 - f)


@pytest.mark.parametrize("peclet", [-50.0, -5.0, -1.0, -0.1, 0.01, 0.1, 1.0, 3.0, 6.0, 20.0, 300.0])
def test_mixing_is_close_to_the_exact_ratio(peclet: float) -> None:
    assert float(mixing_m3_per_s(np.array(0.3 * peclet), 0.3, xp=NUMPY)) == pytest.approx(
        0.3 * exact_rho(peclet), rel=0.07
    )


def test_mixing_has_the_exact_value_and_slope_without_net_flow() -> None:
    step = 1e-4
    near = [float(mixing_m3_per_s(np.array(net), 1.0, xp=NUMPY)) for net in (-step, 0.0, step)]
    assert near[1] == pytest.approx(2.0, rel=1e-12)
    assert (near[2] - near[0]) / (2.0 * step) == pytest.approx(-1.0 / 3.0, rel=1e-6)


@given(FLOWS, FLOWS, FLOWS, FLOWS, EXCHANGE)
def test_a_share_is_a_share_and_never_more_than_comes_back(
    blown: float, gaps: float, dampers: float, onward: float, exchange: float
) -> None:
    net, back = blown + onward - gaps - dampers, gaps + dampers
    share = float(returned_share(*(np.array(x) for x in (blown, back, net)), exchange, xp=NUMPY))
    assert 0.0 <= share <= 1.0
    assert share * blown <= back * (1.0 + 1e-9)


def test_all_is_taken_in_where_more_comes_back_than_the_miners_take() -> None:
    share = returned_share(np.array(2.0), np.array(50.0), np.array(-48.0), 0.1, xp=NUMPY)
    assert float(share) == pytest.approx(1.0, abs=0.01)


def test_the_layer_vanishes_with_the_cell() -> None:
    """Half the depth of a cell doubles the exchange over it and, in the end, halves the share."""
    shares = [
        float(returned_share(np.array(1.0), np.array(0.4), np.array(0.6), 0.1 * 2**n, xp=NUMPY)) for n in range(12)
    ]
    ratios = np.array(shares[1:]) / np.array(shares[:-1])
    assert ratios[-1] == pytest.approx(0.5, rel=1e-2)
