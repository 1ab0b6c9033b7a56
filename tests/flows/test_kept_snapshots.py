"""A snapshot stays as long as a living sandbox made it or came from it, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sandbox.lifecycle.context import SNAPSHOT
from sandbox.manager import Box, Manager
from sandbox.records import SnapshotRecord
from tests.flows.house import House


@dataclass
class Family:
    manager: Manager
    image: str

    def first(self) -> Box:
        return self.manager.create("app", image=self.image)

    def fork(self, snapshot: str) -> Box:
        (fork,) = self.manager.fork(snapshot)
        return fork

    def kept(self) -> set[str]:
        """By the records and by the engine, which agree."""
        recorded = {one.snapshot for one in self.manager.context.ledger.find(SNAPSHOT, SnapshotRecord, status="kept")}
        engine = self.manager.context.engine(self.manager.context.default_engine())
        assert set(engine.snapshots()) == recorded
        return recorded


@dataclass
class Line:
    """Three sandboxes, each from a snapshot of the one before; the last went back to the first's snapshot."""

    first: Box
    second: Box
    last: Box
    old: str
    new: str


def line_of(family: Family) -> Line:
    first = family.first()
    old = first.snapshot().snapshot
    second = family.fork(old)
    new = second.snapshot().snapshot
    last = family.fork(new)
    last.rollback(old)
    return Line(first, second, last, old, new)


@pytest.fixture
def family(house: House) -> Iterator[Family]:
    with Manager.open(house.home, house.config, house.engine) as manager:  # type: ignore[arg-type]
        yield Family(manager, house.image)


def test_snapshots_go_with_the_last_sandbox_that_made_them_or_came_from_them(family: Family) -> None:
    box = family.first()
    one, two = box.snapshot().snapshot, box.snapshot().snapshot
    fork = family.fork(one)
    own = fork.snapshot().snapshot
    assert family.kept() == {one, two, own}
    box.destroy()
    assert family.kept() == {one, own}
    fork.destroy()
    assert family.kept() == set()


def test_a_snapshot_that_a_sandbox_was_taken_to_stays_until_it_goes_elsewhere(family: Family) -> None:
    line = line_of(family)
    line.first.destroy()
    line.second.destroy()
    assert family.kept() == {line.old, line.new}
    line.last.rollback(line.new)
    assert family.kept() == {line.new}
    line.last.destroy()
    assert family.kept() == set()


def test_a_snapshot_that_was_worked_on_from_goes_with_who_did(family: Family) -> None:
    line = line_of(family)
    for other in (line.first, line.second):
        other.destroy()
    own = line.last.snapshot().snapshot
    assert family.kept() >= {line.new, own}
    line.last.destroy()
    assert family.kept() == set()
