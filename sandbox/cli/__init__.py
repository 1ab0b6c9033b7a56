"""The command line: parse, one call on the manager, render.

Owns the words and the exit codes that scripts depend on. Must not decide or remember anything: what it
prints, as text or as JSON, comes from the record that the manager gave. Nothing heavy is imported before a
command needs it, so that `--help` is quick.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `sandbox` command: run it and end the process with its exit code."""
    # What a command loads stays, so looking for garbage in it while it loads finds none; a short one makes less.
    gc.set_threshold(100_000)
    from sandbox.cli.app import run

    # Being told to end, or losing the terminal, is an interrupt like Ctrl-C: what is under way is undone first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it goes on
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
