"""Forks keepers: the program that a manager starts once, so that each keeper costs a fork and shares its memory.

Run as `python -I -S -c … ROOT`, with the manager's socket as handle 3; ends when the manager hangs up. Its keepers go
on without it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from sandbox.keeper import confining, keeping, messages, syscalls

SOCKET = 3
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from sandbox.keeper.nursery import main; main()"


def main() -> None:
    """Fork a keeper for each request."""
    syscalls.hide()
    # Nobody waits for a keeper: it may outlive us and its manager.
    confining.forget_signals()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is here now is shared by all keepers as long as nobody writes to it, and a collection would.
    gc.disable()
    gc.freeze()
    manager = socket.socket(fileno=SOCKET)
    manager.set_inheritable(False)
    while (heard := messages.receive(manager)) is not None:
        words, handles = heard
        if os.fork() == 0:
            manager.close()
            _keep(words, handles)
        for handle in handles:
            os.close(handle)


def _keep(words: dict[str, Any], handles: list[int]) -> None:
    (caller,) = handles
    asked = socket.socket(fileno=caller)
    try:
        keeping.keep(words, asked)
    except BaseException as error:  # noqa: BLE001 - whoever waits for the answer has to hear of anything
        with suppress(OSError):  # nobody waits
            messages.send(asked, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        sys.stderr.flush()
        os._exit(1)
