"""A base as it lies in the store: an immutable captured state of a target.

Owns the layout of one base's directory and how it is read: `manifest`, `meta.json` and `tree/`, which holds all of it,
or is a layer over the tree of another base; then `changes` says what the layer makes of that one. Must not make a base
or remove one (`bases` does).
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sandbox.errors import NotFound, SandboxError
from sandbox.trees import manifest
from sandbox.trees.block import Block
from sandbox.trees.changes import predicted
from sandbox.trees.descent import Descent
from sandbox.trees.entry import ROOT, Change, Entry, parent_of, path_text
from sandbox.trees.ownership import OwnerMap
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import scan
from sandbox.trees.sealed import read_changes
from sandbox.trees.walk import opened

MANIFEST = "manifest"
META = "meta.json"
TREE = "tree"
CHANGES = "changes"
OnProgress = Callable[[int, int], None]
"""Called now and then, and at the end, with the entries and the bytes that are done."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A base as engines see it: root stands for the target's owner."""

    id: str
    root: Path
    base: StoredBase
    under: tuple[Path, ...] = ()
    """What shows through below `root`."""

    def entries(self) -> Iterator[Entry]:
        """Every entry in sandbox view, the root first, in depth-first order."""
        return map(self.base.owner.swap, self.base.entries())


@dataclass(frozen=True, slots=True)
class StoredBase:
    """A base in the target's own terms."""

    fingerprint: str
    owner: OwnerMap
    """Whom root stands for in a sandbox."""
    directory: Path
    under: Path | None = None
    """The directory of the whole base that this one is a layer over; None where it is whole itself."""

    @property
    def tree(self) -> StoredTree:
        """What an engine places in a sandbox."""
        return StoredTree(self.directory.name, self.layers[0], self, self.layers[1:])

    @property
    def layers(self) -> tuple[Path, ...]:
        """Where the content lies, topmost first; of what the base has at a path, the first that has it counts."""
        return tuple(directory / TREE for directory in (self.directory, self.under) if directory is not None)

    def entries(self) -> Iterator[Entry]:
        """Every entry in target view, the root first, in depth-first order."""
        return manifest.read(self.directory / MANIFEST)

    @property
    def count(self) -> int:
        """How many entries it has."""
        return Meta.read(self.directory).entries

    def blocks(self) -> Iterator[Block]:
        """The same in runs, not decoded."""
        return manifest.read_blocks(self.directory / MANIFEST)

    def entries_among(self, paths: Set[bytes], emptied: Set[bytes]) -> Iterator[Entry]:
        """Those of `entries` that have one of the paths or lie below one of `emptied`, the others not decoded."""
        below: bytes | None = None
        left = len(paths)
        for block in self.blocks():
            if below is None and emptied.isdisjoint(block.paths):
                named = sorted(block.places[path] for path in paths & block.places.keys())
                yield from map(block.entry, named)
                left -= len(named)
                if not left and not emptied:
                    return
                continue
            for at, path in enumerate(block.paths):
                if path in paths or (below is not None and path.startswith(below)):
                    yield block.entry(at)
                if path in emptied and (below is None or not path.startswith(below)):
                    below = b"" if path == ROOT else path + b"/"

    def predicted(self, changes: Sequence[Change]) -> str:
        """The fingerprint of what the changes lead to. Raises Conflict where they do not fit."""
        if not changes:
            return self.fingerprint
        return manifest.fingerprint_of(predicted(self.blocks(), changes))

    def layer(self) -> tuple[Change, ...]:
        """From the whole base that this one stands on to this one."""
        return read_changes(self.directory / CHANGES) if self.under is not None else ()

    def find(self, path: bytes) -> Entry | None:
        """The entry of one path."""
        return manifest.find(self.directory / MANIFEST, path)

    def file(self, path: bytes) -> Path | None:
        """The very file of the base, mode, owner and attributes included, to be linked to and never written to.

        None where the disk does not hold it in the target's own terms.
        """
        if os.geteuid() != 0 or self.owner != OwnerMap(0, 0):
            return None
        paths = [layer / os.fsdecode(path) for layer in self.layers]
        return next((each for each in paths if os.path.lexists(each)), paths[0])

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file. Raises NotFound where the base has no such file."""
        for layer in self.layers:
            try:
                fd = _opened_in(layer, path)
                break
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._no_file(path) from error
        else:
            raise self._no_file(path)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotFound(f"{path_text(path)!r} is no file in the base {self.fingerprint[:12]}.")
        return os.fdopen(fd, "rb")

    def _no_file(self, path: bytes) -> NotFound:
        return NotFound(f"The base {self.fingerprint[:12]} has no file {path_text(path)!r}.")


def _opened_in(layer: Path, path: bytes) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with opened(layer) as root, Descent(root) as down:
        return os.open(path.rpartition(b"/")[2], flags, dir_fd=down.seek(parent_of(path)))


@dataclass(frozen=True, slots=True)
class Meta:
    """What a base's directory says of itself besides the manifest."""

    owner: OwnerMap
    complete: bool
    """It has all owners, modes and devices on disk: it was made by root."""
    boot: str
    """The boot of this machine in which its content was last known to be whole. The content is not forced to disk
    when it is captured; after a crash of the machine it is verified once instead."""
    entries: int
    """How many it has."""
    under: str = ""
    """The name of the directory of the whole base that it is a layer over."""

    @classmethod
    def read(cls, directory: Path) -> Meta:
        """Raises SandboxError where it is damaged, NotFound where there is none."""
        try:
            stored = json.loads((directory / META).read_bytes())
            owner = OwnerMap(int(stored["uid"]), int(stored["gid"]))
            under = str(stored["under"])
            return cls(owner, bool(stored["complete"]), str(stored["boot"]), int(stored["entries"]), under)
        except FileNotFoundError as error:
            raise NotFound(f"There is no base in {directory}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"{directory / META} is damaged.") from error

    def write(self, directory: Path) -> None:
        """Never half there for another process; several may do so at once. Like the content, not forced to disk."""
        stored = {"uid": self.owner.uid, "gid": self.owner.gid, "complete": self.complete, "boot": self.boot}
        incoming = directory / f".{META}.{secrets.token_hex(8)}"
        incoming.write_text(json.dumps(stored | {"entries": self.entries, "under": self.under}))
        incoming.replace(directory / META)


def boot_id() -> str:
    """Names the current boot of the machine; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def is_whole(base: StoredBase) -> bool:
    """Whether the tree of a whole base still has the kinds and contents of the manifest; reads all of it."""
    devices = ("char", "block")
    listed = (entry for entry in base.entries() if entry.kind not in devices)
    found = (entry for entry in scan(base.directory / TREE, Patterns(())) if entry.kind not in devices)
    try:
        pairs = zip(listed, found, strict=True)
        return all(_content(left) == _content(right) for left, right in pairs)
    except (SandboxError, ValueError):
        return False


def _content(entry: Entry) -> tuple[bytes, str, int, bytes]:
    return entry.path, entry.kind, entry.size, entry.content
