"""The journal's records, and how they are spelled in its file."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from minesim.bridge.miners.miner import (
    FanMode,
    Power,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    SwitchPool,
    Write,
)
from minesim.bridge.writing.journal_store import canonical_json
from minesim.bridge.writing.owned import Held, Owned


class IntentState(enum.StrEnum):
    """How far a write came. An ``intended`` one may have gone out: the bridge may have died in between."""

    INTENDED = "intended"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def open(self) -> bool:
        """Whether it still has to be read back."""
        return self in (IntentState.INTENDED, IntentState.SENT)


class ApprovalState(enum.StrEnum):
    """What became of a proposal; ``taken`` ones were handed to the actuator."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    TAKEN = "taken"


@dataclass(frozen=True)
class NewIntent:
    """A write that is about to go out.

    Attributes:
        miner: its name in the inventory.
        write: what will be sent, once.
        reasons: why, in words.
        cycle: number of the decision it belongs to.
        policy: name and version of the policy.
        first_values: field -> value before the bridge's first write to it; kept only where none is known yet.
    """

    miner: str
    write: Write
    reasons: tuple[str, ...]
    cycle: int
    policy: str
    first_values: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Intent:
    """A journaled write; times in s since 1970 UTC.

    Attributes:
        id: its number.
        cycle, miner, write, reasons, policy: see :class:`NewIntent`.
        at_s: when it was intended.
        state: how far it came.
        accepted: whether the miner answered that it takes it.
        refused: whether it is certain that it did not happen.
        sent_at_s: when it went out; None where it did not, or where the bridge died before it could note it.
        settled_at_s: when its outcome was known.
        detail: how it ended, in words.
    """

    id: int
    cycle: int
    at_s: float
    miner: str
    write: Write
    reasons: tuple[str, ...]
    policy: str
    state: IntentState
    accepted: bool
    refused: bool
    sent_at_s: float | None
    settled_at_s: float | None
    detail: str


@dataclass(frozen=True)
class Settlement:
    """How an intent ended.

    Attributes:
        intent: its number.
        state: ``done``, ``failed`` or ``unknown``.
        at_s: when the answer came that tells so, s since 1970 UTC.
        detail: in words.
        refused: whether it is certain that it did not happen.
    """

    intent: int
    state: IntentState
    at_s: float
    detail: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Approval:
    """A proposal of the advise mode; times in s since 1970 UTC."""

    id: int
    cycle: int
    at_s: float
    expires_at_s: float
    miner: str
    writes: tuple[Write, ...]
    reasons: tuple[str, ...]
    explanation: Any
    policy: str
    state: ApprovalState
    decided_by: str
    decided_at_s: float | None
    note: str


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to which miner, why and when; the policy that was in force."""

    id: int
    at_s: float
    actor: str
    action: str
    miner: str | None
    policy: str
    reason: str
    detail: Any


@dataclass(frozen=True)
class Pause:
    """A miner, or the whole site (the empty name), that a person wants left alone."""

    miner: str
    actor: str
    reason: str
    at_s: float


@dataclass(frozen=True)
class OutcomeRow:
    """A prediction for a subject (a miner or ``site``) and what was measured ``horizon_s`` after ``at_s``."""

    id: int
    cycle: int
    subject: str
    at_s: float
    horizon_s: float
    predicted: Any
    measured: Any
    measured_at_s: float | None


# ---------------------------------------------------------------------- spelling

_KINDS: Final[Mapping[str, type[Write]]] = {
    kind.__name__: kind for kind in (SetPreset, SetThrottle, SetFan, SwitchPool, SetPower, SetFields)
}

INTENT_COLUMNS: Final = (
    "id, cycle, at_s, miner, write, reasons, policy, state, accepted, refused, sent_at_s, settled_at_s, detail"
)
AUDIT_COLUMNS: Final = "id, at_s, actor, action, miner, policy, reason, detail"
APPROVAL_COLUMNS: Final = (
    "id, cycle, at_s, expires_at_s, miner, writes, reasons, explanation, policy, state, decided_by, decided_at_s, note"
)


def encode_write(write: Write) -> str:
    """Spell a write as canonical JSON."""
    return canonical_json({"kind": type(write).__name__, **dataclasses.asdict(write)})


def decode_write(text: str) -> Write:
    """Read what :func:`encode_write` wrote.

    >>> decode_write(encode_write(SetPreset("1500")))
    SetPreset(name='1500', top_preset=None)
    """
    document = json.loads(text)
    kind = _KINDS[document.pop("kind")]
    if kind is SetFan:
        document["mode"] = FanMode(document["mode"])
    if kind is SetPower:
        document["command"] = Power(document["command"])
    if kind is SetFields:
        document["values"] = tuple((path, value) for path, value in document["values"])
    return kind(**document)


def encode_owned(owned: Owned) -> str:
    """Spell ownership as canonical JSON."""
    return canonical_json(dataclasses.asdict(owned))


def decode_owned(text: str) -> Owned:
    """Read what :func:`encode_owned` wrote."""
    document = json.loads(text)
    for key, kind in (("halted_by", Power), ("held", Held)):
        if document[key] is not None:
            document[key] = kind(document[key])
    return Owned(**document)


def audit_entry_of(row: tuple[Any, ...]) -> AuditEntry:
    """An audit entry from its row, in the order of :data:`AUDIT_COLUMNS`."""
    number, at_s, actor, action, miner, policy, reason, detail = row
    return AuditEntry(number, at_s, actor, action, miner, policy, reason, json.loads(detail))


def intent_of(row: tuple[Any, ...]) -> Intent:
    """An intent from its row, in the order of :data:`INTENT_COLUMNS`."""
    number, cycle, at_s, miner, write, reasons, policy, state, accepted, refused, sent_at_s, settled_at_s, detail = row
    return Intent(
        id=number,
        cycle=cycle,
        at_s=at_s,
        miner=miner,
        write=decode_write(write),
        reasons=tuple(json.loads(reasons)),
        policy=policy,
        state=IntentState(state),
        accepted=bool(accepted),
        refused=bool(refused),
        sent_at_s=sent_at_s,
        settled_at_s=settled_at_s,
        detail=detail,
    )


def approval_of(row: tuple[Any, ...]) -> Approval:
    """A proposal from its row, in the order of :data:`APPROVAL_COLUMNS`."""
    number, cycle, at_s, expires_at_s, miner, writes, reasons, explanation, policy, state, by, decided_at_s, note = row
    return Approval(
        id=number,
        cycle=cycle,
        at_s=at_s,
        expires_at_s=expires_at_s,
        miner=miner,
        writes=tuple(decode_write(canonical_json(write)) for write in json.loads(writes)),
        reasons=tuple(json.loads(reasons)),
        explanation=json.loads(explanation),
        policy=policy,
        state=ApprovalState(state),
        decided_by=by,
        decided_at_s=decided_at_s,
        note=note,
    )
