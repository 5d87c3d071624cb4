"""The bridge dies at any await and any transaction, miners lose writes and answers; nothing is doubled or lost."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minesim.bridge.miners.miner import Power, SetPower, Write
from minesim.bridge.writing.actuator import Actuator, Answers, Order
from minesim.bridge.writing.journal import Journal
from minesim.bridge.writing.plan import Desired
from minesim.bridge.writing.restore import restore
from tests.bridge.fake_miner import PRESETS, FakeClock, FakeMiner, Fault

COUNT = 2
NAMES = [f"m{number}" for number in range(COUNT)]


class Crash(BaseException):
    """The process is gone."""


class Points:
    """Counts the moments at which the process may die; from the chosen one on, it is dead."""

    def __init__(self) -> None:
        self.left: int | None = None

    def __call__(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Crash
            self.left -= 1


class CrashingJournal(Journal):
    """Dies before or after a transaction becomes durable."""

    points: Points

    def _commit(self) -> None:
        self.points()
        super()._commit()
        self.points()


class Watched(FakeMiner):
    """Dies around reads and writes, and remembers what really happened."""

    points: Points
    effects: list[Write]

    async def _answer(self) -> None:
        self.points()
        await super()._answer()
        self.points()

    def _effect(self, write: Write) -> None:
        self.effects.append(write)
        super()._effect(write)


class Bridge(RuleBasedStateMachine):
    """A bridge over two miners that is killed again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.points = Points()
        self.miners = {name: Watched(self.clock, name) for name in NAMES}
        for miner in self.miners.values():
            miner.points, miner.effects = self.points, []
            miner.before_write = miner.after_write = self.points
        self.journal: CrashingJournal | None = None
        self.cycle = 0

    @initialize(switchers=st.lists(st.booleans(), min_size=COUNT, max_size=COUNT))
    def set_up(self, switchers):
        for miner, enabled in zip(self.miners.values(), switchers, strict=True):
            miner.settings["miner.overclock.preset_switcher.enabled"] = enabled
        self.before = {name: miner.snapshot() for name, miner in self.miners.items()}
        self.up()

    def up(self) -> None:
        """A fresh process opens the journal."""
        if self.journal is not None:
            self.journal.close()
        CrashingJournal.points = self.points
        self.points.left = None
        self.journal = CrashingJournal.open(Path(self.folder.name) / "bridge.sqlite")
        # Durability is SQLite's; what is tested here is the order of things.
        self.journal._connection.execute("PRAGMA synchronous = OFF")
        self.actuator = Actuator(self.journal, self.miners, self.clock)

    def alive(self, work, crash_at=None):
        """Run a piece of the bridge; where it dies, a fresh one comes up and recovers."""
        self.points.left = crash_at
        try:
            return self.runner.run(work)
        except Crash:
            self.up()
            return None
        finally:
            self.points.left = None

    async def step(self, desired):
        await self.actuator.recover()
        answers = {
            name: Answers(await miner.configuration(), await miner.reading())
            for name, miner in self.miners.items()
            if miner.reachable
        }
        self.actuator.settle(answers)
        plans = self.actuator.plan(desired, answers)
        open_before = {intent.miner: intent for intent in self.journal.open_intents()}
        asked_before = {name: len(miner.asked) for name, miner in self.miners.items()}
        self.cycle += 1
        await self.actuator.apply([Order(n, p.writes) for n, p in plans.items()], cycle=self.cycle, policy="p")
        for name, intent in open_before.items():
            for write in self.miners[name].asked[asked_before[name] :][:1]:
                assert intent.write.repeatable, "a write went out before an earlier one was settled"
                assert write == SetPower(Power.STOP)

    # ------------------------------------------------------------------ what may happen

    @rule(
        wishes=st.lists(
            st.builds(
                Desired,
                run=st.booleans(),
                preset=st.none() | st.sampled_from(PRESETS),
                throttle=st.none() | st.sampled_from([0.2, 0.7, 1.0]),
            ),
            min_size=COUNT,
            max_size=COUNT,
        ),
        crash_at=st.none() | st.integers(0, 40),
    )
    def decide(self, wishes, crash_at):
        self.alive(self.step(dict(zip(NAMES, wishes, strict=True))), crash_at)

    @rule(
        miner=st.sampled_from(NAMES),
        faults=st.lists(st.sampled_from([*Fault, Fault.LOST_AFTER, Fault.LOST_BEFORE]), min_size=1, max_size=3),
    )
    def go_wrong(self, miner, faults):
        self.miners[miner].faults.extend(faults)

    @rule(miner=st.sampled_from(NAMES), reachable=st.booleans())
    def connect(self, miner, reachable):
        self.miners[miner].reachable = reachable

    @rule(miner=st.sampled_from(NAMES), delay_s=st.sampled_from([0.0, 30.0, 90.0]), restarts=st.booleans())
    def change_ways(self, miner, delay_s, restarts):
        self.miners[miner].delay_s = delay_s
        self.miners[miner].needs_restart = restarts

    @rule(seconds=st.sampled_from([5.0, 60.0, 300.0, 4000.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(crash_at=st.none() | st.integers(0, 10))
    def come_up_again(self, crash_at):
        self.up()
        self.alive(self.recovered(), crash_at)

    async def recovered(self):
        await self.actuator.recover()

    @precondition(lambda self: self.journal is not None and self.journal.written_miners())
    @rule(crash_at=st.integers(0, 60))
    def restore_and_die(self, crash_at):
        self.alive(self.restored(), crash_at)

    async def restored(self):
        return await restore(self.journal, self.miners, self.clock, actor="ann")

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def each_intent_is_sent_at_most_once(self):
        if self.journal is None:
            return
        for name, miner in self.miners.items():
            intents = iter(reversed(self.journal.intents(name, limit=10_000)))
            for write in miner.asked:
                assert any(intent.write == write for intent in intents), (
                    f"{write} was sent without an intent of its own"
                )

    @invariant()
    def no_stop_or_start_acts_twice_in_a_row(self):
        for miner in self.miners.values():
            powers = [w.command for w in miner.effects if isinstance(w, SetPower) and w.command is not Power.RESTART]
            assert all(earlier is not later for earlier, later in itertools.pairwise(powers)), powers

    @invariant()
    def first_values_are_the_true_first_ones(self):
        if self.journal is None:
            return
        for name in NAMES:
            for field, value in self.journal.first_values(name).items():
                true = self.before[name]
                kept = {"mining.throttle": true["throttle"], "mining.run": true["runs"]} | true["settings"]
                assert kept[field] == value, field

    @invariant()
    def every_written_field_can_be_put_back(self):
        if self.journal is None:
            return
        for name, miner in self.miners.items():
            now = miner.snapshot()
            first = self.journal.first_values(name)
            for field in now["settings"]:
                assert field in first or now["settings"][field] == self.before[name]["settings"][field]
            assert "mining.throttle" in first or now["throttle"] == self.before[name]["throttle"]
            assert "mining.run" in first or now["runs"]

    def teardown(self):
        if self.journal is None:
            return
        try:
            self.finish()
        finally:
            self.journal.close()
            self.runner.close()
            self.folder.cleanup()

    def finish(self):
        """All is well again: every intent gets settled, and restore returns every field."""
        for miner in self.miners.values():
            miner.reachable, miner.faults, miner.delay_s = True, [], 0.0
        self.up()
        for _ in range(3):
            self.clock.advance(700.0)
            self.alive(self.recovered())
        assert self.journal.open_intents() == ()
        self.clock.advance(4000.0)
        results = self.alive(self.restored())
        assert all(result.complete for result in results), results
        assert {name: miner.snapshot() for name, miner in self.miners.items()} == self.before
        for intent in self.journal.intents(limit=10_000):
            assert not intent.state.open


Bridge.TestCase.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_a_bridge_that_is_killed_again_and_again = Bridge.TestCase
