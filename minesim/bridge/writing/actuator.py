"""What makes a write safe: journal the intent, send once, read back, journal the outcome.

:class:`Planner` only looks and plans, so shadow mode has nothing else; :class:`Actuator` adds the one way to a miner. A
write is never sent twice for one intent. One that did not show is settled first, and the next plan makes a new intent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from minesim.bridge.clock import Clock
from minesim.bridge.miners.miner import (
    Configuration,
    Identity,
    MinerAnswerInvalid,
    MinerError,
    MinerPort,
    MinerRefused,
    MinerUnreachable,
    ModelLimits,
    Preset,
    Reading,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    SwitchPool,
    Write,
    WriteOutcomeUnknown,
)
from minesim.bridge.miners.vnish_writes import touched_fields
from minesim.bridge.writing.journal import WHOLE_SITE, Journal
from minesim.bridge.writing.journal_records import Intent, IntentState, NewIntent, Settlement
from minesim.bridge.writing.owned import is_halt
from minesim.bridge.writing.plan import Desired, Note, Plan, plan, read_back_limit_s, satisfied
from minesim.errors import explain

T = TypeVar("T")
R = TypeVar("R")

THROTTLE_FIELD = "mining.throttle"
POOL_FIELD = "mining.pool"
RUN_FIELD = "mining.run"
"""What stands in the first values for writes that are no settings: a share, a pool's number, whether it was started."""

CLOCK_JUMP_S = 600.0
"""A reading that seems older than a write by more than this means that the clock was set back (assumed)."""


@dataclass(frozen=True)
class WriteLimits:
    """How fast and how often the bridge may try; all assumed.

    Attributes:
        concurrency: miners that are spoken to at the same time.
        tries_per_h: how often the same write may fail on one miner within an hour before it has to wait.
        halts_per_h: the same for stop and pause, which are the safe direction.
    """

    concurrency: int = 32
    tries_per_h: int = 3
    halts_per_h: int = 12


class Answers(NamedTuple):
    """A miner's last answers."""

    configuration: Configuration
    reading: Reading


@dataclass(frozen=True)
class Order:
    """Writes for one miner in their order, and why."""

    miner: str
    writes: tuple[Write, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What became of a write; without an intent nothing was sent."""

    miner: str
    write: Write
    intent: int | None
    state: IntentState | None
    detail: str = ""


class ReadOnlyPort:
    """A miner that can be looked at and not be written to; what shadow mode holds."""

    def __init__(self, port: MinerPort) -> None:
        self._port = port

    @property
    def address(self) -> str:
        """Host, or host:port."""
        return self._port.address

    async def identity(self) -> Identity:
        """Who it is."""
        return await self._port.identity()

    async def limits(self) -> ModelLimits:
        """What its model and firmware allow."""
        return await self._port.limits()

    async def reading(self) -> Reading:
        """Present telemetry."""
        return await self._port.reading()

    async def presets(self) -> tuple[Preset, ...]:
        """Presets by rising power."""
        return await self._port.presets()

    async def configuration(self) -> Configuration:
        """What is configured now."""
        return await self._port.configuration()

    async def fields(self, paths: tuple[str, ...]) -> dict[str, object]:
        """Values of single settings by dotted path."""
        return await self._port.fields(paths)

    async def write(self, write: Write) -> None:
        """Refuse.

        Raises:
            MinerRefused: always; nothing is sent.
        """
        what = f"{type(write).__name__} was asked for in a mode that writes nothing"
        raise MinerRefused(explain(what, allowed="`advise` or `auto`", origin=self.address))


class Planner:
    """Settles what was written and plans what is missing; sends nothing."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._known_since_s: dict[int, float] = {}
        self._in_flight: set[int] = set()

    def settle(self, answers: Mapping[str, Answers]) -> None:
        """Close the intents whose outcome these answers tell, or whose time is over."""
        ends = []
        for intent in self._journal.open_intents():
            found = answers.get(intent.miner)
            if found is None or self._is_older(found.reading, intent.sent_at_s or intent.at_s):
                continue
            end = self._judge(intent, satisfied(intent.write, *found), found.reading.at_s)
            if end is not None:
                ends.append(end)
        self._close(ends)

    def plan(self, desired: Mapping[str, Desired], answers: Mapping[str, Answers]) -> dict[str, Plan]:
        """Plan the missing writes of each miner that answered, and journal what the look tells about ownership.

        Args:
            desired: by miner.
            answers: by miner; one without answers is left.
        """
        now_s = self._clock.now_s()
        plans = {}
        with self._journal.transaction():
            for miner, target in desired.items():
                if miner not in answers:
                    continue
                known = self._journal.known(miner, now_s)
                last_s = self._journal.last_write_at_s(miner)
                if last_s is not None and self._is_older(answers[miner].reading, last_s):
                    plans[miner] = Plan((), (Note.OLD_READING,), known.owned)
                    continue
                plans[miner] = plan(target, *answers[miner], known)
                self._journal.own(miner, plans[miner].owned, now_s)
        return plans

    def _is_older(self, reading: Reading, at_s: float) -> bool:
        return 0.0 < at_s - reading.at_s < CLOCK_JUMP_S

    def _judge(self, intent: Intent, shown: bool | None, at_s: float) -> Settlement | None:
        """How an open intent ended; None while it may still show."""
        if intent.id in self._in_flight:
            return None
        if shown:
            return Settlement(intent.id, IntentState.DONE, at_s)
        if shown is False and intent.write.repeatable and not intent.accepted:
            return Settlement(
                intent.id, IntentState.FAILED, at_s, "no answer came, and it does not show; may be repeated"
            )
        wall_s = max(self._clock.now_s() - (intent.sent_at_s or intent.at_s), 0.0)
        since_s = self._known_since_s.setdefault(intent.id, self._clock.monotonic_s() - wall_s)
        limit_s = read_back_limit_s(intent.write)
        if self._clock.monotonic_s() - since_s < limit_s:
            return None
        if shown is None:
            return Settlement(
                intent.id, IntentState.UNKNOWN, at_s, f"the miner's answers do not tell within {limit_s:g} s"
            )
        return Settlement(intent.id, IntentState.FAILED, at_s, f"it does not show within {limit_s:g} s")

    def _close(self, ends: Sequence[Settlement]) -> None:
        if ends:
            self._journal.settle(ends)
            for end in ends:
                self._known_since_s.pop(end.intent, None)


class Actuator(Planner):
    """The one way to a miner that may be written to."""

    def __init__(
        self, journal: Journal, ports: Mapping[str, MinerPort], clock: Clock, limits: WriteLimits | None = None
    ) -> None:
        """Hold the ports; call :meth:`recover` before the first write.

        Args:
            journal: open for writing.
            ports: by miner.
            clock: tells the time.
            limits: how fast and how often it may try.
        """
        super().__init__(journal, clock)
        self._ports = ports
        self._limits = limits or WriteLimits()
        self._slots = asyncio.Semaphore(self._limits.concurrency)

    async def recover(self) -> tuple[Intent, ...]:
        """Read back what an earlier run left open.

        Returns:
            Intents that are still open: the miner does not answer, or the write may still show. No write goes to these
            miners until :meth:`settle` or :meth:`read_back` closes them.
        """
        await self._each({intent.miner for intent in self._journal.open_intents()}, self.read_back)
        return self._journal.open_intents()

    async def read_back(self, miner: str) -> None:
        """Ask a miner about its open intents and settle them; one that does not answer keeps them."""
        port = self._ports.get(miner)
        opened = self._journal.open_intents(miner)
        if port is None or not opened:
            return
        ends = []
        try:
            for intent in opened:
                end = self._judge(intent, await _shows(port, intent.write), self._clock.now_s())
                if end is not None:
                    ends.append(end)
        except MinerError:
            return
        self._close(ends)

    async def apply(self, orders: Sequence[Order], *, cycle: int, policy: str) -> tuple[Result, ...]:
        """Carry out plans: the first write of each miner, then the next of those whose write was read back, and so on.

        All intents of a turn are journaled in one transaction before any of them is sent. What is not read back at once
        stays open, and the rest of that miner's writes waits for the next plan. So does what follows a preset that
        needs a restart: a throttle that is meant for it would act on the one before.

        Args:
            orders: at most one a miner.
            cycle: number of the decision.
            policy: name and version of the policy.

        Returns:
            What became of each write that had its turn.

        Raises:
            JournalError: the journal cannot be written; what was not journaled was not sent.
        """
        paused = self._journal.pauses()
        results: list[Result] = []
        turn: list[tuple[Order, int]] = []
        for order in orders:
            held = self._journal.owned(order.miner).held
            if order.writes and held is not None:
                results.append(Result(order.miner, order.writes[0], None, None, f"left alone: {held.value}"))
            elif order.writes and not paused.keys().isdisjoint({WHOLE_SITE, order.miner}):
                results.append(Result(order.miner, order.writes[0], None, None, "paused"))
            elif order.writes:
                turn.append((order, 0))
        while turn:
            wave = [(order.miner, order.writes[step], order.reasons) for order, step in turn]
            ended = {result.miner: result for result in await self.write(wave, cycle=cycle, policy=policy)}
            results.extend(ended.values())
            turn = [
                (order, step + 1)
                for order, step in turn
                if ended[order.miner].state is IntentState.DONE and step + 1 < len(order.writes)
            ]
            presets = [order.miner for order, step in turn if isinstance(order.writes[step - 1], SetPreset)]
            in_force = dict(zip(presets, await self._each(presets, self._is_in_force), strict=True))
            turn = [(order, step) for order, step in turn if in_force.get(order.miner, True)]
        return tuple(results)

    async def _is_in_force(self, miner: str) -> bool:
        """Whether a miner runs what it was told last, as far as it can be asked."""
        try:
            return not (await self._ports[miner].reading()).restart_required
        except MinerError:
            return False

    async def write(
        self, wave: Iterable[tuple[str, Write, tuple[str, ...]]], *, cycle: int, policy: str
    ) -> tuple[Result, ...]:
        """Journal, send and read back one write a miner, whether it is held or paused or not.

        Args:
            wave: miner, write, reasons.
            cycle: number of the decision.
            policy: name and version of the policy.

        Raises:
            JournalError: see :meth:`apply`.
        """
        results: list[Result] = []
        allowed = []
        for miner, write, reasons in wave:
            obstacle = self._obstacle(miner, write)
            if obstacle:
                results.append(Result(miner, write, None, None, obstacle))
            else:
                allowed.append((miner, write, reasons))
        before = await self._each(allowed, self._first_values)
        ready: list[NewIntent] = []
        for (miner, write, reasons), found in zip(allowed, before, strict=True):
            # Another order may have come in between while the miner was asked.
            obstacle = found if isinstance(found, str) else self._obstacle(miner, write)
            if obstacle:
                results.append(Result(miner, write, None, None, obstacle))
            elif not isinstance(found, str):
                ready.append(NewIntent(miner, write, reasons, cycle, policy, found))
        intents = self._intend(ready)
        self._in_flight.update(intent.id for intent in intents)
        try:
            answers = await self._each(intents, self._send)
        finally:
            self._in_flight.difference_update(intent.id for intent in intents)
        self._note_answers(intents, answers)
        prompt = [intent.miner for intent in intents if not isinstance(intent.write, SetThrottle)]
        await self._each(prompt, self.read_back)
        for intent in intents:
            end = self._journal.intent(intent.id)
            results.append(Result(end.miner, end.write, end.id, end.state, end.detail))
        return tuple(results)

    def _obstacle(self, miner: str, write: Write) -> str:
        """Why a write may not go out now; empty where it may."""
        if miner not in self._ports:
            return "it is not in the inventory"
        opened = self._journal.open_intents(miner)
        if opened and not (is_halt(write) and self._may_be_overtaken(opened)):
            return "an earlier write has not been read back yet"
        limit = self._limits.halts_per_h if is_halt(write) else self._limits.tries_per_h
        tries = self._journal.tries(miner, write, self._clock.now_s() - 3600.0)
        return f"it failed {tries} times within an hour" if tries >= limit else ""

    def _may_be_overtaken(self, opened: Sequence[Intent]) -> bool:
        return all(intent.write.repeatable and intent.id not in self._in_flight for intent in opened)

    async def _first_values(self, wanted: tuple[str, Write, tuple[str, ...]]) -> dict[str, object] | str:
        """What the write would change and was not noted before; in words, why that cannot be told."""
        miner, write, _ = wanted
        port = self._ports[miner]
        known = self._journal.first_values(miner)
        paths = tuple(path for path in touched_fields(write) if path not in known)
        try:
            values: dict[str, object] = dict.fromkeys(paths)
            if paths:
                values |= await port.fields(paths)
            name = _state_field(write)
            if name is not None and name not in known:
                values[name] = _state_value(name, await port.reading())
        except MinerError as error:
            return f"left, since what to put back could not be read: {error}"
        return values

    def _intend(self, ready: Sequence[NewIntent]) -> tuple[Intent, ...]:
        if not ready:
            return ()
        now_s = self._clock.now_s()
        with self._journal.transaction():
            overtaken = [intent for new in ready for intent in self._journal.open_intents(new.miner)]
            self._close([Settlement(i.id, IntentState.UNKNOWN, now_s, "overtaken by a halt") for i in overtaken])
            intents = self._journal.intend(ready, now_s)
        for intent in intents:
            self._known_since_s[intent.id] = self._clock.monotonic_s()
        return intents

    async def _send(self, intent: Intent) -> MinerError | None:
        """Send once; the error tells what came instead of an acceptance."""
        try:
            await self._ports[intent.miner].write(intent.write)
        except MinerError as error:
            return error
        return None

    def _note_answers(self, intents: Sequence[Intent], answers: Sequence[MinerError | None]) -> None:
        if not intents:
            return
        now_s = self._clock.now_s()
        sent: dict[int, bool] = {}
        ends = []
        for intent, error in zip(intents, answers, strict=True):
            if not isinstance(error, MinerUnreachable):
                sent[intent.id] = error is None
            if error is not None and not isinstance(error, WriteOutcomeUnknown | MinerAnswerInvalid):
                ends.append(Settlement(intent.id, IntentState.FAILED, now_s, str(error), refused=True))
        with self._journal.transaction():
            self._journal.sent(sent, now_s)
            self._close(ends)

    async def _each(self, items: Iterable[T], action: Callable[[T], Awaitable[R]]) -> list[R]:
        """Run an action on each item, a bounded number at a time; all end before the first error is raised."""

        async def one(item: T) -> R:
            async with self._slots:
                return await action(item)

        tasks = [asyncio.ensure_future(one(item)) for item in items]
        await asyncio.gather(*tasks, return_exceptions=True)
        return [task.result() for task in tasks]


async def _shows(port: MinerPort, write: Write) -> bool | None:
    """Ask a miner whether a write took effect."""
    if isinstance(write, SetFields):
        found = await port.fields(tuple(path for path, _ in write.values))
        return all(found.get(path) == value for path, value in write.values)
    return satisfied(write, await port.configuration(), await port.reading())


def _state_field(write: Write) -> str | None:
    """The first value that a write needs beside settings."""
    match write:
        case SetThrottle():
            return THROTTLE_FIELD
        case SwitchPool():
            return POOL_FIELD
        case SetPower():
            return RUN_FIELD
        case _:
            return None


def _state_value(name: str, reading: Reading) -> object:
    if name == THROTTLE_FIELD:
        return reading.throttle
    if name == RUN_FIELD:
        return reading.state.started
    return next((pool.number for pool in reading.pools if pool.in_use), None)
