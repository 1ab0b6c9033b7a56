"""Stretches of work that Ctrl-C and the like must not cut in two: the signal is kept and raised at the end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def deferred() -> Iterator[None]:
    """Run the body to its end; an interrupt that came meanwhile is raised afterwards.

    Only the main thread gets signals: elsewhere there is nothing to defer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deferral = _Deferral()
    try:
        deferral.begin()
        yield
    finally:
        deferral.end()
    if deferral.pending:
        raise KeyboardInterrupt


class _Deferral:
    """Handlers can only be set one by one, and an interrupt may come in between: whichever of ours is left behind
    then does what the one before it did."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.before: dict[int, Any] = {}
        self.over = False

    def begin(self) -> None:
        for number in SIGNALS:
            handler = _in_force(number)
            if handler not in (signal.SIG_IGN, None):  # one that is ignored (SIGHUP under nohup) stays ignored
                self.before[number] = handler
                signal.signal(number, self._remember)

    def end(self) -> None:
        self.over = True
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if not self.over:
            self.pending.append(number)
        elif callable(handler := self.before[number]):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            os.kill(os.getpid(), number)


def _in_force(number: int) -> Any:
    """The handler of a signal, seen through those of ours that were left behind."""
    handler: Any = signal.getsignal(number)
    while isinstance(ours := getattr(handler, "__self__", None), _Deferral) and ours.over:
        handler = ours.before[number]
    return handler
