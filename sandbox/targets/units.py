"""How a change set is cut into units, each of which is applied by one atomic rename.

A file, a link, a whole tree that appears, vanishes or changes its kind is one unit: built aside, then
swapped in. A directory that stays one and a file of which only mode, owner or attributes change are units done in
place, since a running service may hold them open. Pure; must not touch a file system.
"""

from __future__ import annotations

import stat
from collections.abc import Container, Sequence
from dataclasses import dataclass

from sandbox.trees.entry import Change, Entry


@dataclass(frozen=True, slots=True)
class Unit:
    number: int
    path: bytes
    before: tuple[Entry, ...]
    """The path and all that was below it, top first; empty where it is added."""
    after: tuple[Entry, ...]
    """The same once the change is applied; empty where it is deleted."""
    in_place: bool = False
    """Only metadata of one path changes."""

    @property
    def slot(self) -> bytes:
        """Its name in the staging directory: holds what shall come, and after the swap what was."""
        return b"%d" % self.number

    @property
    def paths(self) -> set[bytes]:
        return {entry.path for entry in self.before + self.after}


def only_metadata(change: Change) -> bool:
    """A directory that stays one, or a file that keeps its content."""
    before, after = change.before, change.after
    if before is None or after is None or before.kind != after.kind:
        return False
    return before.kind == "dir" or (before.kind == "file" and before.content == after.content)


def units_of(changes: Sequence[Change], hard_linked: Container[bytes]) -> tuple[Unit, ...]:
    """The units of changes in depth-first order.

    `hard_linked`: files with further names. Changed in place they would change under those names too, which the
    change set does not say; so they are replaced.
    """
    units: list[Unit] = []
    start = 0
    while start < len(changes):
        change = changes[start]
        number = len(units)
        in_place = only_metadata(change) and change.path not in hard_linked
        end = start + 1
        while not in_place and end < len(changes) and changes[end].path.startswith(change.path + b"/"):
            end += 1
        group = changes[start:end]
        before = tuple(each.before for each in group if each.before is not None)
        after = tuple(each.after for each in group if each.after is not None)
        units.append(Unit(number, change.path, before, after, in_place))
        start = end
    return tuple(units)


def in_order(units: Sequence[Unit], *, back: bool = False) -> list[Unit]:
    """The order in which to apply (or take back) units.

    Directories that become writable for their owner come first, parents before children; all other changes
    of directories in place come last, children first: so that an owner who is not root gets through.
    """
    first: list[Unit] = []
    middle: list[Unit] = []
    last: list[Unit] = []
    for unit in units:
        if not unit.in_place or unit.before[0].kind != "dir":
            middle.append(unit)
            continue
        old, new = unit.before[0].mode, unit.after[0].mode
        if back:
            old, new = new, old
        (first if new & ~old & stat.S_IRWXU else last).append(unit)
    return first + middle + last[::-1]
