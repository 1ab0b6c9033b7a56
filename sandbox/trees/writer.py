"""Builds a tree of our own on disk, entry by entry, in depth-first order.

Owns how an entry becomes a file: content hashed on its way in and cloned where the file system can, holes kept,
owners and modes as far as this user may set them. Files may share inodes with another of our own trees, never
with a target; an inode that is shared is never changed. Must not decide what is in the tree.

As root, everything is on disk as the entry says. As another user, owners are left out, files and directories
stay accessible to that user, and devices are missing: there the manifest alone is the truth.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from sandbox.durable import write_all
from sandbox.errors import InputError
from sandbox.trees.descent import OPEN_DIR, Descent
from sandbox.trees.entry import ROOT, Entry, parent_of, path_text
from sandbox.trees.scan import chunks

_FICLONE = 0x40049409
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE = 1 << 16
_ZEROS = bytes(_HOLE)
_SPECIAL = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "char": stat.S_IFCHR, "block": stat.S_IFBLK}


def privileged() -> bool:
    """Whether trees that are built now have all owners, modes and devices on disk."""
    return os.geteuid() == 0


class Filler:
    """Fills new files with what is in others: cloned where the file system can."""

    def __init__(self) -> None:
        self._clones = True

    def fill(self, target: int, source: int, found: os.stat_result) -> tuple[bytes, int]:
        """All of an open file in the state `found` into an empty one; its SHA-256 and size."""
        if self._clones and found.st_size and self._clone(target, source):
            return _through(chunks(source, found.st_size))
        sparse = found.st_blocks * 512 < found.st_size
        return _write(target, chunks(source, found.st_size), sparse=sparse)

    def _clone(self, target: int, source: int) -> bool:
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError:
            self._clones = False
            return False
        return True


class TreeWriter:
    """A context manager. For each file, `take`, `pour` or `link` comes first, then `add` as for every entry."""

    def __init__(self, root: Path) -> None:
        """Makes the directory `root`."""
        root.mkdir(mode=0o700)
        fd = os.open(root, OPEN_DIR)
        try:
            self._down = Descent(fd)
        finally:
            os.close(fd)
        self._dirs: list[tuple[Entry, int]] = []
        self._file: tuple[bytes, int] | None = None
        self._linked: bytes | None = None
        self._filler = Filler()
        self._all = privileged()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._abandon()
        self._down.close()

    def take(self, path: bytes, fd: int, found: os.stat_result) -> tuple[bytes, int]:
        """Start a file with all of an open file's content, cloned or copied; its SHA-256 and size.

        Called again for the same path, it starts anew.
        """
        return self._filler.fill(self._start(path), fd, found)

    def pour(self, path: bytes, content: Iterable[bytes]) -> tuple[bytes, int]:
        """Start a file with this content; its SHA-256 and size."""
        return _write(self._start(path), content, sparse=False)

    def link(self, path: bytes, source_dir: int) -> bool:
        """Make a file the same inode as the one of this name in a directory of another tree of ours; False where
        that can't be. What `add` says of it later is how it is already."""
        self._abandon()
        try:
            os.link(_name(path), _name(path), src_dir_fd=source_dir, dst_dir_fd=self._home(path), follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP):
                return False
            raise
        self._linked = path
        return True

    def adopt(self, path: bytes, shelf: int, name: bytes) -> None:
        """Start a file with one that lies under a name in a directory of ours, on the same file system."""
        self._abandon()
        home = self._home(path)
        os.rename(name, _name(path), src_dir_fd=shelf, dst_dir_fd=home)
        self._file = (path, os.open(_name(path), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home))

    def hide(self, path: bytes) -> None:
        """Put an overlay whiteout there: what the layers below have at this path is not shown."""
        self._abandon()
        os.mknod(_name(path), stat.S_IFCHR, os.makedev(0, 0), dir_fd=self._home(path))

    def add(self, entry: Entry, mtime_ns: int) -> None:
        """Put the entry there, after everything that comes before it in the order."""
        if entry.kind == "file":
            self._finish_file(entry, mtime_ns)
            return
        self._abandon()
        if entry.kind == "dir":
            self._enter(entry, mtime_ns)
        elif entry.kind == "link":
            self._make_link(entry, mtime_ns)
        else:
            self._make_special(entry, mtime_ns)

    def finish(self) -> None:
        """All has been added."""
        self._abandon()
        while self._dirs:
            self._leave()

    def _home(self, path: bytes) -> int:
        """The directory that holds the path, after finishing those that we are through with."""
        parent = parent_of(path)
        while self._dirs:
            current = self._dirs[-1][0].path
            if current in (parent, ROOT) or parent.startswith(current + b"/"):
                break
            self._leave()
        return self._down.fd

    def _enter(self, entry: Entry, mtime_ns: int) -> None:
        if entry.path != ROOT:
            os.mkdir(_name(entry.path), mode=0o700, dir_fd=self._home(entry.path))
            self._down.enter(_name(entry.path))
        self._dirs.append((entry, mtime_ns))

    def _leave(self) -> None:
        entry, mtime_ns = self._dirs.pop()
        self._dress(self._down.fd, entry, mtime_ns, least=0o700)
        if entry.path != ROOT:
            self._down.leave()

    def _start(self, path: bytes) -> int:
        if self._file is not None and self._file[0] == path:
            fd = self._file[1]
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            return fd
        self._abandon()
        fd = os.open(_name(path), _NEW, mode=0o600, dir_fd=self._home(path))
        self._file = (path, fd)
        return fd

    def _finish_file(self, entry: Entry, mtime_ns: int) -> None:
        if self._linked == entry.path:
            self._linked = None
            return
        if self._file is None or self._file[0] != entry.path:
            raise ValueError(f"no content was given for {path_text(entry.path)!r}")
        fd = self._file[1]
        self._file = None
        try:
            self._dress(fd, entry, mtime_ns, least=0o400)
        finally:
            os.close(fd)

    def _abandon(self) -> None:
        """Drop a file that was started but never added."""
        if self._file is not None:
            path, fd = self._file
            self._file = None
            os.close(fd)
            os.unlink(_name(path), dir_fd=self._home(path))
        if self._linked is not None:
            path, self._linked = self._linked, None
            os.unlink(_name(path), dir_fd=self._home(path))

    def _dress(self, fd: int, entry: Entry, mtime_ns: int, *, least: int) -> None:
        """Owner, mode, attributes and time, in the order in which none undoes another."""
        if self._all:
            made = os.fstat(fd)
            if (made.st_uid, made.st_gid) != (entry.uid, entry.gid):
                os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode if self._all else (entry.mode & 0o777) | least)
        for name, value in entry.xattrs:
            try:
                os.setxattr(fd, name, value)
            except PermissionError:
                if self._all:
                    raise
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.E2BIG):
                    raise
                raise InputError(
                    f"The attribute {path_text(name)!r} of {path_text(entry.path)!r} can't be kept: {error.strerror}.",
                    "Put the home directory on a file system with extended attributes (ext4, XFS, btrfs).",
                ) from error
        os.utime(fd, ns=(mtime_ns, mtime_ns))

    def _make_link(self, entry: Entry, mtime_ns: int) -> None:
        home, name = self._home(entry.path), _name(entry.path)
        os.symlink(entry.content, name, dir_fd=home)
        self._dress_name(home, name, entry, mtime_ns)

    def _make_special(self, entry: Entry, mtime_ns: int) -> None:
        device = 0
        if entry.kind in ("char", "block"):
            if entry.kind == "char" and entry.content == b"0:0":
                raise InputError(
                    f"{path_text(entry.path)!r} is an overlay whiteout, which no sandbox could show.",
                    "Add it to the target's 'ignore'.",
                )
            if not self._all:
                return
            major, _, minor = entry.content.partition(b":")
            device = os.makedev(int(major), int(minor))
        home, name = self._home(entry.path), _name(entry.path)
        os.mknod(name, _SPECIAL[entry.kind] | 0o600, device, dir_fd=home)
        self._dress_name(home, name, entry, mtime_ns)

    def _dress_name(self, home: int, name: bytes, entry: Entry, mtime_ns: int) -> None:
        """What `_dress` does, for what can't be opened."""
        if self._all:
            os.chown(name, entry.uid, entry.gid, dir_fd=home, follow_symlinks=False)
        if entry.kind != "link":
            os.chmod(name, entry.mode, dir_fd=home)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=home, follow_symlinks=False)


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _through(content: Iterable[bytes]) -> tuple[bytes, int]:
    sha, size = hashlib.sha256(), 0
    for data in content:
        sha.update(data)
        size += len(data)
    return sha.digest(), size


def _write(fd: int, content: Iterable[bytes], *, sparse: bool) -> tuple[bytes, int]:
    """Write and hash; a block of zeros becomes a hole where the source has holes."""
    sha, size = hashlib.sha256(), 0
    for data in content:
        sha.update(data)
        size += len(data)
        for block in _blocks(data) if sparse else (data,):
            if sparse and block == _ZEROS:
                os.lseek(fd, len(block), os.SEEK_CUR)
            else:
                write_all(fd, block)
    if sparse:
        os.ftruncate(fd, size)
    return sha.digest(), size


def _blocks(data: bytes) -> Iterator[bytes]:
    return (data[at : at + _HOLE] for at in range(0, len(data), _HOLE))
