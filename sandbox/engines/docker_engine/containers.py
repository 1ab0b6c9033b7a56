"""Containers: made, found, removed, always with our labels.

Owns how a container is set up. Capabilities: what dpkg, apt, pip and npm need as root to unpack files of any
owner and to become another user (CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETUID, SETGID, SETFCAP), and KILL, so
that root can end what it started as somebody else. No MKNOD, NET_RAW, SYS_CHROOT, AUDIT_WRITE, SETPCAP.
"""

from __future__ import annotations

import os
import select
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import errors as docker_errors
from docker.types import LogConfig, Ulimit

from sandbox.clock import fresh_id
from sandbox.engines.base import HIDDEN_PATHS
from sandbox.engines.docker_engine import archive, naming, waiter
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.naming import Blueprint, Names
from sandbox.errors import InputError, NotFound, OverLimit, SandboxDied

CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETFCAP", "SETGID", "SETUID"]
MIB = 1 << 20
_RUNTIME_TASKS = 8
"""What the engine's runtime is in the sandbox while it starts a command there: a process of several threads."""
_LOOK_S = 0.002
_MEASURED_TIMES = 3
"""What changes while it is measured may fail a measurement; what can't be measured fails all of them."""


@dataclass(frozen=True, slots=True)
class Box:
    """A sandbox's container as it was when it was looked at."""

    id: str
    running: bool
    pid: int
    image: str
    """The id of the image that it stands on."""
    blueprint: Blueprint


class _Recent(OrderedDict[str, Box]):
    """The containers that were seen last, by sandbox; not more than a few."""

    _MOST = 256

    def __setitem__(self, sandbox: str, box: Box) -> None:
        super().__setitem__(sandbox, box)
        self.move_to_end(sandbox)
        while len(self) > self._MOST:
            self.popitem(last=False)


class Containers:
    """The containers of one home."""

    def __init__(self, connection: Connection, names: Names, locks: Locks) -> None:
        self._connection = connection
        self._names = names
        self._locks = locks
        self._recent = _Recent()

    def create(
        self, sandbox: str, image: str, blueprint: Blueprint, *, name: str, architecture: str, touched: bool
    ) -> None:
        """A sandbox's container, running. When it fails, nothing of it stays.

        `touched`: an agent has been at work in the image, so our own program may not be in it any more.
        """
        api = self._connection.api
        if blueprint.network != "none" and all(item["Name"] != "bridge" for item in api.networks()):
            raise InputError(  # it would start all the same, without any
                "This Docker Engine has no network for containers.", "Start dockerd without `--bridge=none`."
            )
        made = api.create_container(
            image,
            name=name,
            hostname="sandbox",
            user="0",
            entrypoint=waiter.command(architecture, alone=blueprint.network == "none"),
            command=[],
            working_dir="/",
            environment=blueprint.env,
            healthcheck={"test": ["NONE"]},
            network_disabled=blueprint.network == "none",
            labels=self._names.labels(
                "sandbox", id=sandbox, blueprint=blueprint.text(), base=blueprint.base, owner=self._locks.token()
            ),
            host_config=self._host_config(blueprint),
        )
        try:
            self._furnish(made["Id"], blueprint, architecture, touched=touched)
            api.start(made["Id"])
        except BaseException:
            self.remove(made["Id"])
            raise
        if name == self._names.container(sandbox):  # else it has yet to take the place of another
            self._recent[sandbox] = Box(made["Id"], True, 0, image, blueprint)

    def _host_config(self, blueprint: Blueprint) -> dict[str, Any]:
        """What a sandbox may do and use."""
        limits = blueprint.allowance
        host: dict[str, Any] = self._connection.api.create_host_config(
            init=True,
            cap_drop=["ALL"],
            cap_add=CAPABILITIES,
            security_opt=["no-new-privileges"],
            network_mode="none" if blueprint.network == "none" else "bridge",
            pids_limit=limits.pids,
            mem_limit=limits.memory_mb * MIB,
            memswap_limit=limits.memory_mb * MIB,
            nano_cpus=round(limits.cpus * 1e9),
            ulimits=[Ulimit(name="fsize", soft=limits.disk_mb * MIB, hard=limits.disk_mb * MIB)],
            restart_policy={"Name": "no"},
            log_config=LogConfig(type="none"),
        )
        host["MaskedPaths"] = list(HIDDEN_PATHS)  # more than engines hide by themselves; the SDK has no word for it
        return host

    def size(self, box: Box) -> int:
        """Bytes of the files that it wrote. Raises OverLimit where the engine can't follow them so deep."""
        for _ in range(_MEASURED_TIMES):
            found = self._connection.api.containers(all=True, size=True, filters={"id": box.id})
            if not found:
                raise NotFound(f"The container {box.id[:12]} is gone.")
            size = int(found[0].get("SizeRw") or 0)
            if size >= 0:
                return size
        raise OverLimit(
            "The Docker Engine can't measure what the sandbox wrote: its directories are nested too deep.",
            "Remove what is nested so deep, roll it back, or use `--engine native`.",
        )

    def is_full(self, box: Box) -> bool:
        """Whether it has as many processes as it may: so few left that the engine's runtime can't start one."""
        found = self._connection.api.stats(box.id, stream=False, one_shot=True)["pids_stats"]
        return int(found.get("current") or 0) > int(found.get("limit") or box.blueprint.allowance.pids) - _RUNTIME_TASKS

    @contextmanager
    def temporary(
        self, kind: str, image: str, command: list[str], remove: Callable[[str], object] | None = None, **host: Any
    ) -> Iterator[str]:
        """A container that is created, not started, and is gone afterwards, or once `remove` has come to it."""
        api = self._connection.api
        name = f"sandbox-{self._names.home}-{fresh_id(kind)}"
        labels = self._names.labels(kind, owner=self._locks.token())
        host_config = api.create_host_config(network_mode="none", log_config=LogConfig(type="none"), **host)
        try:
            # Within the try, and removed by name: an interrupt may come when it is made and its id not yet here.
            made = api.create_container(
                image,
                name=name,
                user="0",
                entrypoint=command,
                command=[],
                healthcheck={"test": ["NONE"]},
                network_disabled=True,
                labels=labels,
                host_config=host_config,
            )
            yield made["Id"]
        finally:
            (remove or self.remove)(name)

    def beside(
        self,
        kind: str,
        box: Box,
        command: list[str],
        capabilities: list[str],
        remove: Callable[[str], object] | None = None,
    ) -> AbstractContextManager[str]:
        """A temporary container that shares a sandbox's processes, and nothing else.

        It is made from the sandbox's original image, so its programs are there whatever the agent deleted.
        """
        return self.temporary(
            kind,
            box.blueprint.image_id,
            command,
            remove,
            pid_mode=f"container:{box.id}",
            cap_drop=["ALL"],
            cap_add=capabilities,
            security_opt=["no-new-privileges"],
            read_only=True,
        )

    def find(self, sandbox: str) -> Box:
        """The sandbox's container. Raises NotFound."""
        found = self.named(self._names.container(sandbox))
        if found is None:  # a rollback has just removed the old one, or was killed right there: the new one is complete
            found = self.named(self._names.successor(sandbox))
        if found is None:
            raise NotFound(f"There is no sandbox {sandbox!r}.", "`sandbox list` shows what there is.")
        return found

    def named(self, container: str) -> Box | None:
        """The container of this name, or id."""
        try:
            return _box(self._connection.api.inspect_container(container))
        except docker_errors.NotFound:
            return None

    def known(self, sandbox: str) -> Box:
        """As `find`, but perhaps as it was a while ago, without asking."""
        return self._recent.get(sandbox) or self.find(sandbox)

    def alive(self, sandbox: str) -> Box:
        """The sandbox's running container. Raises NotFound, or SandboxDied."""
        box = self.find(sandbox)
        if not box.running:
            raise SandboxDied(f"The container of {sandbox} is not running.", "Roll it back or make another sandbox.")
        self._recent[sandbox] = box
        return box

    def recent(self, sandbox: str) -> Box:
        """As `alive`, but perhaps as it was a while ago, without asking.

        A container's id is never another's: one that was replaced or has died meanwhile is refused by the engine.
        """
        return self._recent.get(sandbox) or self.alive(sandbox)

    def forget(self, sandbox: str) -> None:
        """Ask the next time."""
        self._recent.pop(sandbox, None)

    @contextmanager
    def frozen(self, sandbox: str, box: Box) -> Iterator[None]:
        """Nothing in the sandbox runs meanwhile. The caller holds the sandbox's lock."""
        if not box.running:
            yield
            return
        with self._locks.still(sandbox):
            self._connection.api.pause(box.id)
            try:
                yield
            finally:
                self._connection.api.unpause(box.id)

    def listed(self, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        """Containers by label, dead ones too."""
        return list(self._connection.api.containers(all=True, filters=filters))

    def retire(self, container: str, sandbox: str) -> None:
        """Take its name from a container that has been replaced."""
        self.forget(sandbox)
        self._connection.api.rename(container, self._names.retired(sandbox))

    def kill(self, container: str) -> None:
        """End what runs in it."""
        try:
            self._connection.api.kill(container)
        except docker_errors.APIError as error:
            if error.status_code != 409:  # it does not run
                raise

    @contextmanager
    def ending(self, box: Box, killed: threading.Event) -> Iterator[None]:
        """Somebody kills a container meanwhile. Left once nothing runs in it: when the engine says so (`killed`) or,
        long before, when its first process, the last to go, is seen to be gone."""
        place = self.seen_here(box)
        first = os.pidfd_open(box.pid) if place else None
        try:
            yield
            while not killed.wait(_LOOK_S):
                if first is not None and select.select([first], [], [], 0)[0]:
                    return
        finally:
            if first is not None:
                os.close(first)

    def seen_here(self, box: Box) -> Path | None:
        """Where this host shows a container's first process; None where its engine is elsewhere."""
        place = Path(f"/proc/{box.pid}")
        try:  # a daemon in another machine or namespace behind a local socket has other process ids
            here = self._connection.is_local and box.pid > 1 and box.id in (place / "cgroup").read_text()
        except OSError:
            return None
        return place if here else None

    def name(self, idle: str, sandbox: str) -> bool:
        """Give a container that was made for nobody to a sandbox; False where it does not run any more."""
        api = self._connection.api
        box = self._recent.pop(idle, None)
        try:
            if box is None or not api.inspect_container(box.id)["State"]["Running"]:
                return False
            api.rename(box.id, self._names.container(sandbox))
        except docker_errors.NotFound:
            return False
        self._recent[sandbox] = box
        return True

    def remove(self, container: str) -> bool:
        """Remove it with its volumes; whether there was one."""
        try:
            self._connection.api.remove_container(container, v=True, force=True)
        except docker_errors.NotFound:
            return False
        except docker_errors.APIError as error:
            if "is already in progress" not in str(error.explanation):
                raise
        return True

    def _furnish(self, container: str, blueprint: Blueprint, architecture: str, *, touched: bool) -> None:
        """Put the waiter in its place, which an agent may have deleted before a snapshot; where there is none for the
        architecture, what it would write."""
        program, added = waiter.program(architecture), b""
        if program is None and blueprint.network == "none":
            added = archive.file(waiter.HOSTS, waiter.LOCALHOST, 0o644)
        elif program is not None and touched:
            found = self._connection.path_status(container, waiter.PATH)
            if found is None or (found["mode"], found["size"]) != (0o755, len(program)):
                added = archive.file(waiter.PATH, program, 0o755)
        if added:
            self._connection.api.put_archive(container, "/", added + archive.END)


def _box(says: dict[str, Any]) -> Box:
    labels = says["Config"]["Labels"]
    return Box(
        id=says["Id"],
        running=bool(says["State"]["Running"]),
        pid=int(says["State"]["Pid"]),
        image=says["Image"],
        blueprint=Blueprint.parse(labels[naming.BLUEPRINT]),
    )
