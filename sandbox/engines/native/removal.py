"""Removing a tree that somebody hostile may have made: any depth, any names, links never followed.

Owns that one act. A tree is first renamed within its parent, so that what a crash leaves is seen as rubbish. `Backlog`
does the slow part while others go on.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_AT_ONCE = 200
"""Entries whose removal nobody notices; more of them would make a destroy as slow as what was done in the sandbox."""
_ROUNDS = 1000
GONE = ".gone-"
"""Starts the name of everything that is on its way out."""


def remove(path: Path) -> None:
    """Remove whatever is at `path`; nothing to do where there is nothing."""
    doomed = set_aside(path)
    if doomed is not None:
        finish(doomed)


def set_aside(path: Path) -> Path | None:
    """Free the name at once; what `finish` then has to remove, if anything."""
    doomed = path.with_name(f"{GONE}{secrets.token_hex(8)}")
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return None
    return doomed


def finish(doomed: Path, most: int | None = None) -> bool:
    """Remove what was set aside; two may do so at once. With `most`, after so many entries False: there is more."""
    left = [most if most is not None else -1]
    for again in reversed(range(_ROUNDS)):
        try:
            return _empty(doomed, left)
        except FileNotFoundError:
            return True
        except OSError as error:
            # Somebody else who removes it, or a part of it, has moved a directory up meanwhile.
            if error.errno != errno.ENOTEMPTY or not again:
                raise
    return True


class Backlog:
    """Finishes what was set aside, in a thread of its own that lives as long as there is something to do.

    The interpreter waits for it when it ends; what a killed one leaves is a sweep's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doomed: list[Path] = []
        self._thread: threading.Thread | None = None

    def take(self, doomed: Iterable[Path]) -> None:
        """Remove these: what is small at once, the rest soon."""
        rest = [path for path in doomed if not finish(path, _AT_ONCE)]
        with self._lock:
            self._doomed += rest
            if self._doomed and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="removal")
                self._thread.start()

    def wait(self) -> None:
        """Return once nothing is left to do."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._doomed:
                    self._thread = None
                    return
                path = self._doomed.pop()
            with suppress(OSError):  # it stays set aside, and the next sweep says why it can't go
                finish(path)


def _empty(doomed: Path, left: list[int]) -> bool:
    if not doomed.is_dir() or doomed.is_symlink():
        doomed.unlink(missing_ok=True)
        return True
    top = os.open(doomed, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        pending = _clear(top, top, left)
        while pending:
            name = pending.pop()
            with suppress(FileNotFoundError):
                directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                try:
                    pending += _clear(directory, top, left)
                finally:
                    os.close(directory)
                if left[0] == 0:
                    return False
                os.rmdir(name, dir_fd=top)
        if left[0] == 0:
            return False
    finally:
        os.close(top)
    os.rmdir(doomed)
    return True


def _clear(directory: int, top: int, left: list[int]) -> list[bytes]:
    """Unlink the files of `directory` and move its full directories up to `top`: no depth is ever too deep."""
    moved: list[bytes] = []
    for name in os.listdir(directory):
        if left[0] == 0:
            break
        encoded = os.fsencode(name)
        try:
            os.unlink(encoded, dir_fd=directory)
        except FileNotFoundError:
            continue
        except IsADirectoryError:
            pass
        else:
            left[0] -= 1
            continue
        if directory == top:
            moved.append(encoded)
            continue
        left[0] -= 1
        fresh = secrets.token_hex(16).encode()
        os.rename(encoded, fresh, src_dir_fd=directory, dst_dir_fd=top)
        moved.append(fresh)
    return moved
