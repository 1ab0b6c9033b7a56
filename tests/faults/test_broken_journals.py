"""A journal that can't be used stops every command before it does anything, and says what to do (G3)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.acts import ONE, production, run, signed
from tests.flows.house import House

pytestmark = pytest.mark.timeout(300)


def _cut(journal: Path) -> None:
    os.truncate(journal, journal.stat().st_size // 2)


def _emptied(journal: Path) -> None:
    os.truncate(journal, 0)


def _another_file(journal: Path) -> None:
    journal.write_text("these are notes, and no journal\n" * 100)


def _gone(journal: Path) -> None:
    journal.unlink()


def _a_directory(journal: Path) -> None:
    journal.unlink()
    journal.mkdir()


BREAKS = [_cut, _emptied, _another_file, _gone, _a_directory]


@pytest.mark.parametrize("broken", BREAKS, ids=lambda one: one.__name__.strip("_"))
def test_g3_no_command_goes_on_with_a_journal_that_is_broken(house: House, broken: Callable[[Path], None]) -> None:
    change = signed(*ONE)(house)["change"]
    before, saved = production(house), house.root / "journal.db"
    settled(house)
    shutil.copy(house.home / "journal.db", saved)
    broken(house.home / "journal.db")
    for words in (["list"], ["promote", change["id"]], ["recover"], ["run", "--target", "app", "--", "true"]):
        at = words.index("--") if "--" in words else len(words)
        error = house(*words[:at], "--json", *words[at:]).expect(2).json["error"]
        assert error["kind"] == "journal"
        assert error["hint"]
        assert production(house) == before
    for path in house.home.glob("journal.db*"):  # what the hint says: a copy from a backup
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copy(saved, house.home / "journal.db")
    (house.home / "journal.db").chmod(0o600)
    house.promote(change).expect(0)


def settled(house: House) -> None:
    """All of the journal is in its one file."""
    journal = sqlite3.connect(house.home / "journal.db")
    journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts the home read-only, which needs root")
def test_g3_a_home_that_is_read_only_changes_nothing(house: House) -> None:
    change = signed(*ONE)(house)["change"]
    before = production(house)
    subprocess.run(["mount", "--bind", house.home, house.home], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", house.home], check=True)
        error = house.promote(change).expect(2).json["error"]
        assert "read-only" in error["says"].lower()
        run(house, ONE).expect(2)
        house("list", "--json").expect(2)
    finally:
        subprocess.run(["umount", house.home], check=True)
    assert production(house) == before
    house.promote(change).expect(0)


def test_a_journal_that_is_locked_for_a_while_is_waited_for(house: House) -> None:
    change = signed(*ONE)(house)["change"]
    journal = sqlite3.connect(house.home / "journal.db", isolation_level=None, check_same_thread=False)
    journal.execute("BEGIN IMMEDIATE")
    unlocking = threading.Timer(1.5, journal.execute, ["ROLLBACK"])
    unlocking.start()
    try:
        house.promote(change).expect(0)
    finally:
        unlocking.join()
        journal.close()
