"""The product on the course, through its Python API.

Owns how the manager is asked.
"""

from __future__ import annotations

from sandbox.bench import residents
from sandbox.errors import SandboxError
from sandbox.manager import Manager

WHO = "sandbox"
TARGET = "tree"


class Product:
    name = WHO
    workspace = "/workspace"
    exact = True
    lacks: frozenset[str] = frozenset()

    def __init__(self, manager: Manager) -> None:
        """The tree is captured here: no other tool reads it when it makes a sandbox."""
        self._manager = manager
        self._base = manager.capture(TARGET)

    def create(self) -> str:
        return self._manager.create(base=self._base).id

    def exec(self, box: str, command: list[str]) -> bytes:
        done = self._manager.exec(box, command)
        if done.exit_code != 0:
            raise SandboxError(f"{command[0]} gave {done.exit_code}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def snapshot(self, box: str) -> str:
        return self._manager.snapshot(box).snapshot

    def rollback(self, box: str, snapshot: str) -> str:
        self._manager.rollback(box, snapshot)
        return box

    def fork(self, snapshot: str, count: int) -> list[str]:
        return [box.id for box in self._manager.fork(snapshot, count)]

    def diff(self, box: str) -> frozenset[str]:
        (delta,) = self._manager.diff(box).targets
        return frozenset(one.path for one in delta.entries if one.kind == "file" and one.op != "deleted")

    def destroy(self, box: str) -> None:
        self._manager.destroy(box)

    def memory(self, boxes: list[str]) -> int:
        """On docker the engine's processes go by the container's own id, which only the engine knows; on native a
        keeper was there before its sandbox, whose name is on a group within its own."""
        if self._manager.context.default_engine() != "docker":
            return residents.memory([*boxes, *residents.groups_over(boxes, "kept-*")])
        from sandbox.bench.docker_by_hand import containers_of  # here, because the SDK takes long to load

        return residents.memory(containers_of(boxes))
