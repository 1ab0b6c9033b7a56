"""Running one command in a sandbox: its streams, its time, its end.

Owns the work on the streams, and the killing of all that the command started. Must not know how a sandbox is made, nor
which way leads into it.
"""

from __future__ import annotations

import os
import selectors
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from sandbox.engines.base import (
    FULL_AT_MOST_S,
    KILLED,
    NOT_EXECUTABLE,
    NOT_FOUND,
    ExecRequest,
    ExecResult,
    no_process_left,
)
from sandbox.engines.native import verdicts
from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.verdicts import Verdict
from sandbox.engines.native.ways_in import Entered, WayIn
from sandbox.errors import EngineError, InputError

_CHUNK = 1 << 18
_TICK_S = 0.05
"""How often a cancel is looked for."""
_DRAIN_BYTES = 1 << 21
"""More than a pipe holds: what the command wrote before its end is read, what its children write on is not."""
_PAUSED_AT_MOST_S = 600.0


class Paused(Exception):
    """The sandbox is held still at the moment, for a snapshot; not an error, only a reason to ask again."""


class Full(Exception):
    """The sandbox has all the processes that it may have, at the moment."""


@dataclass
class _Streams:
    """The three pipes of a command, worked without ever blocking."""

    entered: Entered
    request: ExecRequest
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    chunks: dict[str, list[bytes]] = field(default_factory=lambda: {"stdout": [], "stderr": []})
    told: bytes = b""

    def __post_init__(self) -> None:
        self._input = memoryview(self.request.stdin or b"")
        for name in ("stdout", "stderr", "stdin"):
            pipe = getattr(self.entered.pipes, name)
            os.set_blocking(pipe.fileno(), False)
            events = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
            self.selector.register(pipe, events, name)
        if not self._input:
            self._close(self.entered.pipes.stdin)
        os.set_blocking(self.entered.status, False)
        self.selector.register(self.entered.status, selectors.EVENT_READ, "status")

    def work(self, timeout_s: float) -> bool:
        """Move what can be moved within the time; False once the command has ended."""
        for key, _ in self.selector.select(timeout_s):
            if key.data == "status":
                news = self._news()
                self.told += news
                if not news:
                    return False
            elif key.data == "stdin":
                self._feed(key.fileobj)
            else:
                self._take(key.data, key.fileobj)
        return True

    def drain(self) -> None:
        """Take what is in the pipes already: a background process may keep them open for ever."""
        for name in ("stdout", "stderr"):
            pipe = getattr(self.entered.pipes, name)
            taken = 0
            while not pipe.closed and taken < _DRAIN_BYTES:
                got = self._take(name, pipe)
                if not got:
                    break
                taken += got

    def close(self) -> None:
        self.selector.close()
        self.entered.close()

    def _news(self) -> bytes:
        try:
            return os.read(self.entered.status, 4096)
        except ConnectionError:
            return b""

    def _feed(self, pipe: Any) -> None:
        try:
            self._input = self._input[os.write(pipe.fileno(), self._input[:_CHUNK]) :]
        except BrokenPipeError:
            self._input = self._input[:0]  # it reads no more of it, which is its own affair
        if not self._input:
            self._close(pipe)

    def _take(self, name: str, pipe: Any) -> int:
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self._close(pipe)
            return 0
        self.chunks[name].append(data)
        if self.request.on_output is not None:
            self.request.on_output(name, data)
        return len(data)

    def _close(self, pipe: Any) -> None:
        self.selector.unregister(pipe)
        pipe.close()


@dataclass(frozen=True, slots=True)
class Venue:
    """Where a command runs."""

    way_in: WayIn
    group: Group
    """The sandbox's; the command gets one of its own below it."""


def run(venue: Venue, process: dict[str, Any], request: ExecRequest) -> ExecResult:
    """Run the process to its end. Its time starts now, also where it has to wait for a snapshot."""
    started = time.monotonic()
    while True:
        try:
            return _Command(venue, process, request, started).run()
        except Paused:
            if time.monotonic() - started > _PAUSED_AT_MOST_S:
                raise EngineError("The sandbox stays paused.", "Another operation on it may hang.") from None
        except Full:
            if time.monotonic() - started > FULL_AT_MOST_S:
                raise no_process_left() from None
        time.sleep(_TICK_S)


class _Command:
    def __init__(self, venue: Venue, process: dict[str, Any], request: ExecRequest, started: float) -> None:
        self._venue = venue
        self._process = process
        self._request = request
        self._started = started
        self._timed_out = self._cancelled = False

    def run(self) -> ExecResult:
        """Start it and see it to its end."""
        outer = self._venue.group
        with ExitStack() as stack:
            try:
                self._group = stack.enter_context(self._venue.way_in.place(outer))
                oom_kills = outer.oom_kills()
                streams = _Streams(self._venue.way_in.enter(self._process, self._group), self._request)
            except FileNotFoundError as error:
                raise verdicts.died(self._request.sandbox) from error
            self._watch(streams)
            limit = "memory" if outer.oom_kills() > oom_kills else None
            return self._result(streams, limit)

    def _watch(self, streams: _Streams) -> None:
        try:
            self._await_end(streams)
            streams.drain()
        except BaseException:
            # Whatever went wrong here (a caller's on_output too), the command does not go on unwatched.
            self._group.kill()
            raise
        finally:
            streams.close()

    def _await_end(self, streams: _Streams) -> None:
        while streams.work(_TICK_S):
            if not (self._timed_out or self._cancelled):
                timeout_s, cancel = self._request.timeout_s, self._request.cancel
                self._cancelled = cancel is not None and cancel.is_set()
                self._timed_out = not self._cancelled and timeout_s is not None and self._seconds() >= timeout_s
            if self._timed_out or self._cancelled:
                # At every tick: the runtime may have been just about to put the command there.
                self._group.kill()

    def _result(self, streams: _Streams, limit: str | None) -> ExecResult:
        stdout, stderr = (b"".join(streams.chunks[name]) for name in ("stdout", "stderr"))
        words = streams.told.split()
        if self._timed_out or self._cancelled:
            code = KILLED
        elif b"exit" in words and b"fail" not in words:
            code = int(words[-1])
        elif b"started" in words and b"fail" not in words:
            self._group.kill()  # it would go on with nobody to end it
            raise EngineError("The program that watched a command was killed.", "Is the host short of memory?")
        else:
            code, stderr = self._not_started(*streams.entered.refusal(streams.told, stderr))
        return ExecResult(code, stdout, stderr, self._seconds(), self._timed_out, self._cancelled, limit)

    def _not_started(self, verdict: Verdict, says: str) -> tuple[int, bytes]:
        command = self._request.command[0]
        match verdict:
            case "not_found":
                return NOT_FOUND, f"{command}: not found\n".encode()
            case "not_executable":
                return NOT_EXECUTABLE, f"{command}: can't be executed\n".encode()
            case "bad_cwd":
                raise InputError(f"The working directory {self._process['cwd']!r} can't be entered in the sandbox.")
            case "bad_user":
                raise InputError(f"The user {self._request.user!r} can't be used in the sandbox.")
            case "paused":
                raise Paused
            case "full":
                raise Full
            case "died":
                raise verdicts.died(self._request.sandbox)
        raise EngineError(f"A command can't be run in the sandbox: {' '.join(says.split())}")

    def _seconds(self) -> float:
        return time.monotonic() - self._started
