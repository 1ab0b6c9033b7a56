"""The running part of a sandbox: its mounts, its container, its control group, their beginning and end.

Owns starting and ending them. Must not know snapshots or images: a chain of layers comes in.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.engines.native import bundle, cgroups, keepers, limits, overlay, removal, runtime, spares, verdicts
from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.kernel import in_private_mounts
from sandbox.engines.native.spares import Spare, Spares
from sandbox.engines.native.store import SandboxState, Store
from sandbox.engines.native.ways_in import ThroughKeeper, ThroughRuntime
from sandbox.errors import EngineError, EngineUnavailable
from sandbox.spec import Limits


class _Layers(NamedTuple):
    """Where a container's parts lie."""

    lowers: list[Path]
    upper: Path
    work: Path
    links: Path
    files: Path
    """Its bundle, and the keeper's socket."""


class Containers:
    """The containers of one home."""

    def __init__(self, store: Store, home_id: str) -> None:
        self._store = store
        self._home_id = home_id
        self._spares = Spares(home_id)
        self._taken: dict[str, Spare] = {}
        """By container, those of starts under way."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of what starts keepers; containers go on."""
        if self._spares.close():
            cgroups.remove_if_empty(self._home_id)

    def group(self, state: SandboxState) -> Group:
        """The control group of a sandbox."""
        return Group(cgroups.path_of(self._home_id, state.container), beside=state.runtime == keepers.NAME)

    def way_in(self, state: SandboxState) -> ThroughKeeper | ThroughRuntime:
        """How commands get into a sandbox: the way that its container was made."""
        if state.runtime == keepers.NAME:
            return ThroughKeeper(self._files(state))
        return ThroughRuntime(
            runtime.for_home(self._home_id, state.runtime), state.container, self._store.sandboxes / state.sandbox
        )

    def make_room_to_enter(self, state: SandboxState) -> None:
        """Have a command start where all memory is used up, too."""
        if state.runtime == keepers.NAME:
            limits.make_room_to_enter(self.group(state).path, state.origin.limits.memory_mb)

    def expect(self, bounds: Limits) -> None:
        """Have a keeper started if none waits, for a start that comes soon."""
        with suppress(OSError, EngineError):
            if choose() == keepers.NAME:
                self._spares.expect(bounds, self._config)

    def fresh(self, state: SandboxState) -> SandboxState:
        """The state for a start: with an empty upper layer and a name that no earlier container had."""
        mark = secrets.token_hex(4)
        upper = self._store.sandboxes / state.sandbox / f"upper-{mark}"
        way = choose()
        if way == keepers.NAME:
            spare = self._spares.take(state.origin.limits, self._config)
            container = spare.name
            with self._lock:
                self._taken[container] = spare
        else:
            container = f"{state.sandbox}-{mark}"
        update = {"upper": str(upper), "container": container, "pid": 0, "started": "", "last_snapshot": None}
        return state.model_copy(update={**update, "runtime": way})

    def start(self, state: SandboxState) -> SandboxState:
        """Start the container of a `fresh` state; the state with its process."""
        cgroups.enable_controllers()
        layers = self._lay_out(state)
        path = cgroups.path_of(self._home_id, state.container)
        config = self._config(path, state.origin.limits, str(layers.files / "rootfs"))
        begin = self._begin_kept if state.runtime == keepers.NAME else self._begin_by_runtime
        pid = begin(state, layers, config)
        return state.model_copy(update={"pid": pid, "started": cgroups.start_time(pid) or "", "ready": True})

    def _begin_by_runtime(self, state: SandboxState, layers: _Layers, config: dict[str, Any]) -> int:
        (layers.files / "config.json").write_text(json.dumps(config), encoding="utf-8")
        chosen = runtime.for_home(self._home_id, state.runtime)

        def begin() -> int:
            overlay.mount_chain(
                state.container, layers.lowers, layers.upper, layers.work, layers.links, layers.files / "rootfs"
            )
            # The runtime's container keeps the mount; with this thread our own view of it ends.
            return chosen.run(state.container, layers.files, layers.files / "pid")

        return in_private_mounts(begin)

    def _begin_kept(self, state: SandboxState, layers: _Layers, config: dict[str, Any]) -> int:
        with self._lock:
            spare = self._taken.pop(state.container)
        spare.claim(state.sandbox)
        prepared = self._config(spare.group, spare.bounds)
        order = {
            "limits": limits.changes(spare.group, prepared["linux"]["resources"], config["linux"]["resources"]),
            "overlay": {
                "name": state.container,
                "directory": str(layers.links),
                "options": overlay.link_layers(layers.lowers, layers.upper, layers.work, layers.links),
                "target": config["root"]["path"],
            },
            "process": config["process"],
            "remounts": [one for one in config["mounts"] if one not in prepared["mounts"]],
        }
        pid = spare.start(order, layers.files)
        self._spares.refill(state.origin.limits, self._config)
        return pid

    def _config(self, group: str, bounds: Limits, root: str = "") -> dict[str, Any]:
        return bundle.config(root, init_binary(), group, bounds, swap_is_counted=cgroups.swap_is_counted())

    def stop(self, state: SandboxState) -> Callable[[], None]:
        """Kill the container with all that runs in it. Nothing of it runs when this returns; what is left is to be
        cleared away by what it gives, which waits for the kernel to let go of the sandbox's files."""
        if state.runtime == keepers.NAME and state.ready:
            self.group(state).strike(state.pid)
            return lambda: self.end(state)
        self.end(state)
        return nothing

    def end(self, state: SandboxState) -> None:
        """Kill the container with all that runs in it, and leave nothing of it but its files."""
        with self._lock:
            never_started = self._taken.pop(state.container, None)
        if never_started is not None:
            never_started.hang_up()
            never_started.gone()
            never_started.let_go()
        group = self.group(state)
        group.kill()
        if state.runtime != keepers.NAME:
            runtime.state_of(self._home_id, state.runtime).delete(state.container)
        group.remove()

    def root(self, state: SandboxState) -> int:
        """A handle on the sandbox's root directory. Raises SandboxDied."""
        if not self.alive(state):
            raise verdicts.died(state.sandbox)
        try:
            return os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise verdicts.died(state.sandbox) from error

    def alive(self, state: SandboxState) -> bool:
        """Whether its PID 1 lives: not only a process of that number, and not one about to end."""
        return state.pid > 0 and cgroups.start_time(state.pid) == state.started

    def alive_after(self, state: SandboxState, seconds: float) -> bool:
        """Whether it lives through the next seconds."""
        until = time.monotonic() + seconds
        while self.alive(state):
            if time.monotonic() >= until:
                return True
            time.sleep(0.02)
        return False

    def _files(self, state: SandboxState) -> Path:
        return self._store.sandboxes / state.sandbox / "bundle"

    def _lay_out(self, state: SandboxState) -> _Layers:
        """Make the directories of a start."""
        upper, files = Path(state.upper), self._files(state)
        links = self._store.sandboxes / state.sandbox / "links"
        for directory in (links, files):
            removal.remove(directory)
            directory.mkdir(mode=0o700)
        (files / "rootfs").mkdir()
        upper.mkdir(mode=0o700)
        (upper / "work").mkdir()
        (upper / "upper").mkdir()
        top = os.stat(state.origin.chain[0])
        os.chown(upper / "upper", top.st_uid, top.st_gid)
        (upper / "upper").chmod(stat.S_IMODE(top.st_mode))
        return _Layers([Path(layer) for layer in state.origin.chain], upper / "upper", upper / "work", links, files)

    def strays(self, known: set[str]) -> list[str]:
        """Names of containers and control groups of this home that are not in `known`."""
        found = set(cgroups.groups_of(self._home_id))
        for name in runtime.NAMES:
            found.update(runtime.state_of(self._home_id, name).containers())
        return sorted(found - known)

    def end_stray(self, container: str) -> bool:
        """End a container of which nothing but its name is known; False where there was none: a keeper that waited, and
        still does if its manager lives, or what the kernel is clearing away."""
        path = cgroups.path_of(self._home_id, container)
        group = Group(path)
        if cgroups.hybrid():
            beside = Group(path, beside=True)
            if spares.is_kept(beside):
                return False
            only_waited = container.startswith(spares.PREFIX) and not spares.was_started(beside)
            is_news = beside.runs() and not only_waited
            beside.kill()
        else:
            is_news = True
        group.kill()
        for name in runtime.NAMES:
            known = runtime.state_of(self._home_id, name)
            if container in known.containers():
                known.delete(container)
        group.remove()
        return is_news

    def tidy(self) -> None:
        """Remove the directories that hold nothing any more once the last sandbox is gone."""
        cgroups.remove_if_empty(self._home_id)
        runtime.remove_state_if_empty(self._home_id)


def nothing() -> None:
    """Of a container of which nothing is left."""


def choose() -> str:
    """What starts new sandboxes: a keeper where there can be one, else, or if SANDBOX_RUNTIME asks, an OCI runtime."""
    if os.environ.get("SANDBOX_RUNTIME", keepers.NAME) == keepers.NAME and keepers.usable():
        return keepers.NAME
    return runtime.choose()[0]


def init_binary() -> str:
    """The static program that is PID 1 in every sandbox. Raises EngineUnavailable."""
    found = shutil.which("catatonit", path=os.environ.get("PATH", "") + ":/usr/libexec/podman:/usr/libexec/catatonit")
    if found is None:
        raise EngineUnavailable("catatonit, the first process of a sandbox, was not found.", INIT_HINT)
    return found


INIT_HINT = "Install it: apt-get install catatonit"
