"""Trees are removed whole, whatever they are, and what takes long is done while others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.engines.native import removal


def tree(root: Path, directories: int, files: int) -> Path:
    for number in range(directories):
        inner = root / f"d{number}" / "below"
        inner.mkdir(parents=True)
        for file in range(files):
            (inner / f"f{file}").write_bytes(b"")
    return root


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_removal_in_parts_comes_to_its_end(tmp_path: Path, most: int) -> None:
    tree(tmp_path / "tree", 3, 5)
    doomed = removal.set_aside(tmp_path / "tree")
    assert doomed is not None
    parts = 1
    while not removal.finish(doomed, most):
        parts += 1
        assert parts < 200
    assert list(tmp_path.iterdir()) == []
    assert (parts > 1) == (most < 1000)
    assert removal.finish(doomed, most), "what is gone is finished"


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
    assert not removal.finish(doomed, 200)
    assert [path.name.startswith(removal.GONE) for path in tmp_path.iterdir()] == [True]
