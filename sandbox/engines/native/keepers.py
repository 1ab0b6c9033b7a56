"""The manager's side of keepers: starting them through a nursery, and asking one to run a command.

Owns the conversation, and whether this machine can have keepers. What a keeper does is in `sandbox.keeper`.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import threading
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from sandbox import keeper
from sandbox.engines.native import cgroups, seccomp
from sandbox.errors import EngineError
from sandbox.keeper import filtering, keeping, messages, nursery, syscalls

NAME = "keeper"
"""Stands in a sandbox's record where the name of an OCI runtime stands otherwise."""
_LEAST_KERNEL = (5, 14)
"""cgroup.kill; the other calls are older."""


@cache
def usable() -> bool:
    """Whether this machine can: its kernel, libseccomp, and control groups of version 2 beside the ones for limits."""
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdecimal())
    return (
        release >= _LEAST_KERNEL
        and syscalls.known_machine(platform.machine())
        and seccomp.profile(platform.machine()) is not None
        and filtering.library() is not None
        and cgroups.hybrid()
    )


@cache
def _filter() -> str:
    profile = seccomp.profile(platform.machine())
    return filtering.program(profile).hex() if profile is not None else ""


class Nursery:
    """Starts keepers. Safe in several threads; the process behind it starts when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def start(self, words: dict[str, Any], directory: Path, group: int) -> int:
        """Have a keeper start a container and serve it from a socket in `directory`; the host's id of its PID 1.

        `group` is a handle on its control group of version 2. Raises EngineError.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        with ours:
            try:
                self._ask({**words, "filter": _filter()}, (theirs.fileno(), place, group))
            finally:
                theirs.close()
                os.close(place)
            try:
                heard = messages.receive(ours)
            except ConnectionResetError:
                heard = None
        answer = heard[0] if heard else {"failed": "its keeper died"}
        if "pid" not in answer:
            says = f"The sandbox can't be started: {' '.join(answer['failed'].split())}."
            raise EngineError(says, "Run `sandbox doctor`; with SANDBOX_RUNTIME=runc an OCI runtime starts it.")
        return int(answer["pid"])

    def close(self) -> None:
        """End the process behind it; keepers go on."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._socket = self._end = None

    def _ask(self, words: dict[str, Any], handles: tuple[int, ...]) -> None:
        with self._lock:
            for last in (False, True):
                try:
                    messages.send(self._socket or self._begin(), words, handles)
                except BrokenPipeError:
                    # Somebody killed it; it holds nothing that a new one would miss.
                    self._socket = None
                    if last:
                        raise
                else:
                    return

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        root = str(Path(keeper.__file__).parents[2])
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        with theirs:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", nursery.PROGRAM, root],
                {"PATH": os.defpath},
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, null, stream) for stream in (0, 1, 2)),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), nursery.SOCKET),
                ],
                setsid=True,
            )
        os.close(null)
        self._socket = ours
        self._end = weakref.finalize(self, _finish, ours, pid)
        return ours


def _finish(ours: socket.socket, pid: int) -> None:
    ours.close()
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def ask(directory: Path, process: dict[str, Any], handles: tuple[int, ...]) -> socket.socket:
    """Have the keeper whose socket is in `directory` start a process; the socket on which it tells how that goes.

    Raises ConnectionError where no keeper lives there any more.
    """
    asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Through a handle, since the address of a socket may not be longer than 107 bytes.
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            asked.connect(f"/proc/self/fd/{place}/{keeping.SOCKET}")
        finally:
            os.close(place)
        messages.send(asked, {"process": process}, handles)
    except FileNotFoundError as error:
        asked.close()
        raise ConnectionRefusedError from error
    except BaseException:
        asked.close()
        raise
    return asked
