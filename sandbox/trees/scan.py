"""Reads a real directory tree as entries.

Owns how one path becomes an Entry: what counts of it, that its content is read once and was still while it was
read, and what is taken from the stat cache instead. The way through the tree is `walk`'s. Must not write to the
tree.

What a finished scan guarantees: every entry is as the path was at one moment during the scan, and no directory
gained, lost or exchanged an entry while the scan was below it. It is no snapshot of one instant across files;
`BaseStore.capture` is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from sandbox.errors import Conflict, SandboxError
from sandbox.trees.block import decoded
from sandbox.trees.entry import KIND_OF, Entry, path_text
from sandbox.trees.patterns import Patterns
from sandbox.trees.stat_cache import Known, Memory, Notes, StatCache
from sandbox.trees.walk import Walk, opened, refuse

__all__ = [
    "Item",
    "Sink",
    "StatCache",
    "Take",
    "chunks",
    "digested",
    "items",
    "read_entry",
    "read_xattrs",
    "scan",
    "unchanged",
]

CAPABILITY = b"security.capability"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 1 << 20
_TRIES = 5


class Sink(Protocol):
    """Takes the content of one file while it is read once. Called again for the same path where the file changed
    meanwhile; then the last call counts."""

    def __call__(self, path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:
        """Consume all chunks; the SHA-256 (32 bytes) and the size of what went through."""


Take = Callable[[bytes, int, os.stat_result], tuple[bytes, int]]
"""Reads an open file, given its path, handle and state, to its end; the SHA-256 and the size. As with a Sink, the
last call for a path counts."""


class Item(NamedTuple):
    """One entry and where it came from."""

    entry: Entry
    found: os.stat_result
    known: bool
    """Taken from the cache: the file was not read."""
    canonical: bytes


def scan(
    root: int | Path, ignore: Patterns, *, cache: StatCache | None = None, sink: Sink | None = None
) -> Iterator[Entry]:
    """The tree's entries in depth-first order, the root first.

    With a cache, files that it knows are not read, and a scan that comes to its end renews it. With a sink, the
    content of every file that is read goes through it. `root` as a handle stays the caller's.

    Raises InputError for a root that is no directory, for what can't be read and for mount points inside, and
    Conflict for what keeps changing while it is read.
    """
    take = digested if sink is None else _through(sink)
    with opened(root) as fd:
        if cache is None:
            for item in items(Walk(fd, ignore), Known(), take):
                yield item.entry
            return
        with cache.known() as known, cache.notes() as notes:
            for item in items(Walk(fd, ignore), known, take, notes=notes):
                yield item.entry
            notes.finish()


def unchanged(root: int | Path, ignore: Patterns, cache: StatCache) -> str | None:
    """The tree's fingerprint where the cache knows every entry of it, at the price of a walk; None otherwise."""
    with opened(root) as fd, cache.known() as known:
        return known.fingerprint if all_known(fd, ignore, known) else None


def all_known(root_fd: int, ignore: Patterns, known: Known, *, even_racy: bool = False) -> bool:
    """Whether a walk finds exactly what is known, in the same state."""
    walk = Walk(root_fd, ignore)
    for path, found in walk:
        if known.is_next(path, found):
            continue
        memory = known.find(path, found, even_racy=even_racy)
        if memory is None or not (memory.current or _same_directory(walk, path, found, memory)):
            return False
    return known.all_found and known.fingerprint is not None


def _same_directory(walk: Walk, path: bytes, found: os.stat_result, memory: Memory) -> bool:
    """A directory's times also change with what is ignored in it, so it is looked at again."""
    if not stat.S_ISDIR(found.st_mode):
        return False
    return _entry(path, found, xattrs=_xattrs_of(path, walk.fd)).canonical() == memory.canonical


def items(
    walk: Walk,
    known: Known,
    take: Take,
    *,
    reuse: Callable[[Entry, os.stat_result], bool] = lambda _entry, _found: True,
    notes: Notes | None = None,
) -> Iterator[Item]:
    """The entries of a walk. What is known and accepted by `reuse` is not read again; all is noted."""
    for path, found in walk:
        memory = known.find(path, found)
        entry = decoded(memory.canonical) if memory is not None and memory.current else None
        if memory is not None and entry is not None and reuse(entry, found):
            item = Item(entry, found, True, memory.canonical)
        else:
            read = read_entry(walk, path, found, take)
            if read is None:
                continue
            item = Item(read[0], read[1], False, read[0].canonical())
        if notes is not None:
            notes.keep(item.found, item.canonical)
        yield item


def chunks(fd: int, size: int) -> Iterator[bytes]:
    """The bytes of an open file of `size` bytes, from its start; none is larger than `size` + 1 bytes.

    What a file grew by meanwhile is not read: its size tells.
    """
    step = min(size + 1, _CHUNK)
    while data := os.read(fd, step):
        yield data
        size -= len(data)
        if size == 0:
            return


def read_xattrs(fd: int) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes that count, sorted by name."""
    try:
        names = [os.fsencode(name) for name in os.listxattr(fd)]
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return ()
        raise
    kept = sorted(name for name in names if name.startswith(b"user.") or name == CAPABILITY)
    return tuple((name, os.getxattr(fd, name)) for name in kept)


def digested(_path: bytes, fd: int, found: os.stat_result) -> tuple[bytes, int]:
    """A Take that keeps nothing."""
    sha, size = hashlib.sha256(), 0
    for data in chunks(fd, found.st_size):
        sha.update(data)
        size += len(data)
    return sha.digest(), size


def _through(sink: Sink) -> Take:
    def take(path: bytes, fd: int, found: os.stat_result) -> tuple[bytes, int]:
        return sink(path, chunks(fd, found.st_size))

    return take


def read_entry(walk: Walk, path: bytes, found: os.stat_result, take: Take) -> tuple[Entry, os.stat_result] | None:
    """The entry as it is now and the state that it was in; None where it vanished."""
    if stat.S_ISDIR(found.st_mode):
        return _entry(path, found, xattrs=_xattrs_of(path, walk.fd)), found
    for attempt in range(_TRIES):
        try:
            read = _read_file(walk, path, take) if stat.S_ISREG(found.st_mode) else _read_other(walk, path, found)
            if read is not None:
                walk.saw(read[1])
                return read
            time.sleep(0.005 * (1 << attempt))
            found = os.stat(walk.name, dir_fd=walk.fd, follow_symlinks=False)
        except FileNotFoundError:
            walk.saw(None)
            return None
        if stat.S_ISDIR(found.st_mode):
            break
    raise Conflict(
        f"{path_text(path)!r} keeps changing while it is being read.",
        "Stop what writes to it, or add it to the target's 'ignore'.",
    )


def _read_file(walk: Walk, path: bytes, take: Take) -> tuple[Entry, os.stat_result] | None:
    """None where it changed while it was read, or is no file any more."""
    try:
        fd = os.open(walk.name, _READ, dir_fd=walk.fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return None
        refuse(error, path)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return None
        sha256, size = take(path, fd, before)
        xattrs = _xattrs_of(path, fd)
        after = os.fstat(fd)
    finally:
        os.close(fd)
    still = _version(before) == _version(after) and size == before.st_size
    return (_entry(path, before, size, sha256, xattrs), before) if still else None


def _read_other(walk: Walk, path: bytes, found: os.stat_result) -> tuple[Entry, os.stat_result] | None:
    """A link, a device and the like; None where it is no longer what it was."""
    content = b""
    if stat.S_ISLNK(found.st_mode):
        try:
            content = os.readlink(walk.name, dir_fd=walk.fd)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise
    elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        content = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}".encode()
    return _entry(path, found, content=content), found


def _entry(
    path: bytes,
    found: os.stat_result,
    size: int = 0,
    content: bytes = b"",
    xattrs: tuple[tuple[bytes, bytes], ...] = (),
) -> Entry:
    kind = KIND_OF.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        raise SandboxError(f"{path_text(path)!r} is of an unknown kind.")
    mode = 0o777 if kind == "link" else stat.S_IMODE(found.st_mode)
    return Entry(path, kind, mode, found.st_uid, found.st_gid, size, content, xattrs)


def _xattrs_of(path: bytes, fd: int) -> tuple[tuple[bytes, bytes], ...]:
    try:
        return read_xattrs(fd)
    except OSError as error:
        refuse(error, path)


def _version(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
