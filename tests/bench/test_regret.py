"""Ratios of means with intervals, and what regret is made of."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.bench.regret import gain_pct, profit_at_scale, ratio_interval, regret
from minesim.bench.statistics import mean_interval, paired_interval, resampled_means
from minesim.errors import ParamsError

RNG = np.random.default_rng(0)
STOCK = 2000.0 + 400.0 * RNG.standard_normal((26, 2))
RULE = STOCK + 300.0 + 20.0 * RNG.standard_normal((26, 2))
BOUND = RULE + 100.0 + 10.0 * RNG.standard_normal((26, 2)) ** 2
AGENT = RULE + 40.0 + 15.0 * RNG.standard_normal((26, 2))
INFORMED = RULE + 70.0


def test_the_estimate_is_the_ratio_of_means_not_the_mean_of_ratios() -> None:
    above, below = np.array([0.0, 0.0, 90.0, 0.0]), np.array([1.0, 1.0, 100.0, 1.0])
    item = ratio_interval(above, below)
    assert item.estimate == pytest.approx(90.0 / 103.0)
    assert item.low <= item.estimate <= item.high


def test_a_constant_ratio_has_no_spread_however_the_weeks_differ() -> None:
    below = np.abs(1000.0 * RNG.standard_normal((26, 3))) + 1.0
    item = ratio_interval(0.25 * below, below)
    assert (item.estimate, item.low, item.high) == pytest.approx((0.25, 0.25, 0.25))


def test_a_constant_denominator_gives_the_interval_of_the_mean() -> None:
    above = RNG.standard_normal(26)
    item, plain = ratio_interval(above, np.full(26, 2.0), factor=100.0), mean_interval(50.0 * above)
    assert item.estimate == pytest.approx(plain.estimate)
    # Quantiles of draws, without interpolation between two of them.
    assert (item.low, item.high) == pytest.approx((plain.low, plain.high), rel=2e-2)
    assert item.p_value == pytest.approx(mean_interval(above).p_value)


def test_coverage_of_the_interval() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(120):
        below = 1000.0 + 300.0 * rng.standard_normal(26)
        above = 0.3 * below + 100.0 * rng.standard_normal(26)
        item = ratio_interval(above, below, resamples=499)
        covered += item.low <= 0.3 <= item.high
    assert 0.90 <= covered / 120 <= 1.0


def test_denominators_that_mean_nothing_are_not_divided_by() -> None:
    ones = np.ones(26)
    for below in (np.zeros(26), -ones, np.full(26, 0.9)):
        item = ratio_interval(ones, below, below_min=1.0)
        assert np.isnan([item.estimate, item.low, item.high, item.p_value]).all()
        assert not item.excludes_zero
    assert ratio_interval(ones, np.full(26, 1.1), below_min=1.0).estimate == pytest.approx(1.0 / 1.1)


def test_a_denominator_that_may_be_zero_leaves_the_interval_open() -> None:
    below = 1.0 + 30.0 * np.random.default_rng(3).standard_normal(26)
    below += 3.0 - below.mean()
    item = ratio_interval(np.full(26, 1.0), below)
    assert item.high == np.inf
    assert np.isfinite(item.estimate)
    nothing = ratio_interval(np.zeros(26), below)
    assert (nothing.estimate, nothing.low, nothing.high) == (0.0, 0.0, 0.0)


def test_few_weeks_and_bad_input() -> None:
    item = ratio_interval(np.ones(2), np.ones(2))
    assert item.estimate == 1.0
    assert np.isnan(item.low)
    with pytest.raises(ParamsError, match="cannot divide values of shape"):
        ratio_interval(np.ones(3), np.ones(4))
    with pytest.raises(ParamsError, match="is nan"):
        ratio_interval(np.array([1.0, np.nan, 1.0]), np.ones(3))
    with pytest.raises(ParamsError, match="cannot pair values"):
        regret(AGENT, BOUND, RULE[:5], STOCK)
    with pytest.raises(ParamsError, match="cannot pair values"):
        resampled_means([np.ones(3), np.ones((3, 2))])


def test_gains_in_per_cent() -> None:
    gain = gain_pct(RULE, STOCK)
    assert gain.estimate == pytest.approx(100.0 * (RULE.mean() / STOCK.mean() - 1.0))
    assert 0.0 < gain.low < gain.estimate < gain.high
    assert gain.p_value == paired_interval(RULE, STOCK).p_value
    assert np.isnan(gain_pct(RULE, -STOCK).estimate)


def test_regret_and_its_parts() -> None:
    item = regret(AGENT, BOUND, RULE, STOCK, INFORMED)
    room = (BOUND - RULE).mean()
    assert item.regret_pct.estimate == pytest.approx(100.0 * (BOUND - AGENT).mean() / room)
    assert item.information_pct.estimate == pytest.approx(100.0 * (BOUND - INFORMED).mean() / room)
    parts = item.information_pct.estimate + item.skill_pct.estimate
    assert parts == pytest.approx(item.regret_pct.estimate)
    assert item.room_pct.estimate == pytest.approx(100.0 * room / STOCK.mean())


def test_the_ends_of_the_scale() -> None:
    best = regret(BOUND, BOUND, RULE, STOCK).regret_pct
    assert (best.estimate, best.low, best.high) == pytest.approx((0.0, 0.0, 0.0))
    rule = regret(RULE, BOUND, RULE, STOCK).regret_pct
    assert (rule.estimate, rule.low, rule.high) == pytest.approx((100.0, 100.0, 100.0))
    stock = regret(STOCK, BOUND, STOCK, STOCK).regret_pct
    assert stock.estimate == pytest.approx(100.0)
    assert regret(STOCK, BOUND, RULE, STOCK).regret_pct.estimate > 300.0


def test_no_room_no_regret() -> None:
    item = regret(RULE, RULE + 0.009 * STOCK.mean(), RULE, STOCK, RULE)
    for part in (item.regret_pct, item.information_pct, item.skill_pct):
        assert np.isnan(part.estimate)
    assert item.room_pct.estimate == pytest.approx(0.9)
    assert np.isfinite(regret(RULE, RULE + 0.011 * STOCK.mean(), RULE, STOCK).regret_pct.estimate)


def test_a_site_that_loses_money_still_has_regret_but_no_room_in_per_cent() -> None:
    loss = -STOCK
    item = regret(loss + 50.0, loss + 200.0, loss, loss)
    assert item.regret_pct.estimate == pytest.approx(75.0)
    assert np.isnan(item.room_pct.estimate)


def test_without_an_informed_bound_regret_is_not_split() -> None:
    item = regret(AGENT, BOUND, RULE, STOCK)
    assert np.isnan(item.information_pct.estimate)
    assert np.isfinite(item.regret_pct.estimate)


def test_cost_scales_are_linear() -> None:
    terms = {
        "profit_usd": np.array([100.0, 50.0]),
        "wear_usd": np.array([5.0, 5.0]),
        "restart_usd": np.array([10.0, 0.0]),
    }
    assert profit_at_scale(terms, 1.0) == pytest.approx([100.0, 50.0])
    assert profit_at_scale(terms, 0.0) == pytest.approx([115.0, 55.0])
    assert profit_at_scale(terms, 4.0) == pytest.approx([55.0, 35.0])


def test_cost_scales_are_those_of_the_twin() -> None:
    """One rollout at scale 1 tells what a rollout of a site at another scale earns."""
    from dataclasses import replace

    from minesim.bench.rollout import rollout
    from tests.bench.two_prices import START, PriceRule, two_price_world

    world = two_price_world([6, 7])
    dear = replace(world, params=replace(world.params, wear=replace(world.params.wear, scale=4.0)))
    one, four = (rollout(PriceRule(), each, np.array([START])) for each in (world, dear))
    assert float(profit_at_scale(one, 4.0)[0]) == pytest.approx(float(four["profit_usd"][0]), abs=1e-6)


def test_draws_are_shared_so_that_tables_stay_paired() -> None:
    first, second = resampled_means([STOCK, STOCK + 5.0], resamples=99)
    assert second - first == pytest.approx(np.full(99, 5.0))
