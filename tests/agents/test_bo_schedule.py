"""Power by hour from a tuned curve: against all schedules there are, against rules, in cases known by hand."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.baselines.planning import Moves
from agents.bo.schedule import (
    MOVES,
    OFF,
    Tomorrow,
    TunedCurve,
    best_schedule,
    best_static,
    threshold,
    tuned_curve,
    valued,
)
from agents.bo.schedule_compare import BEST, compare, gain_over, market_days
from agents.bo.study import Trial
from minesim.errors import ParamsError
from minesim.tuning.problem import tuning_problem

CURVE = TunedCurve(np.zeros((3, 1)), np.array([2000.0, 2800.0, 3600.0]), np.array([75.0, 98.0, 115.0]))
PRICES = st.lists(st.floats(-50.0, 400.0), min_size=5, max_size=5)


@settings(max_examples=25, deadline=None)
@given(
    prices=PRICES,
    chances=st.lists(st.floats(0.0, 0.05), min_size=5, max_size=5),
    state=st.integers(0, 3),
    stop_usd=st.floats(0.0, 0.5),
    demand=st.sampled_from([0.0, 0.02, 0.3]),
    power_max_w=st.sampled_from([np.inf, 3000.0, 500.0]),
)
def test_no_schedule_is_worth_more(
    prices: list[float], chances: list[float], state: int, stop_usd: float, demand: float, power_max_w: float
) -> None:
    moves = Moves(stop_usd, 0.1, 0.05)
    day = Tomorrow(np.array(prices), 0.07, np.array(chances), 4.0, demand, 2000.0, power_max_w)
    found = best_schedule(CURVE, day, state, moves)
    allowed = [s for s in range(4) if s == OFF or CURVE.power_w[s - 1] <= power_max_w]
    every = [valued(CURVE, day, np.array(x), state, moves).value_usd for x in itertools.product(allowed, repeat=5)]
    assert found.value_usd == pytest.approx(max(every), abs=1e-9)
    assert found.power_w.max() <= power_max_w
    assert found.value_usd >= best_static(CURVE, day, state, moves).value_usd - 1e-9
    if power_max_w == np.inf:
        assert found.value_usd >= threshold(CURVE, day, 1, state, moves).value_usd - 1e-9


def test_a_dear_hour_is_left_out_and_a_short_dip_is_not_worth_a_stop() -> None:
    # At 0.07 USD/TH/s/day the full setting breaks even at 93 USD/MWh.
    day = Tomorrow(np.array([30.0, 30.0, 2000.0, 30.0]), 0.07)
    assert best_schedule(CURVE, day, 3).state.tolist() == [3, 3, OFF, 3]
    near = dataclasses.replace(day, price_usd_per_mwh=np.array([30.0, 30.0, 110.0, 30.0]))
    assert OFF not in best_schedule(CURVE, near, 3).state
    assert threshold(CURVE, near, 2, 3).state.tolist() == [3, 3, OFF, 3]


def test_dearer_hours_run_the_thriftier_setting() -> None:
    # From 98 to 115 TH/s costs 800 W: worth it up to 62 USD/MWh; from 75 to 98 TH/s the same, up to 84.
    day = Tomorrow(np.repeat([20.0, 75.0, 88.0], 6), 0.07)
    assert best_schedule(CURVE, day, 3).state.tolist() == [3] * 6 + [2] * 6 + [1] * 6


def test_a_peak_charge_stops_the_likely_hour_and_a_demand_charge_keeps_the_power_down() -> None:
    likely = np.array([0.0, 0.0, 0.2, 0.0])
    day = Tomorrow(np.full(4, 30.0), 0.07, likely, cp_rate_usd_per_kw=5.0)
    assert best_schedule(CURVE, day, 3).state.tolist() == [3, 3, OFF, 3]
    charged = Tomorrow(np.full(4, 30.0), 0.07, demand_rate_usd_per_kw=0.5, peak_w=2000.0)
    assert best_schedule(CURVE, charged, 1).state.tolist() == [1, 1, 1, 1]
    assert best_schedule(CURVE, dataclasses.replace(charged, peak_w=3600.0), 3).state.tolist() == [3, 3, 3, 3]


def test_the_curve_is_what_was_measured_within_limits_and_not_beaten() -> None:
    problem = tuning_problem("Antminer S19j Pro", seed=1)
    good = problem.evaluate(problem.known_good(), 0)
    readings = [
        dataclasses.replace(good, power_w=3000.0, hashrate_ths=100.0),
        dataclasses.replace(good, power_w=2000.0, hashrate_ths=70.0),
        dataclasses.replace(good, power_w=2500.0, hashrate_ths=69.0),
        dataclasses.replace(good, power_w=3000.0, hashrate_ths=101.0, tripped=True),
        dataclasses.replace(good, power_w=2900.0, hashrate_ths=101.0, error_ratio=(0.5, 0.0, 0.0)),
    ]
    trials = [Trial(i, (float(i),), 25.0, reading) for i, reading in enumerate(readings)]
    curve = tuned_curve(problem, trials)
    assert curve.settings[:, 0].tolist() == [1.0, 0.0]
    assert curve.power_w.tolist() == [2000.0, 3000.0]
    with pytest.raises(ParamsError, match="no trial"):
        tuned_curve(problem, trials[3:])


@pytest.mark.parametrize(
    ("prices", "chances", "told"),
    [([], [], "price_usd_per_mwh"), ([1.0, np.nan], [], "price_usd_per_mwh"), ([1.0, 2.0], [0.5], "peak_probability")],
)
def test_nonsense_is_refused(prices: list[float], chances: list[float], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        Tomorrow(np.array(prices), 0.07, np.array(chances))


def test_a_start_takes_minutes_and_a_stop_wears() -> None:
    assert 0.0 < MOVES.change_h < MOVES.start_h < 0.5
    assert MOVES.stop_usd > 0.0


def test_on_a_market_the_schedule_plays_day_after_day_and_beats_rules_where_prices_call_for_it() -> None:
    problem = tuning_problem("Antminer S19j Pro", seed=1)
    rng = np.random.default_rng(0)
    days = 60.0 + 70.0 * rng.standard_normal((28, 1)) + 10.0 * rng.standard_normal((28, 24))
    courses = compare(problem, CURVE, days)
    assert max(courses, key=lambda name: courses[name].value_usd.sum()) == BEST
    assert courses["stock, always on"].stops == 0
    assert courses["stock, always on"].power_w.min() > 2500.0
    for name in ("stock, always on", "tuned, by price"):
        assert gain_over(courses, name).estimate > 0.0
    # A day begins in the state that the one before ended in: no price change, no new start.
    steady = compare(problem, CURVE, np.full((7, 24), 30.0))[BEST].value_usd
    assert steady[0] < steady[1]
    np.testing.assert_allclose(steady[1:], steady[1])


def test_a_market_without_day_ahead_prices_is_refused() -> None:
    with pytest.raises(ParamsError, match="day_ahead"):
        market_days("ontario/energy_only")
    assert market_days("ercot/energy_only").shape == (182, 24)
