"""The native engine: an OCI runtime on overlayfs, no daemon.

Owns the order of the parts' work in each verb of the protocol. Everything that outlives a call is in `store`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

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
from sandbox.engines.native import (
    bundle,
    changes,
    doctor,
    executing,
    placing,
    removal,
    rooted,
    shells,
    sweeping,
    usage,
    users,
    verdicts,
)
from sandbox.engines.native.containers import Containers
from sandbox.engines.native.image_store import ImageStore
from sandbox.engines.native.snapshots import Snapshots
from sandbox.engines.native.store import Origin, Placed, SandboxState, SnapshotState, Store
from sandbox.engines.native.warm import Nursery, kind
from sandbox.engines.native.ways_in import ThroughRuntime
from sandbox.engines.warm import WarmPool, is_idle
from sandbox.errors import EngineError, EngineUnavailable, InputError, NotFound, SandboxDied
from sandbox.spec import Limits

WORKSPACE = "/workspace"
_AFTER_S = 0.05
"""How long after a create the pool makes its next: the first command goes before it."""
_DEATH_S = 1.0
"""How long a sandbox is watched in which a command's end was not told."""


class NativeEngine:
    """Satisfies `sandbox.engines.base.Engine`; `root` is a directory of its own, `home_id` names it on this machine.

    It keeps as many as `warm` sandboxes ready for the next creates of the kind that was asked for last.
    """

    traits = Traits(
        name="native",
        networks=frozenset({"none"}),
        keeps_processes=False,
        default_image="host",
        isolation="namespaces, few capabilities, a system call filter and cgroups; the host's kernel is shared",
    )

    def __init__(self, root: Path, *, home_id: str, warm: int = 0) -> None:
        self._store = Store(root)
        self._containers = Containers(self._store, home_id)
        self._images = ImageStore(self._store)
        self._snapshots = Snapshots(self._store)
        self._backlog = removal.Backlog(self._freed)
        self._warm = WarmPool(
            Nursery(self._store, self._containers.alive, self._create, self._remove), warm, delay_s=_AFTER_S
        )

    def doctor(self) -> list[Finding]:
        """See Engine."""
        return doctor.findings(self._store.root)

    def expect(self, limits: Limits) -> None:
        """See Engine."""
        if os.geteuid() == 0 and not self._warm.most:
            self._containers.expect(limits)

    def create(self, request: CreateRequest) -> None:
        """See Engine."""
        _require_root()
        if request.network not in self.traits.networks:
            raise InputError(
                f"The native engine has no network {request.network!r}.", "Use network: none, or the docker engine."
            )
        image = self._images.layers(request.image, _silent)
        if not self._warm.most:
            self._create(request)
            return
        wanted = kind(request, image)
        if not self._warm.take(wanted, request.sandbox):
            self._create(request)
        self._warm.refill(wanted, request)

    def _create(self, request: CreateRequest) -> None:
        image = self._images.layers(request.image, _silent)
        with self._claimed(request.sandbox):
            fresh = self._store.fresh_layer(request.sandbox)
            final = self._store.layers / f"place-{secrets.token_hex(8)}"
            try:
                placed = placing.make(request.placements, image, fresh, final)
                placements = tuple(Placed(path=one.path, tree=one.tree.id) for one in request.placements)
                cwd = placements[0].path if len(placements) == 1 else WORKSPACE
                chain = tuple(str(layer) for layer in [*placed, *image])
                origin = Origin(
                    image=request.image,
                    limits=request.limits,
                    env=request.env,
                    placements=placements,
                    cwd=cwd,
                    chain=chain,
                    base_layers=len(chain),
                )
                with self._store.locked():
                    os.rename(fresh, final)
                    state = self._prepared(request.sandbox, origin)
            finally:
                removal.remove(fresh)
            self._store.put_sandbox(self._containers.start(state))

    def exec(self, request: ExecRequest) -> ExecResult:
        """See Engine."""
        state = self._store.sandbox(request.sandbox)
        with self._root(state) as root:
            user = users.find(root, request.user)
            cwd = self._working_directory(root, state, request.cwd)
        env = bundle.environment(user.home, user.name, state.origin.env, request.env)
        process = bundle.process(request.command, env, cwd, user.ids, state.origin.limits)
        venue = executing.Venue(
            self._containers.way_in(state),
            self._containers.group(state),
        )
        self._containers.make_room_to_enter(state)
        try:
            result = executing.run(venue, process, request)
        except EngineError as error:
            # A sandbox dies of its keeper's death, a moment later.
            if isinstance(error, SandboxDied) or self._containers.alive_after(state, _DEATH_S):
                raise
            raise verdicts.died(state.sandbox) from error
        if not self._containers.alive(state):
            raise verdicts.died(state.sandbox)
        return result

    def shell(self, request: ShellRequest) -> int:
        """See Engine."""
        state = self._store.sandbox(request.sandbox)
        terminal = sys.stdin.isatty()
        with self._root(state) as root:
            user = users.find(root, request.user)
            cwd = self._working_directory(root, state, request.cwd)
        env = bundle.environment(user.home, user.name, {"TERM": os.environ.get("TERM", "dumb")}, state.origin.env)
        process = bundle.process(request.command, env, cwd, user.ids, state.origin.limits, terminal=terminal)
        way_in = self._containers.way_in(state)
        if isinstance(way_in, ThroughRuntime):
            return way_in.shell(process)
        with way_in.place(self._containers.group(state)) as group:
            return shells.run(way_in, process, group)

    def write(self, sandbox: str, path: str, content: bytes, mode: int = 0o644) -> None:
        """See Engine."""
        with self._root(self._store.sandbox(sandbox)) as root:
            rooted.write(root, path, content, mode)

    def read(self, sandbox: str, path: str) -> bytes:
        """See Engine."""
        with self._root(self._store.sandbox(sandbox)) as root:
            return rooted.read(root, path)

    def snapshot(self, request: SnapshotRequest) -> None:
        """See Engine."""
        with self._store.holding(request.sandbox):
            state = self._store.sandbox(request.sandbox)
            if not self._containers.alive(state):
                raise verdicts.died(state.sandbox)
            self._snapshots.take(state, request.snapshot, self._containers.group(state))

    def restore(self, request: RestoreRequest) -> None:
        """See Engine."""
        _require_root()
        snapshot = self._store.snapshot(request.snapshot)
        try:
            self._store.sandbox(request.sandbox)
        except NotFound:
            self._fork(request)
        else:
            self._roll_back(snapshot, request.sandbox)

    def discard(self, snapshot: str) -> None:
        """See Engine."""
        with self._store.locked():
            dropped = self._store.drop_snapshot(snapshot)
        if dropped:
            self._backlog.take()

    def changes(self, request: ChangesRequest) -> Generator[Candidate, None, None]:
        """See Engine."""
        placed = Placed(path=request.placement.path, tree=request.placement.tree.id)
        source: SandboxState | SnapshotState
        if request.origin in self._store.snapshot_ids():
            source = self._store.snapshot(request.origin)
        else:
            source = self._store.sandbox(request.origin)
        if placed not in source.origin.placements:
            raise InputError(f"{placed.path} of {request.origin} does not hold that tree.")
        return self._read_changes(request, source)

    def usage(self, sandbox: str) -> Usage:
        """See Engine."""
        return usage.of_layer(Path(self._store.sandbox(sandbox).upper, "upper"))

    def watch_root(self, sandbox: str) -> Path | None:
        """See Engine."""
        state = self._store.sandbox(sandbox)
        return Path(f"/proc/{state.pid}/root") if self._containers.alive(state) else None

    def destroy(self, sandbox: str) -> None:
        """See Engine."""
        try:
            with self._store.holding(sandbox):
                self._remove(sandbox)
        except NotFound:
            return

    def instances(self) -> list[Instance]:
        """See Engine."""
        found = []
        for sandbox in self._store.sandbox_ids():
            if is_idle(sandbox):
                continue
            try:
                state = self._store.sandbox(sandbox)
            except NotFound:
                continue  # not finished yet, or gone since
            found.append(Instance(sandbox, self._containers.alive(state), state.origin.image))
        return found

    def snapshots(self) -> list[str]:
        """See Engine."""
        return self._store.snapshot_ids()

    def images(self) -> list[ImageInfo]:
        """See Engine."""
        return self._images.known()

    def image_digest(self, image: str) -> str:
        """See Engine."""
        return self._images.digest(image)

    def build_image(self, image: str, on_progress: Callable[[str], None]) -> None:
        """See Engine."""
        _require_root()
        self._images.layers(image, on_progress)

    def close(self) -> None:
        """See Engine."""
        self._warm.close()
        self._containers.close()
        self._backlog.wait()

    def sweep(self) -> list[str]:
        """See Engine."""
        return sweeping.sweep(self._store, self._containers, self._images)

    def _fork(self, request: RestoreRequest) -> None:
        with self._claimed(request.sandbox):
            with self._store.locked():
                snapshot = self._store.snapshot(request.snapshot)
                state = self._prepared(request.sandbox, snapshot.origin)
            self._store.put_sandbox(self._containers.start(state))

    def _roll_back(self, snapshot: SnapshotState, sandbox: str) -> None:
        with self._store.holding(sandbox):
            before = self._store.sandbox(sandbox)
            clear = self._containers.stop(before)
            try:
                with self._store.locked():
                    kept = {"limits": before.origin.limits, "env": before.origin.env}
                    # Read again: it may have been discarded while we waited, and its layers with it.
                    origin = self._store.snapshot(snapshot.snapshot).origin.model_copy(update=kept)
                    state = self._containers.fresh(before.model_copy(update={"origin": origin}))
                    self._store.put_sandbox(state)
                self._store.put_sandbox(self._containers.start(state))
                aside = removal.set_aside(Path(before.upper))
            except BaseException:
                clear()
                raise
            self._backlog.take([aside] if aside else [], clear)

    def _prepared(self, sandbox: str, origin: Origin) -> SandboxState:
        """Record a sandbox that is about to start, so that nothing it stands on is freed meanwhile."""
        blank = SandboxState(
            sandbox=sandbox, origin=origin, runtime="", container="", pid=0, started="", upper=""
        )  # fmt: skip
        state = self._containers.fresh(blank)
        self._store.put_sandbox(state)
        return state

    @contextmanager
    def _claimed(self, sandbox: str) -> Iterator[None]:
        """Hold a new sandbox; when the work in it fails, nothing of it stays."""
        with self._store.claiming(sandbox):
            try:
                yield
            except BaseException:
                self._remove(sandbox)
                raise

    def _remove(self, sandbox: str) -> None:
        """Remove a sandbox that is held, whatever there is of it."""
        left = sweeping.remove(self._store, self._containers, sandbox)
        self._backlog.take(left.doomed, left.clear)

    def _freed(self) -> list[Path]:
        """Set aside the layers that nothing stands on any more."""
        with self._store.locked():
            free = self._store.free_layers()
            self._containers.tidy()
        return free

    @contextmanager
    def _root(self, state: SandboxState) -> Iterator[int]:
        root = self._containers.root(state)
        try:
            yield root
        finally:
            os.close(root)

    def _working_directory(self, root: int, state: SandboxState, asked: str | None) -> str:
        if asked is None:
            # The agent may have removed its own; then commands start where they always can.
            return state.origin.cwd if rooted.is_directory(root, state.origin.cwd) else "/"
        if not asked.startswith("/") or not rooted.is_directory(root, asked):
            raise InputError(f"There is no directory {asked!r} in the sandbox.", "Give an absolute path in it.")
        return asked

    def _read_changes(
        self, request: ChangesRequest, source: SandboxState | SnapshotState
    ) -> Generator[Candidate, None, None]:
        place, tree = request.placement.path, request.placement.tree
        base = (tree.root, *tree.under)
        if isinstance(source, SnapshotState):
            yield from changes.candidates(_above_base(source.origin), place, base, request.sink)
            return
        with self._store.holding(source.sandbox):
            state = self._store.sandbox(source.sandbox)
            layers = [Path(state.upper, "upper"), *_above_base(state.origin)]
            still = self._containers.group(state).frozen() if self._containers.alive(state) else nullcontext()
            with still:
                yield from changes.candidates(layers, place, base, request.sink)


def _above_base(origin: Origin) -> list[Path]:
    return [Path(layer) for layer in origin.chain[: len(origin.chain) - origin.base_layers]]


def _require_root() -> None:
    if os.geteuid() != 0:
        raise EngineUnavailable(
            "The native engine needs root: it mounts overlayfs and sets up cgroups.",
            "Run it as root (sudo), or use --engine docker.",
        )


def _silent(line: str) -> None:
    """Progress that nobody asked for."""
    del line
