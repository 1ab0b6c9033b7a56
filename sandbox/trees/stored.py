"""A base as it lies in the store: an immutable captured state of a target.

Owns the layout of one base's directory (`manifest`, `meta.json`, `tree/`) and how it is read. Must not make one
or remove one (`bases` does).
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sandbox import durable
from sandbox.errors import NotFound, SandboxError
from sandbox.trees import manifest
from sandbox.trees.descent import Descent
from sandbox.trees.entry import Entry, parent_of, path_text
from sandbox.trees.ownership import OwnerMap
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import scan
from sandbox.trees.walk import opened

MANIFEST = "manifest"
META = "meta.json"
TREE = "tree"
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

    @property
    def tree(self) -> StoredTree:
        """What an engine places in a sandbox."""
        return StoredTree(self.directory.name, self.directory / TREE, self)

    def entries(self) -> Iterator[Entry]:
        """Every entry in target view, the root first, in depth-first order."""
        return manifest.read(self.directory / MANIFEST)

    def find(self, path: bytes) -> Entry | None:
        """The entry of one path."""
        return manifest.find(self.directory / MANIFEST, path)

    def file(self, path: bytes) -> Path | None:
        """The very file of the base, mode, owner and attributes included, to be linked to and never written to.

        None where the disk does not hold it in the target's own terms.
        """
        if os.geteuid() != 0 or self.owner != OwnerMap(0, 0):
            return None
        return self.directory / TREE / os.fsdecode(path)

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file. Raises NotFound where the base has no such file."""
        with opened(self.directory / TREE) as root, Descent(root) as down:
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(path.rpartition(b"/")[2], flags, dir_fd=down.seek(parent_of(path)))
            except OSError as error:
                raise NotFound(f"The base {self.fingerprint[:12]} has no file {path_text(path)!r}.") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotFound(f"{path_text(path)!r} is no file in the base {self.fingerprint[:12]}.")
        return os.fdopen(fd, "rb")


@dataclass(frozen=True, slots=True)
class Meta:
    """What a base's directory says of itself besides the manifest."""

    owner: OwnerMap
    complete: bool
    """It has all owners, modes and devices on disk: it was made by root."""
    boot: str
    """The boot of this machine in which its content was last known to be whole. The content is not forced to disk
    when it is captured; after a crash of the machine it is verified once instead."""

    @classmethod
    def read(cls, directory: Path) -> Meta:
        """Raises SandboxError where it is damaged, NotFound where there is none."""
        try:
            stored = json.loads((directory / META).read_bytes())
            return cls(OwnerMap(int(stored["uid"]), int(stored["gid"])), bool(stored["complete"]), str(stored["boot"]))
        except FileNotFoundError as error:
            raise NotFound(f"There is no base in {directory}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"{directory / META} is damaged.") from error

    def write(self, directory: Path) -> None:
        """Never half there; several processes may do so at once."""
        stored = {"uid": self.owner.uid, "gid": self.owner.gid, "complete": self.complete, "boot": self.boot}
        incoming = directory / f".{META}.{secrets.token_hex(8)}"
        durable.write(incoming, json.dumps(stored).encode())
        incoming.replace(directory / META)


def boot_id() -> str:
    """Names the current boot of the machine; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def is_whole(base: StoredBase) -> bool:
    """Whether the tree on disk still has the kinds and contents of the manifest; reads all of it."""
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
