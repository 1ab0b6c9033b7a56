"""How much is in an upper layer, whatever an agent makes of it meanwhile.

Owns the counting. By handles, so that no depth and no length of a path hides anything; what vanishes or moves away
while it is counted is left out.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from sandbox.engines.base import Usage
from sandbox.engines.native import overlay
from sandbox.errors import Conflict
from sandbox.trees.descent import Descent


def of_layer(layer: Path) -> Usage:
    """What the layer holds, deletions not counted; a file with several names counts once."""
    handle = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        disk = os.fstatvfs(handle)
        counter = _Counter()
        with Descent(handle) as down, suppress(Conflict):
            counter.walk(down)
        return Usage(counter.bytes, counter.files, disk.f_bavail * disk.f_frsize)
    finally:
        os.close(handle)


class _Counter:
    def __init__(self) -> None:
        self.bytes = 0
        self.files = 0
        self._named: set[int] = set()

    def walk(self, down: Descent) -> None:
        """Raises Conflict where a directory that it is in was moved elsewhere."""
        waiting = [self._directories(down.fd)]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                if waiting:
                    down.leave()
                continue
            with suppress(OSError):
                down.enter(waiting[-1].pop())
                waiting.append([])
                waiting[-1] = self._directories(down.fd)

    def _directories(self, handle: int) -> list[bytes]:
        """Count what is in a directory; the names of those to go into."""
        found: list[bytes] = []
        with os.scandir(handle) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    state = entry.stat(follow_symlinks=False)
                    if overlay.is_whiteout(state):
                        continue
                    self.files += 1
                    if stat.S_ISDIR(state.st_mode):
                        found.append(os.fsencode(entry.name))
                    elif stat.S_ISREG(state.st_mode) and self._is_new(state):
                        self.bytes += state.st_size
        return found

    def _is_new(self, state: os.stat_result) -> bool:
        if state.st_nlink == 1:
            return True
        known = state.st_ino in self._named
        self._named.add(state.st_ino)
        return not known
