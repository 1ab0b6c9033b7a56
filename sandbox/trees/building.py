"""Builds the directory of a base: from a target, or from another base and a change set.

Owns where each file's content comes from: read once from the target, taken from an earlier base that is known to
have the same file, or from a change set's contents. Must not decide where the result goes (`bases` does), and
only ever reads the target.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sandbox.errors import NotFound, SandboxError
from sandbox.trees import layering, manifest
from sandbox.trees.changes import composed, predicted
from sandbox.trees.descent import Descent
from sandbox.trees.entry import ROOT, Change, Entry, parent_of, path_text
from sandbox.trees.ownership import OwnerMap
from sandbox.trees.patterns import Patterns
from sandbox.trees.removal import remove_tree
from sandbox.trees.scan import items
from sandbox.trees.sealed import encoded
from sandbox.trees.stat_cache import Known, Notes
from sandbox.trees.stored import CHANGES, MANIFEST, TREE, Meta, OnProgress, StoredBase
from sandbox.trees.updating import Shelf, TooMuch, Updated
from sandbox.trees.walk import Walk, opened
from sandbox.trees.writer import TreeWriter

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
    entries: int
    racy: bool = False
    """Something was changed so shortly before it was read that it may have changed behind it without a trace."""
    under: Path | None = None
    """The directory of the whole base that this is a layer over."""

    @property
    def layers(self) -> tuple[Path, ...]:
        """See `StoredBase`."""
        return tuple(directory / TREE for directory in (self.directory, self.under) if directory is not None)

    @property
    def cache(self) -> Path:
        """The stat cache of the scan that it was captured by."""
        return self.directory / "cache"


class Capture:
    """One pass over a target that copies it."""

    def __init__(self, directory: Path, previous: Built | StoredBase | None, on_progress: OnProgress | None) -> None:
        """`previous`: a base whose files the stat cache speaks of."""
        self._directory = directory
        self._previous = previous
        self._on_progress = on_progress
        self._owner: OwnerMap | None = None
        self._entries = 0

    def run(self, source_fd: int, ignore: Patterns, known: Known) -> Built:
        """Raises what `scan` raises. The target may have changed since an entry was read; the caller checks."""
        with ExitStack() as stack:
            writer = stack.enter_context(TreeWriter(self._directory / TREE))
            notes = stack.enter_context(Notes(self._directory))
            earlier = self._follow(stack)

            def reuse(entry: Entry, found: os.stat_result) -> bool:
                return entry.kind != "file" or any(self._link(writer, layer, entry, found) for layer in earlier)

            def canonical() -> Iterator[bytes]:
                size = 0
                for item in items(Walk(source_fd, ignore), known, writer.take, reuse=reuse, notes=notes):
                    if self._owner is None:
                        self._owner = OwnerMap(item.entry.uid, item.entry.gid)
                    writer.add(self._owner.swap(item.entry), item.found.st_mtime_ns)
                    self._entries, size = self._entries + 1, size + item.entry.size
                    if self._on_progress is not None and self._entries % _PROGRESS_EVERY == 0:
                        self._on_progress(self._entries, size)
                    yield item.canonical
                if self._on_progress is not None:
                    self._on_progress(self._entries, size)

            fingerprint = manifest.write_canonical(self._directory / MANIFEST, canonical(), durable=False)
            writer.finish()
            notes.finish()
            if self._owner is None:
                raise SandboxError("A walk did not yield the root of the tree.")
            built = Built(fingerprint, self._owner, self._owner, self._directory, self._entries, notes.racy)
            notes.path.rename(built.cache)
        return built

    def _follow(self, stack: ExitStack) -> list[Descent]:
        try:
            layers = self._previous.layers if self._previous is not None else ()
            return [stack.enter_context(Descent(stack.enter_context(opened(layer)))) for layer in layers]
        except SandboxError:
            return []

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


def update(directory: Path, base: StoredBase, found: Updated, shelf: Shelf, entries: int) -> Built:
    """The layer that makes of a base what a target has become. Raises TooMuch where that is no matter of a layer."""
    root = next((change for change in found.changes if change.path == ROOT), None)
    given_away = root is not None and (root.after is None or (root.after.uid, root.after.gid) != base.owner)
    entries += sum((change.before is None) - (change.after is None) for change in found.changes)
    changes = composed(base.layer(), found.changes)
    if given_away or len(changes) > layering.most_changes(entries):
        raise TooMuch("More differs than a layer should hold.")
    with opened(shelf.directory) as handle:

        def fill(writer: TreeWriter, entry: Entry) -> bool:
            name = shelf.names.get(entry.path)
            if name is not None:
                writer.adopt(entry.path, handle, name)
            return name is not None

        layering.build(directory / TREE, base, changes, fill, found.times)
    remove_tree(shelf.directory)
    (directory / CHANGES).write_bytes(encoded(changes))
    under = base.under or base.directory
    return Built(found.fingerprint, base.owner, base.owner, directory, entries, found.racy, under)


def derive(directory: Path, base: StoredBase, changes: Sequence[Change], blobs: Blobs) -> Built:
    """Build `base` with the changes made to it. Raises Conflict where they do not fit, NotFound for a content that
    is nowhere, SandboxError for one that is damaged."""
    expected = predicted(base.blocks(), changes)
    fingerprint = manifest.write_canonical(directory / MANIFEST, expected, durable=False)
    root = next(manifest.read(directory / MANIFEST))
    root_owner = OwnerMap(root.uid, root.gid)
    entries = Meta.read(base.directory).entries
    entries += sum((change.before is None) - (change.after is None) for change in changes)
    steps = composed(base.layer(), changes)
    now = time.time_ns()
    if len(steps) > layering.most_changes(entries):
        _derive_whole(directory, base, changes, blobs, now)
        return Built(fingerprint, base.owner, root_owner, directory, entries)
    changed = {change.path: now for change in changes}

    def fill(writer: TreeWriter, entry: Entry) -> bool:
        if entry.path in changed:
            _pour(writer, entry, _content(base, blobs, entry))
        return entry.path in changed

    layering.build(directory / TREE, base, steps, fill, changed)
    (directory / CHANGES).write_bytes(encoded(steps))
    under = base.under or base.directory
    return Built(fingerprint, base.owner, root_owner, directory, entries, under=under)


def _derive_whole(directory: Path, base: StoredBase, changes: Sequence[Change], blobs: Blobs, now: int) -> None:
    changed = {change.path for change in changes}
    with ExitStack() as stack:
        writer = stack.enter_context(TreeWriter(directory / TREE))
        earlier = [stack.enter_context(Descent(stack.enter_context(opened(layer)))) for layer in base.layers]
        for entry in manifest.read(directory / MANIFEST):
            fresh = entry.path in changed
            if entry.kind == "file" and (fresh or not _linked(writer, earlier, entry.path)):
                _pour(writer, entry, _content(base, blobs, entry))
            writer.add(base.owner.swap(entry), now if fresh else _mtime(earlier, entry.path, now))
        writer.finish()


def _linked(writer: TreeWriter, earlier: Sequence[Descent], path: bytes) -> bool:
    for layer in earlier:
        with suppress(FileNotFoundError, NotADirectoryError):
            if writer.link(path, layer.seek(parent_of(path))):
                return True
    return False


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


def _mtime(earlier: Sequence[Descent], path: bytes, otherwise: int) -> int:
    for layer in earlier:
        with suppress(OSError):
            home = layer.seek(parent_of(path))
            return os.stat(_name(path), dir_fd=home, follow_symlinks=False).st_mtime_ns
    return otherwise


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]
