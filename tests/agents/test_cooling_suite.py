"""The cooling benchmark and a learner behind the shield: parts are kept, chosen on validation, and go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.cooling.contenders import CONTENDERS, Place
from agents.cooling.episodes import week_rows
from agents.cooling.suite import ClimateBench, code_hash, fined, run_suite
from agents.cooling.suite_settings import SuiteBench, SuiteSettings
from agents.cooling.suite_summary import Row, saved, summarise
from agents.cooling.suite_targets import TARGETS
from agents.cooling.suite_tell import draw_suite, tell
from minesim.bench.statistics import Estimate
from minesim.envs.cooling_core import CoolingCore, CoolingWorld, build_cooling_world
from minesim.errors import DataFileError, ParamsError

SHORT_DAYS = 0.25


@pytest.fixture(autouse=True)
def coarse_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """A steady map of few outdoor states, which is all that these tests need."""
    monkeypatch.setattr("agents.cooling.steady.TEMPS_C", (-30.0, 10.0, 30.0, 48.0))
    monkeypatch.setattr("agents.cooling.steady.HUMIDITIES_PCT", (30.0, 100.0))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> SuiteSettings:
    """Quarter days in Dallas, few of them."""
    whole = SuiteSettings.world

    def brief(self: SuiteSettings, name: str) -> CoolingWorld:
        world = whole(self, name)
        return build_cooling_world(replace(world.config, episode_days=SHORT_DAYS))

    monkeypatch.setattr(SuiteSettings, "world", brief)
    bench = SuiteBench(
        name="tiny",
        climates=["dallas"],
        validation_every=200,
        test_every=180,
        contenders=["full", "fixed", "staged", "steady_shielded"],
    )
    return SuiteSettings(bench=bench)


def test_parts_are_played_once_and_parameters_chosen_on_validation_alone(
    settings: SuiteSettings, tmp_path: Path
) -> None:
    told: list[tuple[str, int]] = []
    found = run_suite(settings, tmp_path, lambda climate, computed: told.append((climate, computed)))
    tried = len(CONTENDERS["staged"].variants)
    assert told == [("dallas", 3 + tried + 2 + 1)]
    again: list[tuple[str, int]] = []
    same = run_suite(settings, tmp_path, lambda climate, computed: again.append((climate, computed)))
    assert again == [("dallas", 0)]
    assert all(a.test.equals(b.test) for a, b in zip(found["dallas"], same["dallas"], strict=True))
    staged, shielded = found["dallas"][2:]
    assert shielded.validation is None
    assert staged.validation is not None
    bench = ClimateBench(settings, tmp_path, "dallas", code_hash())
    alone = bench._weeks("staged", CONTENDERS["staged"], CONTENDERS["staged"].variants, "validation")
    assert fined(staged.validation, 5.0) == min(fined(cell, 5.0) for cell in alone)
    assert not set(staged.validation["week"].values) & set(staged.test["week"].values)
    summary = summarise(settings, found)
    rows = {row.name: row for row in summary["dallas"].rows}
    assert rows["fixed"].energy_saved.value == 0.0
    assert rows["full"].energy_saved.value < 0.0
    assert rows[summary["dallas"].best_rule].against_best is None
    draw_suite(tmp_path / "costs.png", summary)
    assert (tmp_path / "costs.png").stat().st_size > 1000
    from rich.console import Console

    console = Console(width=200, record=True)
    tell(summary, "fixed", console)
    told = console.export_text()
    assert "staged with" in told
    assert all(target.wanted in told for target in TARGETS)
    assert told.count("cooling energy") == 2


def test_variants_side_by_side_equal_one_alone(settings: SuiteSettings, tmp_path: Path) -> None:
    staged = CONTENDERS["staged"]
    together = ClimateBench(settings, tmp_path / "a", "dallas", "x")._weeks(
        "staged", staged, staged.variants[:2], "test"
    )
    alone = ClimateBench(settings, tmp_path / "b", "dallas", "x")._weeks("staged", staged, staged.variants[1:2], "test")
    for name, values in alone[0].items():
        np.testing.assert_allclose(together[1][name], values, rtol=1e-9, atol=1e-9, err_msg=str(name))


def test_everybody_acts_within_bounds(settings: SuiteSettings) -> None:
    pytest.importorskip("torch")
    place = Place(settings.world("dallas"))
    world, rows = place.world, week_rows(place.world, "validation", 200)
    core = CoolingCore(world, len(rows))
    for name, who in CONTENDERS.items():
        policy = who.make(place, who.variants[0], rows)
        observation = core.reset(options={"start_row": rows})
        policy.reset()
        for _ in range(2):
            action = policy.act(observation)
            assert action.shape == (len(rows), len(world.action_names)), name
            assert np.abs(action).max() <= 1.0, name
            observation = core.step(action).observation


def test_saving_is_one_less_the_ratio_of_means() -> None:
    share = saved(np.array([1.0, 2.0, 3.0, 2.0]), np.array([2.0, 4.0, 6.0, 4.0]), 1)
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_target_is_reached_strictly_within_its_bounds() -> None:
    def row(**change: Any) -> Row:
        some = Estimate(0.2, 0.1, 0.3)
        means = {"in_range": 0.99, "reaction_min": 5.0}
        plain = Row("a", "rule", {}, means, some, some, float("nan"), None, some, some)
        return replace(plain, **change)

    def answers(of: Row) -> list[bool | None]:
        return [target.reached(of) for target in TARGETS if target.wanted]

    assert answers(row()) == [True, True, None, False]
    worse = row(
        cooling_saved=Estimate(0.1, 0.0, 0.2), hot_spots_less=0.5, means={"in_range": 0.98, "reaction_min": 2.0}
    )
    assert answers(worse) == [False, False, True, True]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"climates": []}, "climates"),
        ({"contenders": ["fixd", "fixed"]}, "fixed"),
        ({"compliant": "plan", "contenders": ["fixed"]}, "compliant"),
        ({"fine_usd": -1.0}, "fine_usd"),
    ],
)
def test_impossible_benchmarks_are_refused(change: dict[str, object], told: str) -> None:
    bench = SuiteBench(**{"climates": ["dallas"], **change})  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match=told):
        SuiteSettings(bench=bench).check()


def test_a_learner_trains_behind_the_shield_is_saved_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from agents.cooling.learning.policy import load_policy
    from agents.cooling.learning.settings import SacSettings, TrainCoolingSettings
    from agents.cooling.learning.training import CoolingTraining

    class Brief(TrainCoolingSettings):
        def world(self, episode_days: float) -> CoolingWorld:
            world = super().world(episode_days)
            return build_cooling_world(replace(world.config, episode_days=SHORT_DAYS))

    agent = SacSettings(envs=4, updates=1, batch_size=32, learning_starts=64, nets=[16, 16], buffer_size=4000)
    settings = Brief(agent=agent, steps=576, evaluate_every=576, validation_every=400, out=str(tmp_path))
    first = CoolingTraining(settings)
    outcome = first.run()
    assert outcome.finished
    assert outcome.steps >= 576
    assert len(outcome.judgements) == 2
    lines = [json.loads(line) for line in (first.folder / "progress.jsonl").read_text().splitlines()]
    assert any("train/actor_loss" in line for line in lines)
    policy = load_policy(first.folder, settings.world(1.0), first.steady)
    seen = first.halls._observation
    np.testing.assert_array_equal(policy.policy.act(seen), policy.policy.act(seen))  # type: ignore[attr-defined]

    longer = Brief(agent=agent, steps=1152, evaluate_every=576, validation_every=400, out=str(tmp_path))
    second = CoolingTraining(longer)
    assert second.folder == first.folder
    gone_on = second.run()
    assert gone_on.steps >= 1152
    assert gone_on.judgements[:2] == outcome.judgements
    with pytest.raises(DataFileError, match="no readable policy"):
        load_policy(tmp_path / "none", settings.world(1.0), first.steady)
