"""The journal: atomic, durable, shared by threads and processes, and clear about what is wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox import faults
from sandbox.errors import JournalError, Locked, NotFound, Refused
from sandbox.faults import FaultInjected
from sandbox.journal.database import connect_to_read, explained
from sandbox.journal.ledger import Ledger
from sandbox.journal.merkle import leaf_hash, root
from sandbox.records import DestroyRecord, SnapshotRecord, Vote
from tests.dates import SetClock

DONE = DestroyRecord(sandbox="sbx_1", seconds=1.5)
LATER = DestroyRecord(sandbox="sbx_1", seconds=2.5)


def test_a_record_comes_back_as_it_was_put(ledger: Ledger) -> None:
    vote = Vote(
        vote="vote_1",
        change="chg_1",
        request="00" * 32,
        person="alice",
        decision="approve",
        reason="naïve “fine”\n",
        signed_at=datetime(2026, 1, 2, tzinfo=UTC),
        message=bytes(range(256)),
        signature="armored",
    )
    ledger.put("vote", "vote_1", vote, event="vote.cast")
    assert ledger.get("vote", "vote_1", Vote) == vote


def test_records_outlive_the_process_that_put_them(path: Path) -> None:
    with Ledger.open(path) as first:
        first.put("done", "a", DONE, event="done")
    with Ledger.open(path) as second:
        assert second.get("done", "a", DestroyRecord) == DONE


def test_a_missing_record_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="no snapshot 'snap_1'"):
        ledger.get("snapshot", "snap_1", SnapshotRecord)
    with pytest.raises(NotFound):
        ledger.drop("snapshot", "snap_1", event="snapshot.dropped")
    assert list(ledger.entries()) == []


def test_every_step_is_an_entry_in_order(ledger: Ledger) -> None:
    ledger.put("done", "a", DONE, event="made", actor="alice", size=3)
    ledger.swap("done", "a", DONE, LATER, event="swapped")
    ledger.note("looked", subject="a")
    ledger.drop("done", "a", event="dropped", why="tests")
    entries = list(ledger.entries())
    assert [(e.seq, e.event, e.actor, e.subject) for e in entries] == [
        (1, "made", "alice", "a"),
        (2, "swapped", "", "a"),
        (3, "looked", "", "a"),
        (4, "dropped", "", "a"),
    ]
    assert [e.detail for e in entries] == [{"size": 3}, {}, {}, {"why": "tests"}]
    assert [bool(e.record) for e in entries] == [True, True, False, False]
    assert [e.event for e in ledger.entries(after=2)] == ["looked", "dropped"]
    assert ledger.latest_at() == entries[-1].at


def test_t32_the_first_entry_after_the_clock_was_set_back_does_not_hide_it(ledger: Ledger) -> None:
    dates = SetClock(datetime(2026, 1, 1, tzinfo=UTC))
    with dates.installed():
        for hours in (0, 11, 2):
            dates.ahead = timedelta(hours=hours)
            ledger.note("step")
    assert ledger.latest_at() == dates.start + timedelta(hours=11)


def test_the_stored_edge_is_the_tree_over_the_entries(ledger: Ledger) -> None:
    for number in range(13):
        ledger.note("step", number=number)
    leaves = [leaf_hash(body) for _, body in ledger.leaves()]
    assert ledger.edge().size == len(leaves) == 13
    assert ledger.edge().root() == root(leaves)


def test_swap_refuses_what_is_not_as_expected(ledger: Ledger) -> None:
    assert not ledger.swap("done", "a", DONE, LATER, event="swapped")
    ledger.put("done", "a", DONE, event="made")
    assert ledger.swap("done", "a", DONE, LATER, event="swapped")
    assert not ledger.swap("done", "a", DONE, LATER, event="swapped")
    assert ledger.get("done", "a", DestroyRecord) == LATER
    assert [e.event for e in ledger.entries()] == ["made", "swapped"]


def test_one_of_many_threads_wins_a_swap_and_no_entry_is_lost(ledger: Ledger) -> None:
    ledger.put("done", "a", DONE, event="made")
    won: list[int] = []

    def work(number: int) -> None:
        mine = DestroyRecord(sandbox=f"sbx_{number}", seconds=number)
        if ledger.swap("done", "a", DONE, mine, event="swapped"):
            won.append(number)
        for _ in range(5):
            ledger.note("step")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert ledger.get("done", "a", DestroyRecord).sandbox == f"sbx_{won[0]}"
    assert [e.seq for e in ledger.entries()] == list(range(1, 43))


CHILD = """
import sys
from pathlib import Path
from sandbox.errors import Refused
from sandbox.journal.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    for _ in range(20):
        ledger.note("step", actor=sys.argv[2])
    try:
        ledger.spend("the nonce", promotion=sys.argv[2])
        print("spent")
    except Refused:
        print("refused")
"""


def test_b5_several_processes_share_a_journal_and_one_spends_the_nonce(path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(path)]
    children = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(4)]
    said = [child.communicate(timeout=60)[0].strip() for child in children]
    assert sorted(said) == ["refused", "refused", "refused", "spent"]
    with Ledger.open(path) as ledger:
        entries = list(ledger.entries())
        leaves = [leaf_hash(body) for _, body in ledger.leaves()]
        assert ledger.edge().root() == root(leaves)
    assert [e.seq for e in entries] == list(range(1, 82))
    assert all(entry.previous == leaf.hex() for entry, leaf in zip(entries[1:], leaves, strict=False))


def test_b5_a_nonce_is_spent_once(ledger: Ledger) -> None:
    assert not ledger.is_spent("n1")
    ledger.spend("n1", promotion="prm_1")
    assert ledger.is_spent("n1")
    assert not ledger.is_spent("n2")
    with pytest.raises(Refused, match="already used"):
        ledger.spend("n1", promotion="prm_2")


def test_b5_a_spent_nonce_survives_restoring_the_journal(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.note("before")
    shutil.copy(path, path.with_suffix(".old"))
    with Ledger.open(path) as ledger:
        ledger.spend("n1", promotion="prm_1")
    shutil.copy(path.with_suffix(".old"), path)
    with Ledger.open(path) as ledger:
        assert [e.event for e in ledger.entries()] == ["before"]
        assert ledger.is_spent("n1")
        with pytest.raises(Refused):
            ledger.spend("n1", promotion="prm_2")


def test_g3_a_step_is_durable_before_its_fault_point(path: Path) -> None:
    script = CHILD.split("    for _")[0] + "    ledger.note('promotion.intent')\n    print('went on')\n"
    killed = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "SANDBOX_FAULT": "promotion.intent:kill"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -9
    assert killed.stdout == b""
    with Ledger.open(path) as ledger:
        assert [e.event for e in ledger.entries()] == ["promotion.intent"]


def test_a_failing_step_leaves_nothing_behind(ledger: Ledger) -> None:
    ledger.put("done", "a", DONE, event="made")
    with pytest.raises(ValueError, match="safe integer domain"):
        ledger.put("done", "a", LATER, event="made", number=2**60)
    assert ledger.get("done", "a", DestroyRecord) == DONE
    assert len(list(ledger.entries())) == 1
    ledger.note("works on")


def test_an_armed_error_comes_after_the_commit(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_FAULT", "only.in.this.test:error")
    with pytest.raises(FaultInjected):
        ledger.put("done", "a", DONE, event="only.in.this.test")
    assert ledger.get("done", "a", DestroyRecord) == DONE


def test_only_the_owner_can_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        with Ledger.open(path) as ledger:
            ledger.spend("n", promotion="prm_1")
            modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert modes.pop("spent") == 0o700
    assert modes.keys() == {"journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"}
    assert set(modes.values()) == {0o600}


def test_i2_a_journal_that_others_can_write_is_refused(path: Path) -> None:
    Ledger.open(path).close()
    path.chmod(0o666)
    with pytest.raises(JournalError, match=r"other users.*chmod 600"):
        Ledger.open(path)


def test_commits_are_synchronous(ledger: Ledger) -> None:
    assert ledger._read("PRAGMA synchronous") == [(2,)]
    assert ledger._read("PRAGMA journal_mode") == [("wal",)]


def test_a_held_journal_is_locked_not_broken(path: Path) -> None:
    Ledger.open(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    try:
        with Ledger.open(path, busy_s=0.05) as ledger:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(Locked, match="held by another process"):
                ledger.note("step")
            holder.execute("ROLLBACK")
            ledger.note("step")
            assert len(list(ledger.entries())) == 1
    finally:
        holder.close()


@pytest.mark.parametrize("content", [b"this is no database at all" * 99, b"SQLite format 3\0" + b"\xff" * 8176])
def test_a_file_that_is_no_database_says_so(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(JournalError, match=r"not a journal|damaged"):
        Ledger.open(path)
    assert path.read_bytes() == content


def test_a_database_of_another_kind_or_version_is_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE friends (name)")
    other.commit()
    other.close()
    path.chmod(0o600)
    with pytest.raises(JournalError, match="layout none"):
        Ledger.open(path)
    newer = path.with_name("newer.db")
    Ledger.open(newer).close()
    other = sqlite3.connect(newer)
    other.execute("UPDATE layout SET version = 99")
    other.commit()
    other.close()
    with pytest.raises(JournalError, match="layout 99, this version reads 1"):
        Ledger.open(newer)


def test_a_damaged_page_is_an_error_that_says_so(path: Path) -> None:
    with Ledger.open(path) as ledger:
        for number in range(200):
            ledger.put("done", f"d{number}", DONE, event="made")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(JournalError, match="damaged"), Ledger.open(path) as ledger:
        ledger.find("done", DestroyRecord)


FULL = """
import resource, sys
from pathlib import Path
from sandbox.errors import JournalError
from sandbox.journal.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    ledger.note("before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        ledger.note("too big", text="x" * 400_000)
    except JournalError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.note("after")
"""


def test_g3_a_write_that_the_disk_refuses_says_so_and_leaves_nothing(path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "disk" in said
    assert "nothing of this step was recorded" in said
    with Ledger.open(path) as ledger:
        assert [e.event for e in ledger.entries()] == ["before", "after"]


def test_a_read_only_journal_says_so(path: Path) -> None:
    Ledger.open(path).close()
    says = pytest.raises(JournalError, match=r"is read-only.*writable for this user")
    with contextlib.closing(connect_to_read(path)) as database, says, explained(path):
        database.execute("DELETE FROM audit")


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="can't be opened"):
        Ledger.open(tmp_path / "no" / "journal.db")


def test_a_record_of_another_shape_is_a_clear_error(ledger: Ledger) -> None:
    ledger.put("done", "a", DONE, event="made")
    with pytest.raises(JournalError, match="not one that this version wrote"):
        ledger.get("done", "a", SnapshotRecord)


def test_steps_stored_together_are_all_there_or_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[tuple[str, int]] = []
    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        monkeypatch.setattr(faults, "reached", lambda step: reached.append((step, len(list(other.entries())))))
        with ledger.together():
            ledger.put("done", "a", DONE, event="one")
            ledger.put("done", "b", DONE, event="two")
            assert list(other.entries()) == [], "nobody sees a half"
        assert reached == [("one", 2), ("two", 2)], "a manager that is killed at a step has stored it"

        def half() -> None:
            with ledger.together():
                ledger.put("done", "c", DONE, event="three")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            half()
        assert [entry.event for entry in other.entries()] == ["one", "two"]
        with pytest.raises(NotFound):
            other.get("done", "c", DestroyRecord)
        ledger.note("four")
        assert reached[-1] == ("four", 3)
