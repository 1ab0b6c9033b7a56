"""A sealed change set on disk: the list of changes, and every new file content by its digest.

Owns the bytes of both, in one directory that holds all of it, so that it can be carried to another machine. What
is stored is what was hashed: a content is hashed on its way into the store and never read again from where it
came. Must not know which sandbox or target it is of.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sandbox import durable
from sandbox.errors import Conflict, InputError, NotFound, SandboxError
from sandbox.trees.block import FIELDS, decode
from sandbox.trees.entry import Change, Entry, order_key, path_text

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOBS = "blobs"
_HEADER = b"sandbox-changes 1\n"
_DAMAGED = "Propose the change again; a damaged one can't be promoted."
_CHUNK = 1 << 20


class SealWriter:
    """A Sink that stores each content once. Durable after `finish`; nothing counts before."""

    def __init__(self, directory: Path) -> None:
        """The directory is made where it is missing; it holds `blobs/`."""
        self._blobs = directory / _BLOBS
        self._blobs.mkdir(parents=True, exist_ok=True, mode=0o700)

    def __call__(self, path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:
        """Store the content of one file; its SHA-256 and size.

        Raises InputError where there is no room for it, saying how much is missing; nothing of it stays then.
        """
        sha, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(prefix=".incoming-", dir=self._blobs)
        incoming, stream = Path(name), iter(chunks)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                for chunk in stream:
                    sha.update(chunk)
                    size += len(chunk)
                    durable.write_all(file.fileno(), chunk)
                os.fchmod(file.fileno(), 0o400)
            incoming.replace(self._blobs / sha.hexdigest())
        except BaseException as error:
            incoming.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._no_room(path, size + sum(map(len, stream))) from error
            raise
        return sha.digest(), size

    def finish(self, changes: Iterable[Change]) -> SealedBlobs:
        """Keep what the changes need, drop the rest, and make it durable. Raises SandboxError where one lacks."""
        needed = _needed(changes)
        stored = os.listdir(self._blobs)
        for name in stored:
            if name not in needed:
                (self._blobs / name).unlink()
        sealed = SealedBlobs(self._blobs.parent)
        if lacking := needed.difference(stored):
            raise SandboxError(f"The content {min(lacking)} was never stored.")
        durable.sync_files(self._blobs, sorted(needed))
        durable.sync_directory(self._blobs)
        durable.sync_directory(self._blobs.parent)
        return sealed

    def _no_room(self, path: bytes, size: int) -> InputError:
        free = shutil.disk_usage(self._blobs).free
        return InputError(
            f"There is no room to seal {path_text(path)!r}: it has {size} bytes, and {free} are free"
            f" in {self._blobs.parent}.",
            f"Make room for at least {max(size - free, 1)} bytes more and propose it again.",
        )


class SealedBlobs:
    """The contents of a sealed change set, by their digest."""

    def __init__(self, directory: Path) -> None:
        """`directory` is the one that was given to SealWriter."""
        self._blobs = directory / _BLOBS

    def path(self, sha256: bytes) -> Path:
        """Where the content lies; whoever reads it there hashes it himself."""
        return self._blobs / sha256.hex()

    def open(self, sha256: bytes) -> BinaryIO:
        """The content, which the file's end proves: reading to it raises Conflict where a byte was changed.

        Raises NotFound where there is none.
        """
        try:
            return io.BufferedReader(_Verified(self.path(sha256), sha256), _CHUNK)
        except FileNotFoundError as error:
            raise NotFound(f"The change set has no content {sha256.hex()}.", _DAMAGED) from error

    def verify(self, changes: Iterable[Change]) -> None:
        """Hash every content that the changes need. Raises Conflict for one that is damaged, NotFound for one
        that is missing."""
        for name in sorted(_needed(changes)):
            with self.open(bytes.fromhex(name)) as file:
                while file.read(_CHUNK):
                    pass


def write_changes(path: Path, changes: Sequence[Change]) -> str:
    """Store the list, durable when it returns; its digest. A list that is there already is replaced at once."""
    data = encoded(changes)
    durable.write(path, data)
    return hashlib.sha256(data[:-32]).hexdigest()


def encoded(changes: Sequence[Change]) -> bytes:
    """The list as it is stored."""
    data = _encode(changes)
    return data + hashlib.sha256(data).digest()


def read_changes(path: Path) -> tuple[Change, ...]:
    """The list as it was written. Raises NotFound where there is none, Conflict where it is damaged."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"There is no list of changes {path}.") from error
    data, trailer = stored[:-32], stored[-32:]
    if not data.startswith(_HEADER) or hashlib.sha256(data).digest() != trailer:
        raise Conflict(f"The list of changes {path} is damaged.", _DAMAGED)
    return tuple(_decode(data))


def changes_digest(changes: Sequence[Change]) -> str:
    """64 hex digits over every field of every change. Raises SandboxError where they are out of order."""
    return hashlib.sha256(_encode(changes)).hexdigest()


def _encode(changes: Sequence[Change]) -> bytes:
    """The canonical bytes: per change which sides it has (1 before, 2 after, 3 both), then each side's entry."""
    parts = [_HEADER]
    last: bytes | None = None
    for change in changes:
        key = order_key(change.path)
        sides = [side for side in (change.before, change.after) if side is not None]
        if not sides or any(side.path != change.path for side in sides) or (last is not None and key <= last):
            raise SandboxError(f"The change of {path_text(change.path)!r} is out of order or not of one path.")
        last = key
        parts.append(b"%d\0" % ((change.before is not None) + 2 * (change.after is not None)))
        parts.extend(side.canonical() for side in sides)
    return b"".join(parts)


def _decode(data: bytes) -> Iterator[Change]:
    fields = data[len(_HEADER) :].split(b"\0")
    at = 0

    def entry() -> Entry:
        nonlocal at
        at += FIELDS
        return decode(fields[at - FIELDS : at])

    while at < len(fields) - 1:
        sides = int(fields[at])
        at += 1
        before = entry() if sides & 1 else None
        after = entry() if sides & 2 else None
        known = before or after
        if known is None:
            raise Conflict("A stored change has neither side.", _DAMAGED)
        yield Change(known.path, before, after)


def _needed(changes: Iterable[Change]) -> set[str]:
    afters = (change.after for change in changes if change.after is not None and change.after.kind == "file")
    return {entry.content.hex() for entry in afters}


class _Verified(io.RawIOBase):
    """A file that is hashed as it is read, in order, and whose last bytes are only given when all were right."""

    def __init__(self, path: Path, sha256: bytes) -> None:
        self._file = path.open("rb", buffering=0)
        self._left = os.fstat(self._file.fileno()).st_size
        self._sha = hashlib.sha256()
        self._expected = sha256
        self._check()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        count = self._file.readinto(view[: min(len(view), self._left)])
        self._sha.update(view[:count])
        self._left = self._left - count if count else 0
        self._check()
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def _check(self) -> None:
        if self._left == 0 and self._sha.digest() != self._expected:
            self.close()
            raise Conflict(f"The sealed content {self._expected.hex()} is damaged.", _DAMAGED)
