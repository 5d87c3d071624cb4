"""Tuning on a small real environment, and the packaged parameters."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from agents.baselines import RULES, Knowledge, applicable, build, tuned_params, tuned_rules
from agents.baselines.table import TUNED_FOR, tuned_record
from agents.baselines.tuning import as_text, at_edge, pick, try_policies
from minesim.bench.rollout import rollout
from minesim.control.observe import schema
from minesim.envs.core import EnvConfig, World, build_world
from minesim.errors import ParamsError


@pytest.fixture(scope="module")
def tiny() -> World:
    return build_world(EnvConfig(site="one_s19j_pro", split=None, episode_days=1.0 / 12.0, difficulty="easy"))


def test_candidates_are_tried_on_the_same_weeks_and_the_best_wins(tiny: World) -> None:
    knowledge = Knowledge(schema(tiny.cohorts), tiny.params.curves)
    starts = tiny.table.start_utc[[96, 960]]
    candidates = RULES["threshold"].candidates()
    tried = try_policies([build("threshold", knowledge, params) for params in candidates], tiny, starts)
    assert tried["profit_usd"].shape == (len(candidates), 2)
    alone = rollout(build("threshold", knowledge, candidates[2]), tiny, starts)
    assert tried["profit_usd"].to_numpy()[2] == pytest.approx(alone["profit_usd"].to_numpy(), rel=1e-12)


def test_pick_takes_the_highest_mean_and_the_first_of_equals() -> None:
    profit, wear = np.zeros((7, 3)), np.zeros((7, 3))
    profit[2] = [9.0, 0.0, 0.0]
    profit[4], wear[4] = 1.0, 1.0
    axes = ("candidate", "week")
    tried = xr.Dataset({"profit_usd": (axes, profit), "wear_usd": (axes, wear), "restart_usd": (axes, wear)})
    assert pick(tried) == (2, 3.0)
    # Without the costs of wear and stops the fifth earns 1 + 1 + 1, as much as the third, which comes first.
    assert pick(tried, 0.0) == (2, 3.0)
    assert pick(tried.assign(restart_usd=(axes, 2.0 * wear)), 0.0) == (4, 4.0)
    assert pick(tried.map(lambda values: 0.0 * values)) == (0, 0.0)


def test_the_edge_of_the_search_is_told() -> None:
    grid = [{"factor": factor, "low": 0.5} for factor in (0.5, 1.0, 2.0)]
    assert at_edge(grid, grid[0]) == ["factor"]
    assert at_edge(grid, grid[1]) == []
    assert as_text(grid, grid[1]) == "factor 1, low 0.5 (best of 3)"
    assert as_text([{}], {}) == "no parameters"


def test_packaged_parameters_come_from_validation_weeks_and_fit_the_table() -> None:
    record = tuned_record()
    for scenario in (*TUNED_FOR.values(), "ercot/4cp", "ercot/reserves", "ercot/mixed"):
        sells = scenario in ("ercot/reserves", "ercot/mixed")
        validation = record[scenario]["validation"]
        assert "2023-01-01" <= validation["first"] < validation["last"] <= "2023-07-01"
        assert set(tuned_params(scenario)) == {name for name in applicable(sells) if len(RULES[name].candidates()) > 1}
        for name, params in tuned_params(scenario).items():
            assert params in RULES[name].candidates()
    with pytest.raises(ParamsError, match="Did you mean 'pjm'"):
        tuned_params("pmj")


def test_tuned_rules_are_all_rules_with_the_baseline_first(tiny: World) -> None:
    made = tuned_rules(schema(tiny.cohorts), tiny.params.curves, "day_ahead")
    assert list(made) == list(applicable(offers_reserve=False))
    assert made["threshold"].params == tuned_params("ercot")["threshold"]  # type: ignore[attr-defined]
