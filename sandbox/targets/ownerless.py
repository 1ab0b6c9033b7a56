"""Rehearsals: a throw-away copy of the base, also where the manager is not root and can't set owners.

Who is not root can't make a file that belongs to somebody else. So there, where the base or a change has other
owners, the rehearsal runs on trees in which all belongs to the manager, and fingerprints are translated back where the
trees are otherwise equal. What it then does not rehearse are changes of owners; a promotion of one is refused by
`preflight`. Must not be used for a real target.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from sandbox.records import Hazard
from sandbox.targets.base import ApplyRequest, Base, Drift, OnStep, Restoration, Target
from sandbox.targets.beneath import opened
from sandbox.targets.tree_writer import Source, write_tree
from sandbox.trees.bases import BaseStore, OnProgress, StoredBase
from sandbox.trees.changes import predict
from sandbox.trees.entry import Change, Entry
from sandbox.trees.manifest import fingerprint


def rehearsal_of(base: Base, changes: Sequence[Change], tree: Path, target: Target) -> Target:
    """Write the base to `tree`, where nothing is yet, and give the target that stands on it, as it shall be used.

    What the changes leave alone is linked to the base's own files where it can be: an apply replaces files and
    never writes into one, and what it changes in place is a copy.
    """
    flat = _Flat(base) if _needs_flattening(base.entries()) else None
    shown: Base = flat or base
    tree.parent.mkdir(parents=True, exist_ok=True)
    with opened(tree.parent) as handle:
        touched = {change.path for change in changes}
        source = Source(
            lambda entry: shown.open(entry.path),
            shared=lambda path: None if path in touched else shown.file(path),
            durable=False,
        )
        write_tree(handle, os.fsencode(tree.name), list(shown.entries()), source)
    return _Rehearsal(target, flat) if flat is not None else target


def _needs_flattening(entries: Iterable[Entry]) -> bool:
    if os.geteuid() == 0:
        return False
    groups = {os.getegid(), *os.getgroups()}
    return any(entry.uid != os.geteuid() or entry.gid not in groups for entry in entries)


def _mine(entry: Entry) -> Entry:
    return entry._replace(uid=os.geteuid(), gid=os.getegid())


def _flat(changes: Iterable[Change]) -> tuple[Change, ...]:
    flat = (Change(each.path, each.before and _mine(each.before), each.after and _mine(each.after)) for each in changes)
    return tuple(each for each in flat if each.before != each.after)


class _Flat:
    """A base in which all belongs to the manager."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self.fingerprint = fingerprint(self.entries())
        self.names = {self.fingerprint: base.fingerprint}
        """From fingerprints of flat trees to those of what they stand for."""

    def entries(self) -> Iterator[Entry]:
        return map(_mine, self._base.entries())

    def file(self, _: bytes) -> Path | None:
        return None

    def open(self, path: bytes) -> BinaryIO:
        return self._base.open(path)

    def name(self, found: str) -> str:
        return self.names.get(found, found)


@dataclass
class _Rehearsal:
    """A target that sees the world flat."""

    _target: Target
    _flat: _Flat

    def __post_init__(self) -> None:
        self.spec = self._target.spec

    def identify(self) -> str:
        return self._target.identify()

    def lease(self) -> AbstractContextManager[None]:
        return self._target.lease()

    def capture(self, bases: BaseStore, on_progress: OnProgress | None = None) -> StoredBase:
        return self._target.capture(bases, on_progress)

    def check(self, base: Base) -> Drift:
        flat = _Flat(base)
        drift = self._target.check(flat)
        return Drift(flat.name(self._flat.name(drift.fingerprint)), drift.changes)

    def inspect(self, base: Base, changes: tuple[Change, ...]) -> list[Hazard]:
        return self._target.inspect(base, changes)

    def prepare(self, request: ApplyRequest, on_step: OnStep) -> None:
        self._target.prepare(self._flattened(request), on_step)

    def apply(self, request: ApplyRequest, on_step: OnStep) -> str:
        flat = self._flattened(request)
        expected = fingerprint(predict(flat.base.entries(), flat.changes))
        self._flat.names[expected] = fingerprint(predict(request.base.entries(), request.changes))
        return self._flat.name(self._target.apply(flat, on_step))

    def restore(self, point: Path, on_step: OnStep) -> Restoration:
        done = self._target.restore(point, on_step)
        return replace(done, fingerprint=self._flat.name(done.fingerprint))

    def standing(self, point: Path) -> Restoration:
        found = self._target.standing(point)
        return replace(found, fingerprint=self._flat.name(found.fingerprint))

    def rehearsal(self, base: Base, changes: Sequence[Change], scratch: Path) -> Target:
        return self._target.rehearsal(base, changes, scratch)

    def manual_steps(self, point: Path) -> tuple[str, ...]:
        return self._target.manual_steps(point)

    def settle(self, point: Path) -> None:
        self._target.settle(point)

    def _flattened(self, request: ApplyRequest) -> ApplyRequest:
        return replace(request, base=_Flat(request.base), changes=_flat(request.changes))
