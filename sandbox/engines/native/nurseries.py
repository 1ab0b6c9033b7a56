"""The process that forks keepers, as a manager sees it.

Owns its start, its end, and that one which was killed is replaced. What is asked of it is `spares`' business.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox import keeper
from sandbox.keeper import messages, nursery


class Nursery:
    """Safe in several threads; the process behind it starts when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def begin(self) -> None:
        """Have the process behind it start, which takes it a while, if it has not yet."""
        with self._lock:
            if self._socket is None:
                self._begin()

    def fork(self, words: dict[str, Any]) -> socket.socket:
        """A keeper that makes ready what `words` say; where it hears its order, and tells how that went."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._ask(words, theirs.fileno())
        return ours

    def close(self) -> None:
        """End the process behind it; keepers go on."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._socket = self._end = None

    def _ask(self, words: dict[str, Any], handle: int) -> None:
        with self._lock:
            for last in (False, True):
                try:
                    messages.send(self._socket or self._begin(), words, (handle,))
                except BrokenPipeError:
                    # Somebody killed it; it holds nothing that a new one would miss.
                    self._socket = None
                    if last:
                        raise
                else:
                    return

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        root = str(Path(keeper.__file__).parents[2])
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        with theirs:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", nursery.PROGRAM, root],
                {"PATH": os.defpath},
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, null, stream) for stream in (0, 1, 2)),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), nursery.SOCKET),
                ],
                setsid=True,
            )
        os.close(null)
        self._socket = ours
        self._end = weakref.finalize(self, _finish, ours, pid)
        return ours


def _finish(ours: socket.socket, pid: int) -> None:
    ours.close()
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
