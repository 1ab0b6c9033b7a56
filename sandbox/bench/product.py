"""The product on the course, through its Python API, and the steps that no other tool has.

Owns how the manager is asked. What it measures beyond the course: capture, propose, promote, restore.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sandbox.bench.content import FILE_BYTES, Content, State, WrongContent, digest_of, same
from sandbox.bench.watch import Stopwatch
from sandbox.errors import SandboxError
from sandbox.manager import Manager
from sandbox.wiring import EngineChoice

WHO = "sandbox"
TARGET = "tree"
CAPTURED = "captured"
"""A copy of the same tree, which nothing else uses."""
STEPS = {
    "capture_first": "of a target that this home never saw: read, hashed and copied",
    "capture_again": "with nothing changed",
    "capture_changed": "with one file of it changed",
    "propose": "every twentieth file written anew: sealed, rehearsed in the clean room, made a request; no checks",
    "promote": "the same change, signed by two, onto the real tree; no health check",
    "restore": "that promotion taken back",
}
SIGNERS = ("alice", "bob")


class Product:
    name = WHO
    workspace = "/workspace"
    exact = True

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def create(self) -> str:
        return self._manager.create(TARGET).id

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

    def fork(self, snapshot: str) -> str:
        return self._manager.fork(snapshot)[0].id

    def diff(self, box: str) -> frozenset[str]:
        (delta,) = self._manager.diff(box).targets
        return frozenset(one.path for one in delta.entries if one.kind == "file" and one.op != "deleted")

    def destroy(self, box: str) -> None:
        self._manager.destroy(box)


def promotion(manager: Manager, box: str, content: Content, keys: Path, watch: Stopwatch) -> None:
    """Propose, promote and restore what is in the sandbox. Raises WrongContent."""
    with watch.timed(WHO, "propose"):
        record = manager.propose(box)
    change = record.change
    if change is None:
        raise WrongContent(f"The proposal ended as {record.status}: {record.failure}.")
    (delta,) = change.targets
    if (delta.added, delta.modified, delta.deleted) != (0, len(content.a.paths), 0):
        raise WrongContent(f"The proposal has {delta.modified} modified files, not {len(content.a.paths)}.")
    for person in SIGNERS:
        manager.approve(change.id, person=person, key=keys / person, digest=change.digest)
    with watch.timed(WHO, "promote"):
        promoted = manager.promote(change.id)
    _ended(promoted.status, "committed", promoted.reasons)
    same(digest_of(content.root), content.a, "promote")
    with watch.timed(WHO, "restore"):
        restored = manager.restore(promoted.promotion)
    _ended(restored.status, "restored", restored.reasons)
    same(digest_of(content.root), content.base, "restore")


def _ended(status: str, wanted: str, reasons: tuple[str, ...]) -> None:
    if status != wanted:
        raise WrongContent(f"The promotion ended as {status}, not {wanted}: {'; '.join(reasons)}")


def settle(folder: Path, content: Content) -> None:
    """Make the copy that captures are measured on: once, since what was just written is always read again."""
    shutil.copytree(content.root, folder / CAPTURED)


def capture(folder: Path, engine: EngineChoice, content: Content, watch: Stopwatch) -> None:
    """Capture the settled copy in a fresh home: at first, again, and with one file changed, which then is as before."""
    home, file = folder / "capture-home", folder / CAPTURED / "d000/f00001"
    before = file.read_bytes()
    try:
        with Manager.open(home=home, config=folder / "config", engine=engine) as manager:
            _capture(manager, "capture_first", content.base, watch)
            _capture(manager, "capture_again", content.base, watch)
            file.write_bytes(b"x" * FILE_BYTES)
            changed = State(digest_of(folder / CAPTURED), frozenset({"d000/f00001"}))
            _capture(manager, "capture_changed", changed, watch)
    finally:
        file.write_bytes(before)
        shutil.rmtree(home, ignore_errors=True)


def _capture(manager: Manager, step: str, expected: State, watch: Stopwatch) -> None:
    target = manager.context.target(CAPTURED)
    with watch.timed(WHO, step):
        base = target.capture(manager.context.bases)
    same(digest_of(base.tree.root), expected, step)
