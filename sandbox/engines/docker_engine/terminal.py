"""The caller's own terminal joined to a command in a sandbox.

Owns the terminal's mode for the while, and puts it back whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator

from docker import errors as docker_errors

from sandbox.engines.base import ShellRequest
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Box
from sandbox.engines.docker_engine.execution import await_start, exit_code, not_started
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.streams import ExecStream, Frames

_PIECE = 1 << 16
_LOOK_S = 0.25
"""How often the window's size is looked at: no signal handler of the caller's is touched."""


def join(connection: Connection, locks: Locks, box: Box, request: ShellRequest) -> int:
    """See Engine.shell. Input that is no terminal is passed on as it is, and both streams stay apart."""
    is_terminal = os.isatty(sys.stdin.fileno())
    made = connection.patiently(
        lambda: connection.api.exec_create(
            box.id,
            list(request.command),
            stdin=True,
            tty=is_terminal,
            environment={"TERM": os.environ.get("TERM", "xterm")} if is_terminal else None,
            workdir=request.cwd or box.blueprint.cwd,
            user=request.user or "0",
        )
    )
    shown = bytearray()
    with contextlib.ExitStack() as stack:
        with locks.starting(request.sandbox):
            stack.enter_context(_raw() if is_terminal else contextlib.nullcontext())
            stream = stack.enter_context(ExecStream.started(connection.api, made["Id"], tty=is_terminal))
            await_start(connection, made["Id"])
        _pump(connection, made["Id"], stream, shown, is_terminal=is_terminal)
    says = connection.api.exec_inspect(made["Id"])
    if not says.get("Pid") and ("chdir to cwd" in str(shown) or "unable to find" in str(shown)):
        raise not_started(shown.decode("utf-8", "replace"), request.cwd, request.user)
    return exit_code(connection, made["Id"])


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Every key goes to the sandbox, Ctrl-C too."""
    source = sys.stdin.fileno()
    before = termios.tcgetattr(source)
    try:
        tty.setraw(source, termios.TCSADRAIN)  # keys that were typed already are kept
        yield
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)


def _pump(connection: Connection, exec_id: str, stream: ExecStream, shown: bytearray, *, is_terminal: bool) -> None:
    """Keys in, output out, until the output ends or the command does; `shown` gets the first of it."""
    source, frames = sys.stdin.fileno(), Frames()
    inputs = [source, stream.descriptor]
    size: os.terminal_size | None = None
    while True:
        if is_terminal and os.get_terminal_size(source) != size:
            size = os.get_terminal_size(source)
            with contextlib.suppress(docker_errors.APIError):  # not started yet, or over already
                connection.api.exec_resize(exec_id, height=size.lines, width=size.columns)
        ready, _, _ = select.select(inputs, [], [], _LOOK_S)
        if source in ready and not _pass_on(source, stream):
            inputs.remove(source)
        while (data := stream.receive(0)) is not None:
            if not data:
                return
            if len(shown) < _PIECE:
                shown += data
            for name, piece in [("stdout", data)] if is_terminal else frames.feed(data):
                _write(sys.stderr.fileno() if name == "stderr" else sys.stdout.fileno(), piece)
        if not ready and not connection.api.exec_inspect(exec_id)["Running"]:
            return


def _pass_on(source: int, stream: ExecStream) -> bool:
    """One piece of input; at its end, the end. Whether there may be more."""
    keys = os.read(source, _PIECE)
    with contextlib.suppress(OSError):
        if keys:
            stream.push(keys)
            return True
        stream.end_input()
    return False


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
