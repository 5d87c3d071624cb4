"""A site in which everything goes wrong at random, cycle after cycle, and a judge who sees what no limit allows.

    python -m tests.bridge.chaos --cycles 10000 --miners 50 --seed 1

The same seed gives the same run. Ends with 1, the seed and the story of the first violation where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.baselines.base import Knowledge, Rule
from minesim.arrays import Array, Namespace
from minesim.bridge.deciding.decide import Settings
from minesim.bridge.deciding.readings import SiteNow
from minesim.bridge.feeds import FeedError
from minesim.bridge.loop import Mode
from minesim.bridge.writing.journal import WHOLE_SITE, Desk
from minesim.bridge.writing.restore import restore
from minesim.control.actuate import FleetCurves
from minesim.control.envelope import limits
from minesim.emulator.emulator import Emulator
from minesim.emulator.faults import Fault, FaultKind
from minesim.emulator.http import Delivery, Request
from minesim.emulator.miner import MINING_MODE, STOPPED_MODE
from minesim.scenario import scenario
from tests.bridge.chaos_judge import Judge, Violation
from tests.bridge.rehearsal import EmulatorClock, Rehearsal

MODELS: Final = ("Antminer S19j Pro (104T)", "Antminer S19 XP")
POLL_S: Final = 60.0
QUIET_EVERY: Final = 1000
QUIET_CYCLES: Final = 150
"""Long enough to rise from nothing to full power, at 10 % in five minutes and ten minutes a miner."""
SETTLED_AFTER: Final = 60
"""Cycles of quiet after which no write may be open any more."""
READ_BACK_S: Final = 600.0
"""A write that went out later may still wait for its throttle to show."""
QUIET_LEVEL: Final = 0.7
LEVEL_TOLERANCE: Final = {"1.3.4": 0.05, "1.2.6": 0.15}
"""How far from the level a miner may be set: throttles are whole percent, presets far apart."""
JUMPS_S: Final = (-3600.0, -300.0, -30.0, 0.0, 0.0, 0.0, 20.0, 600.0, 3600.0)
CAPS: Final = (math.inf, math.inf, 1.0, 0.8, 0.65, 0.5)
"""Caps as shares of what all miners may draw at most."""


class Killed(BaseException):
    """The process of the bridge is gone."""


class Whims(Rule):
    """Asks for what it is told to ask for, cohort by cohort; or breaks."""

    name = "whims"

    def __init__(self, knowledge: Knowledge) -> None:
        super().__init__(knowledge)
        self.wanted = np.full(len(knowledge.fleet.models), QUIET_LEVEL)
        self.broken = False

    def levels(self, observation: Array, fleet: FleetCurves, *, xp: Namespace) -> Array:
        if self.broken:
            raise ValueError("the policy is broken")
        return xp.zeros_like(self.knowledge.schema.read(observation, "level")) + self.wanted


class SteppedClock(EmulatorClock):
    """Time passes only when all who run are waiting; for work that waits by itself, as restore does."""

    running = 0

    def __init__(self, emulator: Emulator, start_s: float) -> None:
        super().__init__(emulator, start_s)
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self.emulator.elapsed_s + seconds, future))
        self.look()
        await future

    def look(self) -> None:
        """Let time pass up to the next who wakes, if nobody is awake."""
        if not self._waiting or len(self._waiting) < self.running:
            return
        while all(self.emulator.elapsed_s < at_s for at_s, _ in self._waiting):
            self.emulator.advance(self.emulator.step_s)
        due = [future for at_s, future in self._waiting if at_s <= self.emulator.elapsed_s]
        self._waiting = [(at_s, future) for at_s, future in self._waiting if at_s > self.emulator.elapsed_s]
        for future in due:
            future.set_result(None)


@dataclass(frozen=True)
class Told:
    """What a run came to."""

    cycles: int
    miners: int
    seed: int
    events: Counter[str]
    writes: Counter[str]
    worst: dict[str, tuple[float, float]]
    held_unasked: int
    restored: int
    wall_s: float

    def lines(self) -> list[str]:
        """As text."""
        told = [f"{self.cycles} cycles x {self.miners} miners, seed {self.seed}, {self.wall_s:.0f} s"]
        for title, counts in (("events", self.events), ("writes", self.writes)):
            told += [title, *(f"  {number:8d}  {name}" for name, number in sorted(counts.items()))]
        told += ["worst values and limits"]
        told += [f"  {value:10.1f}  of {limit:8.1f}  {name}" for name, (value, limit) in sorted(self.worst.items())]
        told += [f"miners held without a change by hand: {self.held_unasked}", f"miners restored: {self.restored}"]
        return told


class Chaos:
    """One run.

    Args:
        folder: of the journal.
        seed: of everything that happens.
        cycles: reconcile cycles.
        miners: how many.
        mode: of the bridge.
        firmware: of the miners.
        quiet_every: cycles between two quiet spells.
        on_cycle: called after each cycle.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        cycles: int,
        miners: int,
        *,
        mode: Mode = Mode.AUTO,
        firmware: str = "1.3.4",
        quiet_every: int = QUIET_EVERY,
        on_cycle: Callable[[], None] = lambda: None,
    ) -> None:
        self.seed, self.cycles, self.quiet_every, self.on_cycle = seed, cycles, quiet_every, on_cycle
        self.chance = random.Random(seed)
        self.mode, self.firmware = mode, firmware
        days = math.ceil(cycles * POLL_S / 86400.0) + 10
        world = scenario("generated/energy_only", start="2022-06-20", days=days, level="hard")
        models = tuple(MODELS[i % len(MODELS)] for i in range(miners))
        self.site = Rehearsal(
            world,
            models,
            Whims,
            folder / "journal.db",
            "2022-06-26T05:00",
            mode,
            poll_s=POLL_S,
            settings=Settings(limits=limits("bridge"), cap_w=math.inf),
            firmware=firmware,
        )
        self.emulator = self.site.emulator
        self.initial = [_state(self.emulator, i) for i in range(miners)]
        groups = [member.group for member in self.site.members]
        self.judge = Judge(self.emulator, limits("bridge"), groups, mode is not Mode.SHADOW, self.site.journal)
        self.full_w = float(self.judge.top_w.sum())
        self.emulator.answer = self._answer  # type: ignore[method-assign]
        self.events: Counter[str] = Counter()
        self.kill_at: int | None = None
        self.dead = False
        self.feeds_out = self.meter_out = self.policy_broken = False
        self.wanted = np.full(miners, QUIET_LEVEL)
        self.top_by_hand: dict[int, str] = {}
        self.later: list[tuple[int, Callable[[], None]]] = []
        self.cycle = 0
        self.held_unasked: set[int] = set()
        self.site.meter = self._meter  # type: ignore[method-assign]

    # ------------------------------------------------------------------ the run

    async def run(self) -> Told:
        """Run all cycles.

        Raises:
            Violation: a limit was not kept.
        """
        began_s = time.monotonic()
        self._begin()
        await self.site.bridge.start()
        while self.cycle < self.cycles:
            left = self.quiet_every - QUIET_CYCLES - self.cycle % self.quiet_every
            for _ in range(max(min(left, self.cycles - QUIET_CYCLES - self.cycle), 0)):
                await self._wild_cycle()
            await self._quiet_spell()
        restored = 0 if self.mode is Mode.SHADOW else await self._restore()
        self.site.end()
        return Told(
            self.cycle,
            len(self.initial),
            self.seed,
            self.events,
            self.judge.counts,
            self.judge.worst,
            len(self.held_unasked),
            restored,
            time.monotonic() - began_s,
        )

    async def _wild_cycle(self) -> None:
        due = [act for at, act in self.later if at <= self.cycle]
        self.later = [(at, act) for at, act in self.later if at > self.cycle]
        for act in due:
            act()
        await self._go_wrong()
        await self._cycle()

    async def _cycle(self) -> None:
        local_day = self.site.decider.book.calendar(self.site.clock.now_s())["local_day"]
        self.judge.begin_cycle(local_day)
        try:
            snapshot = await self.site.bridge.cycle()
        except Killed:
            self.judge.tell("the process is gone")
            await self._come_back()
        else:
            self.judge.end_cycle({view.name for view in snapshot.miners})
            self._note_held()
        self.emulator.advance(POLL_S)
        self.judge.after_time()
        self.cycle += 1
        self.on_cycle()

    async def _come_back(self) -> None:
        """Bury a killed process and begin a new one; nothing of the old one runs any more."""
        for _ in range(20):
            await asyncio.sleep(0)
        self.judge.journal = None
        self.site.end()
        await self._begin_and_start()

    async def _begin_and_start(self) -> None:
        self.dead, self.kill_at = False, None
        self.site.snapshots.clear()
        self.site.begin()
        self._begin()
        await self.site.bridge.start()

    def _begin(self) -> None:
        """Put what is wrong around a fresh process of the bridge in place."""
        self.judge.journal = self.site.journal
        self.judge.bridge_since_s = self.emulator.elapsed_s
        policy: Any = self.site.decider.policy
        policy.wanted, policy.broken = self.wanted, self.policy_broken
        for feed in self.site.decider.book.feeds:
            feed.fetch = self._fetch(feed.fetch)  # type: ignore[method-assign]

    # ------------------------------------------------------------------ around the bridge

    def _answer(self, index: int, request: Request) -> Delivery:
        if self.dead:
            raise Killed
        if self.kill_at is None:
            return self.judge.answer(index, request)
        self.kill_at -= 1
        if self.kill_at > 0:
            return self.judge.answer(index, request)
        self.dead = True
        if self.chance.random() < 0.5:
            self.judge.answer(index, request)
        raise Killed

    def _fetch(self, fetch: Callable[[float], Any]) -> Callable[[float], Any]:
        async def fetch_or_fail(now_s: float) -> Any:
            if self.feeds_out:
                raise FeedError("no answer.")
            return await fetch(now_s)

        return fetch_or_fail

    async def _meter(self) -> SiteNow:
        if self.meter_out:
            return SiteNow()
        told = self.emulator.twin.telemetry
        return SiteNow(float(told.power_site_w), self.site.clock.now_s(), float(told.temp_intake_c))

    def _note_held(self) -> None:
        for address in self.site.journal.held():
            index = self.emulator.hosts.index(address)
            if index not in self.judge.by_hand and index not in self.held_unasked:
                self.held_unasked.add(index)
                self.judge.tell(f"miner {index} is held: {self.site.journal.owned(address).held_detail}")

    # ------------------------------------------------------------------ what goes wrong

    async def _go_wrong(self) -> None:
        chance = self.chance
        miners = len(self.initial)
        for _ in range(miners):
            if chance.random() < 0.006:
                self._fault()
            if chance.random() < 0.0008:
                self._by_hand(chance.randrange(miners))
            if chance.random() < 0.0004:
                self._pause(chance.randrange(miners))
        for share, act in (
            (0.05, self._policy_move),
            (0.004, self._policy_breaks),
            (0.002, self._site_pause),
            (0.004, self._feed_outage),
            (0.004, self._journal_stuck),
            (0.004, self._clock_jump),
            (0.005, self._cap_step),
            (0.006, self._meter_silent),
            (0.0007, self._power_cut),
        ):
            if chance.random() < share:
                act()
        if chance.random() < 0.004:
            self._happens("restart")
            self.site.end()
            await self._begin_and_start()
        elif chance.random() < 0.012:
            self._happens("kill")
            # Half of the kills come while the miners are polled, most others while it writes.
            requests = 3 * miners
            self.kill_at = chance.randrange(1, requests) if chance.random() < 0.4 else requests + chance.randrange(60)

    def _happens(self, name: str, told: str = "") -> None:
        self.events[name] += 1
        self.judge.tell(told or name)

    def _in(self, cycles: int, act: Callable[[], None]) -> None:
        self.later.append((self.cycle + cycles, act))

    def _fault(self) -> None:
        chance = self.chance
        index, kind = chance.randrange(len(self.initial)), chance.choice(list(FaultKind))
        duration_s = min(max(chance.expovariate(1.0 / 900.0), 60.0), 7200.0)
        level = None
        if kind in (FaultKind.INTAKE_BLOCKED, FaultKind.FAN_LOST):
            level = chance.uniform(0.1, 0.8)
        elif kind is FaultKind.CLOCK_JUMP:
            level = chance.choice((-7200.0, -60.0, 60.0, 7200.0))
        elif kind is FaultKind.BOARD_LOST:
            level = float(chance.randrange(3))
        path = chance.choice(("", "", "", "/settings", "/summary", "/mining"))
        self.emulator.inject(Fault(index, kind, self.emulator.elapsed_s, duration_s, level, path))
        self._happens(f"fault {kind.value}", f"miner {index} {kind.value} {path} for {duration_s / 60.0:.0f} min")

    def _by_hand(self, index: int) -> None:
        miner, chance = self.emulator.miners[index], self.chance
        if not self.emulator.reachable(index):
            return
        tuned = [preset.name for preset in miner.model.presets if preset.tuned]
        what = chance.choice(("preset", "preset", "top_preset", "stop", "start", "restart", "reboot", "manual"))
        if what == "preset":
            miner.write_settings({"miner": {"overclock": {"preset": chance.choice(tuned)}}})
        elif what == "top_preset":
            present, chosen = _state(self.emulator, index)["top_preset"], chance.choice(tuned)
            if chosen == present:  # nobody could tell that it was a person
                return
            self.top_by_hand[index] = chosen
            miner.write_settings({"miner": {"overclock": {"preset_switcher": {"top_preset": chosen}}}})
        elif what == "manual":
            miner.write_settings({"miner": {"overclock": {"preset": "disabled"}}})
        elif what == "stop" and miner.mode == MINING_MODE:
            miner.stop(STOPPED_MODE)
        elif what == "start" and miner.mode != MINING_MODE:
            miner.start(miner.mode)
        elif what == "restart":
            miner.restart()
        elif what == "reboot":
            miner.reboot()
        else:
            return
        self.judge.by_hand.add(index)
        self._happens(f"by hand: {what}", f"miner {index} by hand: {what}")
        self._in(chance.randrange(10, 120), lambda: self._release(index))

    def _release(self, index: int) -> None:
        """The person puts right what is not meant to stay, and gives the miner back."""
        miner = self.emulator.miners[index]
        if miner.configured_preset() == "disabled":
            miner.write_settings({"miner": {"overclock": {"preset": self.initial[index]["preset"]}}})
        if miner.mode != MINING_MODE and self.site.journal.owned(self.emulator.hosts[index]).halted_by is None:
            miner.start(miner.mode)
        self.judge.by_hand.discard(index)
        self.held_unasked.discard(index)
        self._resume(self.emulator.hosts[index])
        self.judge.tell(f"miner {index} released")

    def _pause(self, index: int) -> None:
        self.judge.paused.add(index)
        self._happens("pause of a miner", f"miner {index} paused")
        self._desk(lambda desk, at_s: desk.pause(self.emulator.hosts[index], actor="ops", reason="x", at_s=at_s))

        def end() -> None:
            self.judge.paused.discard(index)
            self._resume(self.emulator.hosts[index])

        self._in(self.chance.randrange(2, 60), end)

    def _site_pause(self) -> None:
        self.judge.site_paused = True
        self._happens("pause of the site")
        self._desk(lambda desk, at_s: desk.pause(WHOLE_SITE, actor="ops", reason="x", at_s=at_s))
        self._in(self.chance.randrange(2, 40), self._site_resume)

    def _site_resume(self) -> None:
        self.judge.site_paused = False
        self._resume(WHOLE_SITE)

    def _resume(self, name: str) -> None:
        self._desk(lambda desk, at_s: desk.resume(name, actor="ops", reason="x", at_s=at_s))

    def _desk(self, act: Callable[[Desk, float], Any]) -> None:
        with Desk.open(self.site.journal_path) as desk:
            desk._connection.execute("PRAGMA synchronous = OFF")
            act(desk, self.site.clock.now_s())

    def _policy_move(self) -> None:
        levels = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0)
        self.wanted = self.wanted.copy()
        if self.chance.random() < 0.5:
            self.wanted[:] = self.chance.choice(levels)
        else:
            for index in range(len(self.wanted)):
                if self.chance.random() < 0.3:
                    self.wanted[index] = self.chance.choice(levels)
        self._set_policy()
        self._happens("policy move", f"the policy asks for {self.wanted.mean():.2f} on average")

    def _set_policy(self) -> None:
        policy: Any = self.site.decider.policy
        policy.wanted, policy.broken = self.wanted, self.policy_broken

    def _policy_breaks(self) -> None:
        self.policy_broken = True
        self._set_policy()
        self._happens("policy breaks")

        def end() -> None:
            self.policy_broken = False
            self._set_policy()

        self._in(self.chance.randrange(2, 60), end)

    def _feed_outage(self) -> None:
        self.feeds_out = True
        self._happens("feed outage")
        if self.chance.random() < 0.7:  # the last values stand for a day; without them nothing is known at once
            self.site.decider.book._values["coin_price_usd"].clear()

        def end() -> None:
            self.feeds_out = False

        self._in(self.chance.randrange(2, 60), end)

    def _journal_stuck(self) -> None:
        self._happens("journal read-only")
        self.site.journal._connection.execute("PRAGMA query_only = ON")
        journal = self.site.journal

        def end() -> None:
            self.judge.journal_since_s = self.emulator.elapsed_s
            if journal is self.site.journal:
                journal._connection.execute("PRAGMA query_only = OFF")

        self.judge.journal_since_s = math.inf
        self._in(self.chance.randrange(1, 15), end)

    def _clock_jump(self) -> None:
        self.site.clock.jump_s = self.chance.choice(JUMPS_S)
        self._happens("clock jump", f"the clock is {self.site.clock.jump_s:.0f} s off")

    def _cap_step(self) -> None:
        self._set_cap(self.chance.choice(CAPS) * self.full_w)
        self._happens("cap step", f"the cap is {self.judge.cap_w:.0f} W")

    def _set_cap(self, cap_w: float) -> None:
        self.judge.cap_w, self.judge.over_since_s = cap_w, None
        self.site.settings = replace(self.site.settings, cap_w=cap_w)
        self.site.decider.settings = self.site.settings

    def _meter_silent(self) -> None:
        self.meter_out = True
        self._happens("meter silent")

        def end() -> None:
            self.meter_out = False

        self._in(self.chance.randrange(2, 60), end)

    def _power_cut(self) -> None:
        self._happens("power cut")
        for miner in self.emulator.miners:
            miner.reboot()

    # ------------------------------------------------------------------ quiet

    async def _quiet_spell(self) -> None:
        """All is well again: every write gets settled, and the site does what the policy asks."""
        self._happens("quiet spell")
        self.emulator.clear_faults()
        self.later, due = [], self.later
        for _, act in due:
            act()
        self._set_cap(math.inf)
        self.wanted = np.full(len(self.initial), QUIET_LEVEL)
        self._set_policy()
        for address in self.site.journal.held():
            index = self.emulator.hosts.index(address)
            self._release(index)
        for index, miner in enumerate(self.emulator.miners):
            if miner.mode != MINING_MODE and self.site.journal.owned(self.emulator.hosts[index]).halted_by is None:
                miner.start(miner.mode)
        for number in range(QUIET_CYCLES):
            await self._cycle()
            long_ago_s = self.site.clock.now_s() - READ_BACK_S
            opened = [intent for intent in self.site.journal.open_intents() if intent.at_s < long_ago_s]
            if number == SETTLED_AFTER and opened:
                index = self.emulator.hosts.index(opened[0].miner)
                self.judge.fail(f"still open after {SETTLED_AFTER} quiet cycles: {opened[0]}", index)
        if self.mode is Mode.SHADOW:
            return
        levels = self.judge.commands_w() / self.emulator.twin.params.curves.power_rated_w
        for index, level in enumerate(levels):
            if abs(level - self._reachable_level(index)) > LEVEL_TOLERANCE[self.firmware]:
                view = next(v for v in self.site.snapshots[-1].miners if v.name == self.emulator.hosts[index])
                told = f"state {view.state}, holds {view.holds}; {self.site.snapshots[-1].messages[-3:]}"
                self.judge.fail(f"miner {index} is at {level:.2f}, {QUIET_LEVEL} is asked for; {told}", index)

    def _reachable_level(self, index: int) -> float:
        """The level asked for in quiet, or as far as the top preset lets it come that a person set by hand."""
        curves = self.emulator.twin.params.curves
        ceiling = self.top_by_hand.get(index)
        if ceiling is None:
            return QUIET_LEVEL
        power_w = next(p.power_w for p in self.emulator.miners[index].model.presets if p.name == ceiling)
        return min(QUIET_LEVEL, power_w / float(curves.power_rated_w[index]))

    async def _restore(self) -> int:
        """Put all back and compare with what was before the bridge's first write."""
        journal = self.site.journal
        clock = SteppedClock(self.emulator, self.site.clock.start_s)
        clock.jump_s = self.site.clock.jump_s
        ports = self.site.ports_for(clock)
        clock.running = len(journal.written_miners())

        def finished(_: Any) -> None:
            clock.running -= 1
            clock.look()

        self.judge.journal = None
        self.emulator.answer = self.judge._answer  # type: ignore[method-assign]
        results = await restore(journal, ports, clock, actor="chaos", told=finished)
        for result in results:
            index = self.emulator.hosts.index(result.miner)
            if not result.complete:
                self.judge.fail(f"miner {index} was not restored: {result.detail}", index)
        for (index, name), value in self.judge.first.items():
            found = _state(self.emulator, index)[name.rpartition(".")[2]]
            if found != value:
                self.judge.fail(f"miner {index}: {name} is {found!r} after restore, and was {value!r}", index)
            if self.emulator.miners[index].mode != MINING_MODE:
                self.judge.fail(f"miner {index} stands after restore", index)
        return len(results)


def _state(emulator: Emulator, index: int) -> dict[str, Any]:
    miner = emulator.miners[index]
    overclock = miner.settings["miner"]["overclock"]
    return {
        "preset": overclock["preset"],
        "top_preset": overclock["preset_switcher"]["top_preset"],
        "throttle": miner.throttle_pct,
    }


def run(
    seed: int,
    cycles: int,
    miners: int,
    folder: Path,
    *,
    mode: Mode = Mode.AUTO,
    firmware: str = "1.3.4",
    quiet_every: int = QUIET_EVERY,
    on_cycle: Callable[[], None] = lambda: None,
) -> Told:
    """Run one site to its end.

    Raises:
        Violation: a limit was not kept.
    """
    chaos = Chaos(
        folder, seed, cycles, miners, mode=mode, firmware=firmware, quiet_every=quiet_every, on_cycle=on_cycle
    )
    return asyncio.run(chaos.run())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with a progress bar, and tell what happened."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parser = argparse.ArgumentParser(prog="python -m tests.bridge.chaos", description=__doc__)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--miners", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=[mode.value for mode in Mode], default="auto")
    parser.add_argument("--firmware", choices=["1.2.6", "1.3.4"], default="1.3.4")
    asked = parser.parse_args(arguments)
    columns = (TextColumn("chaos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("chaos", total=asked.cycles)
        try:
            told = run(
                asked.seed,
                asked.cycles,
                asked.miners,
                Path(folder),
                mode=Mode(asked.mode),
                firmware=asked.firmware,
                on_cycle=lambda: bar.advance(task),
            )
        except Violation as violation:
            bar.stop()
            print(f"VIOLATION, seed {asked.seed}: {violation}")  # noqa: T201
            return 1
    print("\n".join(told.lines()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
