"""Ask every miner what it does, a bounded number at a time; one that does not answer is asked less and less often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from minesim.bridge.clock import CLOCK_JUMP_S, Clock
from minesim.bridge.miners.fleet import MinerFacts
from minesim.bridge.miners.miner import (
    Identity,
    MinerAnswerInvalid,
    MinerError,
    MinerPort,
    MinerRefused,
    MinerUnreachable,
)
from minesim.bridge.miners.preflight import FIELDS
from minesim.bridge.writing.actuator import Answers

_RESULTS: Final = ((MinerUnreachable, "unreachable"), (MinerAnswerInvalid, "invalid"), (MinerRefused, "refused"))


@dataclass(frozen=True)
class PollLimits:
    """How hard miners are asked; all assumed.

    Attributes:
        concurrency: miners that are spoken to at the same time.
        facts_every_s: how often identity, presets and limits are read anew, s; tuning and updates change them.
        rest_min_s, rest_max_s: pause after the first failed poll, doubled with each further one up to the second, s.
    """

    concurrency: int = 64
    facts_every_s: float = 6.0 * 3600.0
    rest_min_s: float = 10.0
    rest_max_s: float = 120.0


@dataclass
class _Contact:
    """What is known of one miner between laps; times on the steady clock."""

    answers: Answers | None = None
    answered_at_s: float = 0.0
    facts_at_s: float | None = None
    failures: int = 0
    rests_until_s: float = 0.0


@dataclass(frozen=True)
class Lap:
    """What a lap brought.

    Attributes:
        answers: of the miners that answered in this lap.
        latest: the last answers of all that ever answered; their times lie as long ago as they really do, also when the
            wall clock jumped since.
        facts: of miners whose presets and limits were read in this lap.
        identities: of miners that were asked who they are in this lap.
        fields: of the same miners, the settings that :mod:`minesim.bridge.miners.preflight` looks at.
        errors: why the others did not answer; ``resting`` where they were not asked.
        took_s: how long it took.
    """

    answers: Mapping[str, Answers]
    latest: Mapping[str, Answers]
    facts: Mapping[str, MinerFacts] = field(default_factory=dict)
    identities: Mapping[str, Identity] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    took_s: float = 0.0


class Poller:
    """Asks the miners behind ``ports``, by name.

    Args:
        ports: by name.
        clock: tells the time.
        limits: how hard it asks.
        on_read: told how each poll ended: ``ok``, ``unreachable``, ``refused`` or ``invalid``.
    """

    def __init__(
        self,
        ports: Mapping[str, MinerPort],
        clock: Clock,
        limits: PollLimits | None = None,
        on_read: Callable[[str], None] = lambda result: None,
    ) -> None:
        self._ports = ports
        self._clock = clock
        self._limits = limits or PollLimits()
        self._on_read = on_read
        self._contacts = {name: _Contact() for name in ports}
        self._slots = asyncio.Semaphore(self._limits.concurrency)

    async def lap(self) -> Lap:
        """Ask every miner that is not resting once."""
        began_s = self._clock.monotonic_s()
        facts: dict[str, MinerFacts] = {}
        identities: dict[str, Identity] = {}
        fields: dict[str, Mapping[str, object]] = {}
        errors: dict[str, str] = {}
        answered: dict[str, Answers] = {}

        async def one(name: str) -> None:
            contact = self._contacts[name]
            if began_s < contact.rests_until_s:
                errors[name] = "resting"
                return
            async with self._slots:
                try:
                    answered[name] = contact.answers = await self._ask(name, contact, facts, identities, fields)
                except MinerError as error:
                    errors[name] = str(error)
                    contact.failures += 1
                    pause_s = self._limits.rest_min_s * 2.0 ** min(contact.failures - 1, 16)
                    contact.rests_until_s = self._clock.monotonic_s() + min(pause_s, self._limits.rest_max_s)
                    self._on_read(next((told for kind, told in _RESULTS if isinstance(error, kind)), "refused"))
                else:
                    contact.failures, contact.rests_until_s = 0, 0.0
                    contact.answered_at_s = self._clock.monotonic_s()
                    self._on_read("ok")

        await asyncio.gather(*(one(name) for name in self._ports))
        began_wall_s = self._clock.now_s() - self._clock.monotonic_s()
        latest = {
            name: _dated(contact.answers, began_wall_s + contact.answered_at_s)
            for name, contact in self._contacts.items()
            if contact.answers is not None
        }
        return Lap(answered, latest, facts, identities, fields, errors, self._clock.monotonic_s() - began_s)

    def forget_facts(self, name: str, in_s: float = 0.0) -> None:
        """Have a miner's presets and limits read anew, in the next lap or in ``in_s`` seconds."""
        self._contacts[name].facts_at_s = self._clock.monotonic_s() + in_s - self._limits.facts_every_s

    async def _ask(
        self,
        name: str,
        contact: _Contact,
        facts: dict[str, MinerFacts],
        identities: dict[str, Identity],
        fields: dict[str, Mapping[str, object]],
    ) -> Answers:
        port, now_s = self._ports[name], self._clock.monotonic_s()
        configuration = await port.configuration()
        due = contact.facts_at_s is None or now_s - contact.facts_at_s >= self._limits.facts_every_s
        if due or contact.failures > 0:
            # Another machine may stand at the address of one that was away.
            identities[name] = await port.identity()
            fields[name] = await port.fields(FIELDS)
            facts[name] = MinerFacts(await port.presets(), configuration, await port.limits())
            contact.facts_at_s = now_s
        return Answers(configuration, await port.reading())


def _dated(answers: Answers, at_s: float) -> Answers:
    """Answers with the wall clock's present name for the time when they came, where it has another one by now."""
    if abs(answers.reading.at_s - at_s) <= CLOCK_JUMP_S:
        return answers
    return answers._replace(reading=replace(answers.reading, at_s=at_s))
