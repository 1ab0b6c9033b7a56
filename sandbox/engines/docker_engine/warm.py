"""Containers that wait to be asked for.

Owns how one of them becomes a sandbox: by its name. It carries its engine object's mark as whoever made it, by which
a sweep knows whether somebody still waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from sandbox.engines.base import CreateRequest
from sandbox.engines.docker_engine.containers import Containers
from sandbox.engines.docker_engine.mapping import mapped


class Nursery:
    """The idle containers of one engine object."""

    def __init__(
        self, containers: Containers, make: Callable[[CreateRequest], None], remove: Callable[[str], None]
    ) -> None:
        self._containers = containers
        self.make = make
        self.remove = remove

    def hold(self, idle: str) -> AbstractContextManager[None]:  # noqa: ARG002 (every container bears its owner)
        """See Nursery."""
        return nullcontext()

    def name(self, idle: str, sandbox: str) -> bool:
        """See Nursery."""
        with mapped():
            if self._containers.name(idle, sandbox):
                return True
        self.remove(idle)
        return False
