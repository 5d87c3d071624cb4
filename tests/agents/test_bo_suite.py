"""The tuning benchmark: what is kept and taken up again, what its numbers mean, what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("hydra")
pytest.importorskip("botorch")
from hydra import compose, initialize_config_dir
from rich.console import Console

from agents.bo.suite import Cells, Work, code_hash, run_suite, stages, work
from agents.bo.suite_cell import possible, regret_course, tune
from agents.bo.suite_settings import TAUGHT, SuiteSettings, UnitKey
from agents.bo.suite_summary import against, by_method, over_units, rate, regret_at
from experiments.entry import read_settings
from experiments.tune_benchmark import run
from minesim.errors import MinesimError
from minesim.tuning.optimum import SafeOptimum, safe_optimum
from minesim.tuning.problem import tuning_problem

CONF = Path(__file__).parents[2] / "conf" / "tune_benchmark"
TINY = (
    "bench.name=tiny",
    "bench.models=[gpu/etchash]",
    "bench.temps_amb_c=[25.0]",
    "bench.units=2",
    "bench.trials=2",
    "bench.teachers=1",
    "bench.methods=[bo,stock,sobol]",
    "bench.other_spreads=[]",
    "bench.spread_units=2",
    "bench.front_units=1",
)


def settings(*overrides: str) -> SuiteSettings:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read_settings(SuiteSettings, compose("tune_benchmark", list(overrides)))


def cell(course: list[float | None], **more: object) -> dict[str, object]:
    return {"regret": course, "trials": len(course), **more}


def rows(courses: dict[tuple[str, int, float], list[float | None]]) -> list:
    return [(UnitKey(*key), cell(course)) for key, course in courses.items()]


def test_the_frozen_benchmark_is_eight_models_ten_units_and_three_ambients() -> None:
    keys = settings("bench=overclock_v1").unit_keys()
    assert len(set(keys)) == len(keys) == 240
    assert min(key.seed for key in keys) == 100


def test_a_stopped_benchmark_goes_on_and_tells_its_result(tmp_path: Path) -> None:
    chosen = settings(*TINY, f"out={tmp_path}")
    folder = tmp_path / "tiny" / "cells"

    def stop(item: Work, computed: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(chosen, folder, stop)
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(kept) == 3
    damaged = min(kept)
    damaged.write_text("{")

    summary = run(chosen, Console(quiet=True))
    assert len(list(folder.iterdir())) == 2 * 3 + 2
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items() if path != damaged)
    assert damaged.read_text() != "{"
    assert summary["methods"]["bo"]["trips"].of == 4
    assert summary["methods"][TAUGHT]["rows"] == summary["next_unit"]["rows"] == 1
    assert list(summary["gains"]) == ["1"]
    assert (tmp_path / "tiny" / "methods.png").stat().st_size > 10_000
    assert len((tmp_path / "tiny" / "cards.csv").read_text().splitlines()) == 1 + 2
    assert "bo_taught" in (tmp_path / "tiny" / "report.txt").read_text()
    numbers = json.loads((tmp_path / "tiny" / "summary.json").read_text())
    assert numbers["settings"]["bench"]["name"] == "tiny"
    assert numbers["summary"].keys() == summary.keys()

    counted: list[int] = []
    run_suite(chosen, folder, lambda item, computed: counted.append(computed))
    assert sum(counted) == 0


def test_other_settings_and_other_code_take_no_kept_part(tmp_path: Path) -> None:
    chosen, key = settings(*TINY), UnitKey("gpu/etchash", 100, 25.0)
    code = code_hash()
    assert work(chosen, tmp_path, code, Work(key, ("stock",))) == 1
    assert Cells(tmp_path, chosen, code).load(key, "stock") is not None
    assert Cells(tmp_path, chosen, "other").load(key, "stock") is None
    assert Cells(tmp_path, settings(*TINY, "bench.trials=3"), code).load(key, "stock") is None
    assert Cells(tmp_path, settings(*TINY, "+bench.task.error_max=0.01"), code).load(key, "stock") is None


def test_an_unsafe_recommendation_is_infinite_regret_on_disk_and_off() -> None:
    problem = tuning_problem("Antminer T21", seed=1, temp_amb_c=35.0)
    assert not problem.safe(problem.stock())[0]
    done = tune(problem, "stock", 2, SafeOptimum(problem.known_good(), 1.0))
    assert done["regret"] == [None, None]
    assert np.isinf(regret_course(done)).all()
    assert done["violations"] == 2


def test_what_a_curve_allows_is_more_than_the_optimum_for_profit_takes() -> None:
    problem = tuning_problem("Antminer S19j Pro", seed=100, temp_amb_c=25.0)
    found, stock = possible(problem), problem.truth(problem.stock())
    assert problem.safe(problem.stock())[0]
    assert 0.0 <= found["hashrate_gain"] < 0.3
    assert 0.0 <= found["efficiency_gain"] < 0.3
    at = problem.truth(safe_optimum(problem).setting)
    assert at.power_w[0] > stock.power_w[0]
    assert at.hashrate_ths[0] > stock.hashrate_ths[0] * (1.0 + found["hashrate_gain"])


def test_other_spreads_are_run_last_with_stock_and_bo_only() -> None:
    planned = stages(settings(*TINY, "bench.other_spreads=[0.5,2.0]"))
    assert [(item.key.spread, item.methods) for item in planned[-1]] == [
        (spread, ("bo", "stock")) for spread in (0.5, 0.5, 2.0, 2.0)
    ]


def test_bounds_of_rare_events() -> None:
    # "Rule of three", and the exact bound of one event: 1 - (1-p)^n - n p (1-p)^(n-1) = 0.95.
    assert rate(0, 1000).bound == pytest.approx(3.0 / 1000.0, rel=0.01)
    n, p = 50, rate(1, 50).bound
    assert (1 - p) ** n + n * p * (1 - p) ** (n - 1) == pytest.approx(0.05, abs=1e-9)
    assert rate(7, 7).bound == 1.0


def test_ambients_of_a_unit_are_resampled_together() -> None:
    values = {("m", seed, temp): [0.0] for seed in range(8) for temp in (5.0, 20.0, 35.0)}
    table = rows(values)
    own = np.array([float(key.seed) for key, _ in table])
    together = over_units(table, lambda v: v.mean(axis=-1), own)
    apart = over_units(
        [(UnitKey(k.model, i, k.temp_amb_c), c) for i, (k, c) in enumerate(table)], lambda v: v.mean(axis=-1), own
    )
    assert together.value == apart.value == 3.5
    assert together.high - together.low == pytest.approx(math.sqrt(3.0) * (apart.high - apart.low), rel=0.15)


def test_regret_and_its_comparison_by_hand() -> None:
    mine = rows({("m", 0, 5.0): [0.5] * 9 + [0.009], ("m", 1, 5.0): [None] * 9 + [0.02], ("m", 2, 5.0): [0.0] * 10})
    other = rows({("m", seed, 5.0): [None] * 10 for seed in range(3)})
    assert regret_at(mine, 1).tolist() == [0.5, math.inf, 0.0]
    assert regret_at(mine, 30).tolist() == [0.009, 0.02, 0.0]
    assert against(mine, other)["found_10"].value == pytest.approx(2 / 3)
    full = {"trips": 0, "temp_violations": 0, "violations": 0, "hours": 1.0, "cost_usd": 0.5, "seconds": 0.1}
    true = {"true": {"recommended": {"safe": True}}}
    told = by_method([(key, {**c, **full, **true}) for key, c in other])
    assert told["regret_10"].value == told["regret_10"].high == math.inf
    assert told["found_30"].value == 0.0


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("bench.models=[Antminer S99]", "S99"),
        ("bench.models=[]", "models"),
        ("bench.models=[Antminer S21,Antminer S21]", "each once"),
        ("bench.temps_amb_c=[99.0]", "99"),
        ("bench.methods=[bo,stock,tpee]", "'tpe'"),
        ("bench.methods=[tpe,stock]", "'bo'"),
        ("bench.teachers=5", "teachers"),
        ("bench.spread_units=6", "spread_units"),
        ("bench.trials=0", "trials"),
        ("bench.other_spreads=[-1.0]", "-1"),
        ("jobs=0", "jobs"),
        ("+bench.unit=3", "unit"),
    ],
)
def test_nonsense_is_refused_before_anything_runs(override: str, told: str) -> None:
    with pytest.raises(MinesimError, match=told):
        settings(override)
