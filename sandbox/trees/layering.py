"""Layers: what a base lacks or has otherwise than a whole base that it stands on.

Owns what lies in a layer, which overlayfs shows over the whole tree: what changed, the directories above it, and a
whiteout for what is gone. One layer at most lies over a whole base, so depth never grows: what changes next is
composed with what the layer has already, at the cost of all that differs from the whole base. Where that is much, a
whole base is made instead. Only root can do so; must not read a target.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from sandbox.trees.descent import Descent
from sandbox.trees.entry import ROOT, Change, Entry, newly_above, parent_of
from sandbox.trees.ownership import OwnerMap
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import read_xattrs, scan
from sandbox.trees.stored import StoredBase
from sandbox.trees.walk import opened
from sandbox.trees.writer import TreeWriter, privileged

SMALLEST = 512
"""Entries below which a whole base is made as quickly."""
SHARE = 4
"""A layer has at most one entry for so many of the tree."""

Fill = Callable[[TreeWriter, Entry], bool]
"""Gives the writer the content of a changed file; False where the base's earlier layer has that very file."""


def most_changes(entries: int) -> int:
    """With how many changes a tree of so many entries is made as a layer; 0: never."""
    return entries // SHARE if privileged() and entries >= SMALLEST else 0


def build(tree: Path, base: StoredBase, changes: Sequence[Change], fill: Fill, times: Mapping[bytes, int]) -> None:
    """Make the layer `tree` that turns the whole base which `base` is, or stands on, into what the changes lead to.

    `times`: modification times (ns) of what is new; else they are those of the base.
    """
    with ExitStack() as stack:
        writer = stack.enter_context(TreeWriter(tree))
        layers = [stack.enter_context(Descent(stack.enter_context(opened(layer)))) for layer in base.layers]
        for path, change in _steps(changes):
            if change is None:
                entry, time = _as_it_is(layers[-1], path)
                writer.add(entry, times.get(path, time))
            elif change.after is None:
                writer.hide(path)
            else:
                if change.after.kind == "file" and not fill(writer, change.after):
                    _share(writer, layers, path)
                writer.add(base.owner.swap(change.after), times.get(path) or _time_of(layers, path))
        writer.finish()


def is_whole(tree: Path, owner: OwnerMap, changes: Sequence[Change]) -> bool:
    """Whether a layer still holds what it was made with; reads all of it. Raises SandboxError where it can't."""
    listed = (_shown(path, change, owner) for path, change in _steps(changes))
    try:
        return all(one == _essence(other) for one, other in zip(listed, scan(tree, Patterns(())), strict=True))
    except ValueError:
        return False


def _steps(changes: Sequence[Change]) -> Iterator[tuple[bytes, Change | None]]:
    """What is in a layer, in depth-first order; None for a directory that only leads to something."""
    entered: set[bytes] = set()
    closed: bytes | None = None
    for change in changes:
        path, after = change.path, change.after
        if closed is not None and path.startswith(closed):
            continue  # gone with the directory that it was in
        for above in newly_above(path, entered):
            yield above, None
        yield path, change
        if after is not None and after.kind == "dir":
            entered.add(path)
        else:
            closed = path + b"/"
    if not entered:
        yield ROOT, None


def _shown(path: bytes, change: Change | None, owner: OwnerMap) -> tuple[bytes, str, int, bytes]:
    if change is None:
        return path, "dir", 0, b""
    return (path, "char", 0, b"0:0") if change.after is None else _essence(owner.swap(change.after))


def _essence(entry: Entry) -> tuple[bytes, str, int, bytes]:
    return entry.path, entry.kind, entry.size, entry.content


def _as_it_is(whole: Descent, path: bytes) -> tuple[Entry, int]:
    """A directory of the whole base as it lies there, in sandbox view, and its time."""
    handle = whole.seek(path)
    found = os.fstat(handle)
    entry = Entry(path, "dir", stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, xattrs=read_xattrs(handle))
    return entry, found.st_mtime_ns


def _share(writer: TreeWriter, layers: Sequence[Descent], path: bytes) -> None:
    home = layers[0].seek(parent_of(path))
    name = path.rpartition(b"/")[2]
    if writer.link(path, home):
        return
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
    try:
        writer.take(path, fd, os.fstat(fd))
    finally:
        os.close(fd)


def _time_of(layers: Sequence[Descent], path: bytes) -> int:
    for layer in layers:
        try:
            if path == ROOT:
                return os.fstat(layer.seek(ROOT)).st_mtime_ns
            home = layer.seek(parent_of(path))
            return os.stat(path.rpartition(b"/")[2], dir_fd=home, follow_symlinks=False).st_mtime_ns
        except OSError:
            continue
    return 0
