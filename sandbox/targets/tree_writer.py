"""Writing entries: whole trees built aside, and the metadata of one path changed in place.

Owns the order in which content, owner, attributes and mode are set. Must only build where nobody else looks
(the staging directory, a restore point, a scratch folder): it is `apply` and `restore` that make things visible.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sandbox.errors import Drifted, SandboxError
from sandbox.targets.beneath import DIRECTORY, FILE, directory
from sandbox.targets.flushing import Flushing
from sandbox.targets.sight import CHUNK, Labels, Seen
from sandbox.trees.entry import ROOT, Entry, parent_of, path_text

SMALL = 1 << 16
"""Bytes up to which a file is copied and not cloned: a clone has nothing in the page cache, and is read from disk."""
_FICLONE = 0x40049409

_NODES = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "char": stat.S_IFCHR, "block": stat.S_IFBLK}


def no_labels(_: bytes) -> Labels:
    """For trees that had none."""
    return ()


def nothing_shared(_: bytes) -> Path | None:
    """For trees whose files are all their own."""
    return None


def no_time(_: bytes) -> int | None:
    """For new content, whose time is now."""
    return None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tree that is written comes from."""

    content: Callable[[Entry], BinaryIO]
    labels: Callable[[bytes], Labels] = no_labels
    """Access control lists and security labels to set, by path."""
    mtime_ns: Callable[[bytes], int | None] = no_time
    shared: Callable[[bytes], Path | None] = nothing_shared
    """A file to link to instead of writing one, by path."""
    exact: bool = True
    """The content must be what the entry says; False for a copy of a file that may still be written to."""
    owners: bool = True
    durable: bool = True


def write_tree(handle: int, name: bytes, entries: Sequence[Entry], source: Source) -> None:
    """Build a tree (top first, depth-first) at a name where nothing is yet, durable when it returns.

    Directories get their mode last, so that one without write permission can be filled.
    """
    top = entries[0].path
    directories: list[tuple[Entry, bytes]] = []
    for entry in entries:
        here = _below(name, top, entry.path)
        with directory(handle, parent_of(here)) as above:
            last = here.rpartition(b"/")[2]
            if entry.kind == "dir":
                os.mkdir(last, stat.S_IRWXU, dir_fd=above)
                directories.append((entry, here))
            elif entry.kind == "file":
                if not _linked(above, last, source.shared(entry.path)):
                    _write_file(above, last, entry, source)
            else:
                _write_node(above, last, entry, source)
    for entry, here in reversed(directories):
        with directory(handle, here) as fd:
            _finish(fd, entry, source)
            if source.durable:
                os.fsync(fd)


def _linked(handle: int, name: bytes, shared: Path | None) -> bool:
    if shared is None:
        return False
    try:
        os.link(shared, name, dst_dir_fd=handle, follow_symlinks=False)
    except OSError:  # another file system, too many links, a path that is too long: then it is written
        return False
    return True


def _set_metadata(fd: int, now: Entry, then: Entry) -> None:
    """Take an open file or directory from the mode, owner and attributes of `now` to those of `then`.

    No moment of it allows more than both ends do: the mode is narrowed before the owner changes.
    """
    if (now.uid, now.gid) != (then.uid, then.gid):
        os.fchmod(fd, now.mode & then.mode)
        os.fchown(fd, then.uid, then.gid)
    wanted = dict(then.xattrs)
    for name, _ in now.xattrs:
        if name not in wanted and name in map(os.fsencode, os.listxattr(fd)):
            os.removexattr(fd, name)
    for name, value in then.xattrs:
        # Also those that stay: a change of owner makes the kernel drop file capabilities.
        os.setxattr(fd, name, value)
    os.fchmod(fd, then.mode)


def change_in_place(handle: int, name: bytes, now: Seen, then: Entry, flushing: Flushing) -> None:
    """Set mode, owner and attributes of the very file or directory that was seen; flushed when it returns.

    Raises Drifted where another one has its name.
    """
    fd = os.open(name, DIRECTORY if then.kind == "dir" else FILE, dir_fd=handle)
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != (now.device, now.inode):
            raise Drifted(f"{path_text(then.path)!r} was replaced meanwhile.", "Propose the change again.")
        _set_metadata(fd, now.entry, then)
        flushing.handle(fd)
    finally:
        os.close(fd)


def copy(source: BinaryIO, target: int) -> tuple[bytes, int]:
    """Copy a file, shared with the original where the file system can; SHA-256 and size of what was written."""
    sha = hashlib.sha256()
    size = 0
    cloned = _clone(source, target)
    # A clone can't change any more, so it is what is hashed.
    read: Callable[[int], bytes] = (lambda count: os.read(target, count)) if cloned else source.read
    while chunk := read(CHUNK):
        sha.update(chunk)
        size += len(chunk)
        if not cloned:
            _write_all(target, chunk)
    return sha.digest(), size


def _clone(source: BinaryIO, target: int) -> bool:
    try:
        if os.fstat(source.fileno()).st_size <= SMALL:
            return False
        fcntl.ioctl(target, _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _below(name: bytes, top: bytes, path: bytes) -> bytes:
    if path == top:
        return name
    return name + (b"/" + path if top == ROOT else path[len(top) :])


def _write_file(above: int, name: bytes, entry: Entry, source: Source) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=above)
    try:
        with source.content(entry) as content:
            written = copy(content, fd)
        if source.exact and written != (entry.content, entry.size):
            raise SandboxError(
                f"The stored content of {path_text(entry.path)!r} is not what it was when it was stored.",
                "Propose the change again; the storage of this machine may be damaged.",
            )
        _finish(fd, entry, source)
        if source.durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _write_node(above: int, name: bytes, entry: Entry, source: Source) -> None:
    """A link, FIFO, socket or device."""
    if entry.kind == "link":
        os.symlink(entry.content, name, dir_fd=above)
    else:
        major, _, minor = entry.content.partition(b":")
        device = os.makedev(int(major), int(minor)) if entry.content else 0
        os.mknod(name, _NODES[entry.kind] | 0o600, device, dir_fd=above)
    if source.owners:
        os.chown(name, entry.uid, entry.gid, dir_fd=above, follow_symlinks=False)
    if entry.kind != "link":
        os.chmod(name, entry.mode, dir_fd=above)
    where = b"/proc/self/fd/%d/%s" % (above, name)
    for label, value in source.labels(entry.path):
        os.setxattr(where, label, value, follow_symlinks=False)
    if (time := source.mtime_ns(entry.path)) is not None:
        os.utime(name, ns=(time, time), dir_fd=above, follow_symlinks=False)


def _finish(fd: int, entry: Entry, source: Source) -> None:
    """Owner before attributes and mode, since a change of owner drops capabilities and setuid bits."""
    if source.owners:
        found = os.fstat(fd)
        if (found.st_uid, found.st_gid) != (entry.uid, entry.gid):
            os.fchown(fd, entry.uid, entry.gid)
    for label, value in source.labels(entry.path):
        os.setxattr(fd, label, value)
    for name, value in entry.xattrs:
        os.setxattr(fd, name, value)
    os.fchmod(fd, entry.mode)
    if (time := source.mtime_ns(entry.path)) is not None:
        os.utime(fd, ns=(time, time))
