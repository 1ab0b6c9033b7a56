"""What differs under a placement, found by reading the whole of it as an archive.

Owns the comparison of an archive with a tree. `docker diff` is no short cut: it compares sizes and times, both
of which an agent can keep while it changes a file's content.

What an archive can't hold is taken to be as it was: sockets, and `user.*` attributes, which engines drop when
they commit an image.
"""

from __future__ import annotations

import collections
import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import IO

from sandbox.engines.base import Candidate, Sink
from sandbox.engines.docker_engine import archive
from sandbox.errors import EngineError
from sandbox.trees.entry import ROOT, Entry, parent_of, sort_key

_SPOOL = 8 << 20
"""Bytes of a file that are kept in memory while it is not known yet whether it differs."""


Fetch = Callable[[bytes], AbstractContextManager[Iterable[bytes]]]
"""An archive of one file, read again: for the content of a further name of a hard-linked file."""


def differing(base: Iterable[Entry], chunks: Iterable[bytes], sink: Sink, fetch: Fetch) -> Iterator[Candidate]:
    """Every path at which the archive of one directory differs from the base, in depth-first order.

    Exactly the files that differ go through the sink. Raises EngineError for an archive that is out of order.
    """
    return _Comparison(base, sink, fetch).run(chunks)


def differing_among(
    base: Iterable[Entry], untouched: frozenset[bytes], others: Iterable[bytes], sink: Sink, fetch: Fetch
) -> Iterator[Candidate]:
    """As `differing`, where `untouched` paths are known to be as in the base with all that is below them, and `others`
    is an archive of the rest, in no order."""
    compared = _Comparison((), sink, fetch)
    left = {entry.path: entry for entry in _beyond(base, untouched)}
    yield from compared.among(left, others)


def _beyond(base: Iterable[Entry], untouched: frozenset[bytes]) -> Iterator[Entry]:
    """The base's entries that are neither among the untouched nor below one of them."""
    below: bytes | None = None
    for entry in base:
        if below is not None and entry.path.startswith(below):
            continue
        below = None
        if entry.path not in untouched:
            yield entry
        elif entry.path == ROOT:
            return
        elif entry.kind == "dir":
            below = entry.path + b"/"


class _Comparison:
    """Two depth-first walks side by side: the base's entries and the archive's members."""

    def __init__(self, base: Iterable[Entry], sink: Sink, fetch: Fetch) -> None:
        self._base = iter(base)
        self._next = next(self._base, None)
        self._sink = sink
        self._fetch = fetch
        self._seen: dict[bytes, Entry] = {}
        self._links: set[bytes] = set()
        """Further names of a hard-linked file that differ: their content is not in the archive again."""

    def run(self, chunks: Iterable[bytes]) -> Iterator[Candidate]:
        """From the first hard link on that differs, candidates wait for the end of the archive: until then the
        engine keeps the container locked, and asking for the link's content would wait for ever."""
        waiting: list[Candidate] = []
        stream = iter(chunks)
        for candidate in self._walk(stream):
            if waiting or candidate[0] in self._links:
                waiting.append(candidate)
            else:
                yield candidate
        collections.deque(stream, maxlen=0)
        for path, entry in waiting:
            yield path, self._fetched(entry) if entry is not None and path in self._links else entry

    def among(self, left: dict[bytes, Entry], chunks: Iterable[bytes]) -> Iterator[Candidate]:
        """The archive's members in whatever order they come, held against `left`: what may differ of the base."""
        found: dict[bytes, Entry | None] = {}
        stream = iter(chunks)
        for info, content in archive.members(stream):
            path = _below_top(archive.raw(info.name))
            old = left.pop(path, None)
            new = self._linked(path, info, old) if info.islnk() else self._read(path, info, content, old)
            self._seen[path] = new
            if new != old:
                found[path] = new
        collections.deque(stream, maxlen=0)
        self._base = iter(left.values())  # in the base's order still
        self._next = next(self._base, None)
        found.update(self._gone(None))
        for path in sorted(found, key=sort_key):
            entry = found[path]
            yield path, self._fetched(entry) if entry is not None and path in self._links else entry

    def _walk(self, chunks: Iterable[bytes]) -> Iterator[Candidate]:
        last: tuple[bytes, ...] | None = None
        for info, content in archive.members(chunks):
            path = _below_top(archive.raw(info.name))
            key = sort_key(path)
            if last is not None and key <= last:
                raise EngineError("The Docker Engine sent an archive whose members are out of order.")
            last = key
            yield from self._gone(key)
            old = self._take(path)
            new = self._linked(path, info, old) if info.islnk() else self._read(path, info, content, old)
            self._seen[path] = new
            if new != old:
                yield path, new
        yield from self._gone(None)

    def _take(self, path: bytes) -> Entry | None:
        """The base's entry of this path, if it has one."""
        entry = self._next
        if entry is None or entry.path != path:
            return None
        self._next = next(self._base, None)
        return entry

    def _gone(self, before: tuple[bytes, ...] | None) -> Iterator[Candidate]:
        """The base's entries up to a key, none of which is in the archive; of a subtree only its top."""
        top: bytes | None = None
        while self._next is not None and (before is None or sort_key(self._next.path) < before):
            entry, self._next = self._next, next(self._base, None)
            if top is not None and entry.path.startswith(top + b"/"):
                continue
            above = self._seen.get(parent_of(entry.path))
            if entry.kind == "socket" and above is not None and above.kind == "dir":
                continue
            top = entry.path
            yield entry.path, None

    def _read(self, path: bytes, info: tarfile.TarInfo, content: IO[bytes] | None, old: Entry | None) -> Entry:
        new = _keeping_attributes(archive.entry_of(path, info), old)
        if content is None:
            return new
        if old is None or new._replace(content=old.content, size=info.size) != old:
            return self._through_sink(new, _pieces(content))
        if info.size <= archive.CHUNK:
            whole = content.read()
            same = hashlib.sha256(whole).digest() == old.content
            return old if same else self._through_sink(new, [whole])
        with tempfile.SpooledTemporaryFile(_SPOOL) as spool:  # most likely the base's own content, which nobody needs
            sha = hashlib.sha256()
            for piece in _pieces(content):
                sha.update(piece)
                spool.write(piece)
            if sha.digest() == old.content:
                return old
            spool.seek(0)
            return self._through_sink(new, _pieces(spool))

    def _linked(self, path: bytes, info: tarfile.TarInfo, old: Entry | None) -> Entry:
        first = self._seen.get(_below_top(archive.raw(info.linkname)))
        if first is None:
            raise EngineError("The Docker Engine sent a hard link to a file that is not in the archive.")
        own = tuple(pair for pair in first.xattrs if not pair[0].startswith(b"user."))
        new = _keeping_attributes(first._replace(path=path, xattrs=own), old)
        if new != old and new.kind == "file":
            self._links.add(path)
        return new

    def _fetched(self, entry: Entry) -> Entry:
        with self._fetch(entry.path) as chunks:
            for _, content in archive.members(chunks):
                if content is not None:
                    return self._through_sink(entry, _pieces(content))
        raise EngineError("The Docker Engine sent a hard link without its content.")

    def _through_sink(self, entry: Entry, pieces: Iterable[bytes]) -> Entry:
        content, size = self._sink(entry.path, pieces)
        return entry._replace(content=content, size=size)


def _below_top(name: bytes) -> bytes:
    """The path below the placement: an archive's members all start with the name of its top."""
    return name.strip(b"/").partition(b"/")[2] or ROOT


def _keeping_attributes(new: Entry, old: Entry | None) -> Entry:
    """With the base's `user.*` attributes, where the engine shows none of its own."""
    if old is None or old.kind != new.kind or any(name.startswith(b"user.") for name, _ in new.xattrs):
        return new
    kept = [pair for pair in old.xattrs if pair[0].startswith(b"user.")]
    return new._replace(xattrs=tuple(sorted([*new.xattrs, *kept])))


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(archive.CHUNK):
        yield piece
