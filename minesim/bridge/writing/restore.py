"""Put every field that the bridge wrote back to its first value; needs the journal and the miners, nothing else.

Each miner goes round by round: read back what is open, look, write the first thing that differs. So it can be killed
and run again, and does nothing where nothing differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from minesim.bridge.clock import Clock
from minesim.bridge.miners.miner import (
    MinerError,
    MinerPort,
    Power,
    SetFields,
    SetPower,
    SetThrottle,
    State,
    SwitchPool,
    Write,
)
from minesim.bridge.writing.actuator import (
    POOL_FIELD,
    RUN_FIELD,
    THROTTLE_FIELD,
    Actuator,
    Answers,
    Result,
    WriteLimits,
)
from minesim.bridge.writing.journal import Journal
from minesim.bridge.writing.journal_records import IntentState, encode_write
from minesim.bridge.writing.owned import LATE_S, PAIR, Owned
from minesim.bridge.writing.plan import WARMING_UP, halted, read_back_limit_s

POLL_S: Final = 10.0
"""Time between two looks at a miner that is not settled yet, s (assumed)."""
LOOKS: Final = 3
"""How often a miner is asked before it counts as unreachable (assumed)."""
WAIT_S: Final = 1800.0
"""How long a miner may take until it mines, s (assumed: a start takes minutes)."""
SHARE_PER_MIN: Final = 0.05
"""Share of the miners that begin within a minute, as in the bridge's limits."""

_STATE_FIELDS: Final = frozenset({THROTTLE_FIELD, POOL_FIELD, RUN_FIELD})


@dataclass(frozen=True)
class Restored:
    """What became of one miner.

    Attributes:
        miner: its name.
        complete: whether everything the bridge wrote has its first value again.
        detail: what was put back, what was found, or what is left and why.
    """

    miner: str
    complete: bool
    detail: str


async def restore(
    journal: Journal,
    ports: Mapping[str, MinerPort],
    clock: Clock,
    *,
    actor: str,
    told: Callable[[Restored], None] | None = None,
) -> tuple[Restored, ...]:
    """Put all miners back; those that do not answer or are in manual mode are reported and stay in the journal.

    Throttle goes first, then settings and pool, then a restart that they need, the run state last. At most 5 % of the
    miners begin within a minute. A miner that stands and that somebody else stopped is not started.

    Args:
        journal: open for writing, so that no bridge runs meanwhile.
        ports: by miner.
        clock: tells the time.
        actor: who asked for it, for the audit.
        told: called with each miner that is finished.

    Returns:
        One entry for each miner the bridge wrote to; the fleet is back when all are ``complete``.

    Raises:
        JournalError: the journal cannot be written; nothing more is sent.
    """
    miners = journal.written_miners()
    journal.note("restore", at_s=clock.now_s(), actor=actor, detail={"miners": list(miners)})
    run = _Restore(journal, ports, clock, actor, gap_s=60.0 / max(SHARE_PER_MIN * len(miners), 1.0))

    async def one(miner: str) -> Restored:
        result = await run.miner(miner)
        if told is not None:
            told(result)
        return result

    tasks = [asyncio.ensure_future(one(miner)) for miner in miners]
    await asyncio.gather(*tasks, return_exceptions=True)
    return tuple(task.result() for task in tasks)


def missing_writes(
    first: Mapping[str, Any], present: Mapping[str, object], answers: Answers, owned: Owned
) -> tuple[Write, ...]:
    """List what a miner needs to be as it was first, in order; none where it is.

    Args:
        first: field -> value before the bridge's first write; None where there was none.
        present: the same settings now.
        answers: its last answers.
        owned: what the bridge has made of it.
    """
    reading = answers.reading
    down = halted(reading, owned.halted_by)
    writes: list[Write] = []
    share = first.get(THROTTLE_FIELD)
    if share is not None and reading.throttle is not None and round(100.0 * (share - reading.throttle)) != 0:
        writes.append(SetThrottle(share))
    wanted = ((path, value) for path, value in first.items() if path not in _STATE_FIELDS)
    differing = tuple((path, value) for path, value in wanted if present.get(path) != value)
    if differing:
        writes.append(SetFields(differing))
    pool = first.get(POOL_FIELD)
    working = [entry.number for entry in reading.pools if entry.in_use]
    if pool is not None and working and pool not in working:
        writes.append(SwitchPool(pool))
    if down is False and reading.restart_required and owned.restart_owed_at_s is not None:
        writes.append(SetPower(Power.RESTART))
    if down and first.get(RUN_FIELD) and owned.halted_by is not None:
        start = SetPower(PAIR[owned.halted_by])
        # A miner that stands may refuse a throttle, so it is started before it gets one.
        later = [write for write in writes if isinstance(write, SetThrottle)]
        writes = [*(write for write in writes if not isinstance(write, SetThrottle)), start, *later]
    return tuple(writes)


class _Restore:
    """One run over all miners."""

    def __init__(
        self, journal: Journal, ports: Mapping[str, MinerPort], clock: Clock, actor: str, gap_s: float
    ) -> None:
        self._journal = journal
        self._ports = ports
        self._clock = clock
        self._actuator = Actuator(journal, ports, clock)
        self._policy = f"restore by {actor}"
        self._cycle = journal.last_cycle()
        self._gap_s = gap_s
        self._next_s = clock.monotonic_s()
        self._slots = asyncio.Semaphore(WriteLimits().concurrency)

    async def miner(self, miner: str) -> Restored:
        """Put one miner back."""
        if miner not in self._ports:
            return Restored(miner, False, "it is not in the inventory")
        first = self._journal.first_values(miner)
        done: list[Write] = []
        given_up: dict[str, str] = {}
        begun = False
        progress_s = self._clock.monotonic_s()
        while True:
            look = await self._look(miner, tuple(path for path in first if path not in _STATE_FIELDS))
            if isinstance(look, str):
                return Restored(miner, False, look)
            answers, present = look
            if answers.configuration.preset is None:
                what = "it is in manual mode (voltage and clocks set by hand), so it is left alone"
                return Restored(miner, False, what)
            missing = missing_writes(first, present, answers, self._journal.owned(miner))
            writes = [write for write in missing if encode_write(write) not in given_up]
            if self._journal.open_intents(miner) or _has_to_wait(first, answers, writes):
                pass
            elif writes:
                if not begun:
                    begun = True
                    await self._turn()
                    progress_s = self._clock.monotonic_s()
                    continue
                result = await self._write(miner, writes[0])
                progress_s = self._clock.monotonic_s()
                if result.intent is None:
                    given_up[encode_write(writes[0])] = result.detail
                    continue
                done.append(writes[0])
                if result.state is IntentState.DONE:
                    continue
            elif not self._may_still_arrive(miner):
                return self._ended(miner, answers, done, given_up)
            if self._clock.monotonic_s() - progress_s > WAIT_S:
                what = f"it does not settle (state {answers.reading.state.value}); run restore again later"
                return Restored(miner, False, what)
            await self._clock.sleep(POLL_S)

    async def _look(self, miner: str, paths: tuple[str, ...]) -> tuple[Answers, dict[str, object]] | str:
        """Read back what is open, then all that may have to be put back; in words, why that is not possible."""
        port = self._ports[miner]
        for look in range(LOOKS):
            if look:
                await self._clock.sleep(POLL_S)
            async with self._slots:
                await self._actuator.read_back(miner)
                try:
                    answers = Answers(await port.configuration(), await port.reading())
                    return answers, await port.fields(paths) if paths else {}
                except MinerError as error:
                    why = f"it cannot be read: {error}"
        return why

    async def _turn(self) -> None:
        """Wait until this miner may begin."""
        now_s = self._clock.monotonic_s()
        at_s = max(self._next_s, now_s)
        self._next_s = at_s + self._gap_s
        if at_s > now_s:
            await self._clock.sleep(at_s - now_s)

    async def _write(self, miner: str, write: Write) -> Result:
        wave = [(miner, write, ("put back",))]
        (result,) = await self._actuator.write(wave, cycle=self._cycle, policy=self._policy)
        return result

    def _may_still_arrive(self, miner: str) -> bool:
        """Whether a write that did not show within its first look is too young to be called lost."""
        now_s = self._clock.now_s()
        lately = self._journal.intents(miner, since_s=now_s - LATE_S)
        return any(
            intent.state is not IntentState.DONE
            and not intent.refused
            and 0.0 <= now_s - (intent.sent_at_s or intent.at_s) < read_back_limit_s(intent.write)
            for intent in lately
        )

    def _ended(self, miner: str, answers: Answers, done: list[Write], given_up: Mapping[str, str]) -> Restored:
        owned, first = self._journal.owned(miner), self._journal.first_values(miner)
        problems = [f"{write} was given up: {why}" for write, why in given_up.items()]
        down = halted(answers.reading, owned.halted_by)
        if down is None and owned.halted_by is not None:
            problems.append(f"whether it runs cannot be told (state {answers.reading.state.value})")
        if first.get(THROTTLE_FIELD) is not None and answers.reading.throttle is None:
            problems.append("it does not tell its throttle")
        if problems:
            return Restored(miner, False, "; ".join(problems))
        found = [f"wrote {encode_write(write)}" for write in done] or ["nothing differed"]
        if owned.held is not None:
            found.append(f"was found {owned.held.value}: {owned.held_detail}")
        if down and first.get(RUN_FIELD):
            found.append("stands; somebody else stopped it, so it is not started")
        detail = "; ".join(found)
        self._journal.forget(miner, at_s=self._clock.now_s(), reason=f"{self._policy}: {detail}")
        return Restored(miner, True, detail)


def _has_to_wait(first: Mapping[str, Any], answers: Answers, writes: Sequence[Write]) -> bool:
    """Whether a miner is on its way up or down and something still has to be written or told."""
    reading = answers.reading
    untold = first.get(THROTTLE_FIELD) is not None and reading.throttle is None
    return (reading.state in WARMING_UP or reading.state is State.SHUTTING_DOWN) and (bool(writes) or untold)
