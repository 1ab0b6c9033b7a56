"""The running part of a sandbox: its mounts, its container, its control group, their beginning and end.

Owns starting and ending them. Must not know snapshots or images: a chain of layers comes in.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.engines.native import bundle, cgroups, keepers, limits, overlay, removal, runtime, verdicts
from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.kernel import in_private_mounts
from sandbox.engines.native.store import SandboxState, Store
from sandbox.engines.native.ways_in import ThroughKeeper, ThroughRuntime
from sandbox.errors import EngineUnavailable

_PF_EXITING = 0x4


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
        self._nursery = keepers.Nursery()

    def close(self) -> None:
        """Let go of what starts keepers; containers go on."""
        self._nursery.close()

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

    def fresh(self, state: SandboxState) -> SandboxState:
        """The state for a start: with an empty upper layer and a name that no earlier container had."""
        mark = secrets.token_hex(4)
        upper = self._store.sandboxes / state.sandbox / f"upper-{mark}"
        container = f"{state.sandbox}-{mark}"
        update = {"upper": str(upper), "container": container, "pid": 0, "started": "", "last_snapshot": None}
        return state.model_copy(update={**update, "runtime": choose()})

    def start(self, state: SandboxState) -> SandboxState:
        """Start the container of a `fresh` state; the state with its process."""
        cgroups.enable_controllers()
        layers = self._lay_out(state)
        path = cgroups.path_of(self._home_id, state.container)
        config = bundle.config(
            str(layers.files / "rootfs"),
            init_binary(),
            path,
            state.origin.limits,
            swap_is_counted=cgroups.swap_is_counted(),
        )
        begin = self._begin_kept if state.runtime == keepers.NAME else self._begin_by_runtime
        pid = begin(state, layers, config)
        return state.model_copy(update={"pid": pid, "started": _start_time(pid) or "", "ready": True})

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
        group = self.group(state)
        words = {
            "join": limits.impose(group.path, config["linux"]["resources"]),
            "overlay": {
                "name": state.container,
                "directory": str(layers.links),
                "options": overlay.link_layers(layers.lowers, layers.upper, layers.work, layers.links),
                "target": config["root"]["path"],
            },
            "config": config,
        }
        group.make(parents=True)
        handle = group.handle()
        try:
            return self._nursery.start(words, layers.files, handle)
        finally:
            os.close(handle)

    def end(self, state: SandboxState) -> None:
        """Kill the container with all that runs in it, and leave nothing of it but its files."""
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
        return state.pid > 0 and _start_time(state.pid) == state.started

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

    def end_stray(self, container: str) -> None:
        """End a container of which nothing but its name is known."""
        path = cgroups.path_of(self._home_id, container)
        group = Group(path)
        group.kill()
        if cgroups.hybrid():
            Group(path, beside=True).kill()
        for name in runtime.NAMES:
            known = runtime.state_of(self._home_id, name)
            if container in known.containers():
                known.delete(container)
        group.remove()

    def tidy(self) -> None:
        """Remove the directories that hold nothing any more once the last sandbox is gone."""
        cgroups.remove_if_empty(self._home_id)
        runtime.remove_state_if_empty(self._home_id)


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


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where it is gone or going."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X") or int(fields[6]) & _PF_EXITING:
        return None
    return fields[19]
