"""The seam between the manager and a real system: identify, capture, check, apply, restore.

Owns the words that both sides share. Must not know any kind of target. Nothing here asks a policy or
writes the journal: the caller does, before and after, and is told of each durable step by `on_step`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sandbox.records import Hazard
from sandbox.spec import TargetSpec
from sandbox.trees.bases import BaseStore, OnProgress, StoredBase
from sandbox.trees.block import Block
from sandbox.trees.entry import Change, Entry

OnStep = Callable[[str], None]
"""Called right before a step is taken, with its name (`stage`, `swap`, …); may not return (a fault)."""


class Base(Protocol):
    """A captured state of a target: an immutable tree, in the target's own terms."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits over all that counts."""

    def entries(self) -> Iterator[Entry]:
        """Every entry, root first, in depth-first order, with the target's own owners."""

    def blocks(self) -> Iterator[Block]:
        """The same in runs, not decoded, for who is interested in a few of them."""

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file of the base."""

    def file(self, path: bytes) -> Path | None:
        """A file with all that the entry says, for a hard link that nobody writes to; None where there is none."""


class Blobs(Protocol):
    """Sealed file contents by their digest, out of every agent's reach."""

    def open(self, sha256: bytes) -> BinaryIO:
        """The content; raises NotFound."""

    def path(self, sha256: bytes) -> Path:
        """Where it lies, so that it can be reflinked."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How the target differs from a base now; `changes` is empty where it does not."""

    fingerprint: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    base: Base
    changes: tuple[Change, ...]
    """In the target's own terms, in depth-first order."""
    blobs: Blobs
    point: Path
    """A directory of the manager's own that becomes the restore point of this target."""
    tag: str
    """The promotion's id; names what is put into the target for a while."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a restore gave."""

    fingerprint: str
    """Of the target afterwards."""
    clean: bool
    """All changed paths are as they were before, but for those that somebody else wrote to and we had not
    changed: these are in `foreign`."""
    kept_aside: tuple[tuple[bytes, Path], ...]
    """Third-party writes on changed paths, and where they are kept now."""
    foreign: tuple[bytes, ...] = ()
    """Third-party writes on other paths, left alone."""


class Target(Protocol):
    """One real system. Stateless: everything durable is in the target itself or in the restore point."""

    spec: TargetSpec

    def identify(self) -> str:
        """What it really is, stable under renames of its label. Raises InputError where it is not there."""

    def lease(self) -> AbstractContextManager[None]:
        """Nobody else promotes to it meanwhile, whatever their home. Raises Locked."""

    def capture(self, bases: BaseStore, on_progress: OnProgress | None = None) -> StoredBase:
        """The state as it is now, copied into `bases`. `on_progress(entries, bytes)` is called as it goes."""

    def check(self, base: Base) -> Drift:
        """Read the real state anew and compare it with `base`."""

    def written_since(self, base: Base, changes: tuple[Change, ...]) -> list[bytes]:
        """Where it is not as these changes to `base` left it: at their paths, in the directories that lead there, and
        inside the directories that they made. Reads nothing else of it."""

    def reading_seconds(self, entries: int) -> float:
        """About how long it takes to read it again where it has so many entries, by a sample of it as it is now. What
        has not changed is not read whole then."""

    def inspect(self, base: Base, changes: tuple[Change, ...]) -> list[Hazard]:
        """What a reviewer must know, and what can't be applied (`blocks`)."""

    def prepare(self, request: ApplyRequest, on_step: OnStep) -> None:
        """Make the restore point durable and put new content in place to be swapped in; nothing visible
        changes yet. Raises Drifted where a path to change is no longer as in the base."""

    def apply(self, request: ApplyRequest, on_step: OnStep) -> str:
        """Make the change; the fingerprint afterwards. Raises SandboxError and leaves the rest to restore."""

    def restore(self, point: Path, on_step: OnStep) -> Restoration:
        """Put back what the restore point holds; can be repeated, and after a crash at any step."""

    def standing(self, point: Path) -> Restoration:
        """How it is now against what the restore point holds, without changing anything. `clean`: every changed path is
        as before, and nothing of ours is left in it."""

    def rehearsal(self, base: Base, changes: Sequence[Change], scratch: Path) -> Target:
        """A throw-away target of the same kind in the base's state, kept under `scratch`, on which prepare,
        apply, restore and check of `changes` do what they do on the real one. What they don't look at may be missing,
        and what they leave alone shared with the base, so nothing else may be done with it. The caller removes
        `scratch`."""

    def manual_steps(self, point: Path) -> tuple[str, ...]:
        """Exact shell commands with which a person puts back by hand what `restore` could not."""

    def settle(self, point: Path) -> None:
        """Remove what prepare and apply left inside the target; the restore point stays."""
