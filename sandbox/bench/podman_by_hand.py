"""podman by its command: a container for each sandbox, a commit for each snapshot, a new container to go back.

Its storage is on the file system that is measured, so that it meets what ours does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from sandbox.bench import residents
from sandbox.bench.content import Content
from sandbox.bench.peers import Absent
from sandbox.engines import images
from sandbox.errors import EngineError
from sandbox.spec import Limits

_IMAGE = "base"
_SETTINGS = """[engine]
lock_type = "file"
events_logger = "none"
cgroup_manager = "cgroupfs"
runtime = "{runtime}"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""
"""Its own limits may be above what this machine allows; crun refuses cgroups that are v1 beside v2."""


def _runtime() -> str:
    return "crun" if Path("/sys/fs/cgroup/cgroup.controllers").exists() and shutil.which("crun") else "runc"


class PodmanByHand:
    name = "podman"
    says = "run of an image that has the tree, exec, commit, diff, remove and run anew to go back; limits, no network"
    by_hand = False
    workspace = "/workspace"
    exact = False
    lacks: frozenset[str] = frozenset()

    def __init__(self, folder: Path, state: str) -> None:
        self._folder = folder
        self._state = state
        self._image = ""
        self._snapshots: list[str] = []
        (folder / "containers.conf").write_text(_SETTINGS.format(runtime=_runtime()))
        self._env = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf"), "TMPDIR": str(folder)}

    @classmethod
    @contextmanager
    def ready(cls, folder: Path, content: Content, say: Callable[[str], None]) -> Iterator[Self]:
        """Import the image that ours on docker runs on, with the tree. Raises Absent where it does not run here."""
        place = folder / "podman"
        place.mkdir()
        made = cls(place, tempfile.mkdtemp(prefix="sandbox-", dir="/run"))  # its path may have 50 characters
        try:
            try:
                made._image = made._holding(images.rootfs(images.definitions()[_IMAGE], say), content)
            except (EngineError, OSError) as error:
                raise Absent(f"podman does not run here: {error}") from error
            yield made
        finally:
            with suppress(EngineError):  # one that does not run has made nothing
                made._ask("rm", "--all", "--force", "--time", "0")
                made._ask("rmi", "--all", "--force")
            subprocess.run(["umount", str(place / "root" / "overlay")], capture_output=True, check=False)
            for left in (place, made._state):
                shutil.rmtree(left)

    def _holding(self, archive: Path, content: Content) -> str:
        self._image = self._ask("import", "--quiet", str(archive))
        box = self.create()
        self._ask("cp", f"{content.root}/.", f"{box}:{self.workspace}")
        return self._ask("commit", "--quiet", box, "bench:tree")  # one without a name goes with its last child

    def _ask(self, *words: str) -> str:
        return self._run(*words).decode().strip().rpartition("\n")[2]

    def _run(self, *words: str) -> bytes:
        where = ["--root", str(self._folder / "root"), "--runroot", self._state]
        command = ["podman", *where, "--storage-driver", "overlay", *words]
        done = subprocess.run(command, capture_output=True, check=False, env=self._env, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise EngineError(f"podman {words[0]} gave {done.returncode}: {said}")
        return done.stdout

    def create(self) -> str:
        return self._started(self._image)

    def _started(self, image: str) -> str:
        limits = Limits()
        allowed = ["--cpus", str(limits.cpus), "--memory", f"{limits.memory_mb}m", "--pids-limit", str(limits.pids)]
        return self._ask("run", "--detach", "--network", "none", *allowed, image, "sleep", "infinity")

    def exec(self, box: str, command: list[str]) -> bytes:
        return self._run("exec", box, *command)

    def snapshot(self, box: str) -> str:
        self._snapshots.append(self._ask("commit", "--quiet", box))
        return self._snapshots[-1]

    def rollback(self, box: str, snapshot: str) -> str:
        self.destroy(box)
        return self._started(snapshot)

    def fork(self, snapshot: str, count: int) -> list[str]:
        return [self._started(snapshot) for _ in range(count)]

    def diff(self, box: str) -> frozenset[str]:
        inside = f"{self.workspace}/"
        paths = (line.partition(" ")[2] for line in self._run("diff", box).decode().splitlines())
        return frozenset(path.removeprefix(inside) for path in paths if path.startswith(inside))

    def destroy(self, box: str) -> None:
        self._run("rm", "--force", "--time", "0", box)

    def memory(self, boxes: list[str]) -> int:
        """A container's id is in its cgroup and on its monitor's command line."""
        return residents.memory(boxes)

    def forget(self) -> None:
        """Remove what a round left."""
        self._run("rm", "--all", "--force", "--time", "0")
        while self._snapshots:
            self._run("rmi", "--force", self._snapshots.pop())
