"""Restore: every changed path becomes what it was, and what others wrote there is kept.

Owns the decision, per unit, whether what is there now is ours. What the slot of a unit holds tells whether it
was ever swapped: while it still has the new content, whatever is at the path is not ours and stays. Every step
can be repeated after a crash, and until `finish`, which the caller takes once it has read the target again and found
it as before. Must not remove anything that it does not know byte for byte.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sandbox.errors import Drifted
from sandbox.targets.base import OnStep
from sandbox.targets.beneath import (
    FEW,
    FILE,
    GONE,
    directory,
    exchange,
    move,
    opened,
    parent,
    remove_tree,
    state,
)
from sandbox.targets.flushing import Flushing
from sandbox.targets.restore_point import RESTORED, SETTLED, RestorePoint, Saved
from sandbox.targets.sight import Seen, is_exactly, look, walk
from sandbox.targets.staging import STAGED
from sandbox.targets.swap import flush
from sandbox.targets.tree_writer import Source, change_in_place, write_tree
from sandbox.targets.units import Unit, in_order
from sandbox.trees.entry import Entry, parent_of, sort_key

_DRAFT = b"draft"
_TRIES = 8
_PAUSE_S = 0.01
_PAUSES = 20
"""Of one restore, all units together: a directory that is being replaced is back by then, and one that is gone for
good does not hold up the others."""


@dataclass
class PutBack:
    """One restore of one target, from an open root."""

    root: int
    saved: Saved
    point: RestorePoint
    left: set[int] = field(default_factory=set)
    """Numbers of units that we had not changed when somebody else did; theirs stays."""
    away: set[bytes] = field(default_factory=set)
    """Directories that we changed something in and that are not there. What we did may come back with them, be it only
    a path that we added: so the restore is not over."""
    _pauses: int = _PAUSES

    @property
    def _flushing(self) -> Flushing:
        return self.point.flushing

    def run(self, on_step: OnStep) -> None:
        """Put everything back, durable when it returns but for what lies in directories that are `away`."""
        if state(self.root, self.saved.staging) is None:
            os.mkdir(self.saved.staging, 0o700, dir_fd=self.root)
        with directory(self.root, self.saved.staging) as staging:
            self._slots = Slots(staging)
            for unit in in_order(self.saved.units, back=True):
                on_step("put_back")
                self._unit(staging, unit)
            on_step("keep")
            self._sweep(staging)
            self.away |= flush(
                self.root, [unit for unit in self.saved.units if unit.number not in self.left], self._flushing
            )
            if len(self.saved.seen) > FEW:
                self._flushing.file_system(staging)

    def finish(self, on_step: OnStep) -> None:
        """Let no later restore change anything, and remove the slots; only for a target that is as before, since what
        the slots tell is lost with them."""
        on_step("restored")
        self.point.mark(RESTORED, b",".join(b"%d" % number for number in sorted(self.left)))
        on_step("clean")
        remove_tree(self.root, self.saved.staging)
        self._flushing.handle(self.root)

    def _unit(self, staging: int, unit: Unit) -> None:
        for attempt in range(_TRIES):
            try:
                with parent(self.root, unit.path) as (handle, name):
                    (self._in_place if unit.in_place else self._swapped)(handle, name, staging, unit)
                return
            except Drifted:
                if attempt == _TRIES - 1:
                    raise
            except OSError as error:
                # Somebody is writing there: look again. A parent that stays away can't be helped.
                if error.errno not in (*GONE, errno.EEXIST):
                    raise
                if self._pauses:
                    self._pauses -= 1
                    time.sleep(_PAUSE_S)
        if self._slots_say_unchanged(staging, unit):
            self.left.add(unit.number)
        else:
            self.away.add(parent_of(unit.path))

    def _swapped(self, handle: int, name: bytes, staging: int, unit: Unit) -> None:
        if is_exactly(handle, name, unit.before):
            return
        if self._never_swapped(handle, name, staging, unit):
            self.left.add(unit.number)
            return
        if not unit.before:
            move(handle, name, staging, self._slots.free(unit))
            return
        slot = self._ready_slot(staging, unit)
        if state(handle, name) is None:
            move(staging, slot, handle, name)
        else:
            exchange(staging, slot, handle, name)

    def _slots_say_unchanged(self, staging: int, unit: Unit) -> bool:
        """Whether what was staged for a unit is still, or again, where it was staged. Once settled (or lost), the
        slots say nothing, and all counts as changed by us."""
        if self.point.has(SETTLED) or state(staging, STAGED) is None:
            return False
        if unit.in_place:
            return state(staging, unit.slot) is None
        slots = self._slots.of(unit)
        return any(is_exactly(staging, slot, unit.after) for slot in slots) if unit.after else not slots

    def _never_swapped(self, handle: int, name: bytes, staging: int, unit: Unit) -> bool:
        return self._slots_say_unchanged(staging, unit) and bool(unit.after or state(handle, name))

    def _ready_slot(self, staging: int, unit: Unit) -> bytes:
        """A slot that holds what was before: the original itself where it is untouched, else made from the copy."""
        for slot in self._slots.of(unit):
            if is_exactly(staging, slot, unit.before):
                return slot
        remove_tree(staging, _DRAFT)
        few = self._flushing.on and len(self.saved.seen) <= FEW
        source = Source(self.point.open_content, self.saved.labels, self.saved.mtime_ns, durable=few)
        write_tree(staging, _DRAFT, unit.before, source)
        slot = self._slots.free(unit)
        move(staging, _DRAFT, staging, slot)
        return slot

    def _in_place(self, handle: int, name: bytes, staging: int, unit: Unit) -> None:
        """Undo the metadata alone: a running service may have gone on writing to the file, and goes on."""
        before, after = unit.before[0], unit.after[0]
        now = look(handle, name, unit.path)
        if now is not None and now.entry == before:
            return
        if now is None or now.entry.kind != before.kind or self._slots_say_unchanged(staging, unit):
            self.left.add(unit.number)
            return
        if now.entry.content != before.content:
            self.left.add(unit.number)
        if _metadata(now.entry) == _metadata(before):
            return
        if not _may_be_ours(now.entry, before, after):
            self._copy_to_slot(handle, name, staging, unit, now.entry)
        change_in_place(handle, name, now, before, self._flushing)

    def _copy_to_slot(self, handle: int, name: bytes, staging: int, unit: Unit, entry: Entry) -> None:
        remove_tree(staging, _DRAFT)
        source = Source(lambda _: _reader(handle, name), exact=False)
        write_tree(staging, _DRAFT, (entry,), source)
        move(staging, _DRAFT, staging, self._slots.free(unit))

    def _sweep(self, staging: int) -> None:
        """Copy what is neither before nor after from the slots into the restore point."""
        kept = self.point.path / "kept"
        kept.mkdir(mode=0o700, exist_ok=True)
        with opened(kept) as shelf:
            remove_tree(shelf, _DRAFT)
            for unit in self.saved.units:
                known = set(unit.before + unit.after)
                for slot in self._slots.of(unit):
                    if unit.in_place and slot == unit.slot:
                        continue
                    theirs = [seen for seen in walk(staging, slot, unit.path) if seen.entry not in known]
                    if theirs and state(shelf, slot) is None:
                        _keep(staging, slot, unit.path, theirs, shelf)
            self._flushing.handle(shelf)


def kept_aside(saved: Saved, point: RestorePoint) -> Iterator[tuple[bytes, Path]]:
    """What third parties wrote on changed paths, and where a restore put it."""
    kept = point.path / "kept"
    if not kept.exists():
        return
    with opened(kept) as shelf:
        slots = Slots(shelf)
        for unit in saved.units:
            for slot in slots.of(unit):
                paths = [seen.entry.path for seen in walk(shelf, slot, unit.path)]
                holding = {parent_of(path) for path in paths}
                for path in paths:
                    if path not in holding:
                        yield path, kept / os.fsdecode(slot + path[len(unit.path) :])


def _keep(staging: int, slot: bytes, top: bytes, theirs: list[Seen], shelf: int) -> None:
    entries = {seen.entry.path: seen.entry for seen in theirs}
    for path in list(entries):
        for above in _between(top, path):
            entries.setdefault(above, Entry(above, "dir", 0o700, os.geteuid(), os.getegid()))
    times = {seen.entry.path: seen.mtime_ns for seen in theirs}

    def content(entry: Entry) -> BinaryIO:
        with parent(staging, slot + entry.path[len(top) :]) as (handle, name):
            return _reader(handle, name)

    source = Source(content, mtime_ns=times.get, exact=False, owners=os.geteuid() == 0)
    write_tree(shelf, _DRAFT, [entries[path] for path in sorted(entries, key=sort_key)], source)
    move(shelf, _DRAFT, shelf, slot)


def _between(top: bytes, path: bytes) -> Iterator[bytes]:
    """The directories above `path`, up to `top`."""
    while path != top:
        path = parent_of(path)
        yield path


def _reader(handle: int, name: bytes) -> BinaryIO:
    return open(os.open(name, FILE, dir_fd=handle), "rb")


class Slots:
    """Which names a directory has for each unit: its slot, and the slot with numbers behind it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._names: dict[bytes, list[bytes]] = {}
        for name in sorted(map(os.fsencode, os.listdir(handle))):
            self._names.setdefault(name.partition(b".")[0], []).append(name)

    def of(self, unit: Unit) -> list[bytes]:
        """Those that are there."""
        return [name for name in self._names.get(unit.slot, ()) if state(self._handle, name) is not None]

    def free(self, unit: Unit) -> bytes:
        """The first that is not there; for a unit done in place the slot's own name is a mark, never free."""
        known = self._names.setdefault(unit.slot, [])
        for number in itertools.count(int(unit.in_place)):
            name = b"%s.%d" % (unit.slot, number) if number else unit.slot
            if state(self._handle, name) is None:
                known.extend([name] if name not in known else [])
                return name
        raise AssertionError("there is always a free name")


def _metadata(entry: Entry) -> tuple[object, ...]:
    return entry.mode, entry.uid, entry.gid, entry.xattrs


def _may_be_ours(now: Entry, before: Entry, after: Entry) -> bool:
    """Whether this is before, after or something on our way between them."""
    attributes = {*before.xattrs, *after.xattrs}
    return (
        now.mode in (before.mode, after.mode, before.mode & after.mode)
        and (now.uid, now.gid) in ((before.uid, before.gid), (after.uid, after.gid))
        and attributes.issuperset(now.xattrs)
    )


def left_before(point: RestorePoint) -> set[int]:
    """What `PutBack.left` was when a restore was finished; empty where none was."""
    if not point.has(RESTORED):
        return set()
    return {int(number) for number in point.read_mark(RESTORED).split(b",") if number}
