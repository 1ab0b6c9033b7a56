"""A run of entries as they are stored: looked at together, and decoded one by one only where one is asked for.

Owns how canonical bytes are taken apart. A question about a whole tree, asked entry by entry, costs more than reading
the tree's manifest; asked of a few thousand at a time, by paths, kinds or sizes, it costs next to nothing. Must not
touch a file system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from sandbox.errors import SandboxError
from sandbox.trees.entry import KINDS, Entry

FIELDS = 8
"""Fields of an entry's canonical bytes."""


class Block:
    """Entries that follow each other in a tree, in depth-first order; never none."""

    def __init__(self, fields: list[bytes]) -> None:
        """`fields`: those of all entries in a row."""
        self._fields = fields
        self.paths = fields[FIELDS - 1 :: FIELDS]

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def places(self) -> dict[bytes, int]:
        """Where each path is."""
        return {path: at for at, path in enumerate(self.paths)}

    @property
    def kinds(self) -> list[bytes]:
        return self._fields[::FIELDS]

    @property
    def sizes(self) -> list[bytes]:
        """Decimal digits."""
        return self._fields[4::FIELDS]

    @property
    def contents(self) -> list[bytes]:
        """The SHA-256 of a file as hex digits, the target of a link."""
        return self._fields[5::FIELDS]

    def canonical(self, start: int = 0, stop: int | None = None) -> bytes:
        """The canonical bytes of a part of them, or of all."""
        end = len(self.paths) if stop is None else stop
        return b"\0".join(self._fields[start * FIELDS : end * FIELDS]) + b"\0" if start < end else b""

    def entry(self, at: int) -> Entry:
        """One of them. Raises SandboxError where it is no entry."""
        return decode(self._fields[at * FIELDS : (at + 1) * FIELDS])


def blocks_of(entries: Iterable[Entry]) -> Iterator[Block]:
    """Entries that are in memory, as one block."""
    data = b"".join(entry.canonical() for entry in entries)
    if data:
        yield Block(data.split(b"\0")[:-1])


def decoded(canonical: bytes) -> Entry:
    """An entry from its canonical bytes. Raises SandboxError for anything else."""
    return decode(canonical.split(b"\0")[:FIELDS])


def decode(fields: Sequence[bytes]) -> Entry:
    """An entry from the fields of its canonical bytes. Raises SandboxError for anything else."""
    try:
        kind, mode, uid, gid, size, content, xattrs, path = fields
        entry = Entry(
            path=path,
            kind=kind.decode("ascii"),
            mode=int(mode, 8),
            uid=int(uid),
            gid=int(gid),
            size=int(size),
            content=bytes.fromhex(content.decode("ascii")) if kind == b"file" else content,
            xattrs=_decode_xattrs(xattrs) if xattrs else (),
        )
    except ValueError as error:
        raise SandboxError(f"A stored entry can't be read: {error}.") from error
    if entry.kind not in KINDS or not path:
        raise SandboxError(f"A stored entry is of an unknown kind, {entry.kind!r}.")
    return entry


def _decode_xattrs(field: bytes) -> tuple[tuple[bytes, bytes], ...]:
    pairs = (pair.decode("ascii").split("=") for pair in field.split(b","))
    return tuple((bytes.fromhex(name), bytes.fromhex(value)) for name, value in pairs)
