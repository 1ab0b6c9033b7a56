"""Sandboxes that wait to be asked for, in the store.

Owns what makes two creates of one kind, and how one that waits gets its name. An idle one is held, as by somebody who
works on it, for as long as the process that made it lives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from sandbox.engines.base import CreateRequest
from sandbox.engines.native.store import SandboxState, Store


class Nursery:
    """The idle sandboxes of a store."""

    def __init__(
        self,
        store: Store,
        alive: Callable[[SandboxState], bool],
        make: Callable[[CreateRequest], None],
        remove: Callable[[str], None],
    ) -> None:
        self._store = store
        self._alive = alive
        self.make = make
        self.remove = remove

    def hold(self, idle: str) -> AbstractContextManager[None]:
        """See Nursery."""
        return self._store.holding(idle)

    def name(self, idle: str, sandbox: str) -> bool:
        """See Nursery."""
        if not self._alive(self._store.sandbox(idle)):
            self.remove(idle)
            return False
        self._store.rename_sandbox(idle, sandbox)
        return True


def kind(request: CreateRequest, image: Sequence[Path]) -> str:
    """Equal for creates that ask for the same."""
    asked = {
        "image": [request.image, *map(_place, image)],
        "placements": [
            [one.path, one.tree.id, *map(_place, (one.tree.root, *one.tree.under))] for one in request.placements
        ],
        "limits": request.limits.model_dump(mode="json"),
        "network": request.network,
        "env": sorted(request.env.items()),
    }
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _place(directory: Path) -> list[object]:
    """Where something is, and that it is the very same: it may have been removed and made again under one name."""
    state = directory.stat()
    return [str(directory), state.st_dev, state.st_ino, state.st_ctime_ns]
