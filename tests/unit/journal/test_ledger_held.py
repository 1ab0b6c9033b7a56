"""Records that are held against the log: an edited one is found, and looking costs no more as the log grows."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from sandbox.journal.ledger import Ledger
from sandbox.records import SnapshotRecord
from tests.unit.journal.records import snapshot


def test_records_that_are_held_against_the_log_cost_no_more_as_the_log_grows(ledger: Ledger, path: Path) -> None:
    looked_at: list[str] = []
    ledger.put("snapshot", "s", snapshot("s"), event="snapshot.taken")
    assert ledger.held("snapshot", SnapshotRecord) == {"s": snapshot("s")}
    for number in range(5):
        ledger.note("something.else", subject=str(number))
    assert ledger.held("snapshot", SnapshotRecord) == {"s": snapshot("s")}
    ledger._connection.set_trace_callback(looked_at.append)
    assert ledger.held("snapshot", SnapshotRecord) == {"s": snapshot("s")}
    ledger._connection.set_trace_callback(None)
    (scan,) = (one for one in looked_at if "FROM audit" in one)
    assert "seq > 6 AND seq <= 6" in scan


def test_a_held_record_is_found_edited_also_after_an_older_journal_was_put_back(path: Path, tmp_path: Path) -> None:
    with Ledger.open(path) as first:
        first.put("snapshot", "s", snapshot("s"), event="snapshot.taken")
    shutil.copy(path, older := tmp_path / "older.db")
    with Ledger.open(path) as ledger:
        ledger.put("snapshot", "t", snapshot("t"), event="snapshot.taken")
        assert set(ledger.held("snapshot", SnapshotRecord)) == {"s", "t"}
        with sqlite3.connect(older) as old, sqlite3.connect(path) as there:
            old.backup(there)
        assert set(ledger.held("snapshot", SnapshotRecord)) == {"s"}
