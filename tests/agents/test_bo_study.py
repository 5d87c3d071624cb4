"""Studies: ask and tell, what is refused, and going on after a stop; the methods that need no model."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from agents.bo.baselines import BestPreset, CoordinateSearch, Random
from agents.bo.methods import METHODS, method
from agents.bo.run import carry_out, judge
from agents.bo.study import Study, best_measured, load_study
from minesim.errors import DataFileError, ParamsError
from minesim.tuning.problem import TuningProblem, tuning_problem


@pytest.fixture(scope="module")
def problem() -> TuningProblem:
    return tuning_problem("Antminer S19j Pro", seed=1, temp_amb_c=25.0)


PLAIN = [name for name in METHODS if not name.startswith("bo")]


@pytest.mark.parametrize("name", PLAIN)
def test_a_baseline_asks_for_settable_things_and_repeats_itself(problem: TuningProblem, name: str) -> None:
    first, second = (Study(problem, method(name), seed=5) for _ in range(2))
    for study in (first, second):
        carry_out(study, 7, batch=2)
    assert first.to_json() == second.to_json()
    settings = np.array([t.setting for t in first.trials])
    np.testing.assert_allclose(settings, problem.snap(settings))
    assert problem.allowed(settings).all()
    result = judge(first)
    assert len(result.regret) == 7
    assert result.hours > 7 * 10 / 60


def test_the_preset_method_goes_through_the_grid_and_finds_the_best_of_it(problem: TuningProblem) -> None:
    presets = problem.presets()
    study = Study(problem, BestPreset())
    carry_out(study, len(presets))
    truth = np.where(problem.safe(presets), problem.score(problem.truth(presets)), -np.inf)
    assert truth[(presets == study.recommend()).all(axis=1)][0] > truth.max() - 0.01 * problem.stock_revenue_usd_per_day


def test_coordinate_search_climbs_from_stock(problem: TuningProblem) -> None:
    study = Study(problem, CoordinateSearch())
    carry_out(study, 40)
    np.testing.assert_allclose(study.trials[0].setting, problem.stock())
    start, end = (float(problem.score(problem.truth(x))[0]) for x in (problem.stock(), study.recommend()))
    assert end > start


def test_a_study_goes_on_after_a_stop_as_if_there_had_been_none(problem: TuningProblem, tmp_path: Path) -> None:
    whole = Study(problem, Random(), seed=3)
    carry_out(whole, 6)
    part = Study(problem, Random(), seed=3)
    carry_out(part, 3)
    part.ask()  # the stop came while a trial was out
    part.save(tmp_path / "study.json")
    again = load_study(tmp_path / "study.json", problem, Random())
    assert len(again.out) == 1
    carry_out(again, 6)
    assert again.to_json() == whole.to_json()
    assert [p.name for p in tmp_path.iterdir()] == ["study.json"]


def test_refused_measurements_leave_the_study_as_it_was(problem: TuningProblem) -> None:
    study = Study(problem, Random())
    trial = study.ask()[0]
    good = problem.evaluate(trial.setting, 0)
    good = dataclasses.replace(good, tripped=False, hashrate_ths=100.0, power_w=3000.0)
    before = study.to_json()
    for bad, told in (
        (dataclasses.replace(good, power_w=math.nan), "power_w"),
        (dataclasses.replace(good, hashrate_ths=math.inf), "hashrate_ths"),
        (dataclasses.replace(good, power_w=0.0), "above 0"),
        (dataclasses.replace(good, error_ratio=(0.0,)), "3 numbers"),
        (dataclasses.replace(good, error_ratio=(0.0, 1.5, 0.0)), "between 0 and 1"),
        (dataclasses.replace(good, temp_c=(math.nan,)), "temp_c"),
        (dataclasses.replace(good, cost_usd=math.nan), "cost_usd"),
    ):
        with pytest.raises(ParamsError, match=told):
            study.tell(0, bad)
    for number in (-1, 1, 99):
        with pytest.raises(ParamsError, match="never asked"):
            study.tell(number, good)
    assert study.to_json() == before
    study.tell(0, good)
    with pytest.raises(ParamsError, match="already"):
        study.tell(0, good)
    with pytest.raises(ParamsError, match="1 or more"):
        study.ask(0)


def test_nothing_is_recommended_before_a_measurement(problem: TuningProblem) -> None:
    with pytest.raises(ParamsError, match="no trial"):
        Study(problem, Random()).recommend()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"seed": 2}, "another problem"),
        ({"power_price_usd_per_mwh": 90.0}, "another problem"),
        ({"fan_mode": "duty"}, "another problem"),
        ({"spread": 2.0}, "another problem"),
    ],
)
def test_the_state_of_another_problem_is_refused(
    problem: TuningProblem, tmp_path: Path, other: dict, told: str
) -> None:
    Study(problem, Random()).save(tmp_path / "s.json")
    with pytest.raises(ParamsError, match=told):
        load_study(tmp_path / "s.json", tuning_problem("Antminer S19j Pro", **{"seed": 1, **other}), Random())
    with pytest.raises(ParamsError, match="method 'random'"):
        load_study(tmp_path / "s.json", problem, BestPreset())


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 1}', "null"])
def test_damaged_states_are_refused(problem: TuningProblem, tmp_path: Path, damage: str) -> None:
    (tmp_path / "s.json").write_text(damage)
    with pytest.raises(DataFileError, match=r"s\.json"):
        load_study(tmp_path / "s.json", problem, Random())


def test_a_state_with_impossible_readings_is_refused(problem: TuningProblem, tmp_path: Path) -> None:
    study = Study(problem, BestPreset())
    carry_out(study, 1)
    state = study.to_json()
    state["trials"][0]["measured"]["power_w"] = None
    (tmp_path / "s.json").write_text(json.dumps(state))
    with pytest.raises(ParamsError, match="power_w"):
        load_study(tmp_path / "s.json", problem, BestPreset())


def test_a_score_is_worthless_where_a_limit_is_broken(problem: TuningProblem) -> None:
    good = problem.evaluate(problem.known_good(), 0)
    assert problem.measured_score(good) > 0.0
    for broken in (
        dataclasses.replace(good, tripped=True),
        dataclasses.replace(good, temp_c=(81.0,)),
        dataclasses.replace(good, error_ratio=(0.03, 0.0, 0.0)),
    ):
        assert problem.measured_score(broken) == -math.inf
    np.testing.assert_allclose(best_measured(problem, []), problem.known_good())


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ParamsError, match="coordinate"):
        method("cordinate")
