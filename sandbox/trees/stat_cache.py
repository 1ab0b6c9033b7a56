"""What the last scan of a tree found, so that the next one reads only files that may have changed.

Owns one file per tree: for each entry, in the order of the walk, what `lstat` said and the entry's canonical
bytes. Written anew by every scan, so it never holds more than the tree has, and read along with the walk, so it
takes no memory. A file that is damaged or missing only makes a scan slower.

An entry counts as known where device, inode, size, mtime, ctime, mode and owner are all as they were, and mtime
and ctime lie clearly before the scan that read it. Programs can set a file's mtime back but not its ctime, so a
restored backup, a touch or a stepped clock does not hide a change. What this can't see is a write through a
memory mapping that the kernel has not yet accounted for.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from sandbox.trees.entry import order_key
from sandbox.trees.manifest import HEADER

RACY_NS = 2_000_000_000
"""A file changed so shortly before it was read may have been changed again in the same tick of its clock.
Two seconds is the coarsest tick of any file system in use."""

_STEP_NS = 100_000_000
"""By so much the clock only moves against the monotonic one when it is set."""
_MAGIC = b"sandbox-stat-cache 1\n"
_KEY = struct.Struct("<QQqqqIII")
_LENGTH = struct.Struct("<I")
_RECORD = _KEY.size + _LENGTH.size
"""What comes before an entry's canonical bytes."""
_RACY = 1 << 31
_CHUNK = 1 << 20
_UNFINISHED = ".cache-"
_YOUNG_S = 60
_TRAILER = 64
"""The fingerprint of what was found, then the SHA-256 of all before it: 32 bytes each."""


def _key(found: os.stat_result) -> bytes:
    return _KEY.pack(
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_mode,
        found.st_uid,
        found.st_gid,
    )


class Memory(NamedTuple):
    """What is remembered of one path."""

    canonical: bytes
    """Of the entry that it was."""
    current: bool
    """It can't have changed since."""


class Place(NamedTuple):
    """Between two entries that are remembered."""

    record: int
    """Offset in the cache file."""
    canonical: int
    """Offset in the manifest of the tree that is remembered."""


class Known:
    """What a cache file says, asked in the order of the walk."""

    def __init__(self, data: mmap.mmap | bytes = b"") -> None:
        self._data = data
        self._end = max(len(data) - _TRAILER, len(_MAGIC))
        self.rewind()

    @property
    def fingerprint(self) -> str | None:
        """Of the tree as it was found; None where nothing is known."""
        return bytes(self._data[self._end : self._end + 32]).hex() if self._data else None

    def rewind(self) -> None:
        """Ask from the start again."""
        self._at = len(_MAGIC)
        self._passed_by = False
        self._records = 0
        self._forgotten = 0
        self._last = self._at
        self.gap: Place | None = None
        """Where the records begin that the last `find` passed by; None where it passed by none."""

    @property
    def all_found(self) -> bool:
        """Every entry that is remembered has been asked for: none was passed by, none is left."""
        return self._at >= self._end and not self._passed_by

    def is_next(self, path: bytes, found: os.stat_result) -> bool:
        """Whether the next record is of this path, which can't have changed since; then it has been asked for. If not,
        `find` tells more. The quick way for what mostly holds."""
        data, at = self._data, self._at
        if at >= self._end:
            return False
        if at - self._forgotten > _CHUNK:
            self._forget_behind()
        head = data[at : at + _RECORD]
        stop = at + _RECORD + int.from_bytes(head[-4:], "little")  # of a racy one far behind the end, where nothing is
        tail = b"\0" + path + b"\0"
        if data[stop - len(tail) : stop] != tail or head[:-4] != _key(found):
            return False
        self._last, self._at = at, stop
        self._records += 1
        self.gap = None
        return True

    def find(self, path: bytes, found: os.stat_result, *, even_racy: bool = False) -> Memory | None:
        """What is remembered of a path, if anything; paths in ascending order only."""
        data = self._data
        if self._at - self._forgotten > _CHUNK:
            self._forget_behind()
        self.gap = None
        while (at := self._at) < self._end:
            start = at + _RECORD
            (length,) = _LENGTH.unpack_from(data, at + _KEY.size)
            stop = start + (length & ~_RACY)
            canonical = data[start:stop]
            if canonical.endswith(b"\0" + path + b"\0"):
                self._last, self._at = at, stop
                self._records += 1
                trusted = even_racy or not length & _RACY
                return Memory(canonical, trusted and data[at : at + _KEY.size] == _key(found))
            if order_key(canonical[:-1].rpartition(b"\0")[2]) > order_key(path):
                break
            self.gap = self.gap or self.place
            self._passed_by = True
            self._at = stop
            self._records += 1
        self._last = self._at
        return None

    @property
    def place(self) -> Place:
        """Behind what the last `find` found or passed by."""
        return self._place(self._at, self._records)

    @property
    def before(self) -> Place:
        """Before what the last `find` found; where it found nothing, the same as `place`."""
        return self._place(self._last, self._records - (self._last != self._at))

    def to_the_end(self) -> Place:
        """Pass by all that is left; the place behind it."""
        for _ in self.between(self.place):
            self._records += 1
        self._last = self._at = self._end
        return self.place

    def between(self, start: Place, stop: Place | None = None) -> Iterator[bytes]:
        """The canonical bytes of the records between two places, or up to the end."""
        at, end = start.record, self._end if stop is None else stop.record
        read = at
        while at < end:
            (length,) = _LENGTH.unpack_from(self._data, at + _KEY.size)
            begin = at + _RECORD
            at = begin + (length & ~_RACY)
            yield self._data[begin:at]
            if at - read > _CHUNK:
                _forget(self._data, read, at)
                read = at

    def records(self, start: Place, stop: Place) -> Iterator[bytes]:
        """The bytes of the records between two places."""
        for at in range(start.record, stop.record, _CHUNK):
            yield self._data[at : min(at + _CHUNK, stop.record)]
            _forget(self._data, at, at + _CHUNK)

    def _forget_behind(self) -> None:
        _forget(self._data, self._forgotten, self._last)
        self._forgotten = self._last

    def _place(self, at: int, records: int) -> Place:
        return Place(at, len(HEADER) + at - len(_MAGIC) - records * _RECORD)


def sweep(directory: Path) -> int:
    """Remove the cache files that whoever made them did not live to finish; how many there were."""
    swept = 0
    for path in directory.glob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            # What is so young may not have its lock yet.
            if time.time() - os.fstat(file.fileno()).st_mtime < _YOUNG_S:
                continue
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                swept += 1
    return swept


class Notes:
    """A cache file in the making."""

    def __init__(self, directory: Path) -> None:
        self._start = time.time_ns()
        self._ahead = self._start - time.monotonic_ns()
        self._sha = hashlib.sha256(_MAGIC)
        self._tree = hashlib.sha256(HEADER)
        self.path = directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
        self._file = self.path.open("xb", buffering=1 << 18)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # let go with the process, however it ends; see `sweep`
        self._file.write(_MAGIC)
        self.racy = False
        """Something was changed so shortly before that a later change might not have shown, or the clock was set."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def keep(self, found: os.stat_result, canonical: bytes) -> None:
        """Note an entry; in the order of the walk."""
        racy = max(found.st_mtime_ns, found.st_ctime_ns) > self._start - RACY_NS
        record = _key(found) + _LENGTH.pack(len(canonical) | (_RACY if racy else 0)) + canonical
        self._sha.update(record)
        self._tree.update(canonical)
        self._file.write(record)
        self.racy = self.racy or racy

    def copy(self, known: Known, start: Place, stop: Place) -> None:
        """Note what is remembered between two places, as it is."""
        for data in known.records(start, stop):
            self._sha.update(data)
            self._file.write(data)
        for canonical in known.between(start, stop):
            self._tree.update(canonical)

    def finish(self) -> str:
        """All has been noted; the fingerprint of what was."""
        tree = self._tree.digest()
        self.racy = self.racy or abs(time.time_ns() - time.monotonic_ns() - self._ahead) > _STEP_NS
        self._sha.update(tree)
        self._file.write(tree + self._sha.digest())
        self._file.close()
        return tree.hex()

    def taken(self) -> Path:
        """The finished file under another name, for the caller to adopt or to remove."""
        return self.path.rename(self.path.with_name(f"{self.path.name}.done"))


class StatCache:
    """The cache of one tree, in a file of its own. Safe for several processes: the last one to finish wins."""

    def __init__(self, path: Path) -> None:
        """The directory of `path` must exist when something is to be written."""
        self._path = path

    @classmethod
    def for_key(cls, directory: Path, key: str) -> StatCache:
        """The cache of the tree with this identity, in a directory of caches."""
        return cls(directory / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())

    @contextmanager
    def known(self) -> Iterator[Known]:
        """What the last scan found; nothing where there is no cache or it is damaged."""
        with read_cache(self._path) as known:
            yield known

    @contextmanager
    def notes(self) -> Iterator[Notes]:
        """Make a new cache; it takes the place of the old one when the block ends without an exception."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with Notes(self._path.parent) as notes:
            yield notes
            self.adopt(notes.path)

    def adopt(self, finished: Path) -> None:
        """Put finished notes, on the same file system, in the place of the old cache."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        finished.replace(self._path)


@contextmanager
def read_cache(path: Path) -> Iterator[Known]:
    """See StatCache.known."""
    data = _mapped(path)
    if data is None:
        yield Known()
        return
    with data:
        yield Known(data) if _intact(data) else Known()


def _mapped(path: Path) -> mmap.mmap | None:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None


def _forget(data: mmap.mmap | bytes, start: int, stop: int) -> None:
    """Give the memory of what was read back; it is read from the file again where it is needed again. So a walk takes
    the same memory whatever the size of the tree."""
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, min(stop, len(data)) // mmap.PAGESIZE * mmap.PAGESIZE
    if isinstance(data, mmap.mmap) and last > first:
        data.madvise(mmap.MADV_DONTNEED, first, last - first)


def _intact(data: mmap.mmap) -> bool:
    if len(data) < len(_MAGIC) + _TRAILER or data[: len(_MAGIC)] != _MAGIC:
        return False
    sha = hashlib.sha256()
    for at in range(0, len(data) - 32, _CHUNK):
        sha.update(data[at : min(at + _CHUNK, len(data) - 32)])
        _forget(data, at, at + _CHUNK)
    return sha.digest() == data[-32:]
