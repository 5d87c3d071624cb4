"""What the bridge intended, did, owns and remembers: one SQLite file that survives being killed at any moment.

:class:`Journal` belongs to the one process that may write to miners. :class:`Reader` looks on (``status``, ``why``),
and :class:`Desk` lets a person pause, release, approve and reject while the bridge runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from minesim.bridge.miners.miner import Write
from minesim.bridge.writing.journal_records import (
    APPROVAL_COLUMNS,
    AUDIT_COLUMNS,
    INTENT_COLUMNS,
    Approval,
    ApprovalState,
    AuditEntry,
    Intent,
    IntentState,
    NewIntent,
    OutcomeRow,
    Pause,
    Settlement,
    approval_of,
    audit_entry_of,
    decode_owned,
    encode_owned,
    encode_write,
    intent_of,
)
from minesim.bridge.writing.journal_store import (
    JournalError,
    Lock,
    canonical_json,
    connect,
    connect_read_only,
    sqlite_errors_told,
)
from minesim.bridge.writing.owned import LATE_S, Known, Owned, after_done, after_intent, after_refusal
from minesim.errors import explain

BRIDGE: Final = "bridge"
"""Who did what the bridge did by itself, in the audit."""

WHOLE_SITE: Final = ""
"""Stands for all miners in a pause."""

_SELECT_INTENT: Final = f"SELECT {INTENT_COLUMNS} FROM intents"
_OPEN: Final = "WHERE state IN ('intended', 'sent')"


class Reader:
    """Looks into a journal, also while a bridge writes to it; changes nothing."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open for reading.

        Raises:
            JournalError: missing, damaged, foreign or of another version.
        """
        return cls(connect_read_only(path), path)

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with sqlite_errors_told(self.path):
            return self._connection.execute(query, values).fetchall()

    def intents(self, miner: str | None = None, *, since_s: float = 0.0, limit: int = 1000) -> tuple[Intent, ...]:
        """Intents by falling time, of one miner or of all."""
        where, values = _where(miner, since_s)
        return tuple(
            intent_of(row)
            for row in self._rows(f"{_SELECT_INTENT} {where} ORDER BY at_s DESC, id DESC LIMIT ?", (*values, limit))
        )

    def intent(self, number: int) -> Intent:
        """One intent.

        Raises:
            JournalError: there is none of that number.
        """
        rows = self._rows(f"{_SELECT_INTENT} WHERE id = ?", (number,))
        if not rows:
            raise JournalError(explain(f"there is no intent {number}", origin=str(self.path)))
        return intent_of(rows[0])

    def open_intents(self, miner: str | None = None) -> tuple[Intent, ...]:
        """Writes that still have to be read back, the oldest first."""
        where, values = ("AND miner = ?", (miner,)) if miner is not None else ("", ())
        # "+id": or SQLite walks the table in that order instead of the few open ones.
        return tuple(intent_of(row) for row in self._rows(f"{_SELECT_INTENT} {_OPEN} {where} ORDER BY +id", values))

    def tries(self, miner: str, write: Write, since_s: float) -> int:
        """How often the same write was sent in vain since a time."""
        query = (
            "SELECT count(*) FROM intents WHERE miner = ? AND at_s >= ? AND write = ? "
            "AND state IN ('failed', 'unknown') AND sent_at_s IS NOT NULL"
        )
        return int(self._rows(query, (miner, since_s, encode_write(write)))[0][0])

    def last_write_at_s(self, miner: str) -> float | None:
        """When something was last sent to a miner or read back, s since 1970 UTC."""
        query = (
            "SELECT max(at_s, coalesce(sent_at_s, 0), coalesce(settled_at_s, 0)) FROM intents WHERE miner = ? "
            "ORDER BY at_s DESC, id DESC LIMIT 1"
        )
        rows = self._rows(query, (miner,))
        return float(rows[0][0]) if rows else None

    def first_values(self, miner: str) -> dict[str, Any]:
        """Field -> value before the bridge's first write to it; absent fields are None."""
        rows = self._rows("SELECT field, value FROM first_values WHERE miner = ? ORDER BY field", (miner,))
        return {field: json.loads(value) for field, value in rows}

    def written_miners(self) -> tuple[str, ...]:
        """Miners with anything to put back."""
        return tuple(row[0] for row in self._rows("SELECT DISTINCT miner FROM first_values ORDER BY miner"))

    def owned(self, miner: str) -> Owned:
        """What the bridge has made of a miner."""
        rows = self._rows("SELECT document FROM owned WHERE miner = ?", (miner,))
        return decode_owned(rows[0][0]) if rows else Owned()

    def held(self) -> dict[str, Owned]:
        """Miners that are left alone until a person releases them."""
        found = {miner: decode_owned(document) for miner, document in self._rows("SELECT miner, document FROM owned")}
        return {miner: owned for miner, owned in sorted(found.items()) if owned.held is not None}

    def known(self, miner: str, now_s: float) -> Known:
        """What a plan has to know of a miner."""
        pending = self.open_intents(miner)
        query = (
            f"{_SELECT_INTENT} WHERE miner = ? AND at_s >= ? AND state <> 'done' AND NOT refused "
            "AND coalesce(settled_at_s, at_s) >= ? ORDER BY at_s, id"
        )
        return Known(
            owned=self.owned(miner),
            pending=pending[-1].write if pending else None,
            asked=tuple(
                intent_of(row).write for row in self._rows(query, (miner, now_s - 2.0 * LATE_S, now_s - LATE_S))
            ),
        )

    def recall(self) -> dict[str, Any]:
        """Documents of the last finished cycle: bytes, or whatever JSON holds."""
        rows = self._rows("SELECT key, document FROM memory ORDER BY key")
        return {key: document if isinstance(document, bytes) else json.loads(document) for key, document in rows}

    def last_intent(self) -> int:
        """Number of the last intent; 0 where there is none."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM intents")[0][0])

    def intents_after(self, number: int) -> tuple[Intent, ...]:
        """Intents of higher numbers, the oldest first."""
        return tuple(intent_of(row) for row in self._rows(f"{_SELECT_INTENT} WHERE id > ? ORDER BY id", (number,)))

    def last_cycle(self) -> int:
        """Number of the last cycle that was remembered or wrote; 0 where there is none."""
        query = "SELECT coalesce(max(cycle), 0) FROM (SELECT cycle FROM memory UNION ALL SELECT cycle FROM intents)"
        return int(self._rows(query)[0][0])

    def audit(self, miner: str | None = None, *, since_s: float = 0.0, limit: int = 1000) -> tuple[AuditEntry, ...]:
        """Audit entries by falling time, of one miner or of all."""
        where, values = _where(miner, since_s)
        rows = self._rows(
            f"SELECT {AUDIT_COLUMNS} FROM audit {where} ORDER BY at_s DESC, id DESC LIMIT ?", (*values, limit)
        )
        return tuple(audit_entry_of(row) for row in rows)

    def audit_after(self, number: int) -> tuple[AuditEntry, ...]:
        """Audit entries of higher numbers, the oldest first."""
        rows = self._rows(f"SELECT {AUDIT_COLUMNS} FROM audit WHERE id > ? ORDER BY id", (number,))
        return tuple(audit_entry_of(row) for row in rows)

    def last_audit(self) -> int:
        """Number of the newest audit entry; 0 where there is none."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM audit")[0][0])

    def approvals(self, *states: ApprovalState) -> tuple[Approval, ...]:
        """Proposals in the given states (all without any), the oldest first."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        rows = self._rows(f"SELECT {APPROVAL_COLUMNS} FROM approvals {where} ORDER BY id", states)
        return tuple(approval_of(row) for row in rows)

    def pauses(self) -> dict[str, Pause]:
        """Paused miners by name; the whole site under :data:`WHOLE_SITE`."""
        rows = self._rows("SELECT miner, actor, reason, at_s FROM pauses ORDER BY miner")
        return {row[0]: Pause(*row) for row in rows}

    def outcomes(self, *, since_s: float = 0.0, limit: int = 100_000) -> tuple[OutcomeRow, ...]:
        """Predictions made since a time, the oldest first, with what was measured."""
        return self._outcomes("WHERE at_s >= ? ORDER BY at_s, id LIMIT ?", (since_s, limit))

    def outcomes_due(self, now_s: float) -> tuple[OutcomeRow, ...]:
        """Predictions whose time has come and that were not measured yet."""
        return self._outcomes(
            "WHERE measured_at_s IS NULL AND at_s + horizon_s <= ? ORDER BY at_s + horizon_s, id", (now_s,)
        )

    def _outcomes(self, where: str, values: Sequence[object]) -> tuple[OutcomeRow, ...]:
        columns = "id, cycle, subject, at_s, horizon_s, predicted, coalesce(measured, 'null'), measured_at_s"
        return tuple(
            OutcomeRow(number, cycle, subject, at_s, horizon_s, json.loads(predicted), json.loads(found), found_at_s)
            for number, cycle, subject, at_s, horizon_s, predicted, found, found_at_s in self._rows(
                f"SELECT {columns} FROM outcomes {where}", values
            )
        )


class _Writer(Reader):
    """A reader that may change things, in whole transactions."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside durable together, or none of them; transactions inside one join it.

        Raises:
            JournalUnwritable: the disk is full or read-only; nothing was changed.
        """
        if self._in_transaction():
            yield
            return
        with sqlite_errors_told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._commit()
            except BaseException:
                if self._in_transaction():
                    self._connection.execute("ROLLBACK")
                raise

    def _in_transaction(self) -> bool:
        return self._connection.in_transaction

    def _commit(self) -> None:
        self._connection.execute("COMMIT")

    def note(
        self,
        action: str,
        *,
        at_s: float,
        actor: str = BRIDGE,
        miner: str | None = None,
        policy: str = "",
        reason: str = "",
        detail: object = None,
    ) -> None:
        """Append to the audit.

        Args:
            action: what was done, e.g. ``mode``.
            at_s: when, s since 1970 UTC.
            actor: who: the bridge, or a person.
            miner: which one; None for the site.
            policy: name and version of the policy in force.
            reason: why, in words.
            detail: anything that JSON can hold.
        """
        with self.transaction():
            self._connection.execute(
                "INSERT INTO audit (at_s, actor, action, miner, policy, reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (at_s, actor, action, miner, policy, reason, canonical_json(detail, allow_nan=True)),
            )

    def own(self, miner: str, owned: Owned, at_s: float) -> None:
        """Keep what the bridge has made of a miner; a new hold goes into the audit."""
        before = self.owned(miner)
        if owned == before:
            return
        with self.transaction():
            self._connection.execute(
                "INSERT INTO owned (miner, document, at_s) VALUES (?, ?, ?) "
                "ON CONFLICT (miner) DO UPDATE SET document = excluded.document, at_s = excluded.at_s",
                (miner, encode_owned(owned), at_s),
            )
            if owned.held is not None and before.held is None:
                self.note("held", at_s=at_s, miner=miner, reason=f"{owned.held.value}: {owned.held_detail}")


class Desk(_Writer):
    """What a person may do to a journal while the bridge runs: pause, release, approve, reject."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open beside a running bridge.

        Raises:
            JournalError: missing, damaged, foreign, of another version or read-only.
        """
        return cls(connect(path, create=False), path)

    def pause(self, miner: str, *, actor: str, reason: str, at_s: float) -> None:
        """Have the bridge leave a miner alone, or all of them (:data:`WHOLE_SITE`)."""
        with self.transaction():
            self._connection.execute(
                "INSERT INTO pauses (miner, actor, reason, at_s) VALUES (?, ?, ?, ?) ON CONFLICT (miner) DO NOTHING",
                (miner, actor, reason, at_s),
            )
            self.note("pause", at_s=at_s, actor=actor, miner=miner or None, reason=reason)

    def resume(self, miner: str, *, actor: str, reason: str, at_s: float) -> None:
        """End a pause, and release a miner that is held; the preset found next counts as the accepted one.

        For the whole site it ends the site's pause only: held or paused miners are released one by one.
        """
        with self.transaction():
            self._connection.execute("DELETE FROM pauses WHERE miner = ?", (miner,))
            if miner != WHOLE_SITE:
                released = dataclasses.replace(
                    self.owned(miner), preset=None, top_preset=None, undone_at_s=None, held=None, held_detail=""
                )
                self.own(miner, released, at_s)
            self.note("resume", at_s=at_s, actor=actor, miner=miner or None, reason=reason)

    def decide(self, approval: int, *, approve: bool, actor: str, note: str, at_s: float) -> Approval:
        """Approve or reject a proposal.

        Raises:
            JournalError: unknown, expired or already decided.
        """
        with self.transaction():
            found = {entry.id: entry for entry in self.approvals()}.get(approval)
            if found is None:
                raise JournalError(explain(f"there is no proposal {approval}", origin=str(self.path)))
            late = found.expires_at_s <= at_s
            if found.state is not ApprovalState.PROPOSED or late:
                state = "expired" if found.state is ApprovalState.PROPOSED else found.state.value
                fix = "List the proposals again: only open ones can be decided."
                raise JournalError(explain(f"proposal {approval} is {state}", allowed="proposed", fix=fix))
            state = ApprovalState.APPROVED if approve else ApprovalState.REJECTED
            self._connection.execute(
                "UPDATE approvals SET state = ?, decided_by = ?, decided_at_s = ?, note = ? WHERE id = ?",
                (state, actor, at_s, note, approval),
            )
            action = "approve" if approve else "reject"
            detail = {"proposal": approval}
            self.note(
                action, at_s=at_s, actor=actor, miner=found.miner, policy=found.policy, reason=note, detail=detail
            )
        return dataclasses.replace(found, state=state, decided_by=actor, decided_at_s=at_s, note=note)


class Journal(_Writer):
    """The journal of the one process that may write to miners."""

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: Lock) -> None:
        super().__init__(connection, path)
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open as the one writer; a missing file is created.

        Raises:
            JournalLocked: another bridge or restore has it open.
            JournalUnwritable: full disk, read-only file or folder.
            JournalInvalid: damaged, foreign or of another version.
        """
        lock = Lock(path)
        try:
            return cls(connect(path, create=True), path, lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Let the file and its lock go."""
        super().close()
        self._lock.release()

    # ------------------------------------------------------------------ intents

    def intend(self, intents: Iterable[NewIntent], at_s: float) -> tuple[Intent, ...]:
        """Journal writes before they go out: all of them, with first values and ownership, or none.

        Raises:
            JournalError: it cannot be written, or a miner has another write under way; then nothing may be sent.
        """
        numbers: list[int] = []
        with self.transaction():
            for new in intents:
                cursor = self._connection.execute(
                    "INSERT INTO intents (cycle, at_s, miner, write, reasons, policy, state) "
                    "VALUES (?, ?, ?, ?, ?, ?, 'intended')",
                    (new.cycle, at_s, new.miner, encode_write(new.write), canonical_json(new.reasons), new.policy),
                )
                number = cursor.lastrowid
                assert number is not None
                numbers.append(number)
                self._connection.executemany(
                    "INSERT INTO first_values (miner, field, value, at_s) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    [(new.miner, name, canonical_json(value), at_s) for name, value in new.first_values.items()],
                )
                self.own(new.miner, after_intent(self.owned(new.miner), new.write, at_s), at_s)
                self.note(
                    "intend",
                    at_s=at_s,
                    miner=new.miner,
                    policy=new.policy,
                    reason="; ".join(new.reasons),
                    detail={"intent": number, "write": json.loads(encode_write(new.write))},
                )
            by_number = {intent.id: intent for intent in self.open_intents()}
        return tuple(by_number[number] for number in numbers)

    def sent(self, intents: Mapping[int, bool], at_s: float) -> None:
        """Note that writes went out; True where the miner accepted, False where no answer came."""
        with self.transaction():
            self._connection.executemany(
                "UPDATE intents SET state = 'sent', accepted = ?, sent_at_s = ? WHERE id = ?",
                [(int(accepted), at_s, number) for number, accepted in intents.items()],
            )

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Journal outcomes, and what they make of ownership."""
        with self.transaction():
            for end in settlements:
                intent = self.intent(end.intent)
                self._connection.execute(
                    "UPDATE intents SET state = ?, settled_at_s = ?, detail = ?, refused = ? WHERE id = ?",
                    (end.state, end.at_s, end.detail, int(end.refused), end.intent),
                )
                owned = self.owned(intent.miner)
                if end.state is IntentState.DONE:
                    owned = after_done(owned, intent.write)
                elif end.refused:
                    owned = after_refusal(owned, intent.write)
                self.own(intent.miner, owned, end.at_s)
                detail = {"intent": intent.id, "detail": end.detail}
                self.note(end.state.value, at_s=end.at_s, miner=intent.miner, policy=intent.policy, detail=detail)

    def forget(self, miner: str, *, at_s: float, reason: str) -> None:
        """Drop first values and ownership of a miner that was put back; the audit keeps them."""
        with self.transaction():
            detail = {"first_values": self.first_values(miner), "owned": dataclasses.asdict(self.owned(miner))}
            self._connection.execute("DELETE FROM first_values WHERE miner = ?", (miner,))
            self._connection.execute("DELETE FROM owned WHERE miner = ?", (miner,))
            self.note("forget", at_s=at_s, miner=miner, reason=reason, detail=detail)

    # ------------------------------------------------------------------ memory

    def remember(self, documents: Mapping[str, object], *, cycle: int, at_s: float) -> None:
        """Replace all documents together; bytes stay bytes, anything else goes as JSON (NaN and infinity allowed)."""
        rows = [
            (key, document if isinstance(document, bytes) else canonical_json(document, allow_nan=True), cycle, at_s)
            for key, document in documents.items()
        ]
        with self.transaction():
            self._connection.execute("DELETE FROM memory")
            self._connection.executemany("INSERT INTO memory (key, document, cycle, at_s) VALUES (?, ?, ?, ?)", rows)

    # ------------------------------------------------------------------ advise mode

    def propose(
        self,
        miner: str,
        writes: Sequence[Write],
        *,
        reasons: Sequence[str],
        explanation: object,
        cycle: int,
        policy: str,
        at_s: float,
        expires_at_s: float,
    ) -> int:
        """Queue writes for a person; an earlier proposal for the miner that nobody approved expires.

        Returns:
            Number of the proposal; of the standing one where it asks for the same.
        """
        encoded = canonical_json([json.loads(encode_write(write)) for write in writes])
        with self.transaction():
            standing = "SELECT id, writes, state FROM approvals WHERE miner = ? AND state IN ('proposed', 'approved')"
            for number, same, state in self._rows(standing, (miner,)):
                if state == ApprovalState.APPROVED or same == encoded:
                    return int(number)
                self._connection.execute("UPDATE approvals SET state = 'expired' WHERE id = ?", (number,))
            cursor = self._connection.execute(
                "INSERT INTO approvals (cycle, at_s, expires_at_s, miner, writes, reasons, explanation, policy, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'proposed')",
                (
                    cycle,
                    at_s,
                    expires_at_s,
                    miner,
                    encoded,
                    canonical_json(list(reasons)),
                    canonical_json(explanation, allow_nan=True),
                    policy,
                ),
            )
            number = cursor.lastrowid
            assert number is not None
            detail = {"proposal": number, "writes": json.loads(encoded)}
            self.note("propose", at_s=at_s, miner=miner, policy=policy, reason="; ".join(reasons), detail=detail)
        return number

    def take_approved(self, now_s: float) -> tuple[Approval, ...]:
        """Hand over what was approved and expire what is too old; a proposal is handed over once."""
        with self.transaction():
            self._connection.execute(
                "UPDATE approvals SET state = 'expired' WHERE state IN ('proposed', 'approved') AND expires_at_s <= ?",
                (now_s,),
            )
            approved = self.approvals(ApprovalState.APPROVED)
            self._connection.execute("UPDATE approvals SET state = 'taken' WHERE state = 'approved'")
        return approved

    # ------------------------------------------------------------------ outcomes

    def expect(self, subject: str, predicted: object, *, cycle: int, at_s: float, horizons_s: Sequence[float]) -> None:
        """Note a prediction, to be measured after each of the horizons."""
        with self.transaction():
            self._connection.executemany(
                "INSERT INTO outcomes (cycle, subject, at_s, horizon_s, predicted) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                [
                    (cycle, subject, at_s, horizon_s, canonical_json(predicted, allow_nan=True))
                    for horizon_s in horizons_s
                ],
            )

    def measured(self, values: Mapping[int, object], at_s: float) -> None:
        """Note what was measured, by number of the outcome; None where it cannot be told any more."""
        with self.transaction():
            self._connection.executemany(
                "UPDATE outcomes SET measured = ?, measured_at_s = ? WHERE id = ? AND measured_at_s IS NULL",
                [(canonical_json(value, allow_nan=True), at_s, number) for number, value in values.items()],
            )


def _where(miner: str | None, since_s: float) -> tuple[str, tuple[object, ...]]:
    if miner is None:
        return "WHERE at_s >= ?", (since_s,)
    return "WHERE at_s >= ? AND miner = ?", (since_s, miner)
