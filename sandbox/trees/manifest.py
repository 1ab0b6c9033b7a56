"""The list of all entries of a tree: its fingerprint and its durable file.

Owns the bytes that a fingerprint is made of: a header, then each entry's canonical bytes, in depth-first order.
A manifest file is these bytes and the fingerprint behind them, so that damage is found before an entry of it is
used. Must not read the trees themselves (`scan` does).
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from sandbox.errors import SandboxError
from sandbox.trees.block import FIELDS, Block, decode
from sandbox.trees.entry import Entry, order_key, path_text

HEADER = b"sandbox-manifest 1\n"

_HEX = 64
_CHUNK = 1 << 20


def fingerprint_of(entries: Iterable[bytes]) -> str:
    """The fingerprint of entries given by their canonical bytes, in an order that the caller vouches for."""
    sha = hashlib.sha256(HEADER)
    for data in entries:
        sha.update(data)
    return sha.hexdigest()


def fingerprint(entries: Iterable[Entry]) -> str:
    """64 hex digits over everything that counts, of entries in depth-first order.

    Raises SandboxError where they are out of order or a path comes twice: such a list has no meaning.
    """
    sha = hashlib.sha256(HEADER)
    for entry in ordered(entries):
        sha.update(entry.canonical())
    return sha.hexdigest()


def write(path: Path, entries: Iterable[Entry]) -> str:
    """Store the entries in a new file, durable when it returns; their fingerprint."""
    return write_canonical(path, (entry.canonical() for entry in ordered(entries)))


def write_canonical(path: Path, entries: Iterable[bytes], *, durable: bool = True) -> str:
    """The same for entries given by their canonical bytes, in an order that the caller vouches for."""
    with path.open("xb", buffering=_CHUNK) as file:
        sha = hashlib.sha256(HEADER)
        file.write(HEADER)
        for data in entries:
            sha.update(data)
            file.write(data)
        file.write(sha.hexdigest().encode())
        file.flush()
        if durable:
            os.fsync(file.fileno())
    return sha.hexdigest()


class Edited:
    """A manifest file in the making that is equal to an old one but in places. A context manager; not durable."""

    def __init__(self, old: Path, new: Path) -> None:
        """Raises SandboxError where the old one is damaged."""
        self._end = _verified_end(old)
        self._old = old.open("rb")
        self._new = new.open("xb", buffering=_CHUNK)
        self._sha = hashlib.sha256()
        self.add(HEADER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._old.close()
        self._new.close()

    def copy(self, start: int, stop: int | None = None) -> None:
        """Take the old one's bytes over between two offsets, or up to the end of its entries."""
        left = (self._end if stop is None else stop) - start
        self._old.seek(start)
        while left > 0 and (data := self._old.read(min(_CHUNK, left))):
            left -= len(data)
            self.add(data)

    def add(self, data: bytes) -> None:
        """Put an entry's canonical bytes there, in an order that the caller vouches for."""
        self._sha.update(data)
        self._new.write(data)

    def finish(self) -> str:
        """All is there; its fingerprint."""
        self._new.write(self._sha.hexdigest().encode())
        self._new.close()
        return self._sha.hexdigest()


def read(path: Path) -> Iterator[Entry]:
    """The entries of a manifest file, in order. Raises SandboxError before the first of them where it is damaged."""
    return (block.entry(at) for block in read_blocks(path) for at in range(len(block)))


def read_blocks(path: Path) -> Iterator[Block]:
    """The same, a few thousand at a time: what goes through a whole tree and looks at a few of its entries decodes
    those alone."""
    end = _verified_end(path)
    with path.open("rb") as file:
        file.seek(len(HEADER))
        left = end - len(HEADER)
        rest: list[bytes] = [b""]
        while left:
            chunk = file.read(min(_CHUNK, left))
            left -= len(chunk)
            fields = (rest.pop() + chunk).split(b"\0")
            fields[:0] = rest
            whole = (len(fields) - 1) // FIELDS * FIELDS
            rest = fields[whole:]
            del fields[whole:]
            if fields:
                yield Block(fields)


def find(path: Path, wanted: bytes) -> Entry | None:
    """The entry of one path in a manifest file, without reading the others. Raises SandboxError as `read` does."""
    end = _verified_end(path)
    needle = b"\0" + wanted + b"\0"
    with path.open("rb") as file, mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ) as data:
        fields, counted = 0, len(HEADER)
        at = data.find(needle, counted)
        while at != -1:
            fields += _count_nul(data, counted, at)
            counted = at
            if fields % FIELDS == FIELDS - 2:
                start = at
                for _ in range(FIELDS - 1):
                    start = data.rfind(b"\0", 0, start)
                return decode(data[max(start + 1, len(HEADER)) : at + len(needle) - 1].split(b"\0"))
            at = data.find(needle, at + 1)
    return None


def stored_fingerprint(path: Path) -> str:
    """The fingerprint that a manifest file gives itself, verified. Raises SandboxError where it is damaged."""
    with path.open("rb") as file:
        file.seek(_verified_end(path))
        return file.read().decode("ascii")


def ordered(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same entries. Raises SandboxError where they are not in strict depth-first order."""
    last: bytes | None = None
    for entry in entries:
        key = order_key(entry.path)
        if last is not None and key <= last:
            raise SandboxError(f"The entry {path_text(entry.path)!r} is out of order or there twice.")
        last = key
        yield entry


def _count_nul(data: mmap.mmap, start: int, stop: int) -> int:
    return sum(data[at : min(at + _CHUNK, stop)].count(b"\0") for at in range(start, stop, _CHUNK))


def _verified_end(path: Path) -> int:
    """Where the entries end. Raises SandboxError where the bytes are not what was written."""
    sha = hashlib.sha256()
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size - _HEX
            left = end
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                sha.update(chunk)
                left -= len(chunk)
            trailer = file.read()
            file.seek(0)
            header = file.read(len(HEADER))
    except OSError as error:
        raise SandboxError(f"The manifest {path} can't be read: {error.strerror}.") from error
    if end < len(HEADER) or header != HEADER or trailer != sha.hexdigest().encode():
        raise SandboxError(f"The manifest {path} is damaged.", "Remove it; it is made anew when it is needed.")
    return end
