"""Snapshots as committed images, and sandboxes made from them again.

Owns commit, rollback, fork and flattening. A rollback makes the new container completely before the old one
goes, so a crash at any point leaves one that is whole; `leftovers` tidies up the other.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from docker import errors as docker_errors

from sandbox import faults
from sandbox.engines.docker_engine import naming, waiter
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Box, Containers
from sandbox.engines.docker_engine.layers import Layers
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.naming import Blueprint, Names
from sandbox.engines.docker_engine.removals import Removals
from sandbox.engines.docker_engine.whiteouts import Whiteouts
from sandbox.errors import InputError, NotFound

DEPTH = 100
"""Layers that an image may have before a snapshot is made flat; the engine's own bound is near 125."""


class Snapshots:
    """The snapshots of one home."""

    def __init__(
        self,
        connection: Connection,
        names: Names,
        locks: Locks,
        containers: Containers,
        layers: Layers,
        removals: Removals,
        whiteouts: Whiteouts,
    ) -> None:
        self._connection = connection
        self._names = names
        self._locks = locks
        self._containers = containers
        self._layers = layers
        self._removals = removals
        self._whiteouts = whiteouts
        self.depth = DEPTH

    def take(self, sandbox: str, snapshot: str) -> None:
        """See Engine.snapshot. The container is frozen while the engine copies."""
        name = self._names.snapshot(snapshot)
        if self.exists(snapshot):
            raise InputError(f"There is a snapshot {snapshot!r} already.", "Every snapshot needs an id of its own.")
        with self._locks.hold(sandbox):
            box = self._containers.known(sandbox)
            with self._locks.still(sandbox):
                try:
                    self._commit(box.id, name, snapshot, box.blueprint)
                except docker_errors.NotFound:  # of a container that another process has replaced
                    self._containers.forget(sandbox)
                    box = self._containers.find(sandbox)
                    self._commit(box.id, name, snapshot, box.blueprint)
        faults.reached("docker.committed")
        if len(self._inspect(snapshot)["RootFS"]["Layers"]) > self.depth:
            self._flatten(name, snapshot, box.blueprint)
        self._whiteouts.look(snapshot, sandbox, box)

    def restore(self, snapshot: str, sandbox: str) -> None:
        """See RestoreRequest."""
        self._whiteouts.refuse(snapshot)
        self._whiteouts.finish(sandbox)
        image = self._inspect(snapshot)
        blueprint = Blueprint.parse(image["Config"]["Labels"][naming.BLUEPRINT])
        current, successor = self._names.container(sandbox), self._names.successor(sandbox)
        with self._locks.hold(sandbox):
            replaced = self._containers.named(current)
            if replaced is None and self._containers.named(successor) is None:
                self._create(sandbox, current, image, blueprint)
                return
            self._succeed(sandbox, successor, image, blueprint)
            faults.reached("docker.successor")
            if replaced is not None:
                self._containers.retire(replaced.id, sandbox)
            faults.reached("docker.predecessor-gone")
            with contextlib.ExitStack() as stack:
                if replaced is not None:
                    killed = threading.Event()
                    stack.enter_context(self._containers.ending(replaced, killed))
                    self._removals.begin(sandbox, partial(self._remove, replaced, killed))
                self._connection.api.rename(successor, current)
                self._containers.forget(sandbox)

    def _succeed(self, sandbox: str, successor: str, image: dict[str, Any], blueprint: Blueprint) -> None:
        """Make the container that takes the sandbox's place, and remove one that a killed rollback left."""
        try:
            self._create(sandbox, successor, image, blueprint)
        except docker_errors.APIError as error:
            if error.status_code != 409 or not self._containers.remove(successor):
                raise
            self._create(sandbox, successor, image, blueprint)

    def _create(self, sandbox: str, name: str, image: dict[str, Any], blueprint: Blueprint) -> None:
        architecture = str(image.get("Architecture", ""))
        self._containers.create(sandbox, image["Id"], blueprint, name=name, architecture=architecture, touched=True)

    def _remove(self, box: Box, killed: threading.Event) -> None:
        try:
            self._containers.kill(box.id)
        finally:
            killed.set()
        self._containers.remove(box.id)
        self.release(box.image, box.blueprint.base)

    def release(self, image: str, base: str) -> None:
        """Free the image and the base layer that a removed container stood on, where nothing else does."""
        self._layers.drop_unnamed(image)
        self._layers.release(base)

    def discard(self, snapshot: str) -> None:
        """See Engine.discard."""
        self._whiteouts.forget(snapshot)
        found = self._layers.find(self._names.snapshot(snapshot))
        if found is None:
            return
        self._layers.untag(self._names.snapshot(snapshot))
        self._layers.release(found["Config"]["Labels"].get(naming.BASE, ""))

    def listed(self) -> list[str]:
        """Ids of all snapshots that have not been discarded."""
        images = self._layers.listed(self._names.of_home("snapshot"))
        prefix = self._names.snapshot("x")[:-1]
        tags = [tag for image in images for tag in image.get("RepoTags") or ()]
        return sorted(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))

    @contextlib.contextmanager
    def reader(self, snapshot: str) -> Iterator[str]:
        """A container to read the snapshot's files from; it never runs."""
        self._whiteouts.refuse(snapshot)
        image = self._inspect(snapshot)["Id"]
        with self._containers.temporary("reader", image, [waiter.PATH]) as container:
            yield container

    def exists(self, snapshot: str) -> bool:
        """Whether there is such a snapshot."""
        return self._layers.find(self._names.snapshot(snapshot)) is not None

    def _inspect(self, snapshot: str) -> dict[str, Any]:
        found = self._layers.find(self._names.snapshot(snapshot))
        if found is None:
            raise NotFound(f"There is no snapshot {snapshot!r}.", "`sandbox snapshots ID` shows a sandbox's.")
        return found

    def _commit(self, container: str, name: str, snapshot: str, blueprint: Blueprint) -> None:
        """Make the image; the engine freezes a container that runs meanwhile."""
        repository, _, tag = name.rpartition(":")
        labels = self._names.labels("snapshot", id=snapshot, blueprint=blueprint.text(), base=blueprint.base)
        self._connection.patiently(
            lambda: self._connection.api.commit(
                container, repository=repository, tag=tag, pause=True, conf={"Labels": labels}
            )
        )

    def _flatten(self, name: str, snapshot: str, blueprint: Blueprint) -> None:
        """The same files as one layer, under the same name, with the same configuration."""
        api = self._connection.api
        deep = self._inspect(snapshot)["Id"]
        marks = [f"LABEL {naming.HOME}={self._names.home} {naming.KIND}=flat"]
        with self._containers.temporary("reader", deep, [waiter.PATH]) as source:
            answer = api.import_image_from_data(api.export(source), changes=marks)
        flat = str(json.loads(answer)["status"])
        with self._containers.temporary("builder", flat, [waiter.PATH]) as copy:
            self._commit(copy, name, snapshot, blueprint)
        self._layers.drop_unnamed(deep)
