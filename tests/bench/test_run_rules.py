"""`make run` on one miner and single weeks: what it writes, that it resumes, and how it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from rich.console import Console

from agents.baselines import RULES
from experiments import run_rules
from experiments.run_rules import Bench, Names, RunConfig, Site, Weeks, read_config, run
from minesim.bench.scorecard import load
from minesim.errors import ParamsError, ScenarioError

TWO = ("always_stock", "threshold")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setattr(run_rules, "RULES", {name: RULES[name] for name in TWO})
    return RunConfig(
        scenario=Names(["ercot"]),
        site=Site(name="one_s19j_pro"),
        bench=Bench(validation=Weeks("2023-03-04", 1), test=Weeks("2023-08-05", 2), seeds=[0], showcase_week=1),
        out=str(tmp_path / "out"),
    )


def quiet() -> Console:
    return Console(file=io.StringIO(), width=100)


def told(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_it_writes_whole_results_and_resumes(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = run_rules.rollout, []

    def interrupted(policy: object, *args: object, **options: object) -> object:
        calls.append(policy)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(policy, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(run_rules, "rollout", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config, quiet())
    out = Path(config.out)
    kept = sorted((out / "cells").iterdir())
    assert len(kept) == 2
    assert not (out / "latest").exists()

    monkeypatch.setattr(run_rules, "rollout", real)
    console = quiet()
    path = run(config, console)
    assert "1 cells computed, 2 taken from" in told(console)
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "report.html",
        "scorecard.json",
        "scorecard.nc",
        "tuned.json",
    ]
    card = load(path.parent / "scorecard.nc")
    assert [str(agent) for agent in card["agent"].to_numpy()] == list(TWO)
    gain = card["profit_usd"].sel(agent="threshold") - card["profit_usd"].sel(agent="always_stock")
    # In the second week of August 2023 prices went to 2,000 USD/MWh and more.
    assert float(gain.min()) > 10.0
    tuned = json.loads((path.parent / "tuned.json").read_text())["ercot"]
    assert tuned["validation"] == {"first": "2023-03-04", "last": "2023-03-11", "weeks": 1}
    assert set(tuned["params"]) == {"threshold"}
    text = path.read_text(encoding="utf-8")
    assert "The week from 2023-08-12 is set in the configuration" in text
    assert text.count("data:image/svg+xml;base64,") == 4

    first = path.read_bytes()
    console = quiet()
    run(config, console)
    assert "0 cells computed, 3 taken from" in told(console)
    assert len(list((out / "cells").iterdir())) == 3
    assert len(path.read_bytes()) == pytest.approx(len(first), rel=0.01)


def test_what_cannot_run_is_refused_before_anything_is_simulated(config: RunConfig) -> None:
    config.bench.test = Weeks("2023-12-23", 2)
    with pytest.raises(ScenarioError, match="does not fit"):
        run(config, quiet())
    config.bench.test = Weeks("2023-08-05", 2)
    config.bench.showcase_week = 2
    with pytest.raises(ParamsError, match=r"bench.showcase_week is 2; allowed: 0 to 1"):
        run(config, quiet())
    config.scenario = Names([])
    with pytest.raises(ParamsError, match=r"scenario.names or bench.seeds is empty"):
        run(config, quiet())
    assert not Path(config.out).exists()


@pytest.mark.parametrize(
    ("weeks", "message"),
    [(Weeks("soon", 1), "weeks are 'soon', 1, 1"), (Weeks("2023-08-05", 0), "weeks is 0; allowed: 1 or more")],
)
def test_weeks_have_to_be_dates(weeks: Weeks, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        weeks.starts()


def test_configuration_is_typed(config: RunConfig) -> None:
    plain = {"scenario": {"names": ["pjm"]}, "bench": {"test": {"first": "2023-08-05", "weeks": 2}}}
    read = read_config(OmegaConf.create(plain))
    assert read.scenario.names == ["pjm"]
    assert read.bench.test == Weeks("2023-08-05", 2, 1)
    with pytest.raises(ParamsError, match=r"Key 'limts' not in 'Site'"):
        read_config(OmegaConf.create({"site": {"limts": "free"}}))
    with pytest.raises(ParamsError, match=r"configuration"):
        read_config(OmegaConf.create({"bench": {"seeds": ["many"]}}))


def test_files_of_the_configuration_fit_together() -> None:
    from hydra import compose, initialize_config_dir

    folder = Path(run_rules.__file__).parents[1] / "conf"
    with initialize_config_dir(str(folder), version_base="1.3"):
        for overrides in ([], ["scenario=ercot", "bench=quick"], ["scenario=pjm"]):
            read = read_config(compose("run_rules", overrides))
            validation, test = read.bench.validation.starts(), read.bench.test.starts()
            assert validation[-1] + np.timedelta64(7, "D") <= test[0]
            assert 0 <= read.bench.showcase_week < len(test)
            assert read.scenario.names
