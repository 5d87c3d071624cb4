"""A million random site-steps: nothing is ever not a number, and every bound holds, in a frozen storm too."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from minesim.scenario import scenario
from tests.twin import core_of, generated_world

STEPS, SITES = 250, 1000


def _frozen_storm() -> object:
    """Winter storm Uri's real prices (8,995 USD/MWh) at -50 C."""
    found = scenario("ercot/mixed")
    traces = found.traces.copy(deep=True)
    traces["temp_amb_c"] = traces["temp_amb_c"] * 0.0 - 50.0
    traces["temp_amb_c"].attrs = dict(found.traces["temp_amb_c"].attrs)
    return dataclasses.replace(found, traces=traces)


@pytest.mark.parametrize("case", ["generated hard", "uri at -50 C", "heat wave free", "single precision"])
def test_random_actions_never_leave_the_bounds(case: str) -> None:
    like, options, reset = None, {"difficulty": "hard", "episode_days": 2.0}, {}
    if case == "uri at -50 C":
        options |= {"scenario": _frozen_storm(), "split": "train"}
        reset = {"start": np.datetime64("2021-02-15T12:00")}
    elif case == "heat wave free":
        options |= {"scenario": "ercot/4cp", "split": "train", "limits": "free"}
        reset = {"start": np.datetime64("2023-06-26T00:00")}
    elif case == "single precision":
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        like = torch.zeros(1)
    world = generated_world.__wrapped__(**options)
    core = core_of(world, SITES, seed=1, like=like, **reset)
    low, high = core.schema.bounds()
    rng = np.random.default_rng(6)
    for step in range(STEPS):
        # Runs of constant extremes as well as white noise: both are what untrained learners do.
        action = rng.uniform(-1.0, 1.0, (SITES, world.action_size))
        if (step // 40) % 3 == 1:
            action = np.sign(action)
        if like is not None:
            action = core.xp.asarray(action, like=like)
        result = core.step(action)
        observation = np.asarray(result.observation)
        assert np.isfinite(observation).all()
        assert (observation >= low).all()
        assert (observation <= high).all()
        for name, value in result.info.items():
            assert np.isfinite(np.asarray(value)).all(), name
        assert (np.asarray(result.cost) >= 0.0).all()
        power_kw = np.asarray(result.info["power_site_kw"])
        assert (power_kw >= 0.0).all()
        assert (power_kw < 2.5e-3 * world.params.curves.power_rated_site_w).all()
        assert (np.asarray(result.info["temp_chip_max_c"]) < 130.0).all()
    if case == "uri at -50 C":
        assert float(np.max(world.table.column("energy_price_usd_per_mwh"))) > 8995.0


def test_the_four_cases_make_a_million_site_steps() -> None:
    assert 4 * STEPS * SITES >= 1_000_000
