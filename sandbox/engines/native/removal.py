"""When a tree of the engine goes: its name at once, what is in it then or later.

Owns the order. A tree is first renamed within its parent, so that what a crash leaves is seen as rubbish. `Backlog`
does the slow part while others go on. Must not know how a tree is removed; `trees.removal` does.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.trees.removal import remove_tree

GONE = ".gone-"
"""Starts the name of everything that is on its way out."""


def remove(path: Path) -> None:
    """Remove whatever is at `path`; nothing to do where there is nothing."""
    doomed = set_aside(path)
    if doomed is not None:
        remove_tree(doomed)


def set_aside(path: Path) -> Path | None:
    """Free the name at once; what `remove_tree` then has to remove, if anything."""
    doomed = path.with_name(f"{GONE}{secrets.token_hex(8)}")
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return None
    return doomed


class Backlog:
    """Removes what is of no use any more, in a thread of its own that lives as long as there is something to do.

    The interpreter waits for it when it ends; what a killed one leaves is a sweep's.
    """

    def __init__(self, find: Callable[[], list[Path]]) -> None:
        """`find` sets aside what nothing stands on any more."""
        self._find = find
        self._lock = threading.Lock()
        self._doomed: list[Path] = []
        self._clear: list[Callable[[], None]] = []
        self._asked = False
        self._thread: threading.Thread | None = None

    def take(self, doomed: Iterable[Path] = (), clear: Callable[[], None] | None = None) -> None:
        """Soon call `clear`, remove these, and whatever is found then."""
        with self._lock:
            self._doomed += doomed
            self._clear += [clear] if clear else []
            self._asked = True
            if self._thread is None:
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
                if not self._asked:
                    self._thread = None
                    return
                self._asked = False
                doomed, self._doomed = self._doomed, []
                clear, self._clear = self._clear, []
            for work in clear:
                with suppress(OSError, SandboxError):  # what stays of it is a stray, and a sweep says what is wrong
                    work()
            with suppress(OSError):  # the next sweep asks again, and says what is wrong
                doomed += self._find()
            for path in doomed:
                with suppress(OSError):  # it stays set aside, and a sweep says why it can't go
                    remove_tree(path)
