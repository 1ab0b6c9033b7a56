"""Small trees and contents in memory, for the pure parts that only read them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sandbox.errors import NotFound
from sandbox.trees.block import Block, blocks_of
from sandbox.trees.entry import Change, Entry, sort_key

State = dict[str, bytes | Entry]


def entry(path: str, content: bytes = b"", *, kind: str = "file", mode: int = 0o644, owner: int = 0) -> Entry:
    raw = path.encode("utf-8", "surrogateescape")
    if kind == "file":
        return Entry(raw, kind, mode, owner, owner, len(content), hashlib.sha256(content).digest())
    return Entry(raw, kind, mode, owner, owner, 0, content)


class Tree:
    """A base and a store of contents at once."""

    fingerprint = "f" * 64

    def __init__(self, files: State) -> None:
        self.contents: dict[bytes, bytes] = {}
        self.found: dict[bytes, Entry] = {}
        for path, value in files.items():
            one = entry(path, value) if isinstance(value, bytes) else value
            self.found[one.path] = one
            if isinstance(value, bytes):
                self.put(value)

    def put(self, content: bytes) -> bytes:
        digest = hashlib.sha256(content).digest()
        self.contents[digest] = content
        return digest

    def entries(self) -> Iterator[Entry]:
        return iter(sorted(self.found.values(), key=lambda one: sort_key(one.path)))

    def blocks(self) -> Iterator[Block]:
        return blocks_of(self.entries())

    def open(self, key: bytes) -> BinaryIO:
        digest = self.found[key].content if key in self.found else key
        if digest not in self.contents:
            raise NotFound(f"no content {digest.hex()}")
        return io.BytesIO(self.contents[digest])

    def path(self, sha256: bytes) -> Path:
        raise NotFound(f"{sha256.hex()} is in memory only")


def changes(before: Tree, after: Tree) -> tuple[Change, ...]:
    paths = sorted(before.found.keys() | after.found.keys(), key=sort_key)
    pairs = ((path, before.found.get(path), after.found.get(path)) for path in paths)
    return tuple(Change(path, old, new) for path, old, new in pairs if old != new)
