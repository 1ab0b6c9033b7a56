"""When a tree of the engine goes: its name at once, what is in it then or later.

Owns the order. A tree is first renamed within its parent, so that what a crash leaves is seen as rubbish. `Backlog`
does the slow part while others go on. Must not know how a tree is removed; `trees.removal` does.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sandbox.trees.removal import remove_tree

_AT_ONCE = 200
"""Entries whose removal nobody notices; more of them would make a destroy as slow as what was done in the sandbox."""
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
    """Finishes what was set aside, in a thread of its own that lives as long as there is something to do.

    The interpreter waits for it when it ends; what a killed one leaves is a sweep's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doomed: list[Path] = []
        self._thread: threading.Thread | None = None

    def take(self, doomed: Iterable[Path]) -> None:
        """Remove these: what is small at once, the rest soon."""
        rest = [path for path in doomed if not remove_tree(path, _AT_ONCE)]
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
                remove_tree(path)
