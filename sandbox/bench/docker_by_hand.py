"""The Docker SDK by hand: a container for each sandbox, a commit for each snapshot, a new container to go back.

The tree is put in as a tar archive once and committed, since a bind mount would be the real tree and no part of a
commit.
"""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, cast

import docker
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import ImageNotFound
from docker.models.containers import Container

from sandbox.bench import residents
from sandbox.bench.content import Content
from sandbox.bench.peers import Absent
from sandbox.clock import fresh_id
from sandbox.engines import images
from sandbox.errors import EngineError
from sandbox.spec import Limits

_IMAGE = "base"
_MIB = 1 << 20


class DockerByHand:
    name = "docker-sdk"
    says = (
        "run of an image that has the tree, exec_run, commit, diff (of the whole image's files), "
        "remove and run the commit anew to go back; same limits, no network"
    )
    by_hand = True
    workspace = "/workspace"
    exact = False
    lacks: frozenset[str] = frozenset()

    def __init__(self, client: docker.DockerClient, image: str, repository: str) -> None:
        self._client = client
        self._image = image
        self._repository = repository
        self._containers: dict[str, Container] = {}
        self._snapshots: list[str] = []

    @classmethod
    @contextmanager
    def ready(cls, content: Content, say: Callable[[str], None]) -> Iterator[Self]:
        """Connect, and import the same image that ours runs on. Raises Absent where no Docker Engine answers."""
        _knock()
        client = docker.from_env(timeout=600)
        try:
            repository = f"sandbox-bench/{fresh_id('r').removeprefix('r_').lower()}"
            say(f"Its images are named {repository}.")
            with _imported(client, repository, say) as image:
                made = cls(client, image, repository)
                with made._holding(content):
                    yield made
        finally:
            client.close()

    @contextmanager
    def _holding(self, content: Content) -> Iterator[None]:
        """The image with the tree in it: what sandboxes are made of from here on."""
        try:
            box = str(self._started(self._image).id)
            self._containers[box].put_archive("/", _archive(content))
            self._image = self.snapshot(box)
            self._snapshots.clear()  # it outlives the rounds
            self.destroy(box)
            yield
        finally:
            self.forget()
            if self._image.startswith(self._repository):
                self._client.images.remove(self._image, force=True)

    def create(self) -> str:
        return str(self._started(self._image).id)

    def _started(self, image: str) -> Container:
        limits = Limits()
        container = self._client.containers.run(
            image,
            ["sleep", "infinity"],
            detach=True,
            init=True,
            network_mode="none",
            nano_cpus=round(limits.cpus * 1e9),
            mem_limit=limits.memory_mb * _MIB,
            pids_limit=limits.pids,
        )
        self._containers[str(container.id)] = container
        return container

    def exec(self, box: str, command: list[str]) -> bytes:
        done = self._containers[box].exec_run(command, demux=True)
        out, err = cast("tuple[bytes | None, bytes | None]", done.output)  # both streams, because of demux
        if done.exit_code != 0:
            raise EngineError(f"{command[0]} gave {done.exit_code}: {(err or b'').decode(errors='replace')}")
        return bytes(out or b"")

    def snapshot(self, box: str) -> str:
        tag = fresh_id("s").lower()
        self._snapshots.append(f"{self._repository}:{tag}")  # first: an interrupt may come in the commit
        self._containers[box].commit(repository=self._repository, tag=tag)
        return self._snapshots[-1]

    def rollback(self, box: str, snapshot: str) -> str:
        self.destroy(box)
        return str(self._started(snapshot).id)

    def fork(self, snapshot: str, count: int) -> list[str]:
        return [str(self._started(snapshot).id) for _ in range(count)]

    def diff(self, box: str) -> frozenset[str]:
        inside = f"{self.workspace}/"
        found = self._containers[box].diff()
        paths = [str(one["Path"]) for one in found]
        return frozenset(path.removeprefix(inside) for path in paths if path.startswith(inside))

    def destroy(self, box: str) -> None:
        self._containers.pop(box).remove(force=True)

    def memory(self, boxes: list[str]) -> int:
        """A container's id is in its cgroup and on its shim's command line, where the engine is on this machine."""
        return residents.memory(boxes)

    def forget(self) -> None:
        """Remove what a round left."""
        for box in list(self._containers):
            self.destroy(box)
        while self._snapshots:
            with suppress(ImageNotFound):
                self._client.images.remove(self._snapshots.pop(), force=True)


def containers_of(sandboxes: list[str]) -> list[str]:
    """The ids of the containers that are these sandboxes of our own engine, by their labels."""
    client = docker.from_env(timeout=60)
    try:
        found = client.api.containers(filters={"label": "sandbox.id"})
    finally:
        client.close()
    return [str(one["Id"]) for one in found if one["Labels"]["sandbox.id"] in sandboxes]


def engine_version() -> str:
    """Of the Docker Engine that answers."""
    client = docker.from_env(timeout=60)
    try:
        return str(client.version()["Version"])
    finally:
        client.close()


def _knock() -> None:
    """Whether somebody listens, before the SDK tries: it leaves its socket open where nobody does."""
    host = os.environ.get("DOCKER_HOST") or DEFAULT_UNIX_SOCKET.replace("http+", "")
    path = host.removeprefix("unix://")
    if path == host:
        return
    with socket.socket(socket.AF_UNIX) as knocking:
        try:
            knocking.connect(path)
        except OSError as error:
            raise Absent("no Docker Engine answers") from error


@contextmanager
def _imported(client: docker.DockerClient, name: str, say: Callable[[str], None]) -> Iterator[str]:
    """The image under a name of our own, gone at the end; its layers may be shared with one that stays."""
    archive = images.rootfs(images.definitions()[_IMAGE], say)
    api: Any = client.api  # the stubs leave this call without types
    with open(archive, "rb") as data:
        answer = api.import_image_from_data(data, repository=name, tag="base")
    try:
        yield str(json.loads(answer.splitlines()[-1])["status"])
    finally:
        client.images.remove(f"{name}:base", force=True)


def _archive(content: Content) -> bytes:
    """The tree as `workspace/` in a tar archive, owned by root as in ours."""
    buffer = io.BytesIO()

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        return entry

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(content.root, arcname="workspace", filter=owned)
    return buffer.getvalue()
