"""Processes that die in the middle of a command: real ones, forked for each from one that is ready.

Owns the forking. A pytest process has threads and can't fork safely; a helper without any does it for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tests.processes import PATIENCE_S, WARM


class Mortals:
    """Runs functions, each in a process of its own."""

    def __init__(self) -> None:
        self._here, there = WARM.Pipe()
        self._helper = WARM.Process(target=_serve, args=(there,), daemon=True)
        self._helper.start()
        there.close()

    def run(self, act: Callable[..., object], *args: Any) -> bool:
        """Call a function of a module in a new process; whether SIGKILL ended it."""
        self._here.send((act, args))
        if not self._here.poll(PATIENCE_S):
            raise TimeoutError(f"{act.__name__} took longer than {PATIENCE_S} s")
        status = self._here.recv()
        assert status in (0, signal.SIGKILL), f"{act.__name__}{args} ended with wait status {status}"
        return status != 0

    def close(self) -> None:
        self._here.close()
        self._helper.join(PATIENCE_S)
        self._helper.close()


def _serve(there: Connection) -> None:
    while True:
        try:
            act, args = there.recv()
        except EOFError:
            return
        if (child := os.fork()) == 0:
            code = 1
            try:
                act(*args)
                code = 0
            finally:
                os._exit(code)  # not even the interpreter's own clean-up: the streams and locks are the helper's
        there.send(os.waitpid(child, 0)[1])
