"""Locks between processes of one home, notes that they leave each other, and the sign that an engine object is alive.

Owns the files under the scratch directory. A lock is the kernel's: it is gone with the process that held it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class Locks:
    """Named locks in one directory, and this object's own token of life."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._token: str | None = None
        self._life: weakref.finalize[..., Locks] | None = None

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Nobody else, in no thread and no process, holds `name` meanwhile; waits for it."""
        descriptor = self._take(name, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def share(self, name: str) -> BinaryIO:
        """Hold `name` together with others who share it, until what is given is closed or gone; see `hold_if_free`."""
        return os.fdopen(self._take(name, fcntl.LOCK_SH), "rb")

    @contextmanager
    def hold_if_free(self, name: str) -> Iterator[bool]:
        """Whether it could be had at once; held meanwhile if so."""
        try:
            descriptor = self._take(name, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            os.close(descriptor)

    @contextmanager
    def starting(self, sandbox: str) -> Iterator[Callable[[], None]]:
        """A command is being started in a sandbox; what is given says that it has been. `still` waits for that."""
        with self.hold(_turn(sandbox)):
            descriptor = self._take(_start(sandbox), fcntl.LOCK_SH)
        held = [descriptor]

        def started() -> None:
            while held:
                os.close(held.pop())

        try:
            yield started
        finally:
            started()

    @contextmanager
    def still(self, sandbox: str) -> Iterator[None]:
        """No command is being started in a sandbox meanwhile: an engine that freezes a container right then never gets
        to let it go on, and hangs (seen with 20.10). Those that want to start next wait."""
        with self.hold(_turn(sandbox)), self.hold(_start(sandbox)):
            yield

    def forget_sandbox(self, sandbox: str) -> None:
        """Remove the files of all locks of a sandbox that is gone; the caller holds it."""
        for name in (_turn(sandbox), _start(sandbox), sandbox):
            self.forget(name)

    def token(self) -> str:
        """Names this object as the owner of temporary things, for as long as it lives."""
        if self._token is None:
            token = f"owner-{secrets.token_hex(8)}"
            self._life = weakref.finalize(self, _give_up, self._path(token), self._take(token, fcntl.LOCK_EX))
            self._token = token
        return self._token

    def close(self) -> None:
        """Give up the token: this object is at nothing any more."""
        if self._life is not None:
            self._life()
            self._token = None

    def forget(self, name: str) -> None:
        """Remove a lock's file; a taker that raced us notices and takes a new one."""
        self._path(name).unlink(missing_ok=True)

    def note(self, name: str) -> str | None:
        """What is noted under a name for every process of this home; None: nothing is."""
        try:
            return os.fsdecode((self._directory / f"{name}.note").read_bytes())
        except FileNotFoundError:
            return None

    def put_note(self, name: str, says: str | None) -> None:
        """Note something, or with None that nothing is."""
        path = self._directory / f"{name}.note"
        if says is None:
            path.unlink(missing_ok=True)
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(says))

    def clear(self) -> None:
        """Remove the files of all locks that nobody holds."""
        if not self._directory.is_dir():
            return
        for file in self._directory.glob("*.lock"):
            with self.hold_if_free(file.stem) as free:
                if free:
                    self.forget(file.stem)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.lock"

    def _take(self, name: str, how: int) -> int:
        path = self._path(name)
        while True:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, how)
                if _same(path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # it was removed between our open and our lock


def _turn(sandbox: str) -> str:
    """The lock of whoever is next, so that many starts in a row keep nobody waiting for ever."""
    return f"turn-{sandbox}"


def _start(sandbox: str) -> str:
    return f"start-{sandbox}"


def _give_up(path: Path, descriptor: int) -> None:
    """Let a lock go, and its file with it; one that is asked for and has no file is free."""
    path.unlink(missing_ok=True)
    os.close(descriptor)


def _same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
