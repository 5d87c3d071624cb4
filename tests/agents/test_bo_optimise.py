"""The command: every recipe composes, a run goes on after a stop, lessons are handed on, nonsense is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("hydra")
from hydra import compose, initialize_config_dir
from rich.console import Console

from agents.bo.settings import OptimiseSettings
from experiments.entry import read_settings
from experiments.optimise import optimise
from minesim.errors import MinesimError, ParamsError
from minesim.tuning.profile import read_profile

CONF = Path(__file__).parents[2] / "conf" / "optimise"
TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def settings(*overrides: str) -> OptimiseSettings:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read_settings(OptimiseSettings, compose("optimise", list(overrides)))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_composes_and_builds_its_problem(task: str) -> None:
    problem = settings(f"task={task}", "model=Antminer S21").problem()
    assert problem.device.model == "Antminer S21"
    assert (problem.objective.kind, problem.objective.power_cap_w) == {
        "overclock": ("profit", None),
        "efficiency": ("efficiency", None),
        "capped": ("hashrate", 2800.0),
    }[task]


def test_a_run_goes_on_where_it_stopped_and_tells_its_result(tmp_path: Path) -> None:
    out = f"out={tmp_path}"
    console = Console(quiet=True)
    assert optimise(settings("method=sobol", "trials=3", out), console)
    (folder,) = (tmp_path / "overclock").iterdir()
    first = json.loads((folder / "sobol.json").read_text())["trials"]
    assert optimise(settings("method=sobol", "trials=5", "compare=[stock]", out), console)
    again = json.loads((folder / "sobol.json").read_text())["trials"]
    assert again[:3] == first
    assert len(again) == 5
    result = json.loads((folder / "result.json").read_text())
    assert set(result["methods"]) == {"sobol", "stock"}
    assert len(result["methods"]["stock"]["regret"]) == 5
    assert read_profile(folder / "profile.json").serial == "Antminer S19j Pro (104T) #0"
    assert (folder / "trials.png").stat().st_size > 10_000


def test_lessons_go_to_other_units_of_the_chip_only(tmp_path: Path) -> None:
    pytest.importorskip("botorch")
    console = Console(quiet=True)
    common = (f"out={tmp_path}", "model=gpu/etchash", "trials=2")
    assert optimise(settings(*common, "unit=1"), console)
    (folder,) = (tmp_path / "overclock").iterdir()
    assert optimise(settings(*common, "unit=2", f"lessons=[{folder}]"), console)
    with pytest.raises(ParamsError, match="the lesson is of"):
        optimise(settings(*common, "unit=1", f"lessons=[{folder}]"), console)
    assert optimise(settings(*common[:1], "model=gpu/kawpow", "trials=1", f"lessons=[{folder}]"), console)
    with pytest.raises(ParamsError, match="other units with the chip BM1362"):
        optimise(settings(*common[:1], "model=s19j pro", f"lessons=[{folder}]"), console)
    with pytest.raises(MinesimError, match="not a readable lesson"):
        optimise(settings(*common, "unit=3", f"lessons=[{tmp_path}]"), console)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("method=beo", "'bo'"),
        ("compare=[tpee]", "'tpe'"),
        ("batch=40", "batch"),
        ("trials=0", "trials"),
        ("+trails=3", "trails"),
        ("trials=many", "many"),
    ],
)
def test_nonsense_is_refused(override: str, told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        settings(override)


def test_lessons_for_a_method_that_takes_none_are_refused() -> None:
    with pytest.raises(ParamsError, match="takes no lessons"):
        settings("method=tpe", "lessons=[somewhere]")
