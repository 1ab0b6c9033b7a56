"""A tree to capture and a store to capture it into."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.trees import stat_cache
from sandbox.trees.bases import BaseStore
from sandbox.trees.patterns import Patterns

NOTHING = Patterns([])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "target"
    (root / "d" / "empty").mkdir(parents=True)
    for name in ("a", "b", "d/a"):
        (root / name).write_text(name)
    (root / "big").write_bytes(os.urandom(3 << 20))
    (root / "nothing").touch()
    (root / "link").symlink_to("../outside")
    os.setxattr(root / "a", "user.x", b"1")
    os.utime(root / "a", ns=(10**18, 10**18 + 1))
    return root


@pytest.fixture
def store(tmp_path: Path) -> BaseStore:
    return BaseStore(tmp_path / "home" / "bases")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as written long ago, without the wait."""
    monkeypatch.setattr(stat_cache, "RACY_NS", -60_000_000_000)
