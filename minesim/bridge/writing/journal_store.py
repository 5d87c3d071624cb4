"""The journal's file: schema, opening, the lock of its one bridge, and errors that say what to do."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from minesim.errors import MinesimError, explain

APPLICATION_ID: Final = 0x4D53494D
"""Marks the file as a journal ("MSIM")."""
SCHEMA_VERSION: Final = 1
BUSY_S: Final = 5.0
"""How long to wait for another process's short transaction, s (assumed)."""

_SCHEMA: Final = """
CREATE TABLE intents (
    id INTEGER PRIMARY KEY,
    cycle INTEGER NOT NULL,
    at_s REAL NOT NULL,
    miner TEXT NOT NULL,
    write TEXT NOT NULL,
    reasons TEXT NOT NULL,
    policy TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intended', 'sent', 'done', 'failed', 'unknown')),
    accepted INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    sent_at_s REAL,
    settled_at_s REAL,
    detail TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX one_open_intent_a_miner ON intents (miner) WHERE state IN ('intended', 'sent');
CREATE INDEX intents_of_a_miner ON intents (miner, at_s);
CREATE INDEX intents_by_time ON intents (at_s);
CREATE TRIGGER intents_stay BEFORE DELETE ON intents
    BEGIN SELECT RAISE(ABORT, 'intents are never deleted'); END;
CREATE TRIGGER settled_intents_stay BEFORE UPDATE ON intents WHEN OLD.state IN ('done', 'failed', 'unknown')
    BEGIN SELECT RAISE(ABORT, 'a settled intent never changes'); END;

CREATE TABLE first_values (
    miner TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    at_s REAL NOT NULL,
    PRIMARY KEY (miner, field)
) WITHOUT ROWID;

CREATE TABLE owned (miner TEXT PRIMARY KEY, document TEXT NOT NULL, at_s REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE memory (
    key TEXT PRIMARY KEY,
    document NOT NULL,
    cycle INTEGER NOT NULL,
    at_s REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at_s REAL NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    miner TEXT,
    policy TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_of_a_miner ON audit (miner, at_s);
CREATE INDEX audit_by_time ON audit (at_s);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

CREATE TABLE approvals (
    id INTEGER PRIMARY KEY,
    cycle INTEGER NOT NULL,
    at_s REAL NOT NULL,
    expires_at_s REAL NOT NULL,
    miner TEXT NOT NULL,
    writes TEXT NOT NULL,
    reasons TEXT NOT NULL,
    explanation TEXT NOT NULL,
    policy TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('proposed', 'approved', 'rejected', 'expired', 'taken')),
    decided_by TEXT NOT NULL DEFAULT '',
    decided_at_s REAL,
    note TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX one_proposal_a_miner ON approvals (miner) WHERE state IN ('proposed', 'approved');

CREATE TABLE pauses (
    miner TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_s REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    cycle INTEGER NOT NULL,
    subject TEXT NOT NULL,
    at_s REAL NOT NULL,
    horizon_s REAL NOT NULL,
    predicted TEXT NOT NULL,
    measured TEXT,
    measured_at_s REAL,
    UNIQUE (cycle, subject, horizon_s)
);
CREATE INDEX outcomes_by_time ON outcomes (at_s);
CREATE INDEX outcomes_due ON outcomes (at_s + horizon_s) WHERE measured_at_s IS NULL;
"""


class JournalError(MinesimError):
    """The journal cannot be used; nothing may be written to a miner."""


class JournalLocked(JournalError):
    """Another bridge, or a restore, holds the journal."""


class JournalUnwritable(JournalError):
    """The disk is full, or the file or its folder is read-only."""


class JournalInvalid(JournalError):
    """The file is damaged, of another program, or of another version."""


def canonical_json(value: object, *, allow_nan: bool = False) -> str:
    """Spell a JSON value in one way only: sorted keys, no spaces; NaN and infinity only where allowed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=allow_nan)


@contextlib.contextmanager
def sqlite_errors_told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into :class:`JournalError`, with what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _told(path, error) from error


def _told(path: Path, error: sqlite3.Error) -> JournalError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    origin = str(path)
    if primary == sqlite3.SQLITE_FULL:
        what = "the disk is full, so the journal cannot be written"
        return JournalUnwritable(
            explain(what, origin=origin, fix="Free some space; the bridge writes to no miner until.")
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        what = f"the journal cannot be opened or written ({error})"
        fix = "Let the bridge's user own the file and its folder, on a disk that is mounted for writing."
        return JournalUnwritable(explain(what, origin=origin, fix=fix))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(path, str(error))
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalLocked(
            explain(f"another process kept the journal busy for {BUSY_S:g} s", origin=origin, fix="Try again.")
        )
    return JournalError(explain(f"the journal refused ({error})", origin=origin, fix="Report this as a bug."))


def _damaged(path: Path, detail: str) -> JournalInvalid:
    what = f"the journal is damaged or no SQLite file ({detail})"
    fix = "Keep a copy, restore a backup or start with a new file, and look at each miner before `auto`."
    return JournalInvalid(explain(what, origin=str(path), fix=fix))


class Lock:
    """Held by the one process that may write to miners; the system drops it when the process dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock beside ``path``.

        Raises:
            JournalLocked: another process has it.
            JournalUnwritable: the folder is missing or read-only.
        """
        lock_path = path.with_name(path.name + ".lock")
        try:
            self._file = lock_path.open("a")
        except OSError as error:
            fix = "Let the bridge's user own the folder, on a disk that is mounted for writing."
            raise JournalUnwritable(explain(f"{lock_path} cannot be opened ({error.strerror})", fix=fix)) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            what = "another bridge or restore is using the journal"
            raise JournalLocked(
                explain(what, origin=str(path), fix="Stop it first (`systemctl stop minesim`).")
            ) from error

    def release(self) -> None:
        """Let it go; a second time does nothing."""
        self._file.close()


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open a journal for writing; with ``create`` a missing or empty file becomes one.

    Raises:
        JournalError: it is damaged, foreign, of another version or cannot be written.
    """
    if not create and not path.exists():
        raise JournalUnwritable(explain("there is no journal", origin=str(path), fix="Start the bridge once."))
    with sqlite_errors_told(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
        try:
            if create and _is_empty(connection):
                connection.execute("PRAGMA journal_mode = WAL")
                marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
                connection.executescript(f"BEGIN IMMEDIATE; {marks} {_SCHEMA} COMMIT;")
            _check(connection, path)
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _damaged(path, found)
            connection.execute("PRAGMA synchronous = FULL")
            # Tells a read-only file before anything depends on it.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a journal for reading, also while a bridge writes to it.

    Raises:
        JournalError: it is missing, damaged, foreign or of another version.
    """
    if not path.exists():
        raise JournalUnwritable(explain("there is no journal", origin=str(path), fix="Start the bridge once."))
    with sqlite_errors_told(path):
        connection = _readable(path)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _readable(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        # Nobody writes, and this user may not create the files that a shared reader needs.
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is no journal, or one of another version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        what = "the file is a database of another program"
        raise JournalInvalid(explain(what, origin=str(path), fix="Name another file for the journal."))
    if version != SCHEMA_VERSION:
        raise JournalInvalid(
            explain(
                f"the journal has schema version {version}",
                allowed=str(SCHEMA_VERSION),
                origin=str(path),
                fix="Use the version of minesim that wrote it, or run `restore` with that one and start a new file.",
            )
        )
