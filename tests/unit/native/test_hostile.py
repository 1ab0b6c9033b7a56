"""What an agent may leave to annoy whoever reads or removes its files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sandbox.engines.native import NativeEngine, removal
from sandbox.errors import InputError
from tests import host
from tests.engines import Boxes

DEEP = "import os\nfor _ in range(1500): os.mkdir('d' * 50); os.chdir('d' * 50)\nopen('leaf', 'w').close()"


def test_a_tree_of_any_depth_is_refused_for_snapshots_and_removed(
    boxes: Boxes, engine: NativeEngine, home: Path
) -> None:
    boxes.create()
    engine.close()  # what others left to be removed is gone
    files = host.files_below(home)
    box = boxes.create()
    assert box.python(DEEP).exit_code == 0
    with pytest.raises(InputError, match="deeper"):
        box.snapshot()
    with pytest.raises(InputError, match="deeper"):
        box.changes()
    assert box.out("echo alive") == b"alive\n"
    engine.destroy(box.id)
    engine.close()
    assert host.files_below(home) == files


def test_removal_never_follows_a_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "link").symlink_to(kept)
    (tmp_path / "tree" / "sub" / "up").symlink_to("../..")
    (tmp_path / "link").symlink_to(kept)
    removal.remove(tmp_path / "tree")
    removal.remove(tmp_path / "link")
    removal.remove(tmp_path / "nothing")
    assert os.listdir(tmp_path) == ["kept"]
    assert (kept / "file").read_text() == "x"


def test_users_and_files_that_are_traps_are_read_without_harm(boxes: Boxes, engine: NativeEngine) -> None:
    box = boxes.create()
    box.out("rm /etc/passwd /etc/group; mkfifo /etc/passwd; ln -s /proc/self/environ /etc/group; mkfifo pipe")
    started = time.monotonic()
    # The runtime itself reads that file, inside: a command may hang there, but its timeout ends it.
    assert box.run("true", user="12:34", timeout_s=2).seconds < 15
    with pytest.raises(InputError):
        box.run("true", user="alice")
    with pytest.raises(InputError):
        engine.read(box.id, "/workspace/pipe")
    with pytest.raises(InputError):
        engine.read(box.id, "/proc/self/environ")
    assert time.monotonic() - started < 20


def test_writing_over_a_link_replaces_the_link(boxes: Boxes, engine: NativeEngine, tmp_path: Path) -> None:
    box = boxes.create()
    (tmp_path / "of the host").write_text("untouched")
    box.out(f"ln -s '{tmp_path}/of the host' link; ln -s '{tmp_path}' dir; ln -s /workspace/app inside")
    engine.write(box.id, "/workspace/link", b"new")
    engine.write(box.id, "/workspace/inside/through", b"kept inside")
    with pytest.raises(InputError):
        engine.write(box.id, "/workspace/dir/of the host", b"escaped")
    assert (tmp_path / "of the host").read_text() == "untouched"
    assert box.out("cat link app/through; test -L link || echo a file") == b"newkept insidea file\n"


def test_one_command_can_not_end_another_ones_waiting(boxes: Boxes) -> None:
    """A daemon that keeps the pipes and writes on for ever does not hold the command, nor fill the memory."""
    box = boxes.create()
    result = box.sh("(yes &) ; sleep 0.2; echo done >&2", timeout_s=30)
    assert (result.exit_code, result.stderr, result.timed_out) == (0, b"done\n", False)
