"""The command line: parse, one call on the manager, render.

Owns the words and the exit codes that scripts depend on. Must not decide or remember anything: what it
prints, as text or as JSON, comes from the record that the manager gave. Nothing heavy is imported before a
command needs it, so that `--help` is quick.
"""

from __future__ import annotations

import gc
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

__all__ = ["main"]

_SAME_INTERRUPT_S = 2.0
_INTERRUPTED = 130


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `sandbox` command: run it and end the process with its exit code."""
    # What a command loads stays, so looking for garbage in it while it loads finds none; a short one makes less.
    gc.set_threshold(100_000)
    # Being told to end, or losing the terminal, is an interrupt like Ctrl-C: what is under way is undone first.
    handler = _interrupting()
    for number in INTERRUPTS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP is under nohup
            signal.signal(number, handler)
    code = _INTERRUPTED
    with suppress(KeyboardInterrupt):  # one that comes before the command has begun, or after its end
        from sandbox.cli.app import run

        code = run(sys.argv[1:] if arguments is None else arguments)
    # All is done and said: one that comes only now must not change how this ends, as it would on the way out.
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # all of it goes with the process: a last look through it for garbage is a tenth of a short command
    sys.exit(code)


def _interrupting() -> Callable[[int, FrameType | None], None]:
    """A handler that raises KeyboardInterrupt, and takes what follows at once for the same interrupt.

    A closed terminal sends SIGHUP twice, people press Ctrl-C twice: the second must not cut the clean-up in two.
    """
    last = -math.inf

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _SAME_INTERRUPT_S:
            last = time.monotonic()
            raise KeyboardInterrupt

    return interrupt
