"""Stories of single writes: lost, refused, ignored, late, overtaken, and against a person."""

from __future__ import annotations

import asyncio

import pytest

from minesim.bridge.miners.miner import MinerRefused, Power, SetFields, SetPower, SetPreset, SetThrottle, State
from minesim.bridge.writing.actuator import Actuator, Answers, Order, Planner, ReadOnlyPort, WriteLimits
from minesim.bridge.writing.journal import WHOLE_SITE, Desk, Journal
from minesim.bridge.writing.journal_records import IntentState
from minesim.bridge.writing.journal_store import JournalUnwritable
from minesim.bridge.writing.owned import Held
from minesim.bridge.writing.plan import Desired, Note
from tests.bridge.fake_miner import FakeClock, FakeMiner, Fault

PRESET = "miner.overclock.preset"
TOP = "miner.overclock.preset_switcher.top_preset"
STOP, START = SetPower(Power.STOP), SetPower(Power.START)


class Site:
    """Some fake miners behind an actuator, and the loop's steps in short."""

    def __init__(self, folder, count=1, limits=None):
        self.clock = FakeClock()
        self.miners = {f"m{number}": FakeMiner(self.clock, f"m{number}") for number in range(count)}
        self.journal = Journal.open(folder / "bridge.sqlite")
        self.limits = limits
        self.actuator = Actuator(self.journal, self.miners, self.clock, limits)

    @property
    def miner(self):
        return self.miners["m0"]

    async def answers(self):
        return {
            name: Answers(await port.configuration(), await port.reading())
            for name, port in self.miners.items()
            if port.reachable
        }

    async def step(self, desired, wait_s=60.0):
        """One poll and decision; returns the plans and what became of their writes."""
        self.clock.advance(wait_s)
        answers = await self.answers()
        self.actuator.settle(answers)
        targets = desired if isinstance(desired, dict) else dict.fromkeys(self.miners, desired)
        plans = self.actuator.plan(targets, answers)
        orders = [Order(name, made.writes, ("test",)) for name, made in plans.items()]
        results = await self.actuator.apply(orders, cycle=1, policy="test 1")
        return plans, results

    def restart(self):
        """The bridge comes up again."""
        self.journal.close()
        self.journal = Journal.open(self.journal.path)
        self.actuator = Actuator(self.journal, self.miners, self.clock, self.limits)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.journal.close()


def got(miner):
    return [write for _, write in miner.arrived]


async def test_a_plan_is_written_in_turn_and_read_back(site):
    _, results = await site.step(Desired(True, "2000", 0.8))
    assert [(r.write, r.state) for r in results] == [
        (SetThrottle(0.8), IntentState.SENT),
    ]
    _, results = await site.step(Desired(True, "2000", 0.8))
    assert [(r.write, r.state) for r in results] == [(SetPreset("2000"), IntentState.DONE)]
    _, results = await site.step(Desired(True, "2000", 0.8))
    assert results == ()
    assert got(site.miner) == [SetThrottle(0.8), SetPreset("2000")]
    assert site.journal.first_values("m0") == {PRESET: "2500", "mining.throttle": 1.0}


async def test_the_next_write_goes_out_at_once_after_one_that_was_read_back(site):
    await site.step(Desired(False))
    _, results = await site.step(Desired(True, "2000"))
    assert [(r.write, r.state) for r in results] == [(SetPreset("2000"), IntentState.DONE), (START, IntentState.DONE)]
    assert site.journal.owned("m0").halted_by is None


async def test_an_answer_that_was_lost_after_the_write_arrived_is_found(site):
    site.miner.faults = [Fault.LOST_AFTER]
    _, results = await site.step(Desired(False))
    assert [r.state for r in results] == [IntentState.DONE]
    await site.step(Desired(False))
    assert got(site.miner) == [STOP]


async def test_a_stop_that_was_lost_is_not_sent_again_until_it_certainly_did_not_happen(site):
    site.miner.faults = [Fault.LOST_BEFORE]
    await site.step(Desired(False))
    for _ in range(4):  # 60 to 240 s
        _, results = await site.step(Desired(False))
        assert results == ()
    assert site.miner.asked == [STOP]
    _, results = await site.step(Desired(False))
    assert [(r.write, r.state) for r in results] == [(STOP, IntentState.DONE)]
    story = [(i.write, i.state) for i in reversed(site.journal.intents())]
    assert story == [(STOP, IntentState.FAILED), (STOP, IntentState.DONE)]


async def test_a_set_point_that_was_lost_is_repeated_with_the_next_plan(site):
    site.miner.faults = [Fault.LOST_BEFORE]
    _, results = await site.step(Desired(True, "2000"))
    assert [r.state for r in results] == [IntentState.FAILED]
    _, results = await site.step(Desired(True, "2000"))
    assert [r.state for r in results] == [IntentState.DONE]


async def test_a_stop_that_acts_late_is_still_the_bridges_own(site):
    site.miner.delay_s = 400.0
    for _ in range(9):
        await site.step(Desired(False))
    assert site.miner.state is State.STOPPED
    site.miner.delay_s = 0.0
    await site.step(Desired(False))
    await site.step(Desired(True))
    assert site.miner.state is State.MINING


async def test_a_stop_that_acts_after_the_wish_has_changed_is_undone(site):
    site.miner.delay_s = 400.0
    for _ in range(5):
        await site.step(Desired(False))
    site.miner.delay_s = 0.0
    for _ in range(3):  # its 300 s are over, then it stops
        await site.step(Desired(True))
    assert got(site.miner) == [STOP, START]
    assert site.miner.state is State.MINING


async def test_a_poll_does_not_settle_what_is_just_being_sent(site):
    site.miner.answer_s = 20.0
    write = SetPreset("2000")
    sending = asyncio.create_task(site.actuator.apply([Order("m0", (write,))], cycle=1, policy="p"))
    while not site.miner.asked:
        await asyncio.sleep(0)
    site.actuator.settle(await site.answers())
    await site.actuator.read_back("m0")
    assert [intent.state for intent in site.journal.open_intents()] == [IntentState.INTENDED]
    (result,) = await sending
    assert result.state is IntentState.DONE


async def test_a_refusal_and_a_miner_that_is_away_end_the_intent_at_once(site):
    site.miner.faults = [Fault.REFUSED, Fault.UNREACHABLE]
    _, (refused,) = await site.step(Desired(False))
    assert (refused.state, site.journal.owned("m0").halted_by) == (IntentState.FAILED, None)
    _, (away,) = await site.step(Desired(False))
    assert away.state is IntentState.FAILED
    assert "does not answer" in away.detail
    assert site.journal.intent(away.intent).sent_at_s is None


async def test_nothing_is_written_where_the_first_value_cannot_be_read(site):
    desired = Desired(True, "2000")
    answers = await site.answers()
    plans = site.actuator.plan({"m0": desired}, answers)
    site.miner.reachable = False
    (result,) = await site.actuator.apply([Order("m0", plans["m0"].writes)], cycle=1, policy="p")
    assert (result.intent, site.miner.asked, site.journal.intents()) == (None, [], ())
    assert "could not be read" in result.detail


async def test_a_write_that_never_shows_is_tried_a_few_times_an_hour(site):
    site.miner.faults = [Fault.IGNORED] * 100
    details = []
    for _ in range(58):
        _, results = await site.step(Desired(True, "2000"))
        details += [result.detail for result in results]
    assert len(site.miner.asked) == WriteLimits().tries_per_h
    assert "failed 3 times within an hour" in details[-1]


async def test_a_stop_overtakes_a_set_point_that_still_waits(site):
    site.miner.delay_s = 80.0
    await site.step(Desired(True, throttle=0.5))
    site.miner.delay_s = 0.0
    _, results = await site.step(Desired(False), wait_s=5.0)
    assert [(r.write, r.state) for r in results] == [(STOP, IntentState.DONE)]
    overtaken = site.journal.intents()[-1]
    assert (overtaken.write, overtaken.state) == (SetThrottle(0.5), IntentState.UNKNOWN)
    # A set-point does not overtake anything.
    site.miner.delay_s = 80.0
    await site.step(Desired(True))
    (result,) = await site.actuator.apply([Order("m0", (SetPreset("2000"),))], cycle=1, policy="p")
    assert (result.intent, result.detail) == (None, "an earlier write has not been read back yet")


async def test_a_throttle_is_given_its_80_seconds(site):
    site.miner.delay_s = 80.0
    await site.step(Desired(True, throttle=0.5))
    plans, _ = await site.step(Desired(True, throttle=0.5))
    assert plans["m0"].notes == (Note.PENDING,)
    await site.step(Desired(True, throttle=0.5))
    assert [i.state for i in site.journal.intents()] == [IntentState.DONE]
    assert got(site.miner) == [SetThrottle(0.5)]


async def test_a_preset_that_needs_a_restart_gets_one(site):
    site.miner.needs_restart = True
    await site.step(Desired(True, "2000"))
    assert site.miner.restart_required
    _, results = await site.step(Desired(True, "2000"))
    assert [(r.write, r.state) for r in results] == [(SetPower(Power.RESTART), IntentState.DONE)]
    site.miner.restart_required = True  # somebody else changed something
    await site.step(Desired(True, "2000"))
    assert got(site.miner) == [SetPreset("2000"), SetPower(Power.RESTART)]


async def test_a_throttle_waits_for_the_restart_that_its_preset_needs(site):
    await site.step(Desired(True, throttle=0.8))
    site.miner.needs_restart = True
    _, results = await site.step(Desired(True, "2000", throttle=1.0))
    assert [type(r.write) for r in results] == [SetPreset], "the old preset would rise by it"
    for _ in range(3):
        await site.step(Desired(True, "2000", throttle=1.0))
    assert got(site.miner)[1:] == [SetPreset("2000"), SetPower(Power.RESTART), SetThrottle(1.0)]


async def test_an_operator_who_changes_the_preset_is_left_alone_until_release(site):
    await site.step(Desired(True, "2000"))
    site.miner.by_hand(SetPreset("1500"))
    for _ in range(3):
        plans, results = await site.step(Desired(True, "2000"))
        assert (results, plans["m0"].notes) == ((), (Note.CHANGED_BY_HAND,))
    assert site.journal.held()["m0"].held is Held.CHANGED_BY_HAND
    (refused,) = await site.actuator.apply([Order("m0", (STOP,))], cycle=1, policy="p")
    assert (refused.intent, refused.detail) == (None, "left alone: changed by hand")
    with Desk.open(site.journal.path) as desk:
        desk.resume("m0", actor="ann", reason="done", at_s=site.clock.now_s())
    _, results = await site.step(Desired(True, "2000"))
    assert [r.state for r in results] == [IntentState.DONE]
    assert got(site.miner) == [SetPreset("2000"), SetPreset("2000")]


async def test_an_operator_who_starts_a_halted_miner_twice_is_left_alone(site):
    await site.step(Desired(False))
    site.miner.by_hand(START)
    await site.step(Desired(False))
    assert site.miner.state is State.STOPPED  # it might have been a power cut
    site.miner.by_hand(START)
    for _ in range(3):
        await site.step(Desired(False))
    assert site.miner.state is State.MINING
    assert site.journal.held()["m0"].held is Held.CHANGED_BY_HAND


async def test_a_pause_of_one_miner_or_of_the_site_stops_writes(tmp_path):
    site = Site(tmp_path, count=2)
    with Desk.open(site.journal.path) as desk:
        desk.pause("m0", actor="ann", reason="cleaning", at_s=1.0)
        _, results = await site.step(Desired(True, "2000"))
        assert {(r.miner, r.detail, r.state) for r in results} == {("m0", "paused", None), ("m1", "", IntentState.DONE)}
        desk.resume("m0", actor="ann", reason="clean", at_s=2.0)
        desk.pause(WHOLE_SITE, actor="ann", reason="storm", at_s=3.0)
        _, results = await site.step(Desired(True, "1500"))
        assert {r.detail for r in results} == {"paused"}
    site.journal.close()


async def test_without_a_journal_nothing_is_sent(tmp_path):
    site = Site(tmp_path, count=20)
    pages = site.journal._connection.execute("PRAGMA page_count").fetchone()[0]
    site.journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    before = []

    async def go_on():
        for preset in ("2000", "1500") * 20:
            before[:] = [len(miner.asked) for miner in site.miners.values()]
            await site.step(Desired(True, preset))

    with pytest.raises(JournalUnwritable, match="disk is full"):
        await go_on()
    # What could not be journaled was not sent; what was sent may lack its outcome.
    intents = len(site.journal.intents())
    assert sum(len(miner.asked) for miner in site.miners.values()) == intents
    # Space again: it goes on.
    site.journal._connection.execute("PRAGMA max_page_count = 1000000")
    site.restart()
    assert await site.actuator.recover() == ()
    _, results = await site.step(Desired(True, "3000"))
    assert {r.state for r in results} == {IntentState.DONE}
    site.journal.close()


async def test_after_a_crash_a_miner_gets_no_write_before_its_intent_is_settled(tmp_path):
    site = Site(tmp_path, count=2)

    def crash():
        raise RuntimeError("the bridge dies here")

    for miner in site.miners.values():
        miner.before_write = crash
    with pytest.raises(RuntimeError):
        await site.step({"m0": Desired(False), "m1": Desired(True, "2000")})
    for miner in site.miners.values():
        miner.before_write = lambda: None
    site.restart()
    still_open = await site.actuator.recover()
    # The set-point may be repeated at once; the stop may still act.
    assert [(i.miner, i.write, i.state) for i in still_open] == [("m0", STOP, IntentState.INTENDED)]
    _, results = await site.step({"m0": Desired(False), "m1": Desired(True, "2000")})
    assert [(r.miner, r.state) for r in results] == [("m1", IntentState.DONE)]
    _, results = await site.step(Desired(False), wait_s=300.0)
    assert [(r.miner, r.state) for r in results] == [("m0", IntentState.DONE), ("m1", IntentState.DONE)]
    site.journal.close()


async def test_a_miner_that_is_away_after_a_crash_keeps_its_intent(site):
    site.miner.faults = [Fault.LOST_BEFORE]
    await site.step(Desired(False))
    site.miner.reachable = False
    site.restart()
    for _ in range(10):
        site.clock.advance(3600.0)
        assert [i.write for i in await site.actuator.recover()] == [STOP]
    site.miner.reachable = True
    assert await site.actuator.recover() == ()
    assert site.journal.intents()[0].state is IntentState.FAILED


@pytest.mark.parametrize("jump_s", [-86400.0, -200.0, 86400.0])
async def test_a_clock_that_jumps_sends_nothing_twice_within_the_read_back(site, jump_s):
    site.miner.faults = [Fault.LOST_BEFORE]
    await site.step(Desired(False))
    site.clock.jump(jump_s)
    for _ in range(4):
        await site.step(Desired(False))
    assert site.miner.asked == [STOP]
    for _ in range(6):
        await site.step(Desired(False))
    assert site.miner.asked == [STOP, STOP]


async def test_an_old_reading_plans_nothing(site):
    old = await site.answers()
    site.clock.advance(1.0)
    await site.actuator.apply([Order("m0", (STOP,))], cycle=1, policy="p")
    plans = site.actuator.plan({"m0": Desired(True)}, old)
    assert (plans["m0"].writes, plans["m0"].notes) == ((), (Note.OLD_READING,))
    assert site.journal.owned("m0").halted_by is Power.STOP


async def test_two_orders_at_the_same_time_do_not_cross(site):
    orders = [[Order("m0", (STOP,))], [Order("m0", (SetPreset("2000"),))]]
    results = await asyncio.gather(*(site.actuator.apply(order, cycle=1, policy="p") for order in orders))
    sent = [result for (result,) in results if result.intent is not None]
    assert len(sent) == len(site.miner.asked) == 1


async def test_miners_are_spoken_to_a_few_at_a_time(tmp_path):
    site = Site(tmp_path, count=20, limits=WriteLimits(concurrency=4))
    busy, most = 0, 0

    class Counting(FakeMiner):
        async def _answer(self):
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1
            await super()._answer()

    site.miners.update({name: Counting(site.clock, name) for name in site.miners})
    answers = await site.answers()
    most = 0
    plans = site.actuator.plan(dict.fromkeys(site.miners, Desired(True, "2000")), answers)
    results = await site.actuator.apply([Order(n, p.writes) for n, p in plans.items()], cycle=1, policy="p")
    assert len(results) == 20
    assert most == 4
    site.journal.close()


async def test_shadow_mode_has_no_way_to_a_miner(site):
    port = ReadOnlyPort(site.miner)
    with pytest.raises(MinerRefused, match="writes nothing"):
        await port.write(STOP)
    assert site.miner.asked == []
    planner = Planner(site.journal, site.clock)
    answers = {"m0": Answers(await port.configuration(), await port.reading())}
    assert planner.plan({"m0": Desired(False)}, answers)["m0"].writes == (STOP,)
    assert not hasattr(planner, "apply")
    assert not hasattr(planner, "write")
    assert planner.__dict__.keys() == {"_journal", "_clock", "_known_since_s", "_in_flight"}


async def test_fields_are_read_back_by_their_paths(site):
    write = SetFields(((PRESET, "2000"), (TOP, None)))
    (result,) = await site.actuator.write([("m0", write, ())], cycle=1, policy="restore")
    assert result.state is IntentState.DONE
    assert site.journal.first_values("m0") == {PRESET: "2500", TOP: "3000"}
