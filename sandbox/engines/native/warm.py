"""Sandboxes made before they are asked for: a create that finds one of its kind only gives it its name.

Owns which of them are idle, and their number. Kinds differ by all that a create asks for, the content of bases and
image included, so that none is ever handed out stale. An idle one is held, as by somebody who works on it, for as long
as the process that made it lives; a sweep removes what nobody holds.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sandbox.clock import fresh_id
from sandbox.engines.base import CreateRequest
from sandbox.engines.native.store import WARM, Store
from sandbox.errors import SandboxError


class _Idle(NamedTuple):
    kind: str
    sandbox: str
    held: ExitStack


class WarmPool:
    """At most `most` idle sandboxes, all of the kind that was asked for last."""

    def __init__(
        self, store: Store, most: int, make: Callable[[CreateRequest], None], remove: Callable[[str], None]
    ) -> None:
        self._store = store
        self._most = most
        self._make = make
        self._remove = remove
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []
        self._wanted: tuple[str, CreateRequest] | None = None
        self._thread: threading.Thread | None = None

    def take(self, request: CreateRequest, image: Sequence[Path]) -> bool:
        """Whether the sandbox is there now, from an idle one of its kind. Raises InputError where its id is taken."""
        if not self._most:
            return False
        kind = _kind(request, image)
        with self._lock:
            found = next((one for one in self._idle if one.kind == kind), None)
            if found is None:
                return False
            self._idle.remove(found)
        with found.held:
            try:
                self._store.rename_sandbox(found.sandbox, request.sandbox)
            except SandboxError:
                self._remove(found.sandbox)
                raise
        return True

    def refill(self, request: CreateRequest, image: Sequence[Path]) -> None:
        """Have more of this kind made while others go on; those of other kinds end."""
        if not self._most:
            return
        with self._lock:
            self._wanted = _kind(request, image), request
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="warm-pool")
                self._thread.start()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._wanted, thread = None, self._thread
        if thread is not None:
            thread.join()
        self._end(None)

    def _work(self) -> None:
        while True:
            with self._lock:
                wanted = self._wanted
                if wanted is None or sum(one.kind == wanted[0] for one in self._idle) >= self._most:
                    self._thread = None
                    return
            kind, request = wanted
            self._end(kind)
            try:
                made = self._made(kind, request)
            except (SandboxError, OSError):
                # The next create meets the same and can say so; a pool has nobody to tell.
                with self._lock:
                    self._wanted = self._thread = None
                return
            with self._lock:
                self._idle.append(made)

    def _made(self, kind: str, request: CreateRequest) -> _Idle:
        sandbox = fresh_id(WARM)
        self._make(replace(request, sandbox=sandbox))
        held = ExitStack()
        held.enter_context(self._store.holding(sandbox))
        return _Idle(kind, sandbox, held)

    def _end(self, kept: str | None) -> None:
        """End the idle ones that are not of the kind `kept`."""
        with self._lock:
            ended = [one for one in self._idle if one.kind != kept]
            self._idle = [one for one in self._idle if one.kind == kept]
        for one in ended:
            with one.held:
                self._remove(one.sandbox)


def _place(directory: Path) -> list[object]:
    """Where something is, and that it is the very same: it may have been removed and made again under one name."""
    state = directory.stat()
    return [str(directory), state.st_dev, state.st_ino, state.st_ctime_ns]


def _kind(request: CreateRequest, image: Sequence[Path]) -> str:
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
