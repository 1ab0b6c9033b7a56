"""What takes long to remove is removed while others go on."""

from __future__ import annotations

import threading
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


def aside(path: Path) -> Path:
    doomed = removal.set_aside(tree(path, 5, 20))
    assert doomed is not None
    return doomed


def test_what_is_given_and_what_is_found_then_are_gone_soon_and_nobody_waits_for_it(tmp_path: Path) -> None:
    may_look = threading.Event()
    free = [aside(tmp_path / "free")]

    def find() -> list[Path]:
        assert may_look.wait(10)
        return [free.pop()] if free else []

    backlog = removal.Backlog(find)
    backlog.take([aside(tmp_path / "given")])
    backlog.take()
    assert list(tmp_path.iterdir()) != []
    may_look.set()
    backlog.wait()
    assert list(tmp_path.iterdir()) == []
    again = aside(tmp_path / "again")
    backlog.take([again])
    backlog.wait()
    assert not again.exists(), "it works again after a rest"


def test_what_can_not_be_found_or_removed_keeps_nothing_else(tmp_path: Path) -> None:
    def find() -> list[Path]:
        raise OSError(5, "Input/output error")

    backlog = removal.Backlog(find)
    backlog.take([Path("/proc/self/status"), aside(tmp_path / "tree")])
    backlog.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_backlog_leaves_what_a_sweep_knows(tmp_path: Path) -> None:
    doomed = removal.set_aside(tree(tmp_path / "tree", 5, 100))
    assert doomed is not None
    assert not remove_tree(doomed, 200)
    assert [path.name.startswith(removal.GONE) for path in tmp_path.iterdir()] == [True]
