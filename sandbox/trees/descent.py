"""A way down a tree of any depth by directory handles, never by path and never through a link.

Owns the handles: only the deepest few are kept open, so that depth is not bounded by the limit of open files.
Going back up to a closed one leads through `..` and is accepted only where it ends in the very directory that
was left. Must not read or write what is in the directories.
"""

from __future__ import annotations

import errno
import os
from typing import Self

from sandbox.errors import Conflict
from sandbox.trees.entry import sort_key

OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_OPEN = 32


class Descent:
    """A stack of directories; the deepest is always open as `fd`. A context manager that closes them all."""

    def __init__(self, root_fd: int) -> None:
        """`root_fd` is the first directory and stays the caller's."""
        fd = os.open(b".", OPEN_DIR, dir_fd=root_fd)
        self._fds: list[int | None] = [fd]
        self._ids: list[tuple[int, int]] = [_identity(fd)]
        self._names: list[bytes] = []
        self._sought: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def depth(self) -> int:
        """How many directories below the root it is."""
        return len(self._names)

    @property
    def fd(self) -> int:
        """The deepest directory."""
        fd = self._fds[-1]
        assert fd is not None  # noqa: S101 - the invariant of this class
        return fd

    def enter(self, name: bytes) -> os.stat_result:
        """Go down into a directory. Raises OSError where it is none (or a link), and stays where it was."""
        if name in (b"", b".", b".."):
            raise NotADirectoryError(errno.ENOTDIR, "is no name", name)
        fd = os.open(name, OPEN_DIR, dir_fd=self.fd)
        found = os.fstat(fd)
        self._sought = None
        self._fds.append(fd)
        self._names.append(name)
        self._ids.append((found.st_dev, found.st_ino))
        self._close_at(len(self._fds) - 1 - _KEPT_OPEN)
        return found

    def leave(self) -> None:
        """Go back up. Raises Conflict where the directory was moved elsewhere meanwhile."""
        self._sought = None
        parent = self._fds[-2]
        if parent is None:
            parent = os.open(b"..", OPEN_DIR, dir_fd=self.fd)
            self._fds[-2] = parent
            if _identity(parent) != self._ids[-2]:
                raise Conflict("A directory was moved while it was being read.", "Try again.")
        self._close_at(len(self._fds) - 1)
        self._fds.pop()
        self._names.pop()
        self._ids.pop()

    def seek(self, directory: bytes) -> int:
        """Go to a directory, by its path from the root; its handle. Raises OSError where the way is none."""
        if directory == self._sought:
            return self.fd
        self._sought = None
        parts = list(sort_key(directory))
        common = 0
        while common < min(len(parts), len(self._names)) and parts[common] == self._names[common]:
            common += 1
        while len(self._names) > common:
            self.leave()
        for name in parts[common:]:
            self.enter(name)
        self._sought = directory
        return self.fd

    def close(self) -> None:
        """Close all handles."""
        for index in range(len(self._fds)):
            self._close_at(index)

    def _close_at(self, index: int) -> None:
        if index >= 0 and (fd := self._fds[index]) is not None:
            self._fds[index] = None
            os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
