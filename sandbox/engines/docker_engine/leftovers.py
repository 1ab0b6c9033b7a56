"""What crashed work left behind in the engine, told from work in progress by locks.

Owns the sweep. Removes only what carries this home's labels and belongs to no living engine object.
"""

from __future__ import annotations

from collections.abc import Iterator

from docker import errors as docker_errors

from sandbox.engines.docker_engine import naming
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Containers
from sandbox.engines.docker_engine.layers import Layers
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.naming import Names
from sandbox.engines.warm import is_idle


class Leftovers:
    """The leftovers of one home."""

    def __init__(
        self, connection: Connection, names: Names, locks: Locks, containers: Containers, layers: Layers
    ) -> None:
        self._connection = connection
        self._names = names
        self._locks = locks
        self._containers = containers
        self._layers = layers

    def sweep(self) -> Iterator[str]:
        """See Engine.sweep."""
        for item in self._containers.listed(self._names.of_home()):
            labels, name = item["Labels"], item["Names"][0].lstrip("/")
            sandbox = self._names.sandbox(name)
            if labels[naming.KIND] in naming.TEMPORARY or is_idle(sandbox):
                yield from self._temporary(name, labels)
            else:
                yield from self._sandbox(item, name, sandbox)
        for image in self._layers.listed(self._names.of_home(), dangling=True):
            if self._layers.drop_unnamed(image["Id"]):
                yield f"removed the image {image['Id'][7:19]} that nothing stands on"
        for image in self._layers.listed(self._names.of_home("base")):
            yield from self._base(image["Labels"][naming.BASE])
        self._locks.clear()

    def _temporary(self, name: str, labels: dict[str, str]) -> Iterator[str]:
        """By its name: one that waited may have become a sandbox meanwhile, and has another then."""
        with self._locks.hold_if_free(labels[naming.OWNER]) as dead:
            if dead and self._containers.remove(name):
                yield f"removed the container {name} of a process that has ended"

    def _sandbox(self, item: dict[str, str], name: str, sandbox: str) -> Iterator[str]:
        """A half-made or frozen container, or one half of a rollback."""
        if naming.is_retired(name):
            self._containers.remove(item["Id"])
            return
        with self._locks.hold_if_free(sandbox) as free:
            if not free:
                return
            api = self._connection.api
            if item["State"] == "paused":
                api.unpause(item["Id"])
                yield f"let the frozen sandbox {sandbox} go on"
            if item["State"] == "created":
                with self._locks.hold_if_free(item["Labels"][naming.OWNER]) as dead:  # type: ignore[index]
                    if dead and self._containers.remove(item["Id"]):
                        yield f"removed the half-made container {name}"
            elif name == self._names.successor(sandbox):
                try:
                    api.rename(name, self._names.container(sandbox))
                    yield f"finished the rollback of {sandbox}"
                except docker_errors.APIError as error:
                    if error.status_code != 409:
                        raise
                    self._containers.remove(item["Id"])
                    yield f"undid the half-made rollback of {sandbox}"

    def _base(self, base: str) -> Iterator[str]:
        self._layers.release(base)
        if self._layers.find(self._names.base(base)) is None:
            yield f"removed the base layer {base[:12]} that nothing stands on"
