"""What is still missing on a miner: as little as possible, in a safe order, and never against a person."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.bridge.miners.miner import (
    Configuration,
    FanMode,
    PoolReading,
    Power,
    Reading,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    State,
    Switcher,
    SwitchPool,
)
from minesim.bridge.writing.owned import Held, Known, Owned, after_done, after_intent, after_refusal
from minesim.bridge.writing.plan import RESTART_WINDOW_S, Desired, Note, plan, read_back_limit_s, satisfied

OFF = Switcher(enabled=False, top_preset="3000", min_preset=None, rise_temp_c=55.0, decrease_temp_c=75.0)
ON = replace(OFF, enabled=True)
CONFIGURED = Configuration(
    preset="2500", switcher=OFF, fan_mode=FanMode.AUTO, fan_setting=60.0, restart_temp_c=90.0, modded_psu=False
)
MINING = Reading(
    at_s=1000.0,
    state=State.MINING,
    hashrate_ths=90.0,
    power_w=2500.0,
    temp_chip_c=65.0,
    temp_board_c=50.0,
    fan_duty=0.5,
    preset="2500",
    throttle=1.0,
)
STOPPED = replace(MINING, state=State.STOPPED, hashrate_ths=0.0)
OURS = Owned(preset="2500")
STOPPED_BY_US = Owned(preset="2500", halted_by=Power.STOP, halt_confirmed=True)
STOP, START = SetPower(Power.STOP), SetPower(Power.START)


def writes(desired, configuration=CONFIGURED, reading=MINING, owned=OURS, **known):
    return plan(desired, configuration, reading, Known(owned, **known)).writes


def notes(desired, configuration=CONFIGURED, reading=MINING, owned=OURS, **known):
    return plan(desired, configuration, reading, Known(owned, **known)).notes


def test_a_miner_that_does_what_is_desired_needs_no_write():
    assert writes(Desired(True, "2500", 1.0)) == ()
    assert writes(Desired(True)) == ()
    assert writes(Desired(False), reading=STOPPED, owned=STOPPED_BY_US) == ()


@pytest.mark.parametrize(
    ("present", "desired", "order"),
    [
        (1.0, Desired(True, "2000", 0.8), (SetThrottle(0.8), SetPreset("2000"))),
        (0.8, Desired(True, "3000", 1.0), (SetPreset("3000"), SetThrottle(1.0))),
        (0.8, Desired(True, "3000", 0.7), (SetThrottle(0.7), SetPreset("3000"))),
    ],
)
def test_a_lower_throttle_goes_first_and_a_higher_one_last(present, desired, order):
    assert writes(desired, reading=replace(MINING, throttle=present)) == order


@given(
    st.sampled_from(["1500", "2000", "2500", "3000"]),
    st.floats(0.2, 1.0),
    st.sampled_from(["1500", "2000", "2500", "3000"]),
    st.floats(0.2, 1.0),
)
def test_no_order_of_writes_draws_more_than_the_higher_of_old_and_new(preset, share, new_preset, new_share):
    reading = replace(MINING, throttle=round(share, 2))
    configuration = replace(CONFIGURED, preset=preset)
    draws = [float(preset), reading.throttle]
    start_w = draws[0] * draws[1]
    highest_w = start_w
    for write in writes(Desired(True, new_preset, new_share), configuration, reading, Owned(preset=preset)):
        draws[isinstance(write, SetThrottle)] = write.share if isinstance(write, SetThrottle) else float(write.name)
        highest_w = max(highest_w, draws[0] * draws[1])
    assert draws[0] * draws[1] == pytest.approx(float(new_preset) * new_share, abs=0.005 * float(new_preset) + 1e-6)
    assert highest_w <= max(start_w, draws[0] * draws[1]) + 1e-6


@pytest.mark.parametrize(("share", "percent"), [(0.7049, 0.70), (0.7051, 0.71), (0.05, 0.2), (1.4, 1.0)])
def test_throttle_is_whole_percent_within_what_the_firmware_takes(share, percent):
    assert writes(Desired(True, throttle=share), reading=replace(MINING, throttle=0.5)) == (SetThrottle(percent),)
    assert writes(Desired(True, throttle=share), reading=replace(MINING, throttle=percent)) == ()


def test_firmware_without_throttle_is_told_and_not_written_to():
    reading = replace(MINING, throttle=None)
    assert plan(Desired(True, throttle=0.5), CONFIGURED, reading, Known(OURS)).notes == (Note.NO_THROTTLE,)
    assert plan(Desired(True, throttle=1.0), CONFIGURED, reading, Known(OURS)).notes == ()


def test_an_enabled_switcher_gets_its_ceiling_moved_with_the_preset():
    configuration, owned = replace(CONFIGURED, switcher=ON), Owned(preset="2500", top_preset="3000")
    assert writes(Desired(True, "2000"), configuration, owned=owned) == (SetPreset("2000", "2000"),)
    at_top = replace(CONFIGURED, switcher=replace(ON, top_preset="2500"))
    assert writes(Desired(True, "2500"), at_top, owned=Owned("2500", "2500")) == ()
    # The configured preset is right, but the switcher would climb above it.
    assert writes(Desired(True, "2500"), configuration, owned=owned) == (SetPreset("2500", "2500"),)


def test_a_miner_stopped_by_the_bridge_gets_its_preset_and_is_started_with_the_matching_command():
    assert writes(Desired(True, "2000", 0.8), reading=STOPPED, owned=STOPPED_BY_US) == (SetPreset("2000"), START)
    paused = replace(STOPPED_BY_US, halted_by=Power.PAUSE)
    assert writes(Desired(True), reading=STOPPED, owned=paused) == (SetPower(Power.RESUME),)


def test_a_miner_stopped_by_somebody_else_is_not_started():
    assert writes(Desired(True, "2000"), reading=STOPPED) == ()
    assert notes(Desired(True, "2000"), reading=STOPPED) == (Note.STOPPED_BY_SOMEBODY,)


def test_a_miner_that_the_bridge_paused_stands_whatever_state_it_shows():
    paused = Owned("2500", halted_by=Power.PAUSE, halt_confirmed=True)
    shows_mining = replace(MINING, hashrate_ths=0.0)
    assert writes(Desired(False), reading=shows_mining, owned=paused) == ()
    assert writes(Desired(True), reading=shows_mining, owned=paused) == (SetPower(Power.RESUME),)
    assert satisfied(SetPower(Power.PAUSE), CONFIGURED, shows_mining) is True
    assert satisfied(SetPower(Power.RESUME), CONFIGURED, shows_mining) is False


@pytest.mark.parametrize("state", [State.STARTING, State.INITIALIZING, State.AUTO_TUNING, State.RESTARTING])
def test_a_miner_on_its_way_up_is_only_stopped(state):
    reading = replace(MINING, state=state)
    assert plan(Desired(True, "2000", 0.5), CONFIGURED, reading, Known(OURS)).notes == (Note.BUSY,)
    assert writes(Desired(False), reading=reading) == (STOP,)


@pytest.mark.parametrize(("state", "note"), [(State.FAILURE, Note.FAILURE), (State.UNKNOWN, Note.STATE_UNKNOWN)])
@pytest.mark.parametrize("run", [True, False])
def test_a_miner_in_an_unclear_state_is_left(state, note, run):
    made = plan(Desired(run, "2000"), CONFIGURED, replace(MINING, state=state), Known(OURS))
    assert (made.writes, made.notes) == ((), (note,))
    assert note.sentence


def test_a_pending_write_holds_all_but_a_stop():
    assert writes(Desired(True, "2000"), pending=SetThrottle(0.8)) == ()
    assert notes(Desired(True, "2000"), pending=SetThrottle(0.8)) == (Note.PENDING,)
    assert writes(Desired(False), pending=SetThrottle(0.8)) == (STOP,)
    assert writes(Desired(False), pending=STOP) == ()


def test_a_restart_follows_a_preset_of_ours_that_needs_it_and_nobody_elses():
    needs = replace(MINING, restart_required=True)
    assert writes(Desired(True, "2500"), reading=needs) == ()
    owing = replace(OURS, restart_owed_at_s=900.0)
    assert writes(Desired(True, "2500"), reading=needs, owned=owing) == (SetPower(Power.RESTART),)
    done = after_done(owing, SetPower(Power.RESTART))
    assert done.restart_owed_at_s is None
    # Where the firmware asked for none, a later demand is somebody else's.
    assert plan(Desired(True, "2500"), CONFIGURED, MINING, Known(owing)).owned.restart_owed_at_s is None


def test_a_preset_changed_by_hand_holds_the_miner_until_it_is_released():
    by_hand = replace(CONFIGURED, preset="1500")
    made = plan(Desired(True, "2500"), by_hand, MINING, Known(OURS))
    assert (made.writes, made.notes, made.owned.held) == ((), (Note.CHANGED_BY_HAND,), Held.CHANGED_BY_HAND)
    assert "'1500'" in made.owned.held_detail
    # Not even a stop, and not even when it is back where it was.
    again = plan(Desired(False), CONFIGURED, MINING, Known(made.owned))
    assert (again.writes, again.owned) == ((), made.owned)


def test_a_ceiling_changed_by_hand_counts_as_well():
    lowered = replace(CONFIGURED, switcher=replace(ON, top_preset="2500"))
    assert plan(Desired(True, "2500"), lowered, MINING, Known(Owned("2500", "3000"))).owned.held is Held.CHANGED_BY_HAND
    switched_on = replace(CONFIGURED, switcher=ON)
    assert plan(Desired(True, "2500"), switched_on, MINING, Known(OURS)).owned.held is Held.CHANGED_BY_HAND


def test_a_late_preset_of_ours_is_no_change_by_hand():
    late = replace(CONFIGURED, preset="1500")
    made = plan(Desired(True, "1500"), late, MINING, Known(OURS, asked=(SetPreset("1500"),)))
    assert (made.writes, made.owned.held, made.owned.preset) == ((), None, "1500")


def test_the_first_look_takes_what_it_finds_and_manual_mode_is_left():
    made = plan(Desired(True), CONFIGURED, MINING, Known())
    assert (made.owned.preset, made.owned.held) == ("2500", None)
    manual = plan(Desired(False), replace(CONFIGURED, preset=None), MINING, Known())
    assert (manual.writes, manual.notes, manual.owned.held) == ((), (Note.MANUAL_MODE,), Held.MANUAL_MODE)


def test_a_halt_that_was_undone_is_repeated_once_and_then_taken_as_a_wish():
    first = plan(Desired(False), CONFIGURED, MINING, Known(STOPPED_BY_US))
    assert first.writes == (STOP,)
    stopped_again = after_done(after_intent(first.owned, STOP, 1000.0), STOP)
    later = replace(MINING, at_s=1000.0 + RESTART_WINDOW_S - 1.0)
    second = plan(Desired(False), CONFIGURED, later, Known(stopped_again))
    assert (second.writes, second.owned.held) == ((), Held.CHANGED_BY_HAND)
    next_day = replace(MINING, at_s=1000.0 + 86400.0)
    assert plan(Desired(False), CONFIGURED, next_day, Known(stopped_again)).writes == (STOP,)


def test_a_halt_is_owned_from_its_intent_until_it_certainly_did_not_happen():
    owned = after_intent(OURS, STOP, 1000.0)
    assert writes(Desired(True), reading=STOPPED, owned=owned) == (START,)
    assert writes(Desired(True), reading=STOPPED, owned=after_refusal(owned, STOP)) == ()
    # It runs and shall run: what stops it from here on is somebody else.
    assert plan(Desired(True), CONFIGURED, MINING, Known(owned)).owned.halted_by is None


def test_read_back_tells_yes_no_or_not_yet():
    pools = (PoolReading(0, "", "", "active", 0, 0), PoolReading(1, "", "", "working", 0, 0))
    needs = replace(MINING, restart_required=True)
    cases = [
        (SetPreset("2500"), MINING, True),
        (SetPreset("2500", "3000"), MINING, True),
        (SetPreset("2500", "2500"), MINING, False),
        (SetPreset("2000"), MINING, False),
        (SetThrottle(0.8), replace(MINING, throttle=0.8), True),
        (SetThrottle(0.8), MINING, False),
        (SetThrottle(0.8), replace(MINING, throttle=None), None),
        (SetFan(FanMode.AUTO, 60.0), MINING, True),
        (SetFan(FanMode.AUTO, 65.0), MINING, False),
        (SetFan(FanMode.MANUAL, 0.6), MINING, False),
        (SwitchPool(0), replace(MINING, pools=pools), True),
        (SwitchPool(1), replace(MINING, pools=pools), False),
        (SwitchPool(1), MINING, None),
        (STOP, STOPPED, True),
        (STOP, MINING, False),
        (STOP, replace(MINING, state=State.UNKNOWN), None),
        (START, replace(MINING, state=State.INITIALIZING), True),
        (START, STOPPED, False),
        (SetPower(Power.RESTART), needs, False),
        (SetPower(Power.RESTART), replace(needs, state=State.RESTARTING), True),
        (SetPower(Power.RESTART), MINING, True),
        (SetPower(Power.REBOOT), MINING, None),
        (SetPower(Power.REBOOT), replace(MINING, state=State.STARTING), True),
        (SetFields((("miner.overclock.preset", "2500"),)), MINING, None),
    ]
    for write, reading, told in cases:
        assert satisfied(write, CONFIGURED, reading) is told, (write, reading.state)


def test_a_throttle_has_more_time_than_the_80_s_that_it_takes():
    assert 80.0 < read_back_limit_s(SetThrottle(0.5)) < read_back_limit_s(SetPower(Power.RESTART))
