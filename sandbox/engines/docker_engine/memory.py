"""Whether the kernel killed something for memory while a command ran, by the engine's own events.

Owns the reading of `oom` events. `State.OOMKilled` won't do: once set it stays, whatever command it was.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from sandbox.clock import now
from sandbox.engines.docker_engine.connection import Connection

_LATE_S = 0.5
"""How long after a kill the event may come."""


class MemoryWatch:
    """Looks at one container from its own creation on."""

    def __init__(self, connection: Connection, container: str) -> None:
        self._connection = connection
        self._container = container
        self._since = self._time()

    def fired(self, *, wait: bool) -> bool:
        """Whether there was an `oom` event; `wait`: it is likely, so give it a moment."""
        until = time.monotonic() + (_LATE_S if wait else 0)
        while not self._seen():
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
        return True

    def _seen(self) -> bool:
        api: Any = self._connection.api  # the stubs know whole seconds only, which is too coarse
        events = api.events(
            since=self._since, until=self._time(), filters={"container": self._container, "event": "oom"}, decode=True
        )
        try:
            return any(True for _ in events)
        finally:
            events.close()

    def _time(self) -> str:
        """Now by the engine's clock, as it wants it: seconds with nanoseconds."""
        return f"{(now() + timedelta(seconds=self._connection.clock_ahead_s)).timestamp():.9f}"
