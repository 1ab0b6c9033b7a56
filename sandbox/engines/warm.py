"""Sandboxes made before they are asked for: a create that finds one of its kind only gives it its name.

Owns which of them are idle, and their number. An engine says what makes two creates of one kind: all that they ask
for, the content of bases and image included, so that none is ever handed out stale. An idle one is marked by its
engine as somebody's work for as long as the process that made it lives; a sweep removes what nobody is at.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from typing import NamedTuple, Protocol

from sandbox.clock import fresh_id
from sandbox.engines.base import CreateRequest
from sandbox.errors import SandboxError

_PREFIX = "warm"


def is_idle(sandbox: str) -> bool:
    """Whether this is the id of one that nobody has asked for yet."""
    return sandbox.startswith(f"{_PREFIX}_")


class Nursery(Protocol):
    """What an engine does with sandboxes that are idle."""

    def make(self, request: CreateRequest) -> None:
        """A running sandbox."""

    def hold(self, idle: str) -> AbstractContextManager[None]:
        """Keep sweeps away from one that was made, until it is named or removed."""

    def name(self, idle: str, sandbox: str) -> bool:
        """Give it the id by which it is known from now on; False where it was not whole, and is gone now.

        Raises InputError where the id is taken.
        """

    def remove(self, idle: str) -> None:
        """End it."""


class _Idle(NamedTuple):
    kind: str
    sandbox: str
    held: ExitStack


class WarmPool:
    """At most `most` idle sandboxes, all of the kind that was asked for last."""

    def __init__(self, nursery: Nursery, most: int, *, delay_s: float = 0.0) -> None:
        """`delay_s`: how long after a create the next is begun, so that it is not in the way of the first command."""
        self._nursery = nursery
        self.most = most
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._idle: list[_Idle] = []
        self._wanted: tuple[str, CreateRequest] | None = None
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """How many are ready."""
        return len(self._idle)

    def take(self, kind: str, sandbox: str) -> bool:
        """Whether the sandbox is there now, from an idle one of its kind. Raises InputError where its id is taken."""
        while True:
            with self._lock:
                found = next((one for one in self._idle if one.kind == kind), None)
                if found is None:
                    return False
                self._idle.remove(found)
            with found.held:
                try:
                    if self._nursery.name(found.sandbox, sandbox):
                        return True
                except BaseException:
                    self._nursery.remove(found.sandbox)
                    raise

    def refill(self, kind: str, request: CreateRequest) -> None:
        """Have more of this kind made while others go on; those of other kinds end."""
        if not self.most:
            return
        with self._lock:
            self._wanted = kind, request
            if self._thread is None:
                self._closing.clear()
                self._thread = threading.Thread(target=self._work, name="warm-pool")
                self._thread.start()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._wanted, thread = None, self._thread
            self._closing.set()
        if thread is not None:
            thread.join()
        self._end(None)

    def _work(self) -> None:
        while True:
            self._closing.wait(self._delay_s)
            with self._lock:
                wanted = self._wanted
                if wanted is None or sum(one.kind == wanted[0] for one in self._idle) >= self.most:
                    self._thread = None
                    return
            kind, request = wanted
            self._end(kind)
            try:
                made = self._made(kind, request)
            except (SandboxError, OSError):
                # The next create meets the same and can say so; a pool has nobody to tell.
                with self._lock:
                    self._wanted = self._thread = None
                return
            with self._lock:
                self._idle.append(made)

    def _made(self, kind: str, request: CreateRequest) -> _Idle:
        sandbox = fresh_id(_PREFIX)
        self._nursery.make(replace(request, sandbox=sandbox))
        held = ExitStack()
        held.enter_context(self._nursery.hold(sandbox))
        return _Idle(kind, sandbox, held)

    def _end(self, kept: str | None) -> None:
        """End the idle ones that are not of the kind `kept`."""
        with self._lock:
            ended = [one for one in self._idle if one.kind != kept]
            self._idle = [one for one in self._idle if one.kind == kept]
        for one in ended:
            with one.held, suppress(SandboxError):  # an engine that is gone, say: what is left is swept
                self._nursery.remove(one.sandbox)
