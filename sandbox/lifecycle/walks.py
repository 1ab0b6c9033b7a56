"""One walk for all who want the same tree at the same moment.

Owns who may share one: those who asked before it began, since what it finds was there after each of them asked. Nobody
joins one that is under way. Must not know what is walked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sandbox.errors import SandboxError

T = TypeVar("T")


@dataclass
class _Walk(Generic[T]):
    """One capture, and what came of it."""

    over: bool = False
    found: T | None = None
    error: BaseException | None = None


class Walks(Generic[T]):
    """The captures of one process. Of one target there is one at a time, and at most one more that has not begun."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._to_begin: dict[object, _Walk[T]] = {}
        self._under_way: set[object] = set()

    def share(self, key: object, capture: Callable[[], T]) -> T:
        """What a capture of `key` gives that begins after this call, whoever makes it.

        What it raises of the target is everybody's, too; one that was interrupted is made again.
        """
        while True:
            with self._changed:
                walk = self._to_begin.get(key)
                if leads := walk is None:
                    walk = self._to_begin[key] = _Walk()
                else:
                    self._changed.wait_for(lambda walk=walk: walk.over)  # type: ignore[misc]
            if leads:
                return self._make(key, walk, capture)
            if walk.found is not None:
                return walk.found
            if isinstance(walk.error, SandboxError):
                raise walk.error

    def _make(self, key: object, walk: _Walk[T], capture: Callable[[], T]) -> T:
        try:
            with self._changed:
                self._changed.wait_for(lambda: key not in self._under_way)
                del self._to_begin[key]
                self._under_way.add(key)
            try:
                walk.found = found = capture()
            finally:
                with self._changed:
                    self._under_way.remove(key)
        except BaseException as error:
            walk.error = error
            raise
        finally:
            with self._changed:
                walk.over = True
                if self._to_begin.get(key) is walk:  # interrupted before it began
                    del self._to_begin[key]
                self._changed.notify_all()
        return found
