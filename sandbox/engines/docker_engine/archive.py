"""Tar archives as streams of bytes, made from and read into entries.

Owns the translation between `Entry` and tar. Must not talk to the engine and must not unpack anything:
an archive that comes out of a sandbox is hostile, and only its headers and bytes are looked at.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO

from sandbox.engines.base import Tree
from sandbox.errors import EngineError, InputError
from sandbox.trees.entry import ROOT, Entry

CHUNK = 1 << 20
END = bytes(2 * tarfile.BLOCKSIZE)
_LONGEST_PATH = 4095
_XATTR = "SCHILY.xattr."
_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}
_KINDS = {kind: name for name, kind in _TYPES.items()} | {
    tarfile.AREGTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.CONTTYPE: "file",
}


def text(raw: bytes) -> str:
    """Bytes of a name or a value as the tar module wants them: UTF-8, and what is not stays recoverable."""
    return raw.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """The bytes that a name from an archive stands for."""
    return name.encode("utf-8", "surrogateescape")


def header(info: tarfile.TarInfo) -> bytes:
    """The blocks before a member's content."""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def member(name: bytes, entry: Entry, mtime: float = 0) -> tarfile.TarInfo | None:
    """The header of an entry under another name; None for a socket, which no archive can hold."""
    if entry.kind not in _TYPES:
        return None
    info = tarfile.TarInfo(text(name))
    info.type = _TYPES[entry.kind]
    info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, mtime
    if entry.kind == "file":
        info.size = entry.size
    elif entry.kind == "link":
        info.linkname = text(entry.content)
    elif entry.kind in ("char", "block"):
        info.devmajor, info.devminor = (int(part) for part in entry.content.split(b":"))
    info.pax_headers = {_XATTR + text(key): text(value) for key, value in entry.xattrs}
    return info


def directory(path: str, mode: int = 0o755) -> bytes:
    """A directory of root's; no content follows."""
    info = tarfile.TarInfo(path.strip("/"))
    info.type, info.mode = tarfile.DIRTYPE, mode
    return header(info)


def file(path: str, content: bytes, mode: int) -> bytes:
    """A file of root's with its content, padded."""
    info = tarfile.TarInfo(path.strip("/"))
    info.size, info.mode = len(content), mode
    return header(info) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def parents(path: str) -> list[str]:
    """The directories above a path, topmost first, without the root."""
    parts = path.strip("/").split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def placed(path: str, tree: Tree) -> Iterator[bytes]:
    """A tree as members below `path`, content read from its files; times are those of the files."""
    top, layers = raw(path.strip("/")), [os.fsencode(layer) for layer in (tree.root, *tree.under)]
    for entry in tree.entries():
        refuse_whiteouts([text(entry.path)], "The tree")
        below = b"" if entry.path == ROOT else b"/" + entry.path
        if len(layers[0] + below) > _LONGEST_PATH:
            raise InputError(
                f"{text(entry.path[:60])!r}… has {len(entry.path)} bytes, longer than the Docker Engine can name.",
                "Ignore what is nested so deep, or use `--engine native`.",
            )
        # What the tree has at a path is what its topmost layer has there: where a path is hidden, the tree has none.
        source = next((layer + below for layer in layers if os.path.lexists(layer + below)), None)
        info = member(top + below, entry, os.lstat(source).st_mtime if source else 0)
        if info is None:
            continue
        yield header(info)
        if entry.kind == "file" and entry.size:
            yield from _content(source or layers[0] + below, entry.size)


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in large chunks: a tree of small files would be sent a header at a time."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= CHUNK:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


def is_whiteout(path: str) -> bool:
    """Whether a name deletes another one when an image layer is unpacked."""
    return "/.wh." in f"/{path}"


def refuse_whiteouts(paths: Iterable[str], whose: str) -> None:
    """Raise InputError for a name that deletes another one when an image layer is unpacked."""
    for path in paths:
        if is_whiteout(path):
            raise InputError(
                f"{whose} holds {path!r}: in an image layer a name that starts with '.wh.' means a deletion.",
                "Remove or ignore it, or use `--engine native`, which has no such names.",
            )


def _content(path: bytes, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes of a file and the padding; a base is immutable, so anything else is a fault."""
    left = size
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as source:
        while left:
            chunk = source.read(min(CHUNK, left))
            if not chunk:
                raise EngineError(f"The base file {os.fsdecode(path)!r} is shorter than its manifest says.")
            left -= len(chunk)
            yield chunk
    yield bytes(-size % tarfile.BLOCKSIZE)


class _Chunks(io.RawIOBase):
    """An iterator of bytes as a file to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def members(chunks: Iterable[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Every member with its content, which must be read before the next one is asked for."""
    with closing(io.BufferedReader(_Chunks(chunks), CHUNK)) as source:
        try:
            with tarfile.open(fileobj=source, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                for info in tar:
                    yield info, tar.extractfile(info) if info.isreg() else None
                    vars(tar)["members"] = []  # else it remembers every member of a tree that may have millions
        except tarfile.TarError as error:
            raise EngineError(f"The Docker Engine sent an archive that can't be read: {error}.") from error


def entry_of(path: bytes, info: tarfile.TarInfo) -> Entry:
    """The entry of a member, without a file's content digest. Raises EngineError for an unknown kind."""
    kind = _KINDS.get(info.type)
    if kind is None:
        raise EngineError(f"The Docker Engine sent an archive member of unknown type {info.type!r}.")
    content = b""
    if kind == "link":
        content = raw(info.linkname)
    elif kind in ("char", "block"):
        content = f"{info.devmajor}:{info.devminor}".encode()
    xattrs = sorted(
        (raw(key.removeprefix(_XATTR)), raw(value))
        for key, value in info.pax_headers.items()
        if key.startswith((_XATTR + "user.", _XATTR + "security.capability"))
    )
    mode = 0o777 if kind == "link" else info.mode & 0o7777
    return Entry(path, kind, mode, info.uid, info.gid, content=content, xattrs=tuple(xattrs))
