"""Profiles: written and read back, applied to the unit they are meant for, refused everywhere else."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest

from minesim.errors import DataFileError, ParamsError
from minesim.tuning.objective import TuningLimits
from minesim.tuning.problem import TuningProblem, tuning_problem
from minesim.tuning.profile import Profile, make_profile, read_profile, setting_for

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
MODEL = "Antminer S19j Pro"


@pytest.fixture(scope="module")
def problem() -> TuningProblem:
    return tuning_problem(MODEL, 1, 25.0)


@pytest.fixture(scope="module")
def profile(problem: TuningProblem) -> Profile:
    setting = problem.known_good()
    return make_profile(problem, setting, problem.evaluate(setting, 0), NOW, "bo, 30 trials")


def test_a_profile_survives_its_file_and_sets_the_unit(problem, profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "p.json")
    back = read_profile(tmp_path / "p.json")
    assert back == profile
    np.testing.assert_allclose(setting_for(problem, back, NOW), problem.known_good())
    np.testing.assert_allclose(setting_for(problem.at(16.0), back, NOW), problem.known_good())
    assert problem.safe(setting_for(problem, back, NOW))[0]
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.parametrize(
    ("other", "now", "told"),
    [
        (lambda: tuning_problem("Antminer S19 XP", 1, 25.0), NOW, "it is for Antminer S19j Pro"),
        (lambda: tuning_problem(MODEL, 2, 25.0), NOW, "#1, this is"),
        (lambda: tuning_problem(MODEL, 1, 30.0), NOW, "air of 15 to 25 C"),
        (lambda: tuning_problem(MODEL, 1, 10.0), NOW, "air of 15 to 25 C"),
        (lambda: tuning_problem(MODEL, 1, 25.0, limits=TuningLimits(temp_max_c=75.0)), NOW, "tuned under"),
        (lambda: tuning_problem(MODEL, 1, 25.0, fan_mode="duty"), NOW, "fan_duty"),
        (lambda: tuning_problem(MODEL, 1, 25.0), NOW + dt.timedelta(days=181), "expired"),
    ],
)
def test_a_profile_meant_for_something_else_is_refused(profile, other, now, told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        setting_for(other(), profile, now)


def test_a_tampered_setting_is_refused(problem, profile) -> None:
    tampered = dataclasses.replace(profile, setting={**profile.setting, "volt_v": 18.0})
    with pytest.raises(ParamsError, match="volt_v is 18"):
        setting_for(problem, tampered, NOW)


def test_a_trial_that_broke_a_limit_makes_no_profile(problem) -> None:
    bad = dataclasses.replace(problem.evaluate(problem.known_good(), 0), error_ratio=(0.5, 0.0, 0.0))
    with pytest.raises(ParamsError, match="broke a limit"):
        make_profile(problem, problem.known_good(), bad, NOW, "")


@pytest.mark.parametrize("change", [{"format": 2}, {"limits": 3}, {"expires_at": "soon"}, {"colour": "red"}])
def test_damaged_profiles_are_refused(profile, tmp_path: Path, change: dict) -> None:
    profile.save(tmp_path / "p.json")
    plain = json.loads((tmp_path / "p.json").read_text())
    (tmp_path / "p.json").write_text(json.dumps({**plain, **change}))
    with pytest.raises(DataFileError, match=r"p\.json"):
        read_profile(tmp_path / "p.json")
