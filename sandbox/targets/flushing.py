"""Whether what is done to a target, and saved of it, is forced to disk on its way.

Owns that difference, which is the only one between a promotion and its rehearsal: a rehearsal is thrown away with its
copy whatever happens, so there is nothing in it that a power cut could take. Must not decide what has to be durable.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandbox import durable


@dataclass(frozen=True, slots=True)
class Flushing:
    """Makes things durable, or leaves them to the kernel."""

    on: bool

    def handle(self, fd: int) -> None:
        """What was written to an open file, or the names in an open directory."""
        if self.on:
            os.fsync(fd)

    def file_system(self, fd: int) -> None:
        """All that was written to the file system of an open file."""
        if self.on:
            durable.sync_file_system(fd)

    def write(self, path: Path, data: bytes) -> None:
        """Create or replace a file: all or nothing, where it is to last."""
        if self.on:
            durable.write(path, data)
        else:
            path.write_bytes(data)


DURABLE = Flushing(on=True)
THROWN_AWAY = Flushing(on=False)
