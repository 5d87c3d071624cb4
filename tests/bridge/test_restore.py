"""Putting the fleet back, from the journal alone: all fields, again after crashes, and honest about what is left."""

from __future__ import annotations

import pytest

from minesim.bridge.miners.miner import (
    FanMode,
    Power,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    State,
    SwitchPool,
)
from minesim.bridge.writing.actuator import Actuator, Answers, Order
from minesim.bridge.writing.journal import Journal
from minesim.bridge.writing.plan import Desired
from minesim.bridge.writing.restore import SHARE_PER_MIN, restore
from tests.bridge.fake_miner import FakeClock, FakeMiner, Fault

PRESET = "miner.overclock.preset"
STOP, START = SetPower(Power.STOP), SetPower(Power.START)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "bridge.sqlite") as opened:
        yield opened


async def written(journal, clock, miners, *writes):
    """Have the bridge write to miners before the story begins."""
    actuator = Actuator(journal, miners, clock)
    for write in writes:
        clock.advance(200.0)
        for name in miners:
            await actuator.read_back(name)
        await actuator.apply([Order(name, (write,)) for name in miners], cycle=1, policy="p")
    clock.advance(200.0)
    for name in miners:
        await actuator.read_back(name)
    assert journal.open_intents() == ()


def fleet(clock, count=1):
    return {f"m{number}": FakeMiner(clock, f"m{number}") for number in range(count)}


async def test_everything_goes_back_in_a_safe_order_and_a_second_time_does_nothing(journal, clock):
    miners = fleet(clock)
    miner = miners["m0"]
    miner.settings["miner.overclock.preset_switcher.enabled"] = True
    before = miner.snapshot()
    await written(
        journal,
        clock,
        miners,
        SetThrottle(0.7),
        SetFan(FanMode.MANUAL, 0.8),
        SwitchPool(1),
        SetPreset("2000", "2000"),
        STOP,
    )
    miner.arrived.clear()
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete, result.detail
    assert miner.snapshot() == before
    settings, pool, start, throttle = [write for _, write in miner.arrived]
    assert dict(settings.values) == {
        PRESET: "2500",
        "miner.overclock.preset_switcher.top_preset": "3000",
        "miner.cooling.mode": {"name": "auto", "param": 60},
    }
    assert (pool, start, throttle) == (SwitchPool(0), START, SetThrottle(1.0))
    assert await restore(journal, miners, clock, actor="ann") == ()
    assert [entry.action for entry in journal.audit() if entry.actor == "ann"] == ["restore", "restore"]


async def test_a_running_miner_gets_its_throttle_first_and_a_restart_only_if_it_needs_one(journal, clock):
    miners = fleet(clock)
    miners["m0"].needs_restart = True
    await written(journal, clock, miners, SetPreset("2000"), SetThrottle(0.5))
    miners["m0"].arrived.clear()
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete
    assert [write for _, write in miners["m0"].arrived] == [
        SetThrottle(1.0),
        SetFields(((PRESET, "2500"),)),
        SetPower(Power.RESTART),
    ]


async def test_only_what_differs_is_written(journal, clock):
    miners = fleet(clock)
    await written(journal, clock, miners, SetPreset("2000"), SetThrottle(0.5))
    miners["m0"].by_hand(SetPreset("2500"))
    miners["m0"].arrived.clear()
    await restore(journal, miners, clock, actor="ann")
    assert [write for _, write in miners["m0"].arrived] == [SetThrottle(1.0)]


async def test_a_field_that_was_absent_is_emptied(journal, clock):
    miners = fleet(clock)
    del miners["m0"].settings["miner.overclock.preset_switcher.top_preset"]
    await written(journal, clock, miners, SetPreset("2000", "2000"))
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete
    assert miners["m0"].settings["miner.overclock.preset_switcher.top_preset"] is None


async def test_a_paused_miner_is_resumed_and_not_started(journal, clock):
    miners = fleet(clock)
    await written(journal, clock, miners, SetPower(Power.PAUSE))
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete
    assert miners["m0"].arrived[-1][1] == SetPower(Power.RESUME)


async def test_manual_mode_is_refused_and_unreachable_ones_are_reported(journal, clock):
    miners = fleet(clock, 4)
    before = miners["m3"].snapshot()
    await written(journal, clock, miners, SetPreset("2000"))
    miners["m0"].by_hand(SetFields(((PRESET, "disabled"),)))
    miners["m1"].reachable = False
    del miners["m2"]
    heard = []
    results = {r.miner: r for r in await restore(journal, miners, clock, actor="ann", told=heard.append)}
    assert {name: result.complete for name, result in results.items()} == {
        "m0": False,
        "m1": False,
        "m2": False,
        "m3": True,
    }
    assert "manual mode" in results["m0"].detail
    assert "does not answer" in results["m1"].detail
    assert "not in the inventory" in results["m2"].detail
    assert miners["m0"].settings[PRESET] == "disabled"
    assert miners["m3"].snapshot() == before
    assert sorted(heard, key=lambda r: r.miner) == [results[name] for name in sorted(results)]
    # The one that was away comes back.
    miners["m1"].reachable = True
    again = await restore(journal, miners, clock, actor="ann")
    assert {r.miner: r.complete for r in again} == {"m0": False, "m1": True, "m2": False}


async def test_a_miner_that_waits_for_its_turn_is_looked_at_again(journal, clock):
    miners = fleet(clock, 2)
    await written(journal, clock, miners, SetPreset("2000"))

    def heard(first):
        if first.complete:
            other = miners["m1" if first.miner == "m0" else "m0"]
            other.by_hand(SetFields(((PRESET, "disabled"),)))

    results = await restore(journal, miners, clock, actor="ann", told=heard)
    assert sorted(result.complete for result in results) == [False, True]
    assert sorted(miner.settings[PRESET] for miner in miners.values()) == ["2500", "disabled"]


async def test_what_somebody_else_stopped_is_not_started(journal, clock):
    miners = fleet(clock)
    await written(journal, clock, miners, STOP, START, SetPreset("2000"))
    miners["m0"].by_hand(STOP)
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete
    assert "somebody else stopped it" in result.detail
    assert miners["m0"].state is State.STOPPED
    assert miners["m0"].settings[PRESET] == "2500"


async def test_a_change_by_hand_is_told(journal, clock):
    miners = fleet(clock)
    await written(journal, clock, miners, SetPreset("2000"))
    miners["m0"].by_hand(SetPreset("1500"))
    actuator = Actuator(journal, miners, clock)
    look = Answers(await miners["m0"].configuration(), await miners["m0"].reading())
    actuator.plan({"m0": Desired(True)}, {"m0": look})
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete
    assert "was found changed by hand: preset '1500'" in result.detail
    assert miners["m0"].settings[PRESET] == "2500"


@pytest.mark.parametrize(
    "fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.IGNORED, Fault.UNREACHABLE, Fault.REFUSED]
)
async def test_a_write_that_fails_once_is_made_again(journal, clock, fault):
    miners = fleet(clock)
    before = miners["m0"].snapshot()
    await written(journal, clock, miners, SetPreset("2000"), STOP)
    miners["m0"].faults = [fault, Fault.NONE, fault]
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete, result.detail
    assert miners["m0"].snapshot() == before


async def test_a_write_that_never_works_is_given_up_and_the_rest_goes_on(journal, clock):
    miners = fleet(clock)
    await written(journal, clock, miners, SetPreset("2000"), STOP)
    miners["m0"].faults = [Fault.REFUSED] * 3
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert not result.complete
    assert "given up" in result.detail
    assert miners["m0"].state is State.MINING
    assert journal.written_miners() == ("m0",)


async def test_a_stop_under_way_is_settled_before_anything_else(journal, clock):
    miners = fleet(clock)
    miners["m0"].delay_s = 120.0
    await Actuator(journal, miners, clock).apply([Order("m0", (STOP,))], cycle=1, policy="p")
    miners["m0"].delay_s = 0.0
    (result,) = await restore(journal, miners, clock, actor="ann")
    assert result.complete
    assert [write for _, write in miners["m0"].arrived] == [STOP, START]
    assert miners["m0"].state is State.MINING


async def test_a_lost_set_point_that_arrives_late_is_waited_for(journal, clock):
    miners = fleet(clock)
    miners["m0"].delay_s, miners["m0"].faults = 90.0, [Fault.LOST_AFTER]
    await Actuator(journal, miners, clock).apply([Order("m0", (SetThrottle(0.5),))], cycle=1, policy="p")
    miners["m0"].delay_s = 0.0
    await Actuator(journal, miners, clock).recover()
    assert journal.open_intents() == ()
    (result,) = await restore(journal, miners, clock, actor="ann")
    clock.advance(3600.0)
    assert result.complete
    assert miners["m0"].snapshot()["throttle"] == 1.0


async def test_miners_begin_at_the_pace_of_the_ramp(journal, clock):
    miners = fleet(clock, 40)
    await written(journal, clock, miners, STOP)
    results = await restore(journal, miners, clock, actor="ann")
    assert all(result.complete for result in results)
    starts = sorted(at_s for miner in miners.values() for at_s, write in miner.arrived if write == START)
    for at_s in starts:
        assert sum(at_s <= other < at_s + 60.0 for other in starts) <= SHARE_PER_MIN * len(miners)


async def test_the_bridge_starts_anew_after_a_restore(journal, clock):
    miners = fleet(clock)
    await written(journal, clock, miners, SetPreset("2000"))
    await restore(journal, miners, clock, actor="ann")
    clock.advance(60.0)
    actuator = Actuator(journal, miners, clock)
    look = Answers(await miners["m0"].configuration(), await miners["m0"].reading())
    plans = actuator.plan({"m0": Desired(True, "1500")}, {"m0": look})
    assert (plans["m0"].writes, plans["m0"].notes) == ((SetPreset("1500"),), ())
