"""Faults to be injected into an emulated fleet: what goes wrong, at which miner, from when to when."""

from __future__ import annotations

import enum
import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minesim.errors import ParamsError, explain


class FaultKind(enum.StrEnum):
    """What can go wrong. In brackets: what :attr:`Fault.level` means for it, and its default."""

    # --- the network and the web server
    UNREACHABLE = "unreachable"
    """No connection."""
    TIMEOUT = "timeout"
    """The request gets lost: nothing happens, no answer comes."""
    SLOW_DRIP = "slow_drip"
    """The answer drips in [seconds until it is whole, 60]."""
    TRUNCATED = "truncated"
    """The connection breaks after half of the answer."""
    MALFORMED_JSON = "malformed_json"
    """The answer is no JSON."""
    UNAUTHORIZED = "unauthorized"
    """401 whatever the credentials."""
    FORBIDDEN = "forbidden"
    """403."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """429 [``unlock_timeout`` in s, 60]."""
    SERVER_ERROR = "server_error"
    """500 with an ``err``."""
    # --- writes
    WRITE_REFUSED = "write_refused"
    """500 with an ``err``, nothing applied."""
    WRITE_IGNORED = "write_ignored"
    """Answered like a success, nothing applied."""
    ANSWER_LOST = "answer_lost"
    """Applied, and no answer comes."""
    HALF_APPLIED = "half_applied"
    """Of the fields of a settings write only the first is applied; answered like a success."""
    RESTART_REQUIRED = "restart_required"
    """A preset is stored and answered with ``restart_required``; it runs from the next restart of mining on."""
    # --- readings
    STALE = "stale"
    """Readings stay as they were when the fault began."""
    SENSOR_NULL = "sensor_null"
    """Temperatures are null."""
    SENSOR_ZERO = "sensor_zero"
    """Temperatures are 0."""
    CLOCK_JUMP = "clock_jump"
    """The miner's wall clock is off [s, 3600]."""
    # --- the machine
    INTAKE_BLOCKED = "intake_blocked"
    """Less air passes [share of the flow that is left, 0.2]."""
    FAN_LOST = "fan_lost"
    """One fan stands; of two pairs in parallel one pushes against it [share of the flow that is left, 0.5 assumed]."""
    BOARD_LOST = "board_lost"
    """A hashboard drops out [its number from 0, 0]."""


MACHINE = frozenset({FaultKind.INTAKE_BLOCKED, FaultKind.FAN_LOST, FaultKind.BOARD_LOST})
"""Faults that change the twin, from the next control step on."""
STATUS = {
    FaultKind.UNAUTHORIZED: 401,
    FaultKind.FORBIDDEN: 403,
    FaultKind.TOO_MANY_REQUESTS: 429,
    FaultKind.SERVER_ERROR: 500,
}
"""Faults that are a status code."""
WRITES = frozenset(
    {
        FaultKind.WRITE_REFUSED,
        FaultKind.WRITE_IGNORED,
        FaultKind.ANSWER_LOST,
        FaultKind.HALF_APPLIED,
        FaultKind.RESTART_REQUIRED,
    }
)
"""Faults that concern writes only; reading, unlocking and locking pass."""
_LEVELS = {
    FaultKind.SLOW_DRIP: 60.0,
    FaultKind.TOO_MANY_REQUESTS: 60.0,
    FaultKind.CLOCK_JUMP: 3600.0,
    FaultKind.INTAKE_BLOCKED: 0.2,
    FaultKind.FAN_LOST: 0.5,
    FaultKind.BOARD_LOST: 0.0,
}

SLACK_S = 1e-6
"""Sums of control steps may miss a time by a hair."""


@dataclass(frozen=True)
class Fault:
    """One fault of one miner.

    Attributes:
        miner: its number, from 0.
        kind: what goes wrong.
        at_s: beginning, s after the start of the emulation.
        duration_s: how long it lasts.
        level: how bad, see :class:`FaultKind`; None for the kind's default.
        path: only requests whose path below ``/api/v1`` begins like this, e.g. ``/summary``; empty for all.
    """

    miner: int
    kind: FaultKind
    at_s: float = 0.0
    duration_s: float = math.inf
    level: float | None = None
    path: str = ""

    def __post_init__(self) -> None:
        if not self.duration_s > 0.0:
            raise ParamsError(explain(f"a fault of {self.duration_s} s", allowed="above 0 s"))
        if self.kind in (FaultKind.INTAKE_BLOCKED, FaultKind.FAN_LOST) and not 0.02 <= self.amount <= 1.0:
            raise ParamsError(explain(f"share of the flow is {self.amount}", allowed="0.02 to 1"))

    @property
    def amount(self) -> float:
        """The level, or the default of the kind."""
        return _LEVELS.get(self.kind, 0.0) if self.level is None else self.level

    def concerns(self, path: str) -> bool:
        """Whether it concerns requests for this path below ``/api/v1``."""
        return path.startswith(self.path)


class FaultBook:
    """The faults of a fleet: which are to come and which are on. Time only moves forward."""

    def __init__(self) -> None:
        self._coming: list[tuple[float, int, Fault]] = []
        self._ending: list[tuple[float, int, Fault]] = []
        self._on: dict[int, list[Fault]] = {}
        self._numbers = itertools.count()

    def add(self, fault: Fault) -> None:
        """Schedule a fault; it counts from the next :meth:`at` on."""
        heapq.heappush(self._coming, (fault.at_s, next(self._numbers), fault))

    def clear(self, miner: int | None = None) -> None:
        """Forget the faults of a miner, or all."""
        self._coming = [entry for entry in self._coming if miner is not None and entry[2].miner != miner]
        heapq.heapify(self._coming)
        if miner is None:
            self._on.clear()
        else:
            self._on.pop(miner, None)

    def at(self, elapsed_s: float) -> None:
        """Begin and end what is due ``elapsed_s`` seconds after the start."""
        while self._coming and self._coming[0][0] <= elapsed_s + SLACK_S:
            _, number, fault = heapq.heappop(self._coming)
            self._on.setdefault(fault.miner, []).append(fault)
            heapq.heappush(self._ending, (fault.at_s + fault.duration_s, number, fault))
        while self._ending and self._ending[0][0] <= elapsed_s + SLACK_S:
            fault = heapq.heappop(self._ending)[2]
            of_miner = self._on.get(fault.miner, [])
            if fault in of_miner:
                of_miner.remove(fault)
                if not of_miner:
                    del self._on[fault.miner]

    def on(self, miner: int) -> Sequence[Fault]:
        """Faults of a miner that are on."""
        return self._on.get(miner, ())

    def on_of_kinds(self, kinds: Iterable[FaultKind]) -> tuple[Fault, ...]:
        """Faults of some kinds that are on, of all miners."""
        wanted = frozenset(kinds)
        return tuple(fault for of_miner in self._on.values() for fault in of_miner if fault.kind in wanted)
