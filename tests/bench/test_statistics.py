"""Intervals against cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.bench.statistics import block_indices, compare, holm, mean_interval, paired_interval
from minesim.errors import ParamsError


def covers(make: object, repeats: int, weeks: int = 26) -> float:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(repeats):
        item = mean_interval(make(rng, weeks), resamples=999)  # type: ignore[operator]
        hits += item.low <= 0.0 <= item.high
    return hits / repeats


def normal(rng: np.random.Generator, weeks: int) -> np.ndarray:
    return rng.standard_normal(weeks)


def autocorrelated(rng: np.random.Generator, weeks: int) -> np.ndarray:
    noise = rng.standard_normal(weeks + 30)
    for week in range(1, weeks + 30):
        noise[week] += 0.3 * noise[week - 1]
    return noise[30:]


@pytest.mark.parametrize(("make", "low", "high"), [(normal, 0.94, 0.99), (autocorrelated, 0.91, 0.98)])
def test_coverage_of_the_nominal_95_percent(make: object, low: float, high: float) -> None:
    # 300 repeats have a standard error of 1.2 %; the plain percentile interval has 91 and 86 % here.
    assert low <= covers(make, 300) <= high


def test_p_value_is_small_for_a_clear_gain_and_uniform_under_none() -> None:
    rng = np.random.default_rng(1)
    assert mean_interval(5.0 + rng.standard_normal(26)).p_value < 0.001
    p = np.array([mean_interval(rng.standard_normal(26), resamples=999).p_value for _ in range(200)])
    assert (p < 0.05).mean() == pytest.approx(0.04, abs=0.035)
    assert np.median(p) == pytest.approx(0.5, abs=0.12)


def test_interval_and_p_value_agree() -> None:
    rng = np.random.default_rng(2)
    items = [mean_interval(0.45 + rng.standard_normal(26), resamples=1999) for _ in range(60)]
    told = [(item.excludes_zero, item.p_value < 0.05) for item in items]
    assert len({one for one, _ in told}) == 2
    assert sum(one != other for one, other in told) <= 2


def test_a_rule_that_never_loses_gets_no_loss() -> None:
    weeks = np.zeros(26)
    weeks[4:10] = 20_000.0
    item = mean_interval(weeks)
    assert item.low >= 0.0
    assert item.high <= 20_000.0
    assert item.estimate == pytest.approx(120_000.0 / 26)


def test_paired_interval_ignores_what_both_share() -> None:
    rng = np.random.default_rng(3)
    shared = 1000.0 * rng.standard_normal(26)
    gain = 10.0 + rng.standard_normal(26)
    item = paired_interval(shared + gain, shared)
    alone = mean_interval(shared + gain)
    assert item.estimate == pytest.approx(gain.mean())
    assert item.excludes_zero
    assert item.high - item.low < 0.01 * (alone.high - alone.low)


def test_several_seeds_are_part_of_the_draw() -> None:
    rng = np.random.default_rng(4)
    by_week = rng.standard_normal((26, 1))
    same = np.repeat(by_week, 3, axis=1)
    one, three = mean_interval(by_week), mean_interval(same)
    assert three.estimate == pytest.approx(one.estimate)
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.1)
    noisy = same + 30.0 * np.array([[-1.0, 0.0, 1.0]])
    item = mean_interval(noisy)
    assert item.high - item.low > 3.0 * (one.high - one.low)


def test_blocks_are_neighbours_and_every_week_is_as_likely() -> None:
    index = block_indices(10, 4, 5000, np.random.default_rng(0))
    assert index.shape == (5000, 10)
    steps = (index[:, 1:4] - index[:, :3]) % 10
    assert (steps == 1).all()
    counts = np.bincount(index.ravel(), minlength=10) / index.size
    assert counts == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_too_few_weeks_say_so() -> None:
    item = mean_interval(np.array([1.0, 2.0]))
    assert item.estimate == 1.5
    assert np.isnan([item.low, item.high, item.p_value]).all()
    assert not item.excludes_zero


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 are 0.02, 0.03, 0.06, 0.04; steps may not fall.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_value_and_bonferroni(p: list[float]) -> None:
    for raw, adjusted in zip(p, holm(p), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(p)) + 1e-12


def test_compare_corrects_for_the_number_of_comparisons() -> None:
    rng = np.random.default_rng(6)
    base = rng.standard_normal((26, 2))
    agents = {"base": base, "better": base + 0.5 + 0.1 * rng.standard_normal((26, 2)), "same": base}
    better, same = compare(agents, "base")
    assert (better.agent, better.baseline) == ("better", "base")
    assert better.difference.p_value < better.p_adjusted < 0.01
    assert same.difference.estimate == 0.0
    assert same.p_adjusted == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(np.array([])), r"shape \(0,\)"),
        (lambda: mean_interval(np.array([1.0, np.nan, 2.0])), "the value of week 1, seed 0 is nan"),
        (lambda: paired_interval(np.zeros(4), np.zeros(5)), r"cannot pair values of shape \(4,\)"),
        (lambda: compare({"a": np.zeros(4)}, "b"), "no agent 'b' to compare with; allowed: a"),
    ],
)
def test_mistakes(call: object, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        call()  # type: ignore[operator]
