"""The tuning problem: agreement with the catalog, what pushing too far does, noise, costs, bad input."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.catalog import electrical
from minesim.errors import CatalogError, ParamsError
from minesim.tuning.device import Knob, Spread, median_unit
from minesim.tuning.miner import Miner
from minesim.tuning.objective import Objective, TuningLimits
from minesim.tuning.optimum import regret, safe_optimum
from minesim.tuning.problem import Measurement, TrialCost, TuningProblem, tuning_problem

S19J = "Antminer S19j Pro"


@pytest.fixture(scope="module")
def problem() -> TuningProblem:
    return tuning_problem(S19J, seed=1, temp_amb_c=25.0)


def test_a_median_unit_at_reference_temperature_draws_what_the_catalog_says() -> None:
    miner = Miner(S19J)
    new = dataclasses.replace(Spread(), age_max_years=0.0)
    unit = median_unit(3, new)
    settled = miner.settle(miner.stock, unit, 25.0)
    curve = electrical(S19J)
    assert settled.hashrate_ths[0] == pytest.approx(curve.hashrate_stock_ths, rel=1e-3)
    # The fans hold 70 C on the sensor; the chips themselves are a little cooler or hotter.
    assert settled.temp_c.max() == pytest.approx(70.0, abs=0.2)
    chips = [
        float(curve.power_w(curve.freq_stock_mhz, temp_chip_c=np.float64(t), fan_duty=settled.fan_duty[0]))
        for t in (50.0, 75.0)
    ]
    assert chips[0] < settled.power_w[0] < chips[1]


def test_settling_is_steady(problem: TuningProblem) -> None:
    """Three times the time changes nothing, so what is reported is the steady state."""
    from minesim.tuning import miner

    once = problem.truth(problem.stock())
    steps, miner.SETTLE_STEPS = miner.SETTLE_STEPS, 3 * miner.SETTLE_STEPS
    try:
        longer = problem.truth(problem.stock())
    finally:
        miner.SETTLE_STEPS = steps
    assert longer.power_w[0] == pytest.approx(once.power_w[0], rel=2e-4)
    assert longer.temp_c.max() == pytest.approx(once.temp_c.max(), abs=0.1)


def test_pushed_too_far_a_miner_makes_errors_then_trips_and_pays_for_it(problem: TuningProblem) -> None:
    fine = problem.known_good()
    assert problem.safe(fine)[0]
    good = problem.evaluate(fine, 0)
    assert not good.tripped
    assert good.hours == pytest.approx((180 + 600 + 600) / 3600)
    # The least rail that the slope limit allows for the highest clock.
    far = fine.copy()
    far[1:4] = problem.upper[1]
    far[0] = next(
        v for v in np.arange(problem.lower[0], problem.upper[0], 0.03) if problem.allowed(np.r_[v, far[1:]])[0]
    )
    assert not problem.safe(far)[0]
    bad = problem.evaluate(far, 1)
    assert max(bad.error_ratio) > 0.2
    assert bad.tripped
    assert math.isnan(bad.hashrate_ths)
    assert bad.hours > good.hours
    assert bad.cost_usd > good.cost_usd + problem.cost.trip_usd


def test_units_differ_but_repeat_and_a_trial_is_a_pure_function(problem: TuningProblem) -> None:
    again = tuning_problem(S19J, seed=1, temp_amb_c=25.0)
    stock = problem.stock()
    assert problem.evaluate(stock, 3) == again.evaluate(stock, 3)
    assert problem.evaluate(stock, 3) != problem.evaluate(stock, 4)
    other = tuning_problem(S19J, seed=2, temp_amb_c=25.0)
    assert not np.allclose(problem.unit.quality_rel, other.unit.quality_rel)
    # The model's own deviation from its catalog row is shared, and gone without spread.
    assert problem.unit.power_rel == other.unit.power_rel != 1.0
    none = tuning_problem(S19J, seed=1, spread=0.0)
    assert none.unit.power_rel == 1.0


def test_noise_is_unbiased_and_of_its_stated_size(problem: TuningProblem) -> None:
    stock = problem.stock()
    true = problem.truth(stock)
    seen = np.array([problem.evaluate(stock, i).hashrate_ths for i in range(300)]) / true.hashrate_ths[0]
    assert seen.mean() == pytest.approx(1.0, abs=4 * 0.004 / math.sqrt(300))
    assert seen.std() == pytest.approx(0.004, rel=0.15)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_more_rail_never_costs_margin_by_more_than_its_heat(problem: TuningProblem, data: st.DataObject) -> None:
    x = problem.snap([data.draw(st.floats(k.low, k.high)) for k in problem.device.knobs])
    up = x.copy()
    up[0, 0] += 0.03
    here, there = problem.truth(x), problem.truth(up)
    assert (there.power_w > here.power_w).all()
    assert (there.hashrate_clean_ths == here.hashrate_clean_ths).all()
    hotter_k = float((there.temp_c - here.temp_c).max())
    assert (there.margin_rel - here.margin_rel > 0.0005 - 0.002 * max(hotter_k, 0.0)).all()


def test_the_safe_optimum_is_safe_and_no_neighbour_beats_it(problem: TuningProblem) -> None:
    best = safe_optimum(problem)
    assert problem.safe(best.setting)[0]
    assert regret(problem, best.setting, best) == 0.0
    assert 0.0 < regret(problem, problem.known_good(), best) < 0.5
    rng = np.random.default_rng(0)
    near = problem.snap(best.setting + rng.normal(0, 1, (2000, 5)) * [0.06, 8, 8, 8, 3])
    scores = problem.score(problem.truth(near))[problem.safe(near)]
    assert scores.max() <= best.score + 1e-9
    unsafe = np.r_[problem.lower[0], [problem.upper[1]] * 3, 70.0]
    assert regret(problem, unsafe, best) == math.inf


@pytest.mark.parametrize(("objective", "options"), [("efficiency", {}), ("hashrate", {"power_cap_w": 2600.0})])
def test_other_objectives_reach_what_they_ask(objective: str, options: dict) -> None:
    task = tuning_problem(S19J, seed=1, objective=objective, **options)
    best = safe_optimum(task)
    settled = task.truth(best.setting)
    if objective == "efficiency":
        assert -best.score < task.truth(task.stock()).power_w[0] / task.truth(task.stock()).hashrate_ths[0]
    else:
        assert 2500.0 < settled.power_w[0] <= 2600.0
        assert best.score == settled.hashrate_ths[0]


def test_a_memory_bound_algorithm_gives_up_power_not_hashrate_and_an_arithmetic_one_follows_the_core() -> None:
    settings_ = np.array([[1710.0, 9500.0, 350.0], [1350.0, 9500.0, 350.0]])
    memory = tuning_problem("gpu/etchash").nominal(settings_)
    core = tuning_problem("gpu/kawpow").nominal(settings_)
    assert memory.hashrate_ths[1] > 0.96 * memory.hashrate_ths[0]
    assert memory.power_w[1] < 0.85 * memory.power_w[0]
    assert core.hashrate_ths[1] < 0.85 * core.hashrate_ths[0]
    limited = tuning_problem("gpu/kawpow").nominal([1710.0, 9500.0, 200.0])
    assert limited.power_w[0] == pytest.approx(200.0, abs=0.5)
    best = safe_optimum(tuning_problem("gpu/etchash", seed=3))
    assert best.setting[1] > 9500.0


def test_a_measurement_survives_json(problem: TuningProblem) -> None:
    trip = dataclasses.replace(problem.evaluate(problem.stock(), 0), hashrate_ths=math.nan, tripped=True)
    back = Measurement.from_json(trip.to_json())
    assert math.isnan(back.hashrate_ths)
    assert dataclasses.replace(back, hashrate_ths=1.0) == dataclasses.replace(trip, hashrate_ths=1.0)


@pytest.mark.parametrize(
    ("build", "error", "told"),
    [
        (lambda: tuning_problem("Antminer S99"), CatalogError, "S99"),
        (lambda: tuning_problem("Antminer S21 Hydro"), ParamsError, "liquid-cooled"),
        (lambda: tuning_problem("gpu/etchhash"), ParamsError, "etchash"),
        (lambda: tuning_problem(S19J, temp_amb_c=float("nan")), ParamsError, "temp_amb_c"),
        (lambda: tuning_problem(S19J, objective="hashrate"), ParamsError, "power_cap_w"),
        (lambda: tuning_problem(S19J, objective="luck"), ParamsError, "profit"),
        (lambda: tuning_problem(S19J, fan_mode="loud"), ParamsError, "target"),
        (lambda: tuning_problem(S19J, spread=-1.0), ParamsError, "spread"),
        (lambda: TuningLimits(error_max=0.0), ParamsError, "error_max"),
        (lambda: TrialCost(settle_s=60.0, measure_s=60.0), ParamsError, "600 s"),
        (lambda: Objective("profit", float("nan"), 0.07), ParamsError, "power_price"),
        (lambda: Knob("volt_v", 14.0, 12.0, 0.03), ParamsError, "volt_v"),
        (lambda: Knob("volt_v", 12.0, 12.0, 0.03), ParamsError, "volt_v"),
    ],
)
def test_impossible_problems_are_refused(build, error, told: str) -> None:
    with pytest.raises(error, match=told):
        build()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ([13.0, 500.0, 500.0, 500.0], "shape"),
        ([13.0, 500.0, float("nan"), 500.0, 70.0], "not a number"),
        ([18.0, 500.0, 500.0, 500.0, 70.0], "volt_v is 18"),
        ([11.5, 600.0, 600.0, 600.0, 70.0], "too low for its clocks"),
    ],
)
def test_impossible_settings_are_refused(problem: TuningProblem, setting: list[float], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        problem.evaluate(setting, 0)
