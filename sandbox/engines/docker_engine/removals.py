"""Containers that are on their way out: ended already and under another name, removed beside what goes on.

Owns the thread that removes. What it did not come to, in a process that was killed say, `leftovers` sweeps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sandbox.engines.docker_engine.mapping import SDK_ERRORS


class Removals:
    """The removals that one engine object has under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: ThreadPoolExecutor | None = None
        self._under_way: dict[str, list[Future[object]]] = {}

    def begin(self, sandbox: str, remove: Callable[[], object]) -> None:
        """Let it be done; one that fails is left to the next sweep."""
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(1, "sandbox-removals")
            waiting = [one for one in self._under_way.get(sandbox, ()) if not one.done()]
            self._under_way[sandbox] = [*waiting, self._workers.submit(remove)]

    def finish(self, sandbox: str) -> None:
        """Wait until what was begun for this sandbox is done."""
        with self._lock:
            waiting = self._under_way.pop(sandbox, [])
        for one in waiting:
            error = one.exception()
            if error is not None and not isinstance(error, SDK_ERRORS):
                raise error

    def close(self) -> None:
        """Wait for all."""
        for sandbox in list(self._under_way):
            self.finish(sandbox)
        with self._lock:
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown()
