"""How tests look at the sandboxes that an engine keeps ready: from outside, each engine in its own way."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.utils import kwargs_from_env

from sandbox.engines.docker_engine import DockerEngine
from sandbox.engines.native import NativeEngine
from sandbox.engines.native.store import Store
from sandbox.engines.warm import is_idle
from tests import host

IMAGES = {"native": "host", "docker": "base"}
"""On native the one that needs no unpacking in a home of the test's own."""


class Native:
    """What waits is in the store, and its first process is a child of this machine's."""

    def __init__(self, home: Path) -> None:
        self._store = Store(home / "engines" / "native")

    def idle(self) -> list[str]:
        return [name for name in self._store.sandbox_ids() if is_idle(name)]

    def process(self, sandbox: str) -> object:
        """What is the same for a sandbox under another name, and for no other."""
        return self._store.sandbox(sandbox).pid

    def kill(self, sandbox: str) -> None:
        """Return once nothing of it runs, as an engine's own call does."""
        pid = self._store.sandbox(sandbox).pid
        gone = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            assert select.select([gone], [], [], 10)[0], "it dies"
        finally:
            os.close(gone)


class Docker:
    """What waits is a container, known by its name."""

    def __init__(self, home: Path) -> None:
        self._prefix = f"sandbox-{DockerEngine(home_id=home.name, scratch=home)._names.home}-"

    def idle(self) -> list[str]:
        with _api() as api:
            found = api.containers(all=True, filters={"name": self._prefix})
        names = [item["Names"][0].removeprefix(f"/{self._prefix}") for item in found]
        return [name for name in names if is_idle(name)]

    def process(self, sandbox: str) -> object:
        """What is the same for a sandbox under another name, and for no other."""
        with _api() as api:
            return api.inspect_container(self._prefix + sandbox)["Id"]

    def kill(self, sandbox: str) -> None:
        with _api() as api:
            api.kill(self._prefix + sandbox)


Looks = Native | Docker
LOOKS: dict[str, type[Native] | type[Docker]] = {"native": Native, "docker": Docker}


@contextmanager
def _api() -> Iterator[Any]:
    with contextlib.closing(docker.APIClient(version="auto", **kwargs_from_env())) as api:
        yield api


def ready(engine: NativeEngine | DockerEngine, looks: Looks) -> str:
    """The id of the one that waits, once it is there."""
    host.wait_until(lambda: len(engine._warm) == 1, "a warm sandbox")
    (name,) = looks.idle()
    return name
