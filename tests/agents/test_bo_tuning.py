"""Bayesian optimisation of settings: safe growth, bounds from silence, transfer, batches, several merits."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("botorch")

from agents.bo.bayes import BayesTuner, ParetoTuner, merits  # noqa: E402
from agents.bo.beliefs import Lesson, catalog_belief, gaussian_sites, margin_readings, taught_belief  # noqa: E402
from agents.bo.candidates import REACH_FIRST, reach, surely_safe  # noqa: E402
from agents.bo.run import carry_out, judge  # noqa: E402
from agents.bo.study import Study, load_study  # noqa: E402
from agents.bo.surrogate import POWER, Surrogate, features  # noqa: E402
from minesim.arrays import NUMPY  # noqa: E402
from minesim.physics import stability  # noqa: E402
from minesim.tuning.device import Spread  # noqa: E402
from minesim.tuning.problem import TuningProblem, tuning_problem  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def problem() -> TuningProblem:
    return tuning_problem("Antminer S19j Pro", seed=1, temp_amb_c=25.0)


@pytest.fixture(scope="module")
def study(problem: TuningProblem) -> Study:
    """Eleven trials."""
    done = Study(problem, BayesTuner())
    carry_out(done, 11)
    return done


def test_a_unit_is_tuned_without_breaking_a_limit(study: Study) -> None:
    result = judge(study)
    np.testing.assert_allclose(study.trials[0].setting, study.problem.known_good())
    assert result.trips == result.violations == 0
    assert result.regret[-1] < 0.01


def test_a_resumed_study_asks_for_the_same(study: Study, tmp_path) -> None:
    study.save(tmp_path / "s.json")
    again = load_study(tmp_path / "s.json", study.problem, BayesTuner())
    assert again.trials == study.trials
    copy = Study(study.problem, BayesTuner(), study.seed, study.trials)
    assert [t.setting for t in again.ask(2)] == [t.setting for t in copy.ask(2)]


def test_what_is_called_safe_is_safe_on_the_real_unit(study: Study) -> None:
    problem = study.problem
    rng = np.random.default_rng(0)
    centre = study.recommend()
    near = problem.snap(centre + rng.normal(0, 1, (4000, 5)) * [0.15, 20, 20, 20, 8])
    surrogate = study.method.surrogate(problem, study.told)
    called = surely_safe(surrogate, surrogate.forecast(features(problem, near))) & problem.allowed(near)
    assert called.sum() > 50
    assert problem.safe(near[called]).mean() > 0.99


def test_the_belief_finds_the_silicon_of_a_unit(study: Study) -> None:
    problem = study.problem
    surrogate = study.method.surrogate(problem, study.told)
    x = np.array([study.told[-1].setting])
    at = surrogate.forecast(features(problem, x))
    mean, spread = at.mean, at.spread
    true = problem.truth(x)
    margins, temps = surrogate.columns.margins, surrogate.columns.temps
    off = np.abs(mean[0, margins] - np.log1p(true.margin_rel[0]))
    assert (off < np.maximum(4.0 * spread[0, margins], 0.002)).all()
    assert (np.abs(mean[0, temps] - true.temp_c[0]) < 4.0 * spread[0, temps]).all()
    assert math.exp(mean[0, POWER]) == pytest.approx(true.power_w[0], rel=0.01)


def test_silence_moves_a_belief_as_bayes_rule_says() -> None:
    """Against numerical integration: the margin of one setting, known to be above a bound only."""
    mean, sd, bound = 0.0, 0.015, 0.010
    value, variance = gaussian_sites(
        np.array([mean]), np.array([[sd**2]]), np.array([bound]), np.array([1e-6]), np.array([True])
    )
    precision = 1 / sd**2 + 1 / variance[0]
    got_mean, got_sd = (mean / sd**2 + value[0] / variance[0]) / precision, precision**-0.5
    grid = np.linspace(bound, 0.1, 20001)
    weight = np.exp(-0.5 * ((grid - mean) / sd) ** 2)
    want_mean = (grid * weight).sum() / weight.sum()
    want_sd = math.sqrt(((grid - want_mean) ** 2 * weight).sum() / weight.sum())
    assert got_mean == pytest.approx(want_mean, abs=3e-4)
    assert got_sd == pytest.approx(want_sd, rel=0.05)


def test_plain_errors_are_read_as_margins_and_small_ones_as_bounds() -> None:
    errors = np.array([0.0, 0.001, 0.01, 0.3])
    margin, variance, bounded = margin_readings(errors)
    assert bounded.tolist() == [True, True, False, False]
    np.testing.assert_allclose(margin[2:], np.log1p(stability.margin_at(errors[2:], xp=NUMPY)))
    assert (variance[2:] < 0.01**2).all()
    assert margin[0] > margin[1] > margin[2]


def test_the_trust_region_widens_on_success_and_narrows_on_failure(study: Study) -> None:
    problem, first = study.problem, study.told[0]
    assert reach(problem, [first]) == REACH_FIRST
    better = dataclasses.replace(first.measured, hashrate_ths=first.measured.hashrate_ths * 1.1)
    assert reach(problem, [first, dataclasses.replace(first, measured=better)]) > REACH_FIRST
    assert reach(problem, [first] * 4) < REACH_FIRST


def test_what_units_teach_narrows_the_belief_about_the_next(problem: TuningProblem) -> None:
    plain = catalog_belief(problem)
    assert taught_belief(problem, []) == plain
    taught = taught_belief(problem, [Lesson(problem.device.model, (0.02, 0.02, 0.02), 0.03)] * 4)
    assert 0.0 < taught.margin_shift < 0.02
    assert taught.margin_sd < plain.margin_sd
    assert 0.0 < taught.log_power_shift < 0.03
    assert taught.log_power_sd < plain.log_power_sd
    of_chip = taught_belief(problem, [Lesson("another model of the chip", (0.02, 0.02, 0.02), 0.03)] * 4)
    assert 0.0 < of_chip.margin_shift < taught.margin_shift
    assert taught.margin_sd < of_chip.margin_sd < plain.margin_sd


def test_models_of_a_chip_share_a_part_of_their_deviation_and_no_more() -> None:
    common = [
        tuning_problem(model, 0).device.chip for model in ("Antminer S19 XP", "Antminer S19k Pro", "Antminer S21")
    ]
    assert common[0] == common[1] != common[2]
    spread = Spread(
        quality_model=0.0,
        quality_unit=0.0,
        quality_board=0.0,
        power_model=0.0,
        age_max_years=1e-9,
        quality_per_year=0.0,
    )
    units = [
        dataclasses.replace(tuning_problem(model, 0), spread=spread).unit.quality_rel[0]
        for model in ("Antminer S19 XP", "Antminer S19k Pro", "Antminer S21")
    ]
    assert units[0] == pytest.approx(units[1])
    assert units[0] != pytest.approx(units[2])


def test_a_lesson_is_the_units_own_deviation(study: Study) -> None:
    problem = study.problem
    lesson = study.method.surrogate(problem, study.told).lesson()
    at = np.array([study.told[-1].setting])
    true = np.log1p(problem.truth(at).margin_rel[0]) - np.log1p(problem.nominal(at).margin_rel[0])
    np.testing.assert_allclose(lesson.margins, true, atol=0.004)
    power = math.log(problem.truth(at).power_w[0] / problem.nominal(at).power_w[0])
    assert lesson.log_power == pytest.approx(power, abs=0.02)


def test_units_side_by_side_try_different_settings(study: Study) -> None:
    copy = Study(study.problem, BayesTuner(), study.seed, study.trials)
    asked = copy.ask(4)
    assert len({t.setting for t in asked}) == 4
    more = copy.ask(1)  # while four are out
    assert more[0].setting not in {t.setting for t in asked}


def test_what_was_learned_in_one_climate_serves_in_another(study: Study) -> None:
    moved = Study(study.problem, BayesTuner(), study.seed, study.trials)
    moved.move_to(32.0)
    carry_out(moved, len(study.trials) + 2)
    result = judge(moved)
    assert result.trips == 0
    assert result.regret[-1] < 0.03


def test_a_trip_teaches_margins_and_is_not_recommended(problem: TuningProblem) -> None:
    study = Study(problem, BayesTuner())
    first = study.ask()[0]
    good = problem.evaluate(first.setting, 0)
    study.tell(0, good)
    second = study.ask()[0]
    trip = dataclasses.replace(
        good, tripped=True, hashrate_ths=math.nan, power_w=math.nan, error_ratio=(0.3, 0.0005, 0.0)
    )
    study.tell(1, trip)
    np.testing.assert_allclose(study.recommend(), first.setting)
    surrogate = study.method.surrogate(problem, study.told)
    assert not surely_safe(surrogate, surrogate.forecast(features(problem, np.array([second.setting]))))[0]
    assert problem.check(study.ask()[0].setting) is not None


def test_a_power_cap_is_kept(problem: TuningProblem) -> None:
    capped = tuning_problem("Antminer S19j Pro", seed=1, objective="hashrate", power_cap_w=2500.0)
    study = Study(capped, BayesTuner())
    carry_out(study, 6)
    truth = capped.truth(np.array([t.setting for t in study.trials]))
    assert (truth.power_w[1:] <= 2500.0).all()
    assert truth.hashrate_ths.max() > truth.hashrate_ths[0]


def test_the_same_optimiser_tunes_a_graphics_card() -> None:
    card = tuning_problem("gpu/etchash", seed=1)
    study = Study(card, BayesTuner())
    carry_out(study, 6)
    result = judge(study)
    assert result.trips == result.violations == 0
    assert result.regret[-1] < 0.02


def test_several_merits_spread_over_a_front(problem: TuningProblem) -> None:
    study = Study(problem, ParetoTuner())
    carry_out(study, 8)
    x = features(problem, np.array([t.setting for t in study.told]))
    surrogate = Surrogate(problem, study.told, catalog_belief(problem))
    values = merits(surrogate, torch.as_tensor(surrogate.forecast(x).mean), x).numpy()
    dominated = np.array([(values >= v).all(axis=1) & (values > v).any(axis=1) for v in values]).any(axis=1)
    assert (~dominated).sum() >= 3
    assert problem.safe(np.array([t.setting for t in study.told])).all()
