"""Commands in a sandbox: started, followed to their end, or ended with all that they started.

Owns the run of one exec. Every command runs under the engine's own init as a child subreaper
(`docker-init -s`), so that whatever it starts, however it detaches, stays below one process until the
command itself has ended: that is what `killing` relies on.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from docker import errors as docker_errors

from sandbox.engines.base import FULL_AT_MOST_S, KILLED, ExecRequest, ExecResult, OnOutput, no_process_left
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Box, Containers
from sandbox.engines.docker_engine.killing import Killer
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.mapping import mapped
from sandbox.engines.docker_engine.memory import MemoryWatch
from sandbox.engines.docker_engine.mending import mend
from sandbox.engines.docker_engine.streams import ExecStream, Frames
from sandbox.errors import EngineError, InputError, SandboxDied, SandboxError

_TICK_S = 0.1
_ASK_S = 0.4
"""How often the engine is asked whether the command has ended, where the streams don't end by themselves."""
_DRAIN_S = 1.0
"""How long output is waited for once the command has ended, where something else keeps its pipes open."""
_DEATH_S = 1.0
"""How long a container is watched whose command was killed, by we don't know whom."""
_NOTED_S = 10
_INIT = ('/exe":', '/docker-init":')
_NO_DEVICES = "stat /dev/null"
_NO_CWD = "chdir to cwd"
_INIT_PLACES = ("/sbin/docker-init", "/usr/sbin/docker-init")
_FULL = re.compile(rb"\[FATAL tini \(\d+\)\] fork failed: Resource temporarily unavailable\n")
"""All that there is to read of a command whose init found no process left."""
_ROOT = (None, "root", "0", "0:0", "root:root")


class _Outdated(Exception):
    """The container that was known of a sandbox is not there any more, or does not run: nothing was started."""


@dataclass(slots=True)
class _Run:
    """What is known of one exec while it runs."""

    exec_id: str
    token: str
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    unheard: list[tuple[str, bytes]] = field(default_factory=list)
    """Output that the caller has not been given yet."""
    started: bool = False
    noted: Callable[[], None] = lambda: None
    """Says that it has started, to whoever waits for that."""
    seen: dict[str, Any] = field(default_factory=dict)
    """What the engine last said of it."""
    timed_out: bool = False
    cancelled: bool = False

    def pass_on(self, on_output: OnOutput | None) -> None:
        """Give the caller what it has not heard."""
        unheard, self.unheard = self.unheard, []
        if on_output is not None:
            for name, piece in unheard:
                on_output(name, piece)

    @property
    def says(self) -> str:
        """What came of it, as text: the engine's refusal, where it did not start."""
        return bytes(self.stdout + self.stderr).decode("utf-8", "replace").strip()

    @property
    def killed(self) -> bool:
        return self.timed_out or self.cancelled


class Commands:
    """Runs commands in the sandboxes of one home."""

    def __init__(self, connection: Connection, containers: Containers, killer: Killer, locks: Locks) -> None:
        self._connection = connection
        self._locks = locks
        self._containers = containers
        self._killer = killer

    def run(self, request: ExecRequest) -> ExecResult:
        """See Engine.exec."""
        if not request.command:
            raise InputError("There is no command to run.")
        try:
            with mapped():
                return self._run(request)
        except SandboxDied as error:
            if request.sandbox in error.says:
                raise
            raise _death(request.sandbox) from error

    def _run(self, request: ExecRequest) -> ExecResult:
        try:
            return self._run_in(request, self._containers.recent(request.sandbox))
        except _Outdated:
            pass  # replaced by a rollback elsewhere, or dead: that is found out by asking
        try:
            return self._run_in(request, self._containers.alive(request.sandbox))
        except _Outdated as error:
            raise _death(request.sandbox) from error

    def _run_in(self, request: ExecRequest, box: Box) -> ExecResult:
        watch = MemoryWatch(self._connection, box.id)
        started = time.monotonic()
        ways = list(_ways(request, box.blueprint.cwd))
        refusal, mended = "", False
        while ways:
            run = self._attempt(request, box, ways[0], started)
            if self._was_full(box, run):
                if time.monotonic() - started > FULL_AT_MOST_S:
                    raise no_process_left()
                time.sleep(_TICK_S)
                continue
            if self._has_started(run):
                run.pass_on(request.on_output)
                return self._result(request, box, run, started, watch)
            refusal = run.says
            if _NO_DEVICES in refusal and not mended:
                mend(self._connection, self._containers, request.sandbox, box)
                mended = True
            elif any(name in refusal for name in _INIT) or (_NO_CWD in refusal and request.cwd is None):
                ways.pop(0)
            else:
                break
        error = not_started(refusal, request.cwd, request.user)
        if isinstance(error, EngineError) and not self._still_there(box, wait_s=_DEATH_S):
            raise _death(request.sandbox)
        raise error

    def _was_full(self, box: Box, run: _Run) -> bool:
        """Whether it ended before it began for want of a process. The engine's runtime fails in many ways then, and its
        init in the sandbox in one."""
        says = bytes(run.stdout + run.stderr)
        failed = not run.started and says.startswith(b"OCI runtime exec failed") and b"init" in says
        return not run.killed and (bool(_FULL.fullmatch(says)) or (failed and self._containers.is_full(box)))

    def _attempt(self, request: ExecRequest, box: Box, way: tuple[str, str], started: float) -> _Run:
        token = _marked(way[0])
        run = _Run(self._made(request, box, token, way[1]), token)
        with (
            self._locks.starting(request.sandbox) as run.noted,
            self._started(run) as stream,
            _feeding(stream, request.stdin),
        ):
            try:
                self._follow(request, box, run, stream, started)
            except BaseException:
                with contextlib.suppress(EngineError, docker_errors.APIError):
                    self._kill(request, box, run)
                raise
        return run

    def _made(self, request: ExecRequest, box: Box, token: str, cwd: str) -> str:
        """The id of the exec, not yet started. Raises _Outdated."""
        try:
            made = self._connection.patiently(
                lambda: self._connection.api.exec_create(
                    box.id,
                    [token, "-s", "--", *request.command],
                    stdin=request.stdin is not None,
                    environment=request.env,
                    workdir=cwd,
                    user=request.user or "0",
                )
            )
        except docker_errors.APIError as error:
            if error.status_code in (404, 409):
                raise _Outdated(str(error.explanation)) from error
            raise
        return str(made["Id"])

    def _started(self, run: _Run) -> ExecStream:
        return self._connection.patiently(lambda: ExecStream.started(self._connection.api, run.exec_id))

    def _follow(self, request: ExecRequest, box: Box, run: _Run, stream: ExecStream, started: float) -> None:
        """Pass output on until the command has ended, whoever keeps its pipes open; end it when it is time."""
        frames = Frames()
        ask_at = time.monotonic() + _ASK_S / 4
        drain_until = float("inf")
        while time.monotonic() < drain_until:
            data = stream.receive(_TICK_S)
            if data == b"":
                return
            for name, piece in frames.feed(data or b""):
                (run.stdout if name == "stdout" else run.stderr).extend(piece)
                run.unheard.append((name, piece))
            if run.unheard and self._has_started(run):
                run.pass_on(request.on_output)
            if not run.killed and self._is_over(request, run, started):
                self._kill(request, box, run)
                ask_at = 0.0
            if time.monotonic() >= ask_at and drain_until == float("inf"):
                if not self._asked(run)["Running"]:
                    drain_until = time.monotonic() + _DRAIN_S
                ask_at = time.monotonic() + _ASK_S

    def _has_started(self, run: _Run) -> bool:
        """What the engine says of a refusal comes as output, too; and output may come before it knows of the start."""
        if not run.started:
            self._asked(run)
        return run.started

    def _asked(self, run: _Run) -> dict[str, Any]:
        """What the engine says of it now."""
        run.seen = self._connection.api.exec_inspect(run.exec_id)
        if run.seen.get("Pid") and not run.started:
            run.started = True
            run.noted()
        return run.seen

    def _kill(self, request: ExecRequest, box: Box, run: _Run) -> None:
        """End it; one that is still being started first has to be."""
        until = time.monotonic() + _NOTED_S
        while not run.started and self._asked(run)["Running"] and time.monotonic() < until:
            time.sleep(0.02)
        run.noted()
        self._killer.kill(request.sandbox, box, run.exec_id, run.token)

    def _is_over(self, request: ExecRequest, run: _Run, started: float) -> bool:
        run.cancelled = request.cancel is not None and request.cancel.is_set()
        run.timed_out = request.timeout_s is not None and time.monotonic() - started > request.timeout_s
        return run.killed

    def _result(self, request: ExecRequest, box: Box, run: _Run, started: float, watch: MemoryWatch) -> ExecResult:
        code = exit_code(self._connection, run.exec_id, run.seen)
        if code >= 126 and not self._still_there(box, wait_s=_DEATH_S if code == KILLED and not run.killed else 0):
            raise _death(request.sandbox)
        return ExecResult(
            exit_code=KILLED if run.killed else code,
            stdout=bytes(run.stdout),
            stderr=bytes(run.stderr),
            seconds=time.monotonic() - started,
            timed_out=run.timed_out,
            cancelled=run.cancelled and not run.timed_out,
            limit="memory" if watch.fired(wait=code == KILLED and not run.killed) else None,
        )

    def _still_there(self, box: Box, wait_s: float) -> bool:
        """Whether the container lives, looked at for `wait_s`: its death shows a moment after its commands'."""
        until = time.monotonic() + wait_s
        while True:
            try:
                if not self._connection.api.inspect_container(box.id)["State"]["Running"]:
                    return False
            except docker_errors.NotFound:
                return False
            if time.monotonic() >= until:
                return True
            time.sleep(0.05)


class _feeding:  # noqa: N801  (reads as a verb where it is used)
    """Input goes in from a thread of its own, so that output can come out meanwhile."""

    def __init__(self, stream: ExecStream, content: bytes | None) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if content is not None:
            self._thread = threading.Thread(target=stream.feed, args=(content, self._stop), daemon=True)

    def __enter__(self) -> None:
        if self._thread is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()


def _ways(request: ExecRequest, home: str) -> Iterator[tuple[str, str]]:
    """Where the engine's init may be found and where to start, best first.

    Root reaches init through process 1 even when the agent has deleted every directory; others may not look
    there. Where the agent has deleted the sandbox's own working directory, a command starts at the root.
    """
    places = ("/proc/1/exe", *_INIT_PLACES) if request.user in _ROOT else _INIT_PLACES
    for cwd in (request.cwd,) if request.cwd is not None else (home, "/"):
        for place in places:
            yield place, cwd


def _marked(place: str) -> str:
    """The same path written in a way of its own, by which one exec's init is told from another's.

    A variable would show in the command's environment, and the process id that the engine gives is the
    host's. `//` and `/./` mean `/`, so that 48 random bits go into the path itself.
    """
    folder, _, name = place.rpartition("/")
    bits = secrets.randbits(48)
    return folder + "".join("/." if bits >> bit & 1 else "/" for bit in range(48)) + "/" + name


def _death(sandbox: str) -> SandboxDied:
    return SandboxDied(
        f"The container of {sandbox} died while a command ran in it.", "Roll it back, or make another sandbox."
    )


def exit_code(connection: Connection, exec_id: str, seen: Mapping[str, Any] | None = None) -> int:
    """Of a command that has ended; its streams may end a moment before the engine has noted the code.

    `seen` is what the engine said of it last: where that tells, it is not asked again.
    """
    until, says = time.monotonic() + _NOTED_S, seen or connection.api.exec_inspect(exec_id)
    while says["Running"] or says["ExitCode"] is None:
        if time.monotonic() > until:
            raise EngineError("The Docker Engine does not say how the command ended.")
        time.sleep(0.002)
        says = connection.api.exec_inspect(exec_id)
    return int(says["ExitCode"])


def await_start(connection: Connection, exec_id: str) -> None:
    """Return when an exec that was asked for has started, or will not."""
    until, says = time.monotonic() + _NOTED_S, connection.api.exec_inspect(exec_id)
    while not says.get("Pid") and says["ExitCode"] is None and time.monotonic() < until:
        time.sleep(0.01)
        says = connection.api.exec_inspect(exec_id)


def not_started(says: str, cwd: str | None, user: str | None) -> SandboxError:
    """The error for a command that the engine could not start, from what the engine wrote."""
    if _NO_CWD in says:
        return InputError(f"There is no working directory {cwd!r} in the sandbox.")
    if "unable to find user" in says or "unable to find group" in says or "matching entries" in says:
        return InputError(f"There is no user {user!r} in the sandbox.", "Give a name that it knows, or uid[:gid].")
    return EngineError(f"The Docker Engine could not start the command: {says}.")
