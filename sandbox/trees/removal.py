"""Removes our own trees, whatever is in them: any depth, any names, links never followed.

Owns the way of doing it: directories are moved up to the top before they are emptied, so that neither open
handles nor path lengths nor the Python stack grow with depth. Others may remove the same tree, a part of it or what
it is a part of at the same time, and a directory without permissions for its owner is given them first. Must never be
used on a target.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from sandbox.trees.descent import OPEN_DIR

_ROUNDS = 1000


def remove_tree(path: Path, most: int | None = None) -> bool:
    """Remove a directory with all that is in it, or whatever else is there; a path that is gone is fine.

    With `most`, after so many entries it ends with False: there is more. Raises OSError where something can't be
    removed: what is left can be removed by another call.
    """
    emptying = _Emptying(most)
    for left in reversed(range(_ROUNDS)):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return True
        try:
            if not stat.S_ISDIR(mode):
                path.unlink()
                return True
            _permit(path, mode)
            if not emptying.run(path):
                return False
            path.rmdir()
        except OSError as error:
            # Somebody else who removes it, or a part of it, has moved a directory up or away meanwhile.
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not left:
                raise
        else:
            return True
    return True


class _Emptying:
    """Empties one directory, in as many rounds as it takes, until so many entries are removed."""

    def __init__(self, most: int | None) -> None:
        self._left = math.inf if most is None else most
        self._top = -1
        self._token = f".gone-{secrets.token_hex(8)}-"
        self._waiting: list[str] = []
        self._moved = 0

    def run(self, path: Path) -> bool:
        """Whether it came to the end. Raises OSError, ENOTEMPTY and ENOENT where somebody else is at it too."""
        self._waiting.clear()
        self._top = os.open(path, OPEN_DIR)
        try:
            self._clear(self._top)
            while self._waiting and self._left > 0:
                name = self._waiting.pop()
                with suppress(FileNotFoundError):
                    fd = os.open(name, OPEN_DIR, dir_fd=self._top)
                    try:
                        self._clear(fd)
                    finally:
                        os.close(fd)
                    if self._left > 0:
                        os.rmdir(name, dir_fd=self._top)
                        self._left -= 1
        finally:
            os.close(self._top)
        return self._left > 0

    def _clear(self, fd: int) -> None:
        """Unlink what is in a directory; move its directories up to the top, to be cleared in turn."""
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_dir in found:
            if self._left <= 0:
                return
            with suppress(FileNotFoundError):
                if is_dir:
                    self._await(fd, name)
                else:
                    os.unlink(name, dir_fd=fd)
                    self._left -= 1

    def _await(self, fd: int, name: str) -> None:
        if os.geteuid() != 0:
            _permit(name, os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode, fd)
        if fd != self._top:
            self._moved += 1
            up = f"{self._token}{self._moved}"
            os.rename(name, up, src_dir_fd=fd, dst_dir_fd=self._top)
            self._left -= 1
            name = up
        self._waiting.append(name)


def _permit(path: Path | str, mode: int, handle: int | None = None) -> None:
    """Only root may move or empty a directory that its owner has no permissions for."""
    if os.geteuid() != 0 and stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(path, stat.S_IRWXU, dir_fd=handle)
