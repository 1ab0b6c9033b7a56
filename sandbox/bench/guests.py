"""Sandbox libraries from PyPI on the course, each in a Python of its own, so that nothing of theirs is installed here.

Owns the conversation with `guest.py`, which such a Python runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sandbox.bench import residents
from sandbox.bench.content import Content
from sandbox.bench.peers import Absent
from sandbox.engines import images
from sandbox.errors import EngineError
from sandbox.spec import Limits

DRIVER = Path(__file__).with_name("guest.py")
PEERS = "SANDBOX_BENCH_PEERS"
"""Names the virtual environment in which such libraries are; `.peers` in the working directory where it is not set."""
_IMAGE = "base"
_SAYS = (
    "its Python API: a root file system that has the tree, overlay, a resident shell, snapshots as copies of the layer"
)


class Guest:
    by_hand = False
    says = _SAYS
    workspace = "/workspace"
    exact = False
    lacks = frozenset({"fork", "fork_16", "diff_a", "diff_b"})

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process

    @classmethod
    @contextmanager
    def ready(cls, name: str, folder: Path, content: Content, say: Callable[[str], None]) -> Iterator[Self]:
        """Start its Python and try it once. Raises Absent where it is not installed or does not run here."""
        python = Path(os.environ.get(PEERS) or ".peers", "bin", "python").absolute()
        asked = [str(python), "-c", f"import {name.replace('-', '_')}"]
        if not python.exists() or subprocess.run(asked, capture_output=True, check=False).returncode != 0:
            raise Absent(f"{name} is not installed in the environment that {PEERS} names (see docs/performance.md)")
        place = folder / name
        root = place / "root"
        root.mkdir(parents=True)
        subprocess.run(
            ["tar", "-xf", str(images.rootfs(images.definitions()[_IMAGE], say)), "-C", str(root)], check=True
        )
        subprocess.run(["cp", "-a", "--reflink=auto", str(content.root), str(root / "workspace")], check=True)
        limits = Limits()
        settings = {
            "image": str(root),
            "env_base_dir": str(place / "boxes"),
            "net_isolate": True,
            "cpu_max": str(limits.cpus),
            "memory_max": f"{limits.memory_mb}m",
            "pids_max": str(limits.pids),
        }
        command = [str(python), str(DRIVER), name.replace("-", "_"), json.dumps(settings)]
        with (
            open(place / "log", "wb") as log,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            made = cls(name, process)
            try:
                try:
                    made.exec(made.create(), ["true"])
                    made.forget()
                except EngineError as error:
                    raise Absent(f"{name} does not run here: {error}") from error
                yield made
            finally:
                made._leave()
        shutil.rmtree(place, ignore_errors=True)

    def _leave(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _ask(self, do: str, **words: Any) -> Any:
        assert self._process.stdin  # noqa: S101 - both are pipes
        assert self._process.stdout  # noqa: S101
        try:
            self._process.stdin.write(json.dumps({"do": do, **words}) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise EngineError(f"its process has ended: {error}") from error
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer["gives"]

    def create(self) -> str:
        return str(self._ask("create"))

    def exec(self, box: str, command: list[str]) -> bytes:
        output, code = self._ask("exec", box=box, command=command)
        if code != 0:
            raise EngineError(f"{command[0]} gave {code}: {output[-200:]}")
        return str(output).encode()

    def snapshot(self, box: str) -> str:
        return str(self._ask("snapshot", box=box))

    def rollback(self, box: str, snapshot: str) -> str:
        self._ask("rollback", box=box, snapshot=snapshot)
        return box

    def fork(self, snapshot: str, count: int) -> list[str]:
        """It has none. Raises EngineError."""
        raise EngineError(f"{self.name} can't start {count} sandboxes from {snapshot}")

    def diff(self, box: str) -> frozenset[str]:
        """It has none. Raises EngineError."""
        raise EngineError(f"{self.name} can't tell what differs in {box}")

    def destroy(self, box: str) -> None:
        self._ask("destroy", box=box)

    def memory(self, boxes: list[str]) -> int:
        """Of all that its process started; there is one sandbox at a time."""
        return residents.memory_below(self._process.pid) * len(boxes)

    def forget(self) -> None:
        """Remove what a round left."""
        self._ask("forget")
