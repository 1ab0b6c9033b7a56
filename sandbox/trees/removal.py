"""Removes our own directory trees, whatever their depth.

Owns the way of doing it: directories are moved up to the top before they are emptied, so that neither open
handles nor path lengths nor the Python stack grow with depth. Must never be used on a target.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sandbox.trees.descent import OPEN_DIR


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it; a path that is gone is fine. Links are removed, never followed."""
    try:
        top = os.open(path, OPEN_DIR)
    except FileNotFoundError:
        return
    try:
        _Emptying(top).run()
    finally:
        os.close(top)
    path.rmdir()


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
            if not is_dir:
                os.unlink(name, dir_fd=fd)
                continue
            self._moved += 1
            up = self._token + b"%d" % self._moved
            os.rename(name, up, src_dir_fd=fd, dst_dir_fd=self._top)
            self._waiting.append(up)
