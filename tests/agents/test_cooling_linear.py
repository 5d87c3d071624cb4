"""Plans of a cooled hall on its linearised twin."""

from __future__ import annotations

import numpy as np
import pytest

from agents.cooling.episodes import play, week_rows
from agents.cooling.knowledge import knowledge_of
from agents.cooling.linear_plan import LinearModel, LinearPlan, LinearPlanParams, charges_usd, cheapest_change
from agents.cooling.steady import SteadyBest, SteadyMap, steady_map
from minesim.envs.cooling_core import CoolingConfig, CoolingCore, CoolingWorld, build_cooling_world
from minesim.errors import ParamsError
from minesim.tasks.cooling import LIMITS

USD_TOLERANCE, KELVIN_TOLERANCE = 0.001, 0.05
"""Of a predicted cost, as a share of it; of a predicted excess, K."""


@pytest.fixture(scope="module")
def day() -> CoolingWorld:
    """A day at a time in Dallas."""
    return build_cooling_world(CoolingConfig(scenario="dallas", episode_days=1.0))


@pytest.fixture(scope="module")
def found(day: CoolingWorld) -> SteadyMap:
    return steady_map(day)


def test_the_model_predicts_small_changes_over_the_horizon(day: CoolingWorld, found: SteadyMap) -> None:
    """Chips above their fans' target, room fans ahead of the miners', a pad and load in between: no kink is near."""
    plan = LinearPlan(day, LinearPlanParams(reach_pad=0.1, reach_load=0.1), found)
    core = CoolingCore(day, 2)
    rows = np.argsort(day.climate.temp_amb_c[100:26000])[[-300, -500]] + 100
    core.reset(options={"start_row": rows})
    held = np.array([0.7, -0.5, -0.6, 0.7])
    for _ in range(6):
        core.step(np.tile(held, (2, 1)))
    ahead, price = [core._outdoors()[0]] * sum(plan.params.blocks), np.array([30.0, 80.0])
    settings = np.tile(held[None, :, None], (2, 1, 2))
    model = plan.linearise(settings, core.state, ahead, price)
    rng = np.random.default_rng(0)
    for _ in range(5):
        change = rng.uniform(-model.down, model.up)
        usd, excess_k = plan.follow_plans(settings + change.reshape(settings.shape), core.state, ahead, price)
        told_usd, told_k = model.predict(change)
        np.testing.assert_allclose(told_usd, usd, rtol=USD_TOLERANCE)
        np.testing.assert_allclose(told_k, excess_k, atol=KELVIN_TOLERANCE)


def test_the_cheapest_change_is_that_of_a_fine_grid() -> None:
    """Two settings, one hall: a square in the first, and a chip too hot that only the second cools."""
    params = LinearPlanParams(blocks=(1,), every=1, pieces=20, calm_k=(1.0, 1.0, 1.0), charge_usd_per_k=3.0)
    excess_k = np.full((len(LIMITS), 1), -9.0)
    excess_k[0] = -0.4
    slope = np.zeros((len(LIMITS), 2, 1))
    slope[0] = [[0.5], [-2.0]]
    one = np.ones((2, 1))
    model = LinearModel(np.array([7.0]), np.array([[-0.4], [1.0]]), one * [[1.0], [0.0]], excess_k, slope, one, one)
    change = cheapest_change(model, params)
    first, second = (part.ravel() for part in np.meshgrid(*[np.linspace(-1.0, 1.0, 201)] * 2))
    usd, told_k = model.predict(np.stack([first, second]))
    at = np.argmin(usd + charges_usd(told_k, params))
    np.testing.assert_allclose(change[:, 0], [first[at], second[at]], atol=1.0 / params.pieces)
    told = model.predict(change)
    assert told[0] + charges_usd(told[1], params) <= np.min(usd + charges_usd(told_k, params)) + 2e-3


def test_a_plan_never_asks_outside_the_box(day: CoolingWorld, found: SteadyMap) -> None:
    plan = LinearPlan(day, LinearPlanParams(blocks=(1, 2), every=1), found)
    rows = np.concatenate([week_rows(day, "validation", 40), [np.argmax(day.climate.temp_amb_c[100:26000]) + 100]])
    core = CoolingCore(day, len(rows))
    observation = core.reset(options={"start_row": rows})
    fan = day.action_names.index("exhaust_speed")
    for _ in range(6):
        action = plan.act(observation)
        assert np.abs(action).max() <= 1.0
        assert action[:, fan].min() >= 2.0 * day.hall.plant.fans.speed_min - 1.0 - 1e-6
        observation = core.step(action).observation
    with pytest.raises(ParamsError, match="every is 4"):
        LinearPlanParams(blocks=(3, 9), every=4)


def test_a_day_in_dallas_costs_no_more_than_by_the_steady_map(day: CoolingWorld, found: SteadyMap) -> None:
    """Within half a percent on each day, less on average, and no limit broken that the map keeps."""
    rows = week_rows(day, "validation", 60)
    rule = play(SteadyBest(knowledge_of(day), found), day, rows, np.arange(len(rows)))
    plan = play(LinearPlan(day, found=found), day, rows, np.arange(len(rows)))
    assert (plan["cost_usd"] <= 1.005 * rule["cost_usd"]).all()
    assert plan["cost_usd"].mean() < rule["cost_usd"].mean()
    assert plan["violations"].sum() <= rule["violations"].sum()
