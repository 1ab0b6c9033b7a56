"""An OCI runtime by its command: runc, and gVisor's runsc, whose kernel is a program of its own.

A bundle for each sandbox, its root an overlay that is mounted by hand. Only its making, its commands and its end: what
snapshots cost there is the overlay's, which `bwrap` shows. What the root is made of is what ours on docker runs on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from sandbox.bench import residents
from sandbox.bench.contender import STEPS
from sandbox.bench.content import Content
from sandbox.bench.overlays_by_hand import Overlays
from sandbox.bench.peers import Absent
from sandbox.engines import images
from sandbox.errors import EngineError
from sandbox.spec import Limits

_IMAGE = "base"
_SPACES = ("pid", "mount", "ipc", "uts", "network")
_CPU_PERIOD_US = 100_000


class OciByHand(Overlays):
    workspace = "/workspace"
    exact = True
    lacks = frozenset(STEPS) - {"create", "exec", "destroy"}

    def __init__(self, folder: Path, name: str, says: str, command: tuple[str, ...]) -> None:
        super().__init__(folder / "layers")
        self._place = folder
        self.name = name
        self.says = says
        self.by_hand = name == "runc"  # the other has a kernel of its own: nobody would call it a part
        self._command = (*command, "--root", str(folder / "state"))

    @classmethod
    @contextmanager
    def ready(cls, folder: Path, content: Content, say: Callable[[str], None], **words: Any) -> Iterator[Self]:
        """Try it once. Raises Absent where it does not run here."""
        place = folder / f"oci-{words['name']}"
        base = place / "layers" / "base"
        base.mkdir(parents=True)
        archive = images.rootfs(images.definitions()[_IMAGE], say)
        subprocess.run(["tar", "-xf", str(archive), "-C", str(base)], check=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(content.root), str(base / "workspace")], check=True)
        made = cls(place, **words)
        try:
            try:
                made.exec(made.create(), ["true"])
            except (OSError, EngineError) as error:
                raise Absent(f"{made.name} does not run here: {error}"[:200]) from error
            finally:
                made.forget()
            yield made
        finally:
            made.forget()
            shutil.rmtree(place)

    def create(self) -> str:
        box = super().create()
        bundle = self._place / f"{box}.bundle"
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(_config(self._folder / box, box)), encoding="utf-8")
        self._asked("run", "--bundle", str(bundle), "--detach", box, listened_to=False)
        return box

    def _asked(self, *words: str, listened_to: bool = True) -> bytes:
        """What it prints; a container that goes on would keep a pipe open."""
        log = self._place / "log"
        command = [*self._command, "--log", str(log), *words]
        out = subprocess.PIPE if listened_to else subprocess.DEVNULL
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
        if done.returncode != 0:
            said = (done.stderr or b"").decode(errors="replace") or log.read_text(encoding="utf-8", errors="replace")
            raise EngineError(f"{words[0]} gave {done.returncode}: {said.strip()[-200:]}")
        return done.stdout or b""

    def exec(self, box: str, command: list[str]) -> bytes:
        return self._asked("exec", box, *command)

    def destroy(self, box: str) -> None:
        self._asked("delete", "--force", box)
        shutil.rmtree(self._place / f"{box}.bundle")
        super().destroy(box)

    def memory(self, boxes: list[str]) -> int:
        """A container's name is in its cgroup."""
        return residents.memory(boxes)

    def forget(self) -> None:
        for bundle in self._place.glob("*.bundle"):
            with suppress(EngineError):
                self._asked("delete", "--force", bundle.stem)
            shutil.rmtree(bundle)
        super().forget()


def _config(root: Path, name: str) -> dict[str, Any]:
    limits = Limits()
    memory = limits.memory_mb << 20
    cpu = {"period": _CPU_PERIOD_US, "quota": round(limits.cpus * _CPU_PERIOD_US)}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root)},
        "process": {
            "args": ["sleep", "infinity"],
            "cwd": "/",
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {
            "namespaces": [{"type": space} for space in _SPACES],
            "cgroupsPath": f"/sandbox-bench-{name}",
            "resources": {"memory": {"limit": memory}, "pids": {"limit": limits.pids}, "cpu": cpu},
        },
    }
