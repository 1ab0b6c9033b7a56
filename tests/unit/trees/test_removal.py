"""Our own trees go, however deep and whatever their permissions, and links in them are not followed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

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
