"""Our own trees go, however deep and whatever their permissions, and links in them are not followed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sandbox.trees.removal import remove_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "a/b").mkdir(parents=True)
    (made / "a/b/file").write_text("x")
    return made


def test_a_tree_deeper_than_the_stack_and_any_path_is_removed(tree: Path) -> None:
    handle = os.open(tree, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=handle)
        deeper = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    remove_tree(tree)
    assert not tree.exists()


def test_links_are_removed_and_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").touch()
    (tree / "link").symlink_to(tmp_path / "outside")
    remove_tree(tree)
    assert not tree.exists()
    assert (tmp_path / "outside/kept").exists()


def test_what_is_gone_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")


def test_two_may_remove_the_same_tree_at_once(tree: Path) -> None:
    for at in range(40):
        for inner in range(20):
            (tree / f"{at}/{inner}").mkdir(parents=True)
    failed = []

    def remove() -> None:
        try:
            remove_tree(tree)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert not tree.exists()


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_removal_in_parts_comes_to_its_end(tree: Path, most: int) -> None:
    for inner in ("a/b", "c/d", "e/f/g", "empty"):
        (tree / inner).mkdir(parents=True, exist_ok=True)
        for number in range(5):
            (tree / inner / f"f{number}").touch()
    parts = 1
    while not remove_tree(tree, most):
        parts += 1
        assert parts < 200
    assert not tree.exists()
    assert (parts > 1) == (most < 1000)
    assert remove_tree(tree, most), "what is gone is finished"


def test_whatever_is_no_directory_goes_too(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to("outside")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        assert remove_tree(tmp_path / name)
    assert os.listdir(tmp_path) == ["outside"]


def test_two_that_remove_one_within_the_other_go_on_when_they_meet(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inner one moves a directory up into what the outer one has just emptied, and is still at it afterwards."""
    (tree / "inner/full/moved").mkdir(parents=True)
    (tree / "inner/full/moved/file").touch()
    about_to_move, emptied, moved, met = (threading.Event() for _ in range(4))
    errors = []

    def rename(*arguments: Any, **options: Any) -> None:
        pause = threading.current_thread() is inner and not about_to_move.is_set()
        if pause:
            about_to_move.set()
            assert emptied.wait(10)
        os_rename(*arguments, **options)
        if pause:
            moved.set()
            assert met.wait(10)

    def rmdir(path: Any, **options: Any) -> None:
        pause = path == "inner" and not emptied.is_set()
        if pause:
            emptied.set()
            assert moved.wait(10)
        try:
            os_rmdir(path, **options)
        except OSError as error:
            errors.append(error.errno)
            raise
        finally:
            if pause:
                met.set()

    os_rename, os_rmdir = os.rename, os.rmdir
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "rmdir", rmdir)
    ended = []
    inner = threading.Thread(target=lambda: ended.append(remove_tree(tree / "inner")))
    inner.start()
    assert about_to_move.wait(10)
    ended.append(remove_tree(tree))
    inner.join()
    assert errno.ENOTEMPTY in errors, "they met"
    assert ended == [True, True]
    assert not tree.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which needs root")
def test_without_root_directories_without_permissions_are_removed_too(tree: Path, tmp_path: Path) -> None:
    (tree / "a/closed/inner").mkdir(parents=True)
    (tree / "a/closed/inner/file").touch()
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    for closed in ("a/closed/inner", "a/closed", "a", "."):
        (tree / closed).chmod(0)
    code = f"""if True:
        import os
        from pathlib import Path
        from sandbox.trees.removal import remove_tree
        os.chdir({str(tmp_path)!r})
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        remove_tree(Path("tree"))
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not tree.exists()
