"""Asking the journal for records by what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.journal.ledger import Ledger
from sandbox.records import SnapshotRecord
from tests.unit.journal.records import snapshot


def test_find_is_oldest_first_and_by_field(ledger: Ledger) -> None:
    for name, sandbox in (("snap_c", "sbx_1"), ("snap_a", "sbx_2"), ("snap_b", "sbx_1")):
        ledger.put("snapshot", name, snapshot(name, sandbox), event="snapshot.taken")
    ledger.put("snapshot", "snap_c", snapshot("snap_c"), event="snapshot.taken")
    ledger.put("other", "snap_x", snapshot("snap_x"), event="snapshot.taken")
    assert [s.id for s in ledger.find("snapshot", SnapshotRecord)] == ["snap_c", "snap_a", "snap_b"]
    assert [s.id for s in ledger.find("snapshot", SnapshotRecord, sandbox="sbx_1")] == ["snap_c", "snap_b"]
    assert ledger.find("snapshot", SnapshotRecord, sandbox="sbx_1' OR '1") == []
    with pytest.raises(ValueError, match="no field colour"):
        ledger.find("snapshot", SnapshotRecord, colour="red")


def test_find_takes_several_values_and_values_reads_fields_alone(ledger: Ledger) -> None:
    for name, sandbox in (("snap_a", "sbx_1"), ("snap_b", "sbx_2"), ("snap_c", "sbx_3")):
        ledger.put("snapshot", name, snapshot(name, sandbox), event="snapshot.taken")
    either = ledger.find("snapshot", SnapshotRecord, sandbox=("sbx_3", "sbx_1"), status="kept")
    assert [s.id for s in either] == ["snap_a", "snap_c"]
    assert ledger.find("snapshot", SnapshotRecord, sandbox=()) == []
    fields = ("snapshot", "parent")
    assert ledger.values("snapshot", SnapshotRecord, fields, sandbox="sbx_2") == {"snap_b", None}
    with pytest.raises(ValueError, match="no field colour"):
        ledger.values("snapshot", SnapshotRecord, ("colour",))


def test_what_is_over_costs_nothing_to_who_asks_for_what_is_not(path: Path) -> None:
    """Counted in steps of SQLite's own machine, not in time; also where the journal is of a version before."""
    with Ledger.open(path) as old:
        old._connection.execute("DROP INDEX records_state")
    with Ledger.open(path) as ledger:
        ledger.put("snapshot", "snap_now", snapshot("snap_now"), event="snapshot.taken")

        def steps() -> int:
            counted = []
            ledger._connection.set_progress_handler(lambda: counted.append(1), 1)
            assert [one.id for one in ledger.find("snapshot", SnapshotRecord, status="kept")] == ["snap_now"]
            assert ledger.values("snapshot", SnapshotRecord, ("parent",), status="kept") == {None}
            ledger._connection.set_progress_handler(None, 1)
            return len(counted)

        before = steps()
        with ledger.together():
            for number in range(200):
                over = snapshot(f"snap_{number}").model_copy(update={"status": "discarded"})
                ledger.put("snapshot", over.id, over, event="snapshot.discarded")
        assert steps() <= before + 20
