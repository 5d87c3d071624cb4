"""The journal keeps what it was told, refuses what would break it, and says what to do when it cannot be used."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.bridge.miners.miner import FanMode, Power, SetFan, SetFields, SetPower, SetPreset, SetThrottle, SwitchPool
from minesim.bridge.writing.journal import WHOLE_SITE, Desk, Journal, Reader
from minesim.bridge.writing.journal_records import (
    ApprovalState,
    IntentState,
    NewIntent,
    Settlement,
    decode_owned,
    decode_write,
    encode_owned,
    encode_write,
)
from minesim.bridge.writing.journal_store import JournalError, JournalInvalid, JournalLocked, JournalUnwritable
from minesim.bridge.writing.owned import Held, Owned

PRESET = "miner.overclock.preset"
STOP = SetPower(Power.STOP)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bridge.sqlite"


@pytest.fixture
def journal(path):
    with Journal.open(path) as opened:
        yield opened


NOBODY = 65534
TO_2000 = SetPreset("2000")
KILLED_WHILE_OPEN = """
import os, sys
from pathlib import Path
from minesim.bridge.writing.journal import Journal

Journal.open(Path(sys.argv[1]))
os.kill(os.getpid(), 9)
"""


def intent(miner="m1", write=TO_2000, **more):
    settings = {"reasons": ("price is high",), "cycle": 7, "policy": "threshold 1.0"} | more
    return NewIntent(miner, write, **settings)


def settled(journal, number, state=IntentState.DONE, at_s=20.0, **more):
    journal.settle([Settlement(number, state, at_s, **more)])


# ---------------------------------------------------------------------- stories


def test_a_write_is_told_from_intent_to_outcome(journal, path):
    (opened,) = journal.intend([intent(first_values={PRESET: "2500"})], 10.0)
    assert (opened.state, opened.sent_at_s, opened.reasons) == (IntentState.INTENDED, None, ("price is high",))
    assert journal.known("m1", 10.0).pending == SetPreset("2000")
    journal.sent({opened.id: True}, 11.0)
    settled(journal, opened.id, detail="as asked")
    with Reader.open(path) as reader:
        (found,) = reader.intents("m1")
        assert (found.state, found.sent_at_s, found.settled_at_s) == (IntentState.DONE, 11.0, 20.0)
        assert reader.open_intents() == ()
        assert reader.first_values("m1") == {PRESET: "2500"}
        assert reader.owned("m1").preset == "2000"
        assert reader.last_write_at_s("m1") == 20.0
        story = [(entry.actor, entry.action, entry.policy) for entry in reader.audit("m1")]
        assert story == [("bridge", "done", "threshold 1.0"), ("bridge", "intend", "threshold 1.0")]


def test_first_values_stay_the_first(journal):
    (first,) = journal.intend([intent(first_values={PRESET: "2500"})], 10.0)
    settled(journal, first.id)
    journal.intend([intent(write=SetPreset("1500", "1500"), first_values={PRESET: "2000", "top": None})], 30.0)
    assert journal.first_values("m1") == {PRESET: "2500", "top": None}


def test_a_person_pauses_releases_and_decides_while_the_bridge_runs(journal, path):
    journal.own("m1", Owned(preset="2500", held=Held.CHANGED_BY_HAND, held_detail="preset '1500'"), 5.0)
    assert set(journal.held()) == {"m1"}
    number = journal.propose(
        "m2", [STOP], reasons=["peak"], explanation={"price": 90.0}, cycle=1, policy="p", at_s=10.0, expires_at_s=100.0
    )
    with Desk.open(path) as desk:
        desk.pause(WHOLE_SITE, actor="ann", reason="works on the switchgear", at_s=11.0)
        desk.resume("m1", actor="ann", reason="looked at it", at_s=12.0)
        desk.decide(number, approve=True, actor="ann", note="fine", at_s=13.0)
        with pytest.raises(JournalError, match="is approved"):
            desk.decide(number, approve=False, actor="bob", note="", at_s=14.0)
    assert journal.pauses()[WHOLE_SITE].actor == "ann"
    assert (journal.owned("m1").held, journal.owned("m1").preset) == (None, None)
    (taken,) = journal.take_approved(20.0)
    assert (taken.miner, taken.writes, taken.decided_by, taken.explanation) == ("m2", (STOP,), "ann", {"price": 90.0})
    assert journal.take_approved(21.0) == ()
    assert {("ann", "pause"), ("ann", "resume"), ("ann", "approve"), ("bridge", "held")} <= {
        (entry.actor, entry.action) for entry in journal.audit()
    }


def test_a_proposal_expires_and_is_replaced_by_a_newer_one(journal, path):
    ask = {"reasons": ["r"], "explanation": None, "cycle": 1, "policy": "p"}
    first = journal.propose("m1", [STOP], **ask, at_s=10.0, expires_at_s=100.0)
    assert journal.propose("m1", [STOP], **ask, at_s=20.0, expires_at_s=110.0) == first
    second = journal.propose("m1", [SetThrottle(0.5)], **ask, at_s=30.0, expires_at_s=120.0)
    assert [entry.id for entry in journal.approvals(ApprovalState.EXPIRED)] == [first]
    with Desk.open(path) as desk, pytest.raises(JournalError, match="is expired"):
        desk.decide(second, approve=True, actor="ann", note="", at_s=120.0)
    with Desk.open(path) as desk:
        desk.decide(second, approve=True, actor="ann", note="", at_s=119.0)
    # Approved in time, but the bridge comes too late.
    assert journal.take_approved(121.0) == ()
    assert [entry.id for entry in journal.approvals(ApprovalState.EXPIRED)] == [first, second]


def test_memory_is_replaced_as_a_whole(journal, path):
    journal.remember({"history": {"since_up_s": [math.inf, 3.0]}, "observer": b"\x00\x01"}, cycle=3, at_s=1.0)
    journal.remember({"history": [1.5], "meter": None}, cycle=4, at_s=2.0)
    assert journal.recall() == {"history": [1.5], "meter": None}
    assert journal.last_cycle() == 4
    with pytest.raises(TypeError):
        journal.remember({"history": [2.5], "meter": object()}, cycle=5, at_s=3.0)
    assert journal.recall() == {"history": [1.5], "meter": None}
    journal.remember({"history": {"since_up_s": [math.inf, 3.0]}, "observer": b"\x00\x01"}, cycle=5, at_s=4.0)
    assert journal.recall() == {"history": {"since_up_s": [math.inf, 3.0]}, "observer": b"\x00\x01"}


def test_outcomes_wait_for_their_horizon(journal):
    journal.expect("m1", {"power_w": 2000.0}, cycle=1, at_s=0.0, horizons_s=(600.0, 3600.0))
    assert [row.horizon_s for row in journal.outcomes_due(599.0)] == []
    (due,) = journal.outcomes_due(600.0)
    journal.measured({due.id: {"power_w": 2050.0}}, 601.0)
    assert journal.outcomes_due(700.0) == ()
    assert [(row.measured, row.measured_at_s) for row in journal.outcomes()] == [
        ({"power_w": 2050.0}, 601.0),
        (None, None),
    ]


def test_only_what_was_sent_in_vain_counts_as_a_try(journal):
    for at_s, (state, sent) in enumerate([("failed", True), ("failed", False), ("done", True), ("unknown", True)]):
        (opened,) = journal.intend([intent()], float(at_s))
        if sent:
            journal.sent({opened.id: True}, float(at_s))
        settled(journal, opened.id, IntentState(state))
    assert journal.tries("m1", SetPreset("2000"), 0.0) == 2
    assert journal.tries("m1", SetPreset("2000"), 1.0) == 1
    assert journal.tries("m1", SetPreset("1500"), 0.0) == 0


def test_what_is_asked_in_every_poll_does_not_grow_with_the_years(journal):
    """No query of a poll reads a whole table."""
    plans = []

    def explain(statement):
        if statement.startswith("SELECT"):
            plans.extend(row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}"))

    other = sqlite3.connect(journal.path)
    journal._connection.set_trace_callback(explain)
    journal.open_intents()
    journal.open_intents("m1")
    journal.known("m1", 100.0)
    journal.last_write_at_s("m1")
    journal.tries("m1", TO_2000, 0.0)
    journal.first_values("m1")
    journal.intents(since_s=1.0)
    journal.intents("m1", since_s=1.0)
    journal.audit(since_s=1.0)
    journal.audit("m1", since_s=1.0)
    journal.outcomes(since_s=1.0)
    journal.outcomes_due(100.0)
    journal._connection.set_trace_callback(None)
    other.close()
    assert len(plans) >= 12
    scans = [step for step in plans if step.startswith("SCAN") and "one_open_intent_a_miner" not in step]
    assert scans == []


# ---------------------------------------------------------------------- what it refuses


def test_one_write_at_a_time_and_all_or_none(journal):
    journal.intend([intent("m1")], 10.0)
    with pytest.raises(JournalError):
        journal.intend([intent("m2", STOP, first_values={"mining.run": True}), intent("m1")], 20.0)
    assert [entry.miner for entry in journal.intents()] == ["m1"]
    assert journal.first_values("m2") == {}
    assert journal.owned("m2") == Owned()
    assert journal.audit("m2") == ()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET reason = 'nothing happened'",
        "DELETE FROM audit",
        "DELETE FROM intents",
        "UPDATE intents SET state = 'intended'",
        "UPDATE intents SET write = '{}'",
    ],
)
def test_what_happened_cannot_be_rewritten(journal, path, change):
    (opened,) = journal.intend([intent()], 10.0)
    settled(journal, opened.id)
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError):
        other.execute(change)
    other.close()


def test_a_second_bridge_is_refused_and_readers_are_not(journal, path):
    with pytest.raises(JournalLocked, match="another bridge"):
        Journal.open(path)
    with Reader.open(path) as reader:
        assert reader.intents() == ()
    journal.close()
    Journal.open(path).close()


def test_the_lock_of_a_killed_bridge_is_free(path):
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_OPEN, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    Journal.open(path).close()


def test_a_full_disk_stops_the_intent_and_leaves_the_journal_whole(journal, path):
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = [intent(f"m{number}", reasons=("x" * 500,)) for number in range(1000)]
    done = 0

    def fill():
        nonlocal done
        for done, entry in enumerate(big):
            journal.intend([entry], float(done))

    with pytest.raises(JournalUnwritable, match=r"disk is full.*Free some space"):
        fill()
    assert len(journal.intents()) == done
    assert len(journal.audit()) == done
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    journal.intend([intent("later")], 1.0)


@contextlib.contextmanager
def plain_user(folder):
    """Be bound by permissions, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    for entry in (folder, *folder.iterdir()):
        os.chown(entry, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_or_file_is_told():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.sqlite"
        Journal.open(path).close()
        path.with_name(path.name + ".lock").unlink()
        path.parent.chmod(0o500)
        with plain_user(path.parent):
            with pytest.raises(JournalUnwritable, match="own the folder"):
                Journal.open(path)
            # Nobody writes, so a reader needs no files beside it.
            with Reader.open(path) as reader:
                assert reader.intents() == ()
        path.parent.chmod(0o700)
        path.chmod(0o400)
        with plain_user(path.parent), pytest.raises(JournalUnwritable, match="own the file"):
            Journal.open(path)


def test_a_journal_that_turns_read_only_stops_the_intent(journal):
    journal._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(JournalUnwritable):
        journal.intend([intent()], 1.0)


def test_reading_never_writes(journal, path):
    with Reader.open(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("INSERT INTO memory VALUES ('a', 'b', 1, 1)")


@pytest.mark.parametrize("opener", [Journal.open, Reader.open, Desk.open])
def test_damaged_foreign_and_newer_files_are_refused_untouched(path, opener):
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalInvalid, match="damaged or no SQLite file"):
        opener(path)
    assert path.read_bytes() == b"not a database at all" * 100
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE accounts (name TEXT)")
    other.close()
    with pytest.raises(JournalInvalid, match="another program"):
        opener(path)
    path.unlink()
    Journal.open(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(JournalInvalid, match="schema version 99; allowed: 1"):
        opener(path)


def test_a_torn_page_is_found_on_opening(path):
    with Journal.open(path) as journal:
        for number in range(200):
            journal.note("mode", at_s=float(number), reason="x" * 200)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(JournalInvalid, match="Keep a copy"):
        Journal.open(path)


@pytest.mark.parametrize("opener", [Reader.open, Desk.open])
def test_a_missing_journal_is_not_made_by_looking(path, opener):
    with pytest.raises(JournalUnwritable, match="there is no journal"):
        opener(path)
    assert not path.exists()


# ---------------------------------------------------------------------- spelling

names = st.text(min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
any_write = st.one_of(
    st.builds(SetPreset, names, st.none() | names),
    st.builds(SetThrottle, st.floats(0.2, 1.0)),
    st.builds(SetFan, st.sampled_from(FanMode), st.none() | st.floats(0.0, 100.0)),
    st.builds(SwitchPool, st.integers(0, 5)),
    st.builds(SetPower, st.sampled_from(Power)),
    st.builds(SetFields, st.lists(st.tuples(names, json_values), max_size=3).map(tuple)),
)


@given(any_write)
def test_writes_survive_being_spelled(write):
    text = encode_write(write)
    assert decode_write(text) == write
    assert encode_write(decode_write(text)) == text


@given(
    st.builds(
        Owned,
        preset=st.none() | names,
        top_preset=st.none() | names,
        halted_by=st.none() | st.sampled_from(Power),
        halt_confirmed=st.booleans(),
        undone_at_s=st.none() | st.floats(0.0, 2e9),
        restart_owed_at_s=st.none() | st.floats(0.0, 2e9),
        held=st.none() | st.sampled_from(Held),
        held_detail=names,
    )
)
def test_ownership_survives_being_spelled(owned):
    assert decode_owned(encode_owned(owned)) == owned
