"""Which commits wait for the disk: all of them, but for steps that a power cut makes worthless; and none is lost that a
later one waited for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.journal.ledger import Ledger
from sandbox.records import DestroyRecord

FULL, NORMAL = 2, 1
DONE = DestroyRecord(sandbox="sbx_1", seconds=1.5)
CHILD = """
import sys
from pathlib import Path
from sandbox.journal.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
with ledger.together(flushed=False):
    ledger.note("snapshot.taken")
    ledger.note("sandbox.moved")
"""


class Disk:
    """Watches how each commit of a ledger was made."""

    def __init__(self, ledger: Ledger) -> None:
        self.commits: list[int] = []
        self._ledger = ledger
        self._level = FULL
        ledger._connection.set_trace_callback(self._see)

    def _see(self, statement: str) -> None:
        if statement.startswith("PRAGMA synchronous"):
            self._level = FULL if statement.endswith("FULL") else NORMAL
        elif statement == "COMMIT":
            self.commits.append(self._level)


def test_g3_only_what_says_so_does_not_wait_for_the_disk(path: Path) -> None:
    with Ledger.open(path) as ledger:
        disk = Disk(ledger)
        ledger.put("done", "a", DONE, event="one")
        ledger.put("done", "a", DONE, event="two", flushed=False)
        ledger.note("three", flushed=False)
        with ledger.together(flushed=False):
            ledger.put("done", "a", DONE, event="four")
        ledger.note("five")
        ledger.spend("nonce", promotion="p")
        ledger.note("six", flushed=False)
        ledger.add_checkpoint(6, b"line")
        with ledger.together():
            ledger.note("seven", flushed=False)
        assert disk.commits == [FULL, NORMAL, NORMAL, NORMAL, FULL, FULL, NORMAL, FULL, FULL]
        assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (FULL,)


def test_g3_a_step_that_waits_for_no_disk_outlives_its_process(path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        env={**os.environ, "SANDBOX_FAULT": "sandbox.moved:kill"},
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with Ledger.open(path) as ledger:
        assert [entry.event for entry in ledger.entries()] == ["snapshot.taken", "sandbox.moved"]


@pytest.mark.parametrize("lost", [1, 40, 4000])
def test_g3_what_a_cut_leaves_of_the_log_is_its_beginning(path: Path, tmp_path: Path, lost: int) -> None:
    """A power cut takes the end of the file that no commit waited for: what is there is whole and in order."""
    with Ledger.open(path) as ledger:
        ledger.note("promotion.committed")
        waited = Path(f"{path}-wal").stat().st_size
        for number in range(20):
            ledger.note("snapshot.taken", subject=str(number), flushed=False)
        after = tmp_path / "after" / path.name
        after.parent.mkdir()
        shutil.copy(path, after)
        wal = Path(f"{path}-wal").read_bytes()
        Path(f"{after}-wal").write_bytes(wal[: max(waited, len(wal) - lost)])
    with Ledger.open(after) as ledger:
        found = list(ledger.entries())
        assert [entry.seq for entry in found] == list(range(1, len(found) + 1))
        assert found[0].event == "promotion.committed"
        assert len(found) < 21
        ledger.note("goes.on")
        assert ledger.edge().size == len(found) + 1
