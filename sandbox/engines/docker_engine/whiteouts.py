"""Names that an image layer takes for deletions (`.wh.NAME`): a snapshot of a sandbox that has one lacks `NAME`.

Owns the look for them, which goes on beside the sandbox once its snapshot is taken (it takes as long as the snapshot),
and the refusal of a snapshot in which one was found. What is lost is the agent's own, and what is verified and signed
is read from the snapshot: so a look that can't be had, or that the agent's own `find` lies to, loses no guarantee.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from sandbox.engines.base import ExecRequest
from sandbox.engines.docker_engine.archive import is_whiteout, refuse_whiteouts
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Box
from sandbox.engines.docker_engine.execution import Commands
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.mapping import SDK_ERRORS
from sandbox.errors import SandboxError

_FIND = ("/usr/bin/find", "/", "-xdev", "-name", ".wh.*")
_FIND_S = 10.0
_ADDED = 1


class Whiteouts:
    """The looks that one engine object has under way, and what any found."""

    def __init__(self, connection: Connection, commands: Commands, locks: Locks) -> None:
        self._connection = connection
        self._commands = commands
        self._locks = locks
        self._lock = threading.Lock()
        self._workers: ThreadPoolExecutor | None = None
        self._under_way: dict[str, tuple[str, Future[None]]] = {}
        """By snapshot: its sandbox, and the look."""

    def look(self, snapshot: str, sandbox: str, box: Box) -> None:
        """Begin one: `snapshot` has just been taken of that container."""
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(1, "sandbox-whiteouts")
            self._under_way = {name: one for name, one in self._under_way.items() if not one[1].done()}
            self._under_way[snapshot] = sandbox, self._workers.submit(self._look, snapshot, sandbox, box)

    def finish(self, sandbox: str) -> None:
        """Wait for those in a sandbox that is about to be replaced: later they would see another one."""
        with self._lock:
            waiting = [one for origin, one in self._under_way.values() if origin == sandbox]
        for one in waiting:
            one.result()

    def refuse(self, snapshot: str) -> None:
        """Raise InputError for a snapshot that lacks something, whichever process found that."""
        self._settle(snapshot)
        found = self._locks.note(_note(snapshot))
        if found is not None:
            refuse_whiteouts([found], f"The snapshot {snapshot} is not whole: its sandbox")

    def forget(self, snapshot: str) -> None:
        """It is about to be discarded."""
        self._settle(snapshot)
        self._locks.put_note(_note(snapshot), None)

    def close(self) -> None:
        """Wait for all."""
        with self._lock:
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown()

    def _settle(self, snapshot: str) -> None:
        with self._lock:
            under_way = self._under_way.pop(snapshot, None)
        if under_way is not None:
            under_way[1].result()

    def _look(self, snapshot: str, sandbox: str, box: Box) -> None:
        with contextlib.suppress(SandboxError, *SDK_ERRORS):  # it was destroyed or rolled back meanwhile
            found = next(filter(is_whiteout, self._named(sandbox, box)), None)
            if found is not None:
                self._locks.put_note(_note(snapshot), found)

    def _named(self, sandbox: str, box: Box) -> Iterable[str]:
        """Names in a container, with its own `find` where it has one: the engine's list costs five commits, since it
        walks the whole image twice."""
        request = ExecRequest(sandbox, _FIND, cwd="/", timeout_s=_FIND_S)
        with contextlib.suppress(SandboxError):
            found = self._commands.run(request)
            if found.exit_code == 0:
                return os.fsdecode(found.stdout).splitlines()
        return self._added(box.id)

    def _added(self, container: str) -> Iterator[str]:
        """Paths that are not in the container's image; for new names this list of the engine's is complete."""
        for change in self._connection.api.diff(container) or ():
            if change["Kind"] == _ADDED:
                yield change["Path"]


def _note(snapshot: str) -> str:
    return f"whiteout-{snapshot}"
