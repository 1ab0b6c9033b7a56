"""Builds the directory of a base: from a target, or from another base and a change set.

Owns where each file's content comes from: read once from the target, taken from an earlier base that is known to
have the same file, or from a change set's contents. Must not decide where the result goes (`bases` does), and
only ever reads the target.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sandbox.errors import NotFound, SandboxError
from sandbox.trees import manifest
from sandbox.trees.changes import predict
from sandbox.trees.descent import Descent
from sandbox.trees.entry import Change, Entry, parent_of, path_text
from sandbox.trees.ownership import OwnerMap
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import items
from sandbox.trees.stat_cache import Known, Notes
from sandbox.trees.stored import MANIFEST, TREE, StoredBase
from sandbox.trees.walk import Walk, opened
from sandbox.trees.writer import TreeWriter

OnProgress = Callable[[int, int], None]
"""Called now and then, and at the end, with the entries and the bytes that are done."""

_PROGRESS_EVERY = 200
_CHUNK = 1 << 20


class Blobs(Protocol):
    """Contents by their digest; `targets.base.Blobs` is one."""

    def open(self, sha256: bytes) -> BinaryIO:
        """The content; raises NotFound."""


@dataclass(frozen=True, slots=True)
class Built:
    """A base's directory, still under its temporary name."""

    fingerprint: str
    owner: OwnerMap
    """Whom root stands for in the tree on disk."""
    root_owner: OwnerMap
    """Whom the root of the tree belongs to; the same unless a change gave it away."""
    directory: Path

    @property
    def cache(self) -> Path:
        """The stat cache of the scan that it was captured by."""
        return self.directory / "cache"


class Capture:
    """One pass over a target that copies it."""

    def __init__(self, directory: Path, previous: Built | None, on_progress: OnProgress | None) -> None:
        """`previous`: a base whose files the stat cache speaks of."""
        self._directory = directory
        self._previous = previous
        self._on_progress = on_progress
        self._owner: OwnerMap | None = None

    def run(self, source_fd: int, ignore: Patterns, known: Known) -> Built:
        """Raises what `scan` raises. The target may have changed since an entry was read; the caller checks."""
        with ExitStack() as stack:
            writer = stack.enter_context(TreeWriter(self._directory / TREE))
            notes = stack.enter_context(Notes(self._directory))
            earlier = self._follow(stack)

            def reuse(entry: Entry, found: os.stat_result) -> bool:
                return entry.kind != "file" or (earlier is not None and self._link(writer, earlier, entry, found))

            def canonical() -> Iterator[bytes]:
                entries = size = 0
                for item in items(Walk(source_fd, ignore), known, writer.take, reuse=reuse, notes=notes):
                    if self._owner is None:
                        self._owner = OwnerMap(item.entry.uid, item.entry.gid)
                    writer.add(self._owner.swap(item.entry), item.found.st_mtime_ns)
                    entries, size = entries + 1, size + item.entry.size
                    if self._on_progress is not None and entries % _PROGRESS_EVERY == 0:
                        self._on_progress(entries, size)
                    yield item.canonical
                if self._on_progress is not None:
                    self._on_progress(entries, size)

            fingerprint = manifest.write_canonical(self._directory / MANIFEST, canonical())
            writer.finish()
            notes.finish()
            if self._owner is None:
                raise SandboxError("A walk did not yield the root of the tree.")
            built = Built(fingerprint, self._owner, self._owner, self._directory)
            notes.path.rename(built.cache)
        return built

    def _follow(self, stack: ExitStack) -> Descent | None:
        if self._previous is None:
            return None
        try:
            root = stack.enter_context(opened(self._previous.directory / TREE))
        except SandboxError:
            return None
        return stack.enter_context(Descent(root))

    def _link(self, writer: TreeWriter, earlier: Descent, entry: Entry, found: os.stat_result) -> bool:
        """Share the earlier base's file, where owner and time on disk are those that this one needs."""
        if self._previous is None or self._previous.owner != self._owner:
            return False
        try:
            home = earlier.seek(parent_of(entry.path))
            stored = os.stat(_name(entry.path), dir_fd=home, follow_symlinks=False)
        except OSError:
            return False
        same = (stored.st_mtime_ns, stored.st_size) == (found.st_mtime_ns, entry.size)
        return same and writer.link(entry.path, home)


def derive(directory: Path, base: StoredBase, changes: Sequence[Change], blobs: Blobs) -> Built:
    """Build `base` with the changes made to it. Raises Conflict where they do not fit, NotFound for a content that
    is nowhere, SandboxError for one that is damaged."""
    changed = {change.path for change in changes}
    now = time.time_ns()
    with ExitStack() as stack:
        writer = stack.enter_context(TreeWriter(directory / TREE))
        earlier = stack.enter_context(Descent(stack.enter_context(opened(base.directory / TREE))))

        def canonical() -> Iterator[bytes]:
            for entry in predict(base.entries(), changes):
                fresh = entry.path in changed
                if entry.kind == "file" and (fresh or not writer.link(entry.path, earlier.seek(parent_of(entry.path)))):
                    _pour(writer, entry, _content(base, blobs, entry))
                writer.add(base.owner.swap(entry), now if fresh else _mtime(earlier, entry.path, now))
                yield entry.canonical()

        fingerprint = manifest.write_canonical(directory / MANIFEST, canonical())
        writer.finish()
    root = next(manifest.read(directory / MANIFEST), None)
    root_owner = OwnerMap(root.uid, root.gid) if root is not None else base.owner
    return Built(fingerprint, base.owner, root_owner, directory)


def _content(base: StoredBase, blobs: Blobs, entry: Entry) -> BinaryIO:
    """Of a new or changed file, or of one of the base that only changed its mode or owner."""
    try:
        return blobs.open(entry.content)
    except NotFound:
        known = base.find(entry.path)
        if known is None or known.content != entry.content:
            raise
        return base.open(entry.path)


def _pour(writer: TreeWriter, entry: Entry, content: BinaryIO) -> None:
    with content:
        poured = writer.pour(entry.path, iter(lambda: content.read(_CHUNK), b""))
    if poured != (entry.content, entry.size):
        raise SandboxError(f"The stored content of {path_text(entry.path)!r} is damaged.", "Propose the change again.")


def _mtime(earlier: Descent, path: bytes, otherwise: int) -> int:
    try:
        home = earlier.seek(parent_of(path))
        return os.stat(_name(path), dir_fd=home, follow_symlinks=False).st_mtime_ns
    except OSError:
        return otherwise


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]
