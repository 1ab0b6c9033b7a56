"""What a path really is now: read whole as an entry, or only glanced at by its file system identity.

Owns the reading of single paths and of small trees. Must not change anything, and must not know why it is asked.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sandbox.errors import Drifted
from sandbox.targets.beneath import DIRECTORY, FILE, GONE, open_directory, state
from sandbox.trees.entry import KIND_OF, Entry, parent_of, path_text
from sandbox.trees.scan import read_xattrs

CHUNK = 1 << 20

LABELS = (b"system.posix_acl_access", b"system.posix_acl_default", b"security.selinux")
"""Attributes that stay with a path when its content is replaced; they are no part of an entry."""

_TICK_NS = 50_000_000
"""Longer than any kernel's clock tick: a write later than this after the last one shows in the times."""


Digest = Callable[[int], tuple[bytes, int]]
"""Reads an open file to its end; its SHA-256 and size."""

Labels = tuple[tuple[bytes, bytes], ...]


class Seen(NamedTuple):
    """One path as it was read, and what tells cheaply whether it still is."""

    entry: Entry
    device: int
    inode: int
    links: int
    mtime_ns: int
    ctime_ns: int
    settled: bool
    """Last written long enough before it was read that a later write must change its times."""
    labels: Labels = ()


def digest_of(fd: int) -> tuple[bytes, int]:
    """The SHA-256 and the size of an open file's content."""
    sha = hashlib.sha256()
    size = 0
    while chunk := os.read(fd, CHUNK):
        sha.update(chunk)
        size += len(chunk)
    return sha.digest(), size


def look(handle: int, name: bytes, path: bytes, digest: Digest = digest_of) -> Seen | None:
    """Read what is at `name` in a directory; `path` is its path in the tree. None where nothing is.

    Raises Drifted where it changes while it is being read.
    """
    found = state(handle, name)
    if found is None:
        return None
    started = time.time_ns()
    kind = KIND_OF[stat.S_IFMT(found.st_mode)]
    content, size = b"", 0
    xattrs: Labels = ()
    labels = labels_of(handle, name, kind)
    if kind in ("file", "dir"):
        with _opened(handle, name, kind, path) as fd:
            if kind == "file":
                content, size = digest(fd)
            xattrs = read_xattrs(fd)
            after = os.fstat(fd)
        if _identity(after) != _identity(found):
            raise Drifted(
                f"{path_text(path)!r} changed while it was being read.", "Try again once nobody writes there."
            )
    elif kind == "link":
        content = os.readlink(name, dir_fd=handle)
    elif kind in ("char", "block"):
        content = b"%d:%d" % (os.major(found.st_rdev), os.minor(found.st_rdev))
    mode = 0o777 if kind == "link" else stat.S_IMODE(found.st_mode)
    entry = Entry(path, kind, mode, found.st_uid, found.st_gid, size, content, xattrs)
    latest = max(found.st_mtime_ns, found.st_ctime_ns)
    settled = latest + _TICK_NS < started
    return Seen(
        entry, found.st_dev, found.st_ino, found.st_nlink, found.st_mtime_ns, found.st_ctime_ns, settled, labels
    )


def walk(handle: int, name: bytes, path: bytes, digest: Digest = digest_of) -> Iterator[Seen]:
    """Read a whole tree, top first, in depth-first order; nothing where there is none. Nothing is skipped."""
    pending = [path]
    open_path: bytes | None = None
    above = -1
    try:
        while pending:
            current = pending.pop()
            if current == path:
                seen = look(handle, name, path, digest)
            else:
                folder = parent_of(current)
                if folder != open_path:
                    if above >= 0:
                        os.close(above)
                        above = -1
                    above, open_path = open_directory(handle, name + folder[len(path) :]), folder
                seen = look(above, current.rpartition(b"/")[2], current, digest)
            if seen is None:
                continue
            yield seen
            if seen.entry.kind == "dir":
                below = _names(handle, name + current[len(path) :])
                pending.extend(current + b"/" + each for each in reversed(below))
    finally:
        if above >= 0:
            os.close(above)


def is_exactly(handle: int, name: bytes, entries: Sequence[Entry]) -> bool:
    """Whether a name holds this tree (top first) and nothing else, compared by content; empty: nothing is there."""
    if not entries:
        return state(handle, name) is None
    try:
        found = walk(handle, name, entries[0].path)
        return all(seen.entry == entry for seen, entry in zip(found, entries, strict=True))
    except (ValueError, Drifted):
        return False


def is_still(handle: int, name: bytes, tree: Sequence[Seen], *, moved: bool = False) -> bool:
    """Whether a name holds the very files that were seen, untouched since; costs a `stat` each.

    `moved`: it was renamed by us meanwhile, which changes the top's ctime.
    """
    if not tree:
        return state(handle, name) is None
    top = tree[0].entry.path
    children: dict[bytes, list[bytes]] = {}
    for seen in tree[1:]:
        children.setdefault(parent_of(seen.entry.path), []).append(seen.entry.path.rpartition(b"/")[2])
    for seen in tree:
        path = seen.entry.path
        here = name + path[len(top) :]
        above = open_directory(handle, parent_of(here))
        try:
            if not untouched(above, here.rpartition(b"/")[2], seen, moved=moved and path == top):
                return False
        finally:
            os.close(above)
        if seen.entry.kind == "dir" and _names(handle, here) != sorted(children.get(path, ())):
            return False
    return True


def labels_of(handle: int, name: bytes, kind: str) -> Labels:
    """Access control lists and security labels of a path; most file systems have none."""
    where = b"/proc/self/fd/%d/%s" % (handle, name)
    wanted = (label for label in LABELS if kind != "link" or label.startswith(b"security."))
    try:
        there = set(map(os.fsencode, os.listxattr(where, follow_symlinks=False)))
        return tuple((each, os.getxattr(where, each, follow_symlinks=False)) for each in wanted if each in there)
    except OSError:
        # Neither the lists nor the labels can be read here; then there is nothing to keep.
        return ()


def untouched(above: int, name: bytes, seen: Seen, *, moved: bool = False) -> bool:
    """`is_still` for one path, without what a directory holds."""
    found = state(above, name)
    if found is None or (found.st_dev, found.st_ino) != (seen.device, seen.inode):
        return False
    entry = seen.entry
    mode = 0o777 if entry.kind == "link" else stat.S_IMODE(found.st_mode)
    if (mode, found.st_uid, found.st_gid) != (entry.mode, entry.uid, entry.gid):
        return False
    if entry.kind == "dir":
        # What is in a directory is compared by name; its times change with every unit that is applied below it.
        return True
    if found.st_mtime_ns != seen.mtime_ns or (entry.kind == "file" and found.st_size != entry.size):
        return False
    if seen.settled and (moved or found.st_ctime_ns == seen.ctime_ns):
        return True
    # Too fresh for the times to tell, or renamed or linked under another name: only the content can.
    again = look(above, name, entry.path)
    return again is not None and again.entry == entry


def _names(root: int, path: bytes) -> list[bytes]:
    handle = open_directory(root, path)
    try:
        return sorted(os.fsencode(each) for each in os.listdir(handle))
    finally:
        os.close(handle)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    times = () if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid, *times)


@contextmanager
def _opened(handle: int, name: bytes, kind: str, path: bytes) -> Iterator[int]:
    try:
        fd = os.open(name, FILE if kind == "file" else DIRECTORY, dir_fd=handle)
    except OSError as error:
        if error.errno not in GONE:
            raise
        raise Drifted(f"{path_text(path)!r} was replaced while it was being read.", "Try again.") from error
    try:
        yield fd
    finally:
        os.close(fd)
