"""The benchmark on one miner and single weeks: what it writes, that it resumes, how it refuses, how it is set up."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from rich.console import Console

from agents.benchmark import pool
from agents.benchmark.contenders import contenders
from agents.benchmark.pool import Task, run_tasks
from agents.benchmark.settings import BenchmarkSettings, Site, Suite, Weeks
from agents.benchmark.side_by_side import SideBySide
from agents.benchmark.stage import Stage, Stopped, week_world
from experiments import benchmark
from experiments.benchmark import REGRESSED, hydra_arguments, run
from experiments.entry import read_settings
from experiments.fill_results import suite as suite_page
from minesim.bench.scorecard import load
from minesim.bench.standing import best_validated, broken_bounds
from minesim.control.policy import Policy
from minesim.envs.core import World
from minesim.errors import MinesimError, ParamsError, ScenarioError

TWO = ("always_stock", "threshold")


class Standing:
    """Never mines; a policy as somebody else might bring it."""

    name = "standing"

    def __init__(self, size: int) -> None:
        self.size = size

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.full((len(observation), self.size), -1.0)

    def reset(self, done: np.ndarray | None = None) -> None:
        pass


def make_standing(world: World) -> Policy:
    return Standing(world.action_size)


def make_misshaped(world: World) -> Policy:
    return Standing(world.action_size + 2)


def make_nothing(world: World) -> object:
    return "a policy"


@pytest.fixture
def settings(tmp_path: Path) -> BenchmarkSettings:
    return BenchmarkSettings(
        bench=Suite(
            name="small",
            scenarios=["ercot"],
            validation=Weeks("2023-03-04", 1),
            test=Weeks("2023-08-05", 2),
            scales=[0.0, 1.0, 4.0],
            declared=["ercot"],
            champion="standing",
            showcase_week=1,
        ),
        site=Site(name="one_s19j_pro"),
        rules=list(TWO),
        mpc=False,
        policies={"standing": f"{__name__}:make_standing"},
        jobs=1,
        out=str(tmp_path / "out"),
    )


def quiet() -> Console:
    return Console(file=io.StringIO(), width=120)


def told(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_it_writes_whole_results_and_resumes(settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = pool.work, []

    def interrupted(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise Stopped("stopped")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "work", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, quiet())
    out = Path(settings.out)
    kept = len(list((out / "cells").iterdir()))
    assert kept == 2, "tuning and test of the first rule"
    assert not (out / "latest").exists()

    monkeypatch.setattr(pool, "work", real)
    console = quiet()
    result = run(settings, console)
    assert "6 pieces computed, 2 taken from" in told(console)
    assert sorted(entry.name for entry in result.folder.iterdir()) == [
        "agents.json",
        "report.html",
        "scorecard.json",
        "scorecard.nc",
    ]
    card = load(result.folder / "scorecard.nc")
    assert [str(agent) for agent in card["agent"].to_numpy()] == [*TWO, "standing"]
    gain = card["profit_usd"].sel(agent="threshold") - card["profit_usd"].sel(agent="always_stock")
    # In the second week of August 2023 prices went to 2,000 USD/MWh and more.
    assert float(gain.min()) > 10.0
    assert best_validated(card, "ercot") in TWO
    assert not broken_bounds(card)
    scaled = card["profit_scaled_usd"].sel(agent="always_stock", scenario="ercot").to_numpy()
    wear = (card["wear_usd"] + card["restart_usd"]).sel(agent="always_stock", scenario="ercot").to_numpy()
    np.testing.assert_allclose(scaled[..., 0] - scaled[..., 2], 4.0 * wear)

    page = suite_page(card)
    assert "clairvoyant bound, over all agents, weeks, seeds and scales: 0." in page
    assert f"| {best_validated(card, 'ercot').replace('_', ' ')} | **" in page
    assert "`ercot`: standing over" in page
    assert "| net profit, USD | +15 to +40 % vs always stock |" in page
    low = card.assign(bound_usd=card["bound_usd"] - 1e6)
    assert "seeds and scales: 0." not in suite_page(low)
    record = json.loads((result.folder / "agents.json").read_text())
    assert set(record["scenarios"]["ercot"]["threshold"]["by_scale"]) == {"0", "1", "4"}
    text = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "standing against always stock on ercot" in text
    assert "Clairvoyant bound" in text

    console = quiet()
    again = run(settings, console)
    assert "0 pieces computed, 8 taken from" in told(console)
    np.testing.assert_array_equal(again.card["profit_usd"], card["profit_usd"])


def test_several_processes_give_the_same_and_count_every_part_once(settings: BenchmarkSettings) -> None:
    settings.bounds, settings.policies = False, {}
    settings.bench.champion, settings.jobs = "threshold", 2
    tasks = [Task("ercot", name) for name in TWO]
    seen = []
    done = run_tasks(settings, tasks, on_done=lambda item: seen.append(item.task))
    assert sorted(seen, key=tasks.index) == tasks
    settings.jobs, settings.out = 1, settings.out + "_alone"
    alone = run_tasks(settings, tasks)
    for task in tasks:
        mine, other = done[task].played, alone[task].played
        assert mine is not None
        assert other is not None
        np.testing.assert_array_equal(mine.by_scale[1.0]["profit_usd"], other.by_scale[1.0]["profit_usd"])
    settings.jobs = 2
    with pytest.raises(ScenarioError, match="no scenario"):
        run_tasks(settings, [Task("erkot", "threshold")])


def test_a_regression_fails_the_run(settings: BenchmarkSettings) -> None:
    settings.bench.test = Weeks("2023-08-05", 4)
    settings.bounds, settings.policies = False, {}
    baseline = run(settings, quiet()).folder / "scorecard.json"
    settings.against, settings.latest = str(baseline), "again"
    run(settings, quiet())
    content = json.loads(baseline.read_text())
    weekly = content["scenarios"]["ercot"]["weekly"]["threshold"]
    weekly["profit_usd"] = [[value + 5.0 + 0.1 * k for value in row] for k, row in enumerate(weekly["profit_usd"])]
    better = baseline.with_name("better.json")
    better.write_text(json.dumps(content))
    settings.against = str(better)
    console = quiet()
    with pytest.raises(SystemExit) as stop:
        run(settings, console)
    assert stop.value.code == REGRESSED
    assert "regressed" in told(console)


def test_what_cannot_run_is_refused_before_anything_is_simulated(settings: BenchmarkSettings) -> None:
    cases: list[tuple[dict[str, object], type[MinesimError], str]] = [
        ({"test": Weeks("2023-06-24", 2)}, ParamsError, "leaves the split 'test'"),
        ({"validation": Weeks("2023-06-24", 2)}, ParamsError, "leaves the split 'validation'"),
        ({"test": Weeks("2023-12-23", 2)}, ParamsError, "leaves the split 'test'"),
        ({"test": Weeks("soon", 1)}, ParamsError, "weeks are 'soon', 1, 1"),
        ({"scenarios": ["erkot"]}, ScenarioError, "no scenario 'erkot'"),
        ({"scenarios": []}, ParamsError, "bench.scenarios or bench.seeds is empty"),
        ({"declared": ["pjm"]}, ParamsError, "bench.declared names 'pjm'"),
        ({"scales": [0.0]}, ParamsError, "bench.scales"),
        ({"showcase_week": 2}, ParamsError, r"bench.showcase_week is 2; allowed: 0 to 1"),
    ]
    for changes, error, message in cases:
        before = {key: getattr(settings.bench, key) for key in changes}
        for key, value in changes.items():
            setattr(settings.bench, key, value)
        if "scenarios" in changes:
            settings.bench.declared = []
        with pytest.raises(error, match=message):
            run(settings, quiet())
        for key, value in before.items():
            setattr(settings.bench, key, value)
        settings.bench.declared = []
    settings.rules = ["treshold"]
    with pytest.raises(ParamsError, match=r"no rule 'treshold'.*threshold"):
        run(settings, quiet())
    settings.rules, settings.against = list(TWO), "nowhere.json"
    with pytest.raises(MinesimError, match=r"there is no baseline .nowhere\.json."):
        run(settings, quiet())
    assert not Path(settings.out).exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_folder", "is no folder; allowed: a folder of a policy, or module:factory"),
        ("no.such.module:make", "cannot be imported"),
        (f"{__name__}:make_misshaped", r"actions of shape \(2, 3\) for two sites; allowed: \(2, 1\)"),
        (f"{__name__}:make_nothing", "made a str; allowed: an object with name, act"),
    ],
)
def test_a_policy_that_does_not_fit_is_named(settings: BenchmarkSettings, source: str, message: str) -> None:
    settings.policies = {"mine": source}
    with pytest.raises(ParamsError, match=message):
        contenders(settings)["mine"].play(Stage("ercot", settings))


def test_names_are_taken_once(settings: BenchmarkSettings) -> None:
    settings.policies = {"threshold": "somewhere"}
    with pytest.raises(ParamsError, match="'threshold' takes part twice"):
        contenders(settings)


def test_training_seeds_drive_their_own_runs() -> None:
    class Number:
        def __init__(self, number: float) -> None:
            self.name, self.number, self.done = "number", number, None

        def act(self, observation: np.ndarray) -> np.ndarray:
            return np.full((len(observation), 1), self.number)

        def reset(self, done: np.ndarray | None = None) -> None:
            self.done = done

    parts = [Number(0.0), Number(1.0)]
    policy = SideBySide("both", parts, np.array([0, 1, 0, 0, 1, 0]))
    assert policy.act(np.zeros((6, 4)))[:, 0].tolist() == [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    policy.reset(np.array([True, False, False, False, True, False]))
    assert parts[0].done.tolist() == [True, False, False, False]
    assert parts[1].done.tolist() == [False, True]


START_A_WORKER = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from agents.benchmark.processes import begin_process

context = multiprocessing.get_context("spawn")
with ProcessPoolExecutor(1, mp_context=context, initializer=begin_process) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600.0).result()
"""


def test_no_process_outlives_a_killed_benchmark() -> None:
    with subprocess.Popen([sys.executable, "-c", START_A_WORKER], stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        worker = int(main.stdout.readline())
        main.kill()
    deadline = time.monotonic() + 10.0
    while _lives(worker):
        assert time.monotonic() < deadline, "the worker goes on"
        time.sleep(0.05)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has waited for yet is dead as well.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_weeks_without_a_date_are_those_of_the_split(settings: BenchmarkSettings) -> None:
    world = week_world("generated/energy_only?days=140", settings)
    validation, test = (Weeks().starts(world, split) for split in ("validation", "test"))
    assert len(validation) == len(test) == 4
    assert validation[-1] + np.timedelta64(7, "D") <= test[0]
    with pytest.raises(ParamsError, match="leaves the split"):
        Weeks(weeks=5).starts(world, "test")


def test_configuration_is_typed() -> None:
    read = read_settings(
        BenchmarkSettings,
        OmegaConf.create({"bench": {"scenarios": ["pjm"], "test": {"first": "2023-08-05", "weeks": 2}}}),
    )
    assert read.bench.scenarios == ["pjm"]
    assert read.bench.test == Weeks("2023-08-05", 2, 1)
    with pytest.raises(ParamsError, match=r"Key 'limts' not in 'Site'"):
        read_settings(BenchmarkSettings, OmegaConf.create({"site": {"limts": "free"}}))
    with pytest.raises(ParamsError, match=r"configuration"):
        read_settings(BenchmarkSettings, OmegaConf.create({"bench": {"seeds": ["many"]}}))


@pytest.mark.parametrize("suite", ["run", "quick", "hashrate_v1", "phase_map"])
def test_files_of_the_configuration_fit_together(suite: str) -> None:
    from hydra import compose, initialize_config_dir

    folder = Path(benchmark.__file__).parents[1] / "conf"
    with initialize_config_dir(str(folder), version_base="1.3"):
        for line_up in ("short", "full", "rules"):
            read = read_settings(BenchmarkSettings, compose("benchmark", [f"bench={suite}", f"line_up={line_up}"]))
            assert read.bench.name == suite
            assert "always_stock" in contenders(read)
            for learned in read.learned.values():
                learned.agent.check()
            for scenario in read.bench.scenarios[:1]:
                stage = Stage(scenario, read)
                assert stage.validation[-1] + np.timedelta64(7, "D") <= stage.weeks[0]


def test_against_is_an_option_too() -> None:
    assert hydra_arguments(["bench=run", "--against", "b.json"]) == ["bench=run", "against=b.json"]
    assert hydra_arguments(["--against=b.json", "jobs=1"]) == ["against=b.json", "jobs=1"]
    assert hydra_arguments(sys.argv[:0]) == []
