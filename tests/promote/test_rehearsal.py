"""The rehearsal counts what breaks a limit, and finds nothing where the envelope holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minesim.arrays import Array
from minesim.control.envelope import Limits, limits
from minesim.control.fleet import CohortSpec
from minesim.envs.core import World
from minesim.promote.rehearsal import BROKEN, LimitsWatch, rehearse
from minesim.site_spec import SiteSpec
from tests.twin import core_of, generated_world

STARTS = np.array(["2022-07-01", "2022-07-02"], "datetime64[s]")
SITE = SiteSpec("three", tuple(CohortSpec("Antminer S19j Pro (104T)", 10) for _ in range(3)))


class Restless:
    """Stops everything, then asks for everything, every quarter of an hour."""

    name = "restless"

    def __init__(self) -> None:
        self._step = 0

    def act(self, observation: Array) -> Array:
        self._step += 1
        return np.full((len(observation), 3), -1.0 if self._step // 3 % 2 else 1.0)

    def reset(self, done: Array | None = None) -> None:
        self._step = 0


class Steady:
    """Stock, always."""

    name = "steady"

    def act(self, observation: Array) -> Array:
        return np.ones((len(observation), 3))

    def reset(self, done: Array | None = None) -> None:
        pass


def world(bounds: str | Limits) -> World:
    return generated_world(limits=bounds, site=SITE, split=None, episode_days=1.0)


def test_under_the_envelope_even_a_restless_policy_breaks_nothing() -> None:
    found = rehearse([Restless(), Steady()], world("bridge"), STARTS)
    assert [item.total for item in found] == [0, 0]
    assert found[0].held_back["ramp"] > 0.05
    assert found[0].held_back["stop_budget"] > 0.0
    assert found[1].held_back["ramp"] == 0.0
    assert found[1].profit_usd.shape == (2,)
    # Steps with an answer missing are held for both alike.
    assert found[0].profit_usd.mean() < found[1].profit_usd.mean()


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"ramp_up_per_5min": 0.1}, "ramp"),
        ({"ramp_up_per_min": 0.05}, "ramp"),
        ({"dwell_up_s": 7200.0}, "dwell"),
        ({"write_gap_s": 1200.0}, "write_gap"),
        ({"stops_per_day": 6.0}, "stops"),
        ({"site_cap_w": 50e3}, "site_cap"),
        ({"temp_chip_soft_c": 40.0}, "soft_temp"),
        ({"temp_board_hard_c": 30.0}, "hard_temp"),
        ({"age_max_s": -10.0}, "stale"),
        ({"temp_chip_hard_c": 40.0}, "chip_hard"),
    ],
)
def test_what_no_envelope_stops_is_counted(changes: dict[str, float], broken: str) -> None:
    """The watch holds commands that went out freely against limits that were not in force."""
    free = world("free")
    core = core_of(free, 2, start=STARTS, split=None)
    watch = LimitsWatch(replace(free, limits=replace(limits("free"), **changes)), 2)
    policy = Restless()
    observation = core.observation()
    for _ in range(100):
        action = policy.act(observation)
        watch.before(core, action)
        result = core.step(action)
        watch.after(core, result)
        observation = result.observation
    assert (watch.broken[broken] > 0).all()
    if broken not in ("hard_temp", "chip_hard"):
        assert {name for name, count in watch.broken.items() if count.any()} == {broken}


def test_stops_are_counted_by_the_local_day() -> None:
    """Every half hour a stop, 48 a day: all but 30 of each day are too many."""
    free = world("free")
    watch = LimitsWatch(replace(free, limits=replace(limits("free"), stops_per_day=30.0)), 1)
    core = core_of(free, 1, start=STARTS[:1], split=None)
    policy, day = Restless(), []
    for _ in range(288):
        action = policy.act(core.observation())
        watch.before(core, action)
        watch.after(core, core.step(action))
        day.append(int(core.history.local_day[0]))
    _, steps = np.unique(day, return_counts=True)
    expected = sum(max(0, int(count) // 6 - 30) for count in steps)
    assert expected > 0
    assert abs(int(watch.broken["stops"][0]) - expected) <= 2


def test_all_that_is_counted_is_explained() -> None:
    assert set(LimitsWatch(world("free"), 1).broken) == set(BROKEN)
