"""Intervals that may be looked at after every period."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.bridge.rollouts.sequential import PRIOR_PRECISION, anytime_difference, anytime_mean
from minesim.errors import ParamsError

FINITE = st.floats(-1e3, 1e3)


def e_value(values: np.ndarray, mean: float) -> float:
    """The mixture's likelihood ratio by numerical integration over effect size (normal) and scale (right Haar)."""
    x = values - mean
    n, total, squares = x.size, x.sum(), float(x @ x)
    effect = np.linspace(-12, 12, 4001)
    weight = np.exp(-0.5 * PRIOR_PRECISION * effect**2) * math.sqrt(PRIOR_PRECISION / (2 * math.pi))
    # Over u = 1 / scale: u^(n-1) exp(-q u^2 / 2 + d s u - n d^2 / 2) against the same with d = 0.
    u = np.linspace(0, 14 / math.sqrt(squares / n), 4001)[1:]
    log = (n - 1) * np.log(u) - 0.5 * squares * u**2
    top = log.max()
    null = np.trapezoid(np.exp(log - top), u)
    ratios = [np.trapezoid(np.exp(log - top + d * total * u - 0.5 * n * d * d), u) / null for d in effect]
    return float(np.trapezoid(weight * np.array(ratios), effect))


def test_the_interval_ends_where_the_mixture_reaches_one_over_alpha() -> None:
    """Against the definition, integrated by brute force; the correlation of neighbours is negative here."""
    values = np.array([0.3, -0.4, 0.9, -0.2, 0.7, 0.1, 0.6, -0.1, 0.5])
    found = anytime_mean(list(values), 0.05)
    assert e_value(values, found.low) == pytest.approx(20.0, rel=1e-3)
    assert e_value(values, found.high) == pytest.approx(20.0, rel=1e-3)


def test_is_wider_than_students_interval_and_narrows() -> None:
    values = np.random.default_rng(0).standard_normal(200)
    widths = {
        n: anytime_mean(list(values[:n]), 0.05).high - anytime_mean(list(values[:n]), 0.05).low for n in (20, 200)
    }
    assert 2 * 2.09 / math.sqrt(20) * values[:20].std(ddof=1) < widths[20] < 2.0
    assert widths[200] < widths[20] / 2


def ever_above_zero(draw: np.ndarray, before: int, alpha: float) -> float:
    """Share of rows whose difference to their first columns is ever above zero, looking after each value."""
    wrong = 0
    for row in draw:
        looks = (
            anytime_difference(row[:before], row[before:end], alpha).low for end in range(before + 2, row.size + 1)
        )
        wrong += any(low > 0.0 for low in looks)
    return wrong / len(draw)


@pytest.mark.parametrize("case", ["normal", "heavy tails", "wider after", "neighbours alike", "skewed after"])
def test_false_alarms_at_45_looks(case: str) -> None:
    """Under the null at most 5 %, also where the assumptions of the test are broken."""
    rng = np.random.default_rng(3)
    draw = rng.standard_normal((250, 59))
    if case == "heavy tails":
        draw = rng.standard_t(3, draw.shape)
    elif case == "wider after":
        draw[:, 14:] *= 2.0
    elif case == "neighbours alike":
        for step in range(1, draw.shape[1]):
            draw[:, step] = 0.3 * draw[:, step - 1] + math.sqrt(1 - 0.3**2) * draw[:, step]
    elif case == "skewed after":
        draw[:, 14:] = 1.0 - rng.exponential(size=(250, 45))
    assert ever_above_zero(draw, 14, 0.05) <= 0.05


def test_a_plain_interval_would_be_wrong_far_more_often() -> None:
    """The reason for all this: 95 % of Student, looked at daily."""
    from scipy import stats

    draw = np.random.default_rng(4).standard_normal((150, 45))
    wrong = 0
    for row in draw:
        wrong += any(
            abs(row[:n].mean()) > stats.t.ppf(0.975, n - 1) * row[:n].std(ddof=1) / math.sqrt(n) for n in range(3, 46)
        )
    assert wrong / len(draw) > 0.15


@given(st.lists(FINITE, min_size=2, max_size=30), FINITE, st.floats(0.1, 10.0))
def test_moves_and_scales_with_the_values(values: list[float], shift: float, scale: float) -> None:
    plain = anytime_mean(values, 0.05)
    moved = anytime_mean([shift + scale * value for value in values], 0.05)
    assert plain.low <= plain.estimate <= plain.high
    if math.isfinite(plain.low) and plain.high - plain.low > 1e-3:
        assert moved.low == pytest.approx(shift + scale * plain.low, rel=1e-6, abs=1e-4)


@given(st.lists(FINITE, min_size=2, max_size=20), st.lists(FINITE, min_size=2, max_size=20))
def test_a_difference_turns_its_sign_with_the_values(before: list[float], after: list[float]) -> None:
    found = anytime_difference(before, after, 0.05)
    turned = anytime_difference([-x for x in before], [-x for x in after], 0.05)
    assert turned.low == pytest.approx(-found.high)
    assert anytime_difference(before, after, 0.01).low <= found.low


@pytest.mark.parametrize(("before", "after"), [([], [1.0, 2.0]), ([1.0, 2.0], []), ([1.0], [1.0, 2.0])])
def test_too_few_values_say_nothing(before: list[float], after: list[float]) -> None:
    found = anytime_difference(before, after, 0.05)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_bad_input() -> None:
    with pytest.raises(ParamsError, match="alpha"):
        anytime_mean([1.0, 2.0], 0.0)
    with pytest.raises(ParamsError, match="value 1 is nan"):
        anytime_difference([1.0, math.nan], [1.0], 0.05)
