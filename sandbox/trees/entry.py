"""One entry of a file tree as a value, and one change between two of them.

Owns the canonical bytes of an entry, on which every fingerprint and digest stands. Paths are bytes,
relative to the tree's root, without a leading or trailing slash; the root itself is `b"."`. Must not
touch a file system.

Order: `sort_key` puts a directory right before what it holds and names by their bytes, which is the order
of a depth-first walk; so two manifests can be compared as streams.
"""

from __future__ import annotations

import hashlib
import stat
from binascii import b2a_hex
from typing import Literal, NamedTuple

Op = Literal["added", "modified", "deleted"]
KINDS = ("file", "dir", "link", "fifo", "socket", "char", "block")
KIND_OF = dict(
    zip(
        (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK),
        KINDS,
        strict=True,
    )
)
"""The kind that a file type (`stat.S_IFMT` of a mode) is."""
ROOT = b"."


class Entry(NamedTuple):
    """The state of one path. Times are not part of it: equal content is equal, whenever it was written."""

    path: bytes
    kind: str
    """One of KINDS; `link` is a symbolic link."""
    mode: int
    """Permission bits with setuid, setgid and sticky (0o7777); 0o777 for links."""
    uid: int
    gid: int
    size: int = 0
    """Bytes of a file; 0 for every other kind."""
    content: bytes = b""
    """A file's SHA-256 (32 bytes), a link's target, a device's `major:minor`; empty otherwise."""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    """`user.*` and `security.capability`, sorted by name."""

    @property
    def sha256(self) -> str | None:
        """The content digest as 64 hex digits, for files."""
        return self.content.hex() if self.kind == "file" else None

    def canonical(self) -> bytes:
        """The bytes that digests are made of: eight fields, each ended by NUL, which none can contain."""
        path, kind, mode, uid, gid, size, content, pairs = self
        xattrs = b",".join(b"%b=%b" % (b2a_hex(name), b2a_hex(value)) for name, value in pairs) if pairs else b""
        shown = b2a_hex(content) if kind == "file" else content
        return b"%b\0%o\0%d\0%d\0%d\0%b\0%b\0%b\0" % (kind.encode(), mode, uid, gid, size, shown, xattrs, path)

    def same(self, other: Entry | None) -> bool:
        """Equal in everything that counts."""
        return self == other


class Change(NamedTuple):
    """One path that differs: `before` is None where it was added, `after` is None where it was deleted."""

    path: bytes
    before: Entry | None
    after: Entry | None

    @property
    def op(self) -> Op:
        """`added`, `modified` or `deleted`; a path that changed its kind is `modified`."""
        if self.before is None:
            return "added"
        return "deleted" if self.after is None else "modified"


def sort_key(path: bytes) -> tuple[bytes, ...]:
    """Depth-first order: compare component by component, a directory before its content."""
    return () if path == ROOT else tuple(path.split(b"/"))


def order_key(path: bytes) -> bytes:
    """The same order as one string of bytes, quicker to make and to compare: no name contains NUL."""
    return b"" if path == ROOT else path.replace(b"/", b"\0")


def parent_of(path: bytes) -> bytes:
    """The directory that holds `path`; the root holds its first level."""
    return path.rpartition(b"/")[0] or ROOT


def newly_above(path: bytes, known: set[bytes]) -> list[bytes]:
    """The directories that a path lies in and that are not known yet, topmost first; then they are. So that of many
    paths in one deep tree each directory is named once."""
    found: list[bytes] = []
    here = path
    while here != ROOT and (here := parent_of(here)) not in known:
        known.add(here)
        found.append(here)
    return found[::-1]


def path_text(path: bytes) -> str:
    """The path for a JSON document: as it is where it is UTF-8, else with `\\xNN` for the other bytes."""
    return path.decode("utf-8", "backslashreplace")


def digest(parts: list[bytes]) -> str:
    """SHA-256 in hex over the parts, each preceded by its length, so that no boundary is ambiguous."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()
