"""The live view of a run, on stderr: what is under way, what the agent prints, how many files it touched.

Owns how events look. On a terminal the output of agents is escaped; into a pipe or file it goes bit by bit.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from sandbox.cli.streams import Passage
from sandbox.lifecycle.events import (
    AttemptStarted,
    ChangeSealed,
    CheckFinished,
    CheckStarted,
    Event,
    FilesTouched,
    Note,
    Output,
    RolledBack,
    StepFinished,
    StepStarted,
)
from sandbox.terminal import escape

if TYPE_CHECKING:
    from rich.status import Status

_PLAIN_EVERY_S = 2.0


class Live:
    """Takes events. On a terminal a status line stays at the bottom; elsewhere there are plain lines only."""

    def __init__(self, stream: IO[str], status: Status | None = None) -> None:
        self._stream = stream
        self._status = status
        self._passage = Passage(stream)
        self._doing = "working"
        self._files = ""
        self._told_at = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Output):
            self._passage.write(event.stream, event.data)
        elif isinstance(event, FilesTouched):
            self._touched(event)
        else:
            self._passage.end_line()
            self._line(_words(event))
            if isinstance(event, StepStarted | CheckStarted):
                # Without the command, so that it stays on one line: rich draws the status anew at its every tick.
                self._doing = f"step {event.number} of {event.of}" if isinstance(event, StepStarted) else "checking"
                self._files = ""
        self._refresh()

    def finish(self) -> None:
        """Leave the stream at the beginning of a line."""
        self._passage.end_line()

    def _touched(self, event: FilesTouched) -> None:
        files = "1 file" if event.changed == 1 else f"{event.changed} files"
        self._files = f" - {files} changed, {event.deleted} deleted so far"
        now = time.monotonic()
        if self._status is None and now - self._told_at >= _PLAIN_EVERY_S:
            self._told_at = now
            self._passage.end_line()
            self._line(self._files.removeprefix(" - "))

    def _line(self, words: str) -> None:
        self._stream.write(f"sandbox: {escape(words)}\n")
        self._stream.flush()

    def _refresh(self) -> None:
        if self._status is not None:
            self._status.update(self._doing + self._files)


@contextmanager
def live() -> Iterator[Live]:
    """A view on stderr for the time of one run."""
    if not sys.stderr.isatty():
        view = Live(sys.stderr)
        try:
            yield view
        finally:
            view.finish()
        return
    from rich.console import Console

    # While it shows, rich stands in for sys.stderr, so that what is written there appears above the status line.
    with Console(stderr=True).status("starting") as status:
        view = Live(sys.stderr, status)
        try:
            yield view
        finally:
            view.finish()


def _words(event: Event) -> str:
    """One line for everything but output and counts."""
    match event:
        case AttemptStarted():
            return f"attempt {event.number} of {event.of}"
        case StepStarted():
            return f"step {event.number} of {event.of}: {shlex.join(event.command)}"
        case StepFinished():
            reason = f": {event.reason}" if event.reason else ""
            return f"step {event.number} ended with {event.exit_code} after {event.seconds:.1f} s{reason}"
        case CheckStarted():
            return f"check in the clean room: {event.check}"
        case CheckFinished():
            how = "timed out" if event.timed_out else f"ended with {event.exit_code}"
            return f"check {how} after {event.seconds:.1f} s: {event.check}"
        case RolledBack():
            return f"rolled back to {event.snapshot} in {event.seconds:.2f} s: {event.reason}"
        case ChangeSealed():
            counts = f"{event.added} added, {event.modified} modified, {event.deleted} deleted"
            return f"sealed {event.change}: {counts}"
        case Note():
            return event.says
    return ""
