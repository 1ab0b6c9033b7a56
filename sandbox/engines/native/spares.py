"""Keepers that are made before anybody needs them: a sandbox that starts finds one in its limits and its namespaces.

Owns how many wait, and what of them a killed manager leaves: it holds their groups locked, and whose lock is gone,
goes with the next sweep. Once one is started, a group with the name of its sandbox is in its own.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.engines.native import cgroups, keepers, limits
from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.nurseries import Nursery
from sandbox.errors import EngineError
from sandbox.keeper import messages
from sandbox.spec import Limits

_MOST = 2
"""How many wait: what follows upon a start is mostly one more, a rollback or a fork, seldom two within milliseconds."""
_LATER_S = 0.03
"""How long after a start the next is made where one waits still: the first command of what has started goes first."""
_ENDS_WITHIN_S = 10.0
PREFIX = "kept-"


class Spare:
    """A keeper without a sandbox, or on its way to one."""

    def __init__(self, name: str, group: str, bounds: Limits, conversation: socket.socket, held: int) -> None:
        self.name = name
        """The container's, from now on."""
        self.group = group
        self.bounds = bounds
        """The limits that its groups have so far."""
        self._conversation = conversation
        self._held = held

    def waits(self) -> bool:
        """Whether it lives and has nothing to complain of."""
        try:
            self._conversation.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def claim(self, sandbox: str) -> None:
        """Let everybody see whose it is; its container is in a record now, where a sweep finds it."""
        Group(self.group, beside=True).child(sandbox).make()
        self.let_go()

    def let_go(self) -> None:
        """Leave it to sweeps."""
        os.close(self._held)

    def start(self, order: dict[str, Any], directory: Path) -> int:
        """Have it start its container and serve it from a socket in `directory`; the host's id of its PID 1.

        Raises EngineError.
        """
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        with self._conversation as asked:
            try:
                with suppress(BrokenPipeError):  # it has died, and perhaps told why
                    messages.send(asked, order, (place,))
            finally:
                os.close(place)
            try:
                heard = messages.receive(asked)
            except ConnectionResetError:
                heard = None
        answer = heard[0] if heard else {"failed": "its keeper died"}
        if "pid" not in answer:
            says = f"The sandbox can't be started: {' '.join(answer['failed'].split())}."
            raise EngineError(says, "Run `sandbox doctor`; with SANDBOX_RUNTIME=runc an OCI runtime starts it.")
        return int(answer["pid"])

    def hang_up(self) -> None:
        """Send it away, if it was not started; its groups are the caller's to end, once it is `gone`."""
        with suppress(OSError):
            self._conversation.shutdown(socket.SHUT_WR)

    def gone(self) -> None:
        """Return once its keeper has ended, which may be making groups until then."""
        with self._conversation as asked, suppress(OSError):
            asked.settimeout(_ENDS_WITHIN_S)
            while asked.recv(4096):
                pass


class Spares:
    """The keepers that wait, of one manager and home. Safe in several threads."""

    def __init__(self, home_id: str) -> None:
        self._home_id = home_id
        self._nursery = Nursery()
        self._lock = threading.Lock()
        self._waiting: list[Spare] = []
        self._later: threading.Timer | None = None
        self._closed = False
        self._end = weakref.finalize(self, _end_all, self._waiting)

    def take(self, bounds: Limits, config: Callable[[str, Limits], dict[str, Any]]) -> Spare:
        """One that waits, or a new one that will be ready soon."""
        while True:
            with self._lock:
                found = self._waiting.pop(0) if self._waiting else None
            if found is None:
                return self._make(bounds, config)
            if found.waits():
                return found
            _end(found)

    def expect(self, bounds: Limits, config: Callable[[str, Limits], dict[str, Any]]) -> None:
        """Have one wait that will be ready soon, if none does."""
        with self._lock:
            if not self._waiting:
                self._waiting.append(self._make(bounds, config))

    def refill(self, bounds: Limits, config: Callable[[str, Limits], dict[str, Any]]) -> None:
        """Have as many made as shall wait, by others, while the caller goes on: soon, or at once where none is left."""
        with self._lock:
            self._closed = False  # who goes on after that wants some again
            if not self._waiting:
                self._fill(bounds, config)
            elif self._later is None:
                self._later = threading.Timer(_LATER_S, self._fill_later, (bounds, config))
                self._later.daemon = True
                self._later.start()

    def _fill_later(self, bounds: Limits, config: Callable[[str, Limits], dict[str, Any]]) -> None:
        with self._lock:
            self._later = None
            if not self._closed:
                with suppress(OSError):  # whoever takes one finds none, and makes one
                    self._fill(bounds, config)

    def _fill(self, bounds: Limits, config: Callable[[str, Limits], dict[str, Any]]) -> None:
        while len(self._waiting) < _MOST:
            self._waiting.append(self._make(bounds, config))

    def close(self) -> bool:
        """End all that wait; whether there were any."""
        with self._lock:
            self._closed = True
            if self._later is not None:
                self._later.cancel()
                self._later = None
            had_any = bool(self._waiting)
            _end_all(self._waiting)
        self._nursery.close()
        return had_any

    def _make(self, bounds: Limits, config: Callable[[str, Limits], dict[str, Any]]) -> Spare:
        name = f"{PREFIX}{secrets.token_hex(6)}"
        group = cgroups.path_of(self._home_id, name)
        tracking = Group(group, beside=True).tracking
        wanted = config(group, bounds)
        linux = wanted["linux"]
        words = {
            "groups": limits.groups(group, linux["resources"]),
            "tracking": str(tracking),
            "filter": keepers.program_filter(),
            "config": {
                **{name: wanted[name] for name in ("hostname", "process", "mounts")},
                "linux": {name: linux[name] for name in ("readonlyPaths", "maskedPaths")},
            },
        }
        held = _made_and_held(tracking)
        try:
            return Spare(name, group, bounds, self._nursery.fork(words), held)
        except BaseException:
            os.close(held)
            raise


def _end_all(waiting: list[Spare]) -> None:
    for spare in waiting:
        spare.hang_up()
    while waiting:
        _end(waiting.pop())


def _end(spare: Spare) -> None:
    spare.hang_up()
    spare.gone()
    group = Group(spare.group, beside=True)
    group.kill()
    group.remove()
    spare.let_go()


def _made_and_held(tracking: Path) -> int:
    """A handle on a new group that is locked, so that no sweep takes it for a dead manager's."""
    while True:
        with suppress(FileNotFoundError):  # whoever ended the last sandbox of the home has removed what is above
            tracking.mkdir(parents=True)
            handle = os.open(tracking, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if tracking.exists():
                return handle
            os.close(handle)  # a sweep was faster than the lock


def is_kept(group: Group) -> bool:
    """Whether a manager that lives keeps it for later."""
    try:
        handle = os.open(group.tracking, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def was_started(group: Group) -> bool:
    """Whether a sandbox ever was in it."""
    try:
        return any(entry.is_dir() for entry in group.tracking.iterdir())
    except FileNotFoundError:
        return False
