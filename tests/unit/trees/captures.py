"""What the tests of bases share: contents in memory, a capture, what it left."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from sandbox.errors import NotFound
from sandbox.trees.bases import BaseStore, StoredBase
from sandbox.trees.patterns import Patterns

NOTHING = Patterns([])


class Contents:
    """Contents in memory, by their digest."""

    def __init__(self, *contents: bytes) -> None:
        self._contents = {hashlib.sha256(content).digest(): content for content in contents}

    def open(self, sha256: bytes) -> io.BytesIO:
        if sha256 not in self._contents:
            raise NotFound("no such content")
        return io.BytesIO(self._contents[sha256])


def capture(store: BaseStore, tree: Path, ignore: Patterns = NOTHING) -> StoredBase:
    return store.capture(tree, ignore, key="target")


def inodes(root: Path) -> dict[str, int]:
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root)): path.stat().st_ino for path in files}


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "home" / "bases").iterdir() if path.name.startswith((".b", ".r"))]
