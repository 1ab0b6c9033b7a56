"""The steps that no other tool has, on a real target: capture, propose, review, promote, restore.

Owns that each left what it should.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from sandbox.bench.content import FILE_BYTES, Content, State, WrongContent, digest_of, same
from sandbox.bench.product import TARGET, WHO
from sandbox.bench.watch import Stopwatch
from sandbox.manager import Manager
from sandbox.targets.base import Base
from sandbox.trees.entry import ROOT
from sandbox.trees.stat_cache import RACY_NS
from sandbox.wiring import EngineChoice

CAPTURED = "captured"
"""A copy of the same tree, which nothing else uses."""
STEPS = {
    "capture_first": "of a target that this home never saw: read, hashed and copied",
    "capture_again": "with nothing changed",
    "capture_changed": "with one file of it changed, a few seconds before",
    "create_anew": "as create, the target being looked at first, as `sandbox create` does each time",
    "propose": "each hundredth file written anew: sealed, rehearsed in the clean room, made a request; no checks",
    "review": "what a person reads before signing it",
    "promote": "the same change, signed by two, onto the real tree; no health check",
    "restore": "that promotion taken back",
}
SIGNERS = ("alice", "bob")
_SETTLED_S = RACY_NS / 1e9 + 0.1
"""What changed a moment ago is read again by the next capture, too, and takes another walk."""


def create(manager: Manager, watch: Stopwatch) -> None:
    """A sandbox of what the target is now."""
    with watch.timed(WHO, "create_anew"):
        box = manager.create(TARGET)
        done = box.exec(["true"])
    box.destroy()
    if done.exit_code != 0:
        raise WrongContent(f"true gave {done.exit_code} in a new sandbox.")


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
    with watch.timed(WHO, "review"):
        manager.review(change.id)
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
            time.sleep(_SETTLED_S)
            changed = State(digest_of(folder / CAPTURED), frozenset({"d000/f00001"}))
            _capture(manager, "capture_changed", changed, watch)
    finally:
        file.write_bytes(before)
        shutil.rmtree(home, ignore_errors=True)


def _capture(manager: Manager, step: str, expected: State, watch: Stopwatch) -> None:
    target = manager.context.target(CAPTURED)
    with watch.timed(WHO, step):
        base = target.capture(manager.context.bases)
    same(_digest(base), expected, step)


def _digest(base: Base) -> str:
    """The digest of a captured tree as `content.DIGEST` makes it, of the bytes that the base gives now."""
    listed, hashed = [], {}
    for entry in base.entries():
        path = b"" if entry.path == ROOT else entry.path
        listed.append(b"%o %c %s\n" % (entry.mode, entry.kind.encode()[:1], path))
        if entry.kind == "file":
            with base.open(entry.path) as file:
                hashed[b"./" + path] = hashlib.blake2b(file.read()).hexdigest().encode()
    lines = [*sorted(listed), *(b"%s  %s\n" % (digest, path) for path, digest in sorted(hashed.items()))]
    return hashlib.blake2b(b"".join(lines), digest_size=32).hexdigest()
