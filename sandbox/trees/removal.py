"""Removes our own directory trees, whatever their depth.

Owns the way of doing it: directories are moved up to the top before they are emptied, so that neither open
handles nor path lengths nor the Python stack grow with depth. What others remove meanwhile is fine, and a directory
without permissions for its owner is given them first. Must never be used on a target.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from sandbox.trees.descent import OPEN_DIR

_ROUNDS = 1000


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it; a path that is gone is fine. Links are removed, never followed.

    Raises OSError where something can't be removed: what is left can be removed by another call.
    """
    try:
        _permit(path, path.lstat().st_mode)
        top = os.open(path, OPEN_DIR)
    except FileNotFoundError:
        return
    try:
        for left in reversed(range(_ROUNDS)):
            _Emptying(top).run()
            try:
                path.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                # Somebody else who removes it has moved a directory up meanwhile.
                if error.errno != errno.ENOTEMPTY or not left:
                    raise
            else:
                return
    finally:
        os.close(top)


class _Emptying:
    def __init__(self, top: int) -> None:
        self._top = top
        self._token = f".gone-{secrets.token_hex(8)}-".encode()
        self._waiting: list[bytes] = []
        self._moved = 0

    def run(self) -> None:
        self._clear(self._top)
        while self._waiting:
            name = self._waiting.pop()
            with suppress(FileNotFoundError):
                fd = os.open(name, OPEN_DIR, dir_fd=self._top)
                try:
                    self._clear(fd)
                finally:
                    os.close(fd)
                os.rmdir(name, dir_fd=self._top)

    def _clear(self, fd: int) -> None:
        """Unlink what is in a directory; move its directories up to the top, to be cleared in turn."""
        with os.scandir(fd) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_dir in found:
            with suppress(FileNotFoundError):
                if is_dir:
                    self._move_up(fd, name)
                else:
                    os.unlink(name, dir_fd=fd)

    def _move_up(self, fd: int, name: bytes) -> None:
        if os.geteuid() != 0:
            _permit(name, os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode, fd)
        self._moved += 1
        up = self._token + b"%d" % self._moved
        os.rename(name, up, src_dir_fd=fd, dst_dir_fd=self._top)
        self._waiting.append(up)


def _permit(path: Path | bytes, mode: int, handle: int | None = None) -> None:
    """Only root may move or empty a directory that its owner has no permissions for."""
    if os.geteuid() != 0 and stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(path, stat.S_IRWXU, dir_fd=handle)
