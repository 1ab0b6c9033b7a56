"""What takes long to remove is removed while others go on."""

from __future__ import annotations

from pathlib import Path

from sandbox.engines.native import removal
from sandbox.trees.removal import remove_tree


def tree(root: Path, directories: int, files: int) -> Path:
    for number in range(directories):
        inner = root / f"d{number}" / "below"
        inner.mkdir(parents=True)
        for file in range(files):
            (inner / f"f{file}").write_bytes(b"")
    return root


def test_what_is_small_is_gone_at_once_and_what_is_large_soon(tmp_path: Path) -> None:
    backlog = removal.Backlog()
    small = removal.set_aside(tree(tmp_path / "small", 2, 3))
    large = removal.set_aside(tree(tmp_path / "large", 10, 100))
    assert small is not None
    assert large is not None
    backlog.take([small])
    assert not small.exists()
    backlog.take([large])
    backlog.wait()
    assert list(tmp_path.iterdir()) == []
    again = removal.set_aside(tree(tmp_path / "large", 10, 100))
    assert again is not None
    backlog.take([again])
    backlog.wait()
    assert not again.exists(), "it works again after a rest"


def test_a_killed_backlog_leaves_what_a_sweep_knows(tmp_path: Path) -> None:
    doomed = removal.set_aside(tree(tmp_path / "tree", 5, 100))
    assert doomed is not None
    assert not remove_tree(doomed, 200)
    assert [path.name.startswith(removal.GONE) for path in tmp_path.iterdir()] == [True]
