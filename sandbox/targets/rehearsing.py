"""Rehearsals: a throw-away copy of what a change concerns, on which it is applied, taken back and applied again.

Owns what is in the copy: every path that the change names, the directories above it, and some of what lies beside it.
Prepare, apply and restore look at nothing else; that the rest of the tree is what they leave alone follows from the
prediction, not from a copy of it. Fingerprints of the copy are translated back where it is exactly as it should be.

Who is not root can't make a file that belongs to somebody else. So there, where somebody else owns part of it, all of
the copy belongs to the manager; what is then not rehearsed are changes of owners, which `preflight` refuses to such a
manager anyway. Must not be used for a real target.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from sandbox.records import Hazard
from sandbox.targets.base import ApplyRequest, Base, Drift, OnStep, Restoration, Target
from sandbox.targets.beneath import opened
from sandbox.targets.tree_writer import Source, write_tree
from sandbox.trees.bases import BaseStore, OnProgress, StoredBase
from sandbox.trees.block import Block, blocks_of
from sandbox.trees.changes import predict, predicted
from sandbox.trees.entry import Change, Entry, newly_above, parent_of
from sandbox.trees.manifest import fingerprint, fingerprint_of

NEIGHBOURS = 32
"""So many names beside those that change are in the copy, for each directory: an apply must leave them alone."""
NEIGHBOURS_IN_ALL = 256
"""Where many directories change, about so many in all, and one in each at least: they are read three times."""


def rehearsal_of(base: Base, changes: Sequence[Change], tree: Path, target: Target) -> Target:
    """Write what the changes concern to `tree`, where nothing is yet, and give the target that stands on it, as it
    shall be used.

    What the changes leave alone is linked to the base's own files where it can be: an apply replaces files and
    never writes into one, and what it changes in place is a copy.
    """
    copy = _Rehearsal(target, tuple(change.path for change in changes))
    shown = copy.excerpt(base)
    tree.parent.mkdir(parents=True, exist_ok=True)
    with opened(tree.parent) as handle:
        touched = {change.path for change in changes}
        source = Source(
            lambda entry: shown.open(entry.path),
            shared=lambda path: None if path in touched else shown.file(path),
            durable=False,
        )
        write_tree(handle, os.fsencode(tree.name), list(shown.entries()), source)
    return copy


def _concerned(base: Base, paths: Sequence[bytes]) -> Iterator[Entry]:
    """The entries of the base that are named, lead to what is named, or lie beside it."""
    wanted: set[bytes] = set()
    for path in paths:
        newly_above(path, wanted)
    wanted |= {*paths}
    homes = {parent_of(path) for path in paths}
    beside: Counter[bytes] = Counter()
    most = max(1, min(NEIGHBOURS, NEIGHBOURS_IN_ALL // max(1, len(homes))))
    for block in base.blocks():
        for at, path in enumerate(block.paths):
            if path in wanted:
                yield block.entry(at)
            elif (home := parent_of(path)) in homes and beside[home] < most:
                beside[home] += 1
                yield block.entry(at)


def _somebody_elses(entries: Iterable[Entry]) -> bool:
    if os.geteuid() == 0:
        return False
    groups = {os.getegid(), *os.getgroups()}
    return any(entry.uid != os.geteuid() or entry.gid not in groups for entry in entries)


def _mine(entry: Entry) -> Entry:
    return entry._replace(uid=os.geteuid(), gid=os.getegid())


def _all_mine(changes: Iterable[Change]) -> tuple[Change, ...]:
    mine = (Change(each.path, each.before and _mine(each.before), each.after and _mine(each.after)) for each in changes)
    return tuple(each for each in mine if each.before != each.after)


class _Excerpt:
    """A part of a base, as a base; where that can't be otherwise, all of it belongs to the manager."""

    def __init__(self, base: Base, paths: Sequence[bytes]) -> None:
        self._base = base
        self.fingerprint_of_all = base.fingerprint
        found = list(_concerned(base, paths))
        self.mine = _somebody_elses(found)
        self._entries = list(map(_mine, found)) if self.mine else found
        self.fingerprint = fingerprint(self._entries)

    def entries(self) -> Iterator[Entry]:
        return iter(self._entries)

    def blocks(self) -> Iterator[Block]:
        return blocks_of(self._entries)

    def file(self, path: bytes) -> Path | None:
        return None if self.mine else self._base.file(path)

    def open(self, path: bytes) -> BinaryIO:
        return self._base.open(path)

    def changes(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """What the changes are, seen here."""
        return _all_mine(changes) if self.mine else changes


@dataclass
class _Rehearsal:
    """A target that sees an excerpt."""

    _target: Target
    _paths: Sequence[bytes]
    _names: dict[str, str] = field(default_factory=dict)
    """From fingerprints of the copy to those of the whole tree that it stands for."""
    _last: _Excerpt | None = None

    def __post_init__(self) -> None:
        self.spec = self._target.spec

    def excerpt(self, base: Base) -> _Excerpt:
        """What is here of a base."""
        if self._last is None or self._last.fingerprint_of_all != base.fingerprint:
            self._last = _Excerpt(base, self._paths)
            self._names[self._last.fingerprint] = base.fingerprint
        return self._last

    def identify(self) -> str:
        return self._target.identify()

    def lease(self) -> AbstractContextManager[None]:
        return self._target.lease()

    def capture(self, bases: BaseStore, on_progress: OnProgress | None = None) -> StoredBase:
        return self._target.capture(bases, on_progress)

    def check(self, base: Base) -> Drift:
        drift = self._target.check(self.excerpt(base))
        return Drift(self._name(drift.fingerprint), drift.changes)

    def written_since(self, base: Base, changes: tuple[Change, ...]) -> list[bytes]:
        shown = self.excerpt(base)
        return self._target.written_since(shown, shown.changes(changes))

    def reading_seconds(self, entries: int) -> float:
        return self._target.reading_seconds(entries)

    def inspect(self, base: Base, changes: tuple[Change, ...]) -> list[Hazard]:
        return self._target.inspect(base, changes)

    def prepare(self, request: ApplyRequest, on_step: OnStep) -> None:
        self._target.prepare(self._seen(request), on_step)

    def apply(self, request: ApplyRequest, on_step: OnStep) -> str:
        seen = self._seen(request)
        expected = fingerprint(predict(seen.base.entries(), seen.changes))
        if expected not in self._names:
            self._names[expected] = fingerprint_of(predicted(request.base.blocks(), request.changes))
        return self._name(self._target.apply(seen, on_step))

    def restore(self, point: Path, on_step: OnStep) -> Restoration:
        done = self._target.restore(point, on_step)
        return replace(done, fingerprint=self._name(done.fingerprint))

    def standing(self, point: Path) -> Restoration:
        found = self._target.standing(point)
        return replace(found, fingerprint=self._name(found.fingerprint))

    def rehearsal(self, base: Base, changes: Sequence[Change], scratch: Path) -> Target:
        return self._target.rehearsal(base, changes, scratch)

    def manual_steps(self, point: Path) -> tuple[str, ...]:
        return self._target.manual_steps(point)

    def settle(self, point: Path) -> None:
        self._target.settle(point)

    def _seen(self, request: ApplyRequest) -> ApplyRequest:
        shown = self.excerpt(request.base)
        return replace(request, base=shown, changes=shown.changes(request.changes))

    def _name(self, found: str) -> str:
        return self._names.get(found, found)
