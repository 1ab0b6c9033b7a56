"""Running one command in a sandbox: its streams, its time, its end.

Owns the exchange with `reaping`, and the killing of all that the command started. Must not know how a sandbox is
made.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.engines.base import KILLED, NOT_EXECUTABLE, NOT_FOUND, ExecRequest, ExecResult
from sandbox.engines.native import reaping, verdicts
from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.runtime import Runtime, read_log
from sandbox.errors import EngineError, InputError

_CHUNK = 1 << 18
_TICK_S = 0.05
"""How often a cancel is looked for."""
_DRAIN_BYTES = 1 << 21
"""More than a pipe holds: what the command wrote before its end is read, what its children write on is not."""
_PAUSED_AT_MOST_S = 600.0


class Paused(Exception):
    """The sandbox is held still at the moment, for a snapshot; not an error, only a reason to ask again."""


@dataclass
class _Streams:
    """The three pipes of a command, worked without ever blocking."""

    process: subprocess.Popen[bytes]
    status: int
    request: ExecRequest
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    chunks: dict[str, list[bytes]] = field(default_factory=lambda: {"stdout": [], "stderr": []})
    told: bytes = b""

    def __post_init__(self) -> None:
        self._input = memoryview(self.request.stdin or b"")
        for name in ("stdout", "stderr", "stdin"):
            pipe = getattr(self.process, name)
            os.set_blocking(pipe.fileno(), False)
            events = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
            self.selector.register(pipe, events, name)
        if not self._input:
            self._close(self.process.stdin)
        os.set_blocking(self.status, False)
        self.selector.register(self.status, selectors.EVENT_READ, "status")

    def work(self, timeout_s: float) -> bool:
        """Move what can be moved within the time; False once the command has ended."""
        for key, _ in self.selector.select(timeout_s):
            if key.data == "status":
                news = os.read(self.status, 4096)
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
            pipe = getattr(self.process, name)
            taken = 0
            while not pipe.closed and taken < _DRAIN_BYTES:
                got = self._take(name, pipe)
                if not got:
                    break
                taken += got

    def close(self) -> None:
        self.selector.close()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

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

    runtime: Runtime
    container: str
    group: Group
    """The sandbox's; the command gets one of its own below it."""
    scratch: Path
    """The sandbox's directory, so that nothing of a command outlives it."""


def run(venue: Venue, process: dict[str, Any], request: ExecRequest) -> ExecResult:
    """Run the process to its end. Its time starts now, also where it has to wait for a snapshot."""
    started = time.monotonic()
    while True:
        try:
            return _Command(venue, process, request, started).run()
        except Paused:
            if time.monotonic() - started > _PAUSED_AT_MOST_S:
                raise EngineError("The sandbox stays paused.", "Another operation on it may hang.") from None
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
                scratch = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="exec-", dir=self._venue.scratch, ignore_cleanup_errors=True)
                )
                self._group = outer.child(os.path.basename(scratch))
                self._group.make()
            except FileNotFoundError as error:
                raise verdicts.died(self._request.sandbox) from error
            stack.callback(self._leave_group)
            self._log = os.path.join(scratch, "log")
            oom_kills = outer.oom_kills()
            streams = self._watch(Path(scratch))
            limit = "memory" if outer.oom_kills() > oom_kills else None
            return self._result(streams, limit)

    def _watch(self, scratch: Path) -> _Streams:
        config, pid_file = scratch / "process.json", scratch / "pid"
        config.write_text(json.dumps(self._process), encoding="utf-8")
        verb = self._venue.runtime.command(
            "exec", "--detach", "--process", str(config), "--pid-file", str(pid_file),
            *self._group.exec_option(), self._venue.container, log=self._log,
        )  # fmt: skip
        ours, theirs = os.pipe()
        try:
            reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", reaping.__file__, str(theirs), str(pid_file), *verb],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs],
                env={"PATH": os.environ.get("PATH", os.defpath)},
                # Ctrl-C on the manager's terminal is the manager's to handle.
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        streams = _Streams(reaper, ours, self._request)
        try:
            self._await_end(streams)
            streams.drain()
        except BaseException:
            # Whatever went wrong here (a caller's on_output too), the command does not go on unwatched.
            self._group.kill()
            raise
        finally:
            streams.close()
            os.close(ours)
            reaper.wait()
        return streams

    def _await_end(self, streams: _Streams) -> None:
        while streams.work(_TICK_S):
            if not (self._timed_out or self._cancelled):
                timeout_s, cancel = self._request.timeout_s, self._request.cancel
                self._cancelled = cancel is not None and cancel.is_set()
                self._timed_out = not self._cancelled and timeout_s is not None and self._seconds() >= timeout_s
            if self._timed_out or self._cancelled:
                # At every tick: the runtime may have been just about to put the command there.
                self._group.kill()

    def _leave_group(self) -> None:
        """What goes on in the background stays in the group; an empty one is removed."""
        if not self._group.pids():
            self._group.remove()

    def _result(self, streams: _Streams, limit: str | None) -> ExecResult:
        stdout, stderr = (b"".join(streams.chunks[name]) for name in ("stdout", "stderr"))
        words = streams.told.split()
        if self._timed_out or self._cancelled:
            code = KILLED
        elif b"exit" in words:
            code = int(words[-1])
        elif b"started" in words:
            raise EngineError("The program that watched a command was killed.", "Is the host short of memory?")
        else:
            code, stderr = self._not_started(stderr)
        return ExecResult(code, stdout, stderr, self._seconds(), self._timed_out, self._cancelled, limit)

    def _not_started(self, printed: bytes) -> tuple[int, bytes]:
        says = read_log(self._log) or printed.decode(errors="replace")
        command = self._request.command[0]
        match verdicts.of_exec(says):
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
            case "died":
                raise verdicts.died(self._request.sandbox)
        raise EngineError(f"{self._venue.runtime.name} can't run a command in the sandbox: {' '.join(says.split())}")

    def _seconds(self) -> float:
        return time.monotonic() - self._started
