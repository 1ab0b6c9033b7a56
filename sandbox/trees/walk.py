"""The walk over a real directory tree: what is there, in depth-first order, and nothing beyond it.

Owns the rules of the way: directory handles only, no link is followed, a mount point inside is refused, what
`ignore` means and our own `.sandbox-*` names are left out, what vanishes under us is left out, and a directory
that changed while we were below it is a Conflict. Must not read the content of files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from sandbox.errors import Conflict, InputError
from sandbox.trees.descent import OPEN_DIR, Descent
from sandbox.trees.entry import ROOT, path_text
from sandbox.trees.patterns import Patterns

RESERVED = b".sandbox-"
"""Names that start so are the product's own, put into a target during an apply."""

_TRIES = 5
_LOCAL = {b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"f2fs", b"tmpfs"}
"""File systems whose times are taken from the kernel's clock."""


@dataclass(slots=True)
class _Level:
    """A directory that the walk is in."""

    prefix: bytes
    found: os.stat_result
    names: Iterator[bytes]
    seen: dict[bytes, os.stat_result] = field(default_factory=dict)


class Walk:
    """Iterates over `(path, stat)`, the root first. While an item is being looked at, `fd` is the directory that
    holds it (for a directory: itself), and `name` its name there."""

    def __init__(self, root_fd: int, ignore: Patterns) -> None:
        """`root_fd` stays the caller's."""
        self._root_fd = root_fd
        self._ignore = ignore
        self._ignores = bool(ignore)
        self._mounts = _mounts_below(root_fd)
        self.name = ROOT

    @property
    def fd(self) -> int:
        """See the class."""
        return self._down.fd

    def saw(self, found: os.stat_result | None) -> None:
        """The current item, no directory, turned out to be this when it was opened; None: it vanished."""
        if found is None:
            del self._levels[-1].seen[self.name]
        else:
            self._levels[-1].seen[self.name] = found

    def __iter__(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Raises InputError for what can't be read or is a mount point, Conflict for what changes under us."""
        with Descent(self._root_fd) as self._down:
            root = os.fstat(self._down.fd)
            self._device = root.st_dev
            self._levels = [_Level(b"", root, iter(self._list(b"")))]
            yield ROOT, root
            while self._levels:
                level = self._levels[-1]
                fd = self._down.fd
                for name in level.names:
                    path = level.prefix + name
                    found = self._look(fd, path, name)
                    if found is None:
                        continue
                    self.name = name
                    if stat.S_ISDIR(found.st_mode):
                        found = self._enter(path, name)
                        if found is None:
                            continue
                    level.seen[name] = found
                    yield path, found
                    if level is not self._levels[-1]:
                        break
                else:
                    self._settle(level)
                    self._levels.pop()
                    if self._levels:
                        self._down.leave()

    def _enter(self, path: bytes, name: bytes) -> os.stat_result | None:
        """Go into what was a directory a moment ago: what it is now, entered if it still is one."""
        for _ in range(_TRIES):
            try:
                entered = self._down.enter(name)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    refuse(error, path)
            else:
                if entered.st_dev != self._device:
                    _refuse_mount(path)
                self._levels.append(_Level(path + b"/", entered, iter(self._list(path))))
                return entered
            found = self._look(self._down.fd, path, name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                return found
        raise Conflict(f"{path_text(path)!r} keeps changing while it is being read.", "Stop what writes there.")

    def _look(self, fd: int, path: bytes, name: bytes) -> os.stat_result | None:
        """What is under a name in a directory; None where it vanished or is left out."""
        if name.startswith(RESERVED):
            return None
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            refuse(error, path)
        if self._ignores and self._ignore.match_alone(path, is_dir=stat.S_ISDIR(found.st_mode)):
            return None
        if self._mounts and path in self._mounts:
            _refuse_mount(path)
        return found

    def _list(self, path: bytes) -> list[bytes]:
        try:
            names = os.listdir(self._down.fd)
        except OSError as error:
            refuse(error, path or ROOT)
        # Encoded all at once: name by name it takes a third of the time of looking at them.
        return sorted(os.fsencode("\0".join(names)).split(b"\0")) if names else []

    def _settle(self, level: _Level) -> None:
        """Leave a directory. Raises Conflict where what we found in it is no longer so."""
        now = os.fstat(self._down.fd)
        if (now.st_mtime_ns, now.st_ctime_ns) == (level.found.st_mtime_ns, level.found.st_ctime_ns):
            return
        names: set[bytes] = set()
        for name in self._list(level.prefix):
            path = level.prefix + name
            found = self._look(self._down.fd, path, name)
            if found is None:
                continue
            names.add(name)
            if (seen := level.seen.get(name)) is None or not _unmoved(seen, found):
                _changed(path)
        if (gone := level.seen.keys() - names) or not _same_rights(level.found, now):
            _changed(level.prefix + min(gone, default=b""))


@contextmanager
def opened(root: int | Path) -> Iterator[int]:
    """The handle of a tree's root. Raises InputError where the path is no directory, or a link to one."""
    if isinstance(root, int):
        yield root
        return
    try:
        fd = os.open(root, OPEN_DIR)
    except FileNotFoundError as error:
        raise InputError(f"There is no directory {root}.", "Make it, or correct the path.") from error
    except PermissionError as error:
        raise InputError(f"The directory {root} may not be read.", "Run as a user who may read all of it.") from error
    except OSError as error:
        cure = "Give the path of the directory itself" + (", not of a link to it." if root.is_symlink() else ".")
        raise InputError(f"{root} is not a directory.", cure) from error
    try:
        yield fd
    finally:
        os.close(fd)


def has_local_clock(root_fd: int) -> bool:
    """Whether the times of the files come from this machine's clock: not so where a server keeps them."""
    device = os.fstat(root_fd).st_dev
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    kinds = {line.partition(b" - ")[2].split(b" ")[0] for line in lines if line.split(b" ")[2] == wanted}
    return bool(kinds) and kinds <= _LOCAL


def refuse(error: OSError, path: bytes) -> NoReturn:
    """Raise the InputError for something in a tree that can't be read."""
    says = f"{path_text(path)!r} can't be read: {error.strerror}."
    raise InputError(says, "Run as a user who may read it, or add it to the target's 'ignore'.") from error


def _refuse_mount(path: bytes) -> NoReturn:
    raise InputError(
        f"{path_text(path)!r} is on another file system than the tree around it (a mount point or a subvolume).",
        "Unmount it, or add it to the target's 'ignore' and make it a target of its own.",
    )


def _changed(path: bytes) -> NoReturn:
    raise Conflict(
        f"{path_text(path.rstrip(b'/') or ROOT)!r} changed while the tree was being read.",
        "Stop what writes there, or add it to the target's 'ignore'.",
    )


def _unmoved(seen: os.stat_result, now: os.stat_result) -> bool:
    """Still the same thing under this name; a directory below answers for its own content."""
    if (seen.st_dev, seen.st_ino) != (now.st_dev, now.st_ino) or not _same_rights(seen, now):
        return False
    if stat.S_ISDIR(now.st_mode):
        return True
    return (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns) == (now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def _same_rights(seen: os.stat_result, now: os.stat_result) -> bool:
    return (seen.st_mode, seen.st_uid, seen.st_gid) == (now.st_mode, now.st_uid, now.st_gid)


def _mounts_below(root_fd: int) -> frozenset[bytes]:
    """Relative paths below the root at which something is mounted, as the kernel lists them.

    A bind mount of the same file system shows in no other way. Where the system has no such list, only
    another device number tells.
    """
    try:
        root = os.readlink(f"/proc/self/fd/{root_fd}".encode()).rstrip(b"/") + b"/"
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return frozenset()
    points = (line.split(b" ")[4].replace(b"\\040", b" ") for line in lines)
    plain = (point.replace(b"\\011", b"\t").replace(b"\\012", b"\n").replace(b"\\134", b"\\") for point in points)
    return frozenset(point[len(root) :] for point in plain if point.startswith(root) and len(point) > len(root))
