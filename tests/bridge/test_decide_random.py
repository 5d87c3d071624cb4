"""A site that anything may happen to: whatever hypothesis does to it, the decider keeps its promises."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.bridge.deciding.decide import HELD, Settings
from minesim.bridge.deciding.guard import AGE_MAX_S, Why
from minesim.bridge.miners.miner import State
from tests.bridge.stand_in import OFF
from tests.bridge.test_decide import RATED_W, Site, Wish

COUNT = 8
EVENTS = {
    "hot": {"temp_chip_c": 87.0, "temp_board_c": 72.0},
    "warm": {"temp_chip_c": 82.0, "temp_board_c": 67.0},
    "blind": {"temp_chip_c": None, "temp_board_c": None},
    "dumb": {"power_w": None},
    "odd": {"inconsistent": ("boards",)},
    "failed": {"state": State.FAILURE},
    "unknown": {"state": State.UNKNOWN},
    "tuning": {"state": State.AUTO_TUNING},
    "booting": {"state": State.STARTING, "hashrate_ths": 0.0},
    "zeros": {"temp_chip_c": 0.0, "temp_board_c": 0.0, "power_w": 0.0, "hashrate_ths": 0.0},
}

steps = st.fixed_dictionaries(
    {
        "seconds": st.sampled_from([10.0, 20.0, 60.0, 290.0, 300.0, 1000.0]),
        "action": st.sampled_from([-1.0, -0.88, -0.5, 0.0, 0.7, 1.0]),
        "who": st.integers(0, COUNT - 1),
        "event": st.sampled_from([None, "silent", "well", "by_hand", "pending", "off", *EVENTS]),
        "wall": st.sampled_from([0.0] * 12 + [-4000.0, 40.0, 90000.0]),
        "obey": st.sampled_from([True, True, True, False]),
        "feeds": st.sampled_from([True] * 6 + [False]),
        "meter": st.sampled_from([None, 0.5, 0.95, 1.02, 1.3]),
        "restart": st.sampled_from([False] * 6 + [True]),
    }
)


@given(st.lists(steps, min_size=3, max_size=30), st.booleans(), st.sampled_from([0.6, 0.9, 2.0]))
@settings(max_examples=40, deadline=None)
def test_nothing_that_happens_breaks_a_promise(course: list[dict[str, object]], switcher: bool, share: float) -> None:
    cap_w = share * COUNT * RATED_W
    site = Site(
        policy=Wish(0.5),
        count=COUNT,
        settings=Settings(cap_w=cap_w, fallback_after_s=600.0),
        switcher=replace(OFF, enabled=switcher),
    )
    site.go(0.0)
    rises: list[tuple[float, float]] = []
    for step in course:
        address = site.addresses[int(str(step["who"]))]
        event = step["event"]
        site.silent.discard(address)
        site.told.pop(address, None)
        site.extra.pop(address, None)
        if event == "silent":
            site.silent.add(address)
        elif event in ("by_hand", "pending"):
            site.extra[address] = {str(event): True}
        elif event == "off":
            site.run[address] = False
            site.extra[address] = {"halted_by": None}
        elif event in EVENTS:
            site.told[address] = EVENTS[str(event)]
        site.policy.action = float(str(step["action"]))
        site.obey, site.feeds_on = bool(step["obey"]), bool(step["feeds"])
        site.meter_w = None if step["meter"] is None else float(str(step["meter"])) * cap_w
        if step["restart"]:
            kept = json.dumps(site.decider.to_json(), allow_nan=False)
            memory = site.decider.memory
            site.decider = site.fresh()
            site.decider.recall(json.loads(kept))
            assert site.decider.memory.to_json() == memory.to_json()
        before_run = dict(site.run)
        seconds = float(str(step["seconds"]))
        result = site.go(seconds, wall_s=seconds + float(str(step["wall"])))

        for name in site.addresses:
            why, wanted = result.why[name], result.desired[name]
            if why in HELD:
                assert name not in result.changed, (name, why)
            if name in site.silent and site.now_s - site.last[name].at_s > AGE_MAX_S:
                assert why in (Why.STALE, Why.UNREACHABLE) or why in HELD or why >= Why.STALE
            if name in result.changed and not before_run[name] and wanted.run:
                assert why not in (Why.HARD_TEMP, Why.COOLING, Why.HOLD, Why.FALLBACK)
        if result.trouble:
            raised = [n for n in result.changed if result.desired[n].run and not before_run[n]]
            assert raised == []
        if site.obey and not step["wall"]:  # remembered rises move with the clock
            sent = [rise_w for at_s, rise_w, _ in site.decider.memory.rises if at_s == site.now_s]
            rises = [*((site.steady_s, rise_w) for rise_w in sent), *rises]
        window_w = [w for at_s, w in rises if site.steady_s - at_s < 300.0]
        minute_w = [w for at_s, w in rises if site.steady_s - at_s < 60.0]
        rated_w = COUNT * RATED_W
        # A miner is an eighth of this site, so each rises alone.
        assert len(window_w) <= 1 or sum(window_w) <= 0.10 * rated_w * 1.001
        assert len(minute_w) <= 1 or sum(minute_w) <= 0.05 * rated_w * 1.001
        assert result.counted_w <= max(cap_w, COUNT * RATED_W) * 1.001


def test_one_miner_in_a_group_of_its_own_needs_no_neighbours() -> None:
    site = Site(policy=Wish(0.5), count=1)
    assert site.go(0.0).decision is not None
    site.silent = set(site.addresses)
    result = site.go(400.0)
    assert result.why[site.addresses[0]] is Why.UNREACHABLE
    assert result.counted_w == pytest.approx(RATED_W)
