"""`DockerEngine`: the engine protocol, each verb one call on the part that knows how.

Owns the wiring of the parts and the order of what touches several of them. Every exception of the SDK is
mapped here, at the seam. Holds no state that another process would miss.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from docker import errors as docker_errors

from sandbox import faults
from sandbox.engines import images
from sandbox.engines.base import (
    Candidate,
    ChangesRequest,
    CreateRequest,
    ExecRequest,
    ExecResult,
    Finding,
    ImageInfo,
    Instance,
    RestoreRequest,
    ShellRequest,
    SnapshotRequest,
    Traits,
    Usage,
)
from sandbox.engines.docker_engine import candidates, naming, terminal
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Box, Containers
from sandbox.engines.docker_engine.diagnosis import diagnose
from sandbox.engines.docker_engine.execution import Commands
from sandbox.engines.docker_engine.files import Files
from sandbox.engines.docker_engine.killing import Killer
from sandbox.engines.docker_engine.layers import Layers
from sandbox.engines.docker_engine.leftovers import Leftovers
from sandbox.engines.docker_engine.library import DEFAULT, Library
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.mapping import mapped
from sandbox.engines.docker_engine.naming import Blueprint, Names
from sandbox.engines.docker_engine.onlooker import Onlooker
from sandbox.engines.docker_engine.removals import Removals
from sandbox.engines.docker_engine.snapshots import Snapshots
from sandbox.engines.docker_engine.warm import Nursery
from sandbox.engines.docker_engine.whiteouts import Whiteouts
from sandbox.engines.warm import WarmPool, is_idle
from sandbox.errors import NotFound
from sandbox.spec import Limits
from sandbox.trees.entry import ROOT

REFILL_S = 0.25
"""How long after a create the next warm sandbox is begun: the engine has the first command to start."""


class DockerEngine:
    """Sandboxes in a Docker Engine; satisfies `sandbox.engines.base.Engine`. Nothing is contacted before it must."""

    traits = Traits(
        name="docker",
        networks=frozenset({"none", "full"}),
        keeps_processes=False,
        keeps_attributes=False,
        default_image=DEFAULT,
        isolation="a Docker container: namespaces, cgroups, seccomp; the engine's host shares its kernel",
    )

    def __init__(self, *, home_id: str, scratch: Path, warm: int = 0) -> None:
        """`home_id` tells our containers and images from another home's; `scratch` holds lock files. As many
        sandboxes as `warm` are kept ready for the next creates of the kind that was asked for last."""
        self._names = Names(home_id)
        self._locks = Locks(scratch / "docker")
        self._connection = Connection()
        self._containers = Containers(self._connection, self._names, self._locks)
        self._layers = Layers(self._connection, self._names, self._locks, self._containers)
        self._library = Library(self._connection, self._layers, self._locks)
        self._files = Files(self._connection, self._containers)
        killer = Killer(self._connection, self._containers, self._locks)
        self._commands = Commands(self._connection, self._containers, killer, self._locks)
        self._removals = Removals()
        self._onlooker = Onlooker(self._connection, self._containers, self._removals)
        self._whiteouts = Whiteouts(self._connection, self._commands, self._locks)
        self._snapshots = Snapshots(
            self._connection,
            self._names,
            self._locks,
            self._containers,
            self._layers,
            self._removals,
            self._whiteouts,
        )
        self._leftovers = Leftovers(self._connection, self._names, self._locks, self._containers, self._layers)
        self._warm = WarmPool(Nursery(self._containers, self._make, self.destroy), warm, delay_s=REFILL_S)

    def doctor(self) -> list[Finding]:
        """See Engine."""
        return diagnose(self._connection)

    def expect(self, limits: Limits) -> None:
        """See Engine. A container can't be begun before all that it is made of is known; the warm pool is for that."""

    def create(self, request: CreateRequest) -> None:
        """See Engine."""
        if not self._warm.most:
            self._make(request)
            return
        with mapped():
            kind = naming.blueprint(request, self._library.resolve(request.image)).text()
        if not self._warm.take(kind, request.sandbox):
            self._make(request)
        self._warm.refill(kind, request)

    def _make(self, request: CreateRequest) -> None:
        with mapped():
            name = self._names.container(request.sandbox)
            blueprint = naming.blueprint(request, self._library.resolve(request.image))
            try:
                with self._locks.hold(self._layers.lock(blueprint.base)):
                    image, architecture = self._layers.ready(blueprint, request.placements)
                    faults.reached("docker.base-layer")
                    self._containers.create(
                        request.sandbox, image, blueprint, name=name, architecture=architecture, touched=False
                    )
            except BaseException:
                self._layers.release(blueprint.base)
                raise
            self._layers.keep(blueprint.base)

    def exec(self, request: ExecRequest) -> ExecResult:
        """See Engine."""
        return self._commands.run(request)

    def shell(self, request: ShellRequest) -> int:
        """See Engine."""
        with mapped():
            return terminal.join(self._connection, self._locks, self._containers.alive(request.sandbox), request)

    def write(self, sandbox: str, path: str, content: bytes, mode: int = 0o644) -> None:
        """See Engine."""
        with mapped():
            self._files.write(sandbox, path, content, mode)

    def read(self, sandbox: str, path: str) -> bytes:
        """See Engine."""
        with mapped():
            return self._files.read(sandbox, path)

    def snapshot(self, request: SnapshotRequest) -> None:
        """See Engine."""
        with mapped():
            self._snapshots.take(request.sandbox, request.snapshot)

    def restore(self, request: RestoreRequest) -> None:
        """See Engine."""
        with mapped():
            self._snapshots.restore(request.snapshot, request.sandbox)

    def discard(self, snapshot: str) -> None:
        """See Engine."""
        with mapped():
            self._snapshots.discard(snapshot)

    def changes(self, request: ChangesRequest) -> Generator[Candidate, None, None]:
        """See Engine."""
        with mapped(), self._frozen(request.origin) as (container, box), ExitStack() as stack:
            path, tree = request.placement.path, request.placement.tree

            def fetch(below: bytes) -> AbstractContextManager[Iterator[bytes]]:
                return self._connection.archive(container, path.encode() + b"/" + below)

            if box is not None and self._onlooker.is_worth_it(tree):
                base = self._names.base(box.blueprint.base)
                view = stack.enter_context(self._onlooker.look(request.origin, box, base, path))
                if view is not None:
                    yield from candidates.differing_among(
                        tree.entries(), view.untouched, view.others, request.sink, fetch
                    )
                    return
            try:
                chunks = stack.enter_context(self._connection.archive(container, path))
            except docker_errors.NotFound:
                yield ROOT, None
                return
            yield from candidates.differing(tree.entries(), chunks, request.sink, fetch)

    def usage(self, sandbox: str) -> Usage:
        """See Engine."""
        with mapped():
            try:
                size = self._containers.size(self._containers.known(sandbox))
            except NotFound:  # of a container that another process has replaced
                self._containers.forget(sandbox)
                size = self._containers.size(self._containers.find(sandbox))
        return Usage(size, None, None)

    def watch_root(self, sandbox: str) -> Path | None:
        """See Engine."""
        with mapped():
            place = self._containers.seen_here(self._containers.find(sandbox))
        return place / "root" if place else None

    def destroy(self, sandbox: str) -> None:
        """See Engine."""
        names = (self._names.container(sandbox), self._names.successor(sandbox))
        with mapped(), self._locks.hold(sandbox):
            self._removals.finish(sandbox)
            for name in names:
                self._remove(name)
            self._locks.forget_sandbox(sandbox)

    def instances(self) -> list[Instance]:
        """See Engine."""
        found: dict[str, Instance] = {}
        with mapped():
            for item in self._containers.listed(self._names.of_home("sandbox")):
                sandbox = self._names.sandbox(item["Names"][0])
                if naming.is_retired(item["Names"][0]) or is_idle(sandbox):
                    continue
                blueprint = Blueprint.parse(item["Labels"][naming.BLUEPRINT])
                alive = item["State"] in ("running", "paused")
                if sandbox not in found or alive:
                    found[sandbox] = Instance(sandbox, alive, blueprint.image)
        return sorted(found.values(), key=lambda item: item.sandbox)

    def snapshots(self) -> list[str]:
        """See Engine."""
        with mapped():
            return self._snapshots.listed()

    def images(self) -> list[ImageInfo]:
        """See Engine."""
        with mapped():
            return self._library.listed()

    def image_digest(self, image: str) -> str:
        """See Engine. A defined image is built for it where it isn't ready."""
        with mapped():
            return self._library.resolve(image).removeprefix("sha256:")

    def build_image(self, image: str, on_progress: Callable[[str], None]) -> None:
        """See Engine. Raises NotFound for an image that is not defined."""
        definition = images.definitions().get(image)
        if definition is None:
            raise NotFound(f"No image {image!r} is defined.", "Definitions are images/NAME/image.yaml.")
        with mapped():
            self._library.build(definition, on_progress)

    def close(self) -> None:
        """See Engine."""
        self._warm.close()
        self._whiteouts.close()
        self._removals.close()
        self._layers.close()
        self._connection.close()
        self._locks.close()

    def sweep(self) -> list[str]:
        """See Engine."""
        with mapped():
            return list(self._leftovers.sweep())

    def _remove(self, container: str) -> None:
        """One container, and the images that nothing else stands on then."""
        try:
            says = self._connection.api.inspect_container(container)
        except docker_errors.NotFound:
            return
        self._containers.remove(says["Id"])
        self._snapshots.release(says["Image"], says["Config"]["Labels"][naming.BASE])

    @contextmanager
    def _frozen(self, origin: str) -> Iterator[tuple[str, Box | None]]:
        """A container that shows the origin's files and does not change them meanwhile; for a sandbox, what it is."""
        with ExitStack() as stack:
            if self._snapshots.exists(origin):
                yield stack.enter_context(self._snapshots.reader(origin)), None
                return
            stack.enter_context(self._locks.hold(origin))
            box = self._containers.find(origin)
            stack.enter_context(self._containers.frozen(origin, box))
            yield box.id, box
