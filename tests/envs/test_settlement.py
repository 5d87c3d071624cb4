"""Peaks and reserves as an environment settles them."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.envs.core import build_world
from minesim.envs.single import make_config
from tests.twin import core_of


def test_a_missed_4cp_interval_costs_a_quarter_of_the_rate_and_a_caught_one_almost_nothing() -> None:
    """27 June 2023, 16:45 to 17:00 local (21:45 UTC): 66.757 USD/kW-year / 4 on the mean load of that interval."""
    world = build_world(
        make_config(scenario="ercot/4cp", site="container", limits="free", difficulty="easy", episode_days=1.0)
    )
    bills = {}
    for name, action in (("always", 1.0), ("stopped", -1.0)):
        core = core_of(world, 1, start=np.datetime64("2023-06-27T12:00"))
        paid, power = [], []
        for step in range(world.horizon_steps):
            in_window = 9 * 12 <= step < 10 * 12 + 6
            result = core.step(np.full((1, world.action_size), action if in_window else 1.0))
            paid.append(result.info["coincident_usd"][0])
            power.append(result.info["power_site_kw"][0])
        bills[name] = sum(paid)
        charged = int(np.flatnonzero(paid)[0])
        assert np.flatnonzero(paid).tolist() == [charged]
        assert charged == int((21.75 - 12.0) * 12) + 2, "settled when the interval closes"
        mean_kw = np.mean(power[charged - 2 : charged + 1])
        assert sum(paid) == pytest.approx(66.756998 / 4.0 * mean_kw, rel=1e-6)
    assert bills["stopped"] < 0.02 * bills["always"]


def test_a_held_reserve_is_paid_and_an_unheld_one_is_not() -> None:
    world = build_world(make_config(scenario="ercot/reserves", limits="free", difficulty="easy", episode_days=1.0))
    assert world.action_size == world.cohorts + 1
    income = {}
    for name, level, offer in (("holding", 1.0, 0.0), ("stopped", -1.0, 0.0), ("none", 1.0, -1.0)):
        core = core_of(world, 1, start=np.datetime64("2023-09-05T12:00"))
        total = 0.0
        for step in range(world.horizon_steps):
            run = 1.0 if step < 24 else level
            action = np.concatenate([np.full(world.cohorts, run), [offer if step < 25 or offer < 0 else 0.0]])
            total += core.step(action[None]).info["reserve_usd"][0]
        income[name] = total
    assert income["none"] == 0.0
    assert income["holding"] > 0.0
    assert income["stopped"] < income["holding"]


def test_a_call_is_observed_and_costs_whoever_ignores_it() -> None:
    world = build_world(make_config(scenario="ercot/reserves", limits="free", difficulty="easy", episode_days=2.0))
    calls = np.flatnonzero(world.table.column("reserve_call") > 0.5)
    row = int(calls[calls > 4 * 24 * 700][0]) - 4 * 6
    results = {}
    for name in ("ignores", "obeys"):
        core = core_of(world, 1, start=row)
        total, seen = 0.0, 0
        for _ in range(12 * 24):
            called = core.schema.read(core.observation(), "reserve_call")[0, 0] > 0.5
            seen += int(called)
            level = -1.0 if called and name == "obeys" else 1.0
            action = np.concatenate([np.full(world.cohorts, level), [0.0]])
            total += core.step(action[None]).info["reserve_usd"][0]
        assert seen > 0
        results[name] = total
    assert results["obeys"] > results["ignores"]
