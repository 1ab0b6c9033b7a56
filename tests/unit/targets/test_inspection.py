"""What a reviewer is told about a change to a directory."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.targets.worlds import put, world

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_admin, as `setcap` writes it."""


def before(root: Path) -> None:
    put(root, "file", b"x", 0o600)
    put(root, "dir/deep/file", b"x")
    put(root, "Readme", b"x")
    (root / "inside").symlink_to("dir/deep")
    (root / "already-out").symlink_to("/etc")
    (root / "step").mkdir()
    (root / "dir/over").symlink_to("../step/../file")


def found(tmp_path: Path, after: Callable[[Path], object], **more: object) -> set[tuple[str, str, bool]]:
    it = world(tmp_path, before, after)
    hazards = it.target().inspect(it.base, it.changes)
    assert all(hazard.says.endswith(".") for hazard in hazards)
    return {(hazard.kind, hazard.path, hazard.blocks) for hazard in hazards}


def bind(path: Path) -> None:
    os.mknod(path, 0o140600)


def step_becomes_a_link(root: Path) -> None:
    (root / "step").rmdir()
    (root / "step").symlink_to(".")


def setgid_directory(root: Path) -> None:
    (root / "new").mkdir()
    (root / "new").chmod(0o2755)


BLOCKING: dict[str, tuple[Callable[[Path], object], tuple[str, str]]] = {
    "fifo": (lambda root: os.mkfifo(root / "new"), ("fifo", "new")),
    "socket": (lambda root: bind(root / "new"), ("socket", "new")),
    "setuid on a new file": (lambda root: put(root, "new", b"", 0o4755), ("setuid", "new")),
    "setuid on an old file": (lambda root: (root / "file").chmod(0o4600), ("setuid", "file")),
    "setgid": (lambda root: put(root, "new", b"", 0o2755), ("setgid", "new")),
    "absolute link": (lambda root: (root / "new").symlink_to("/etc/passwd"), ("link_leaves", "new")),
    "climbing link": (lambda root: (root / "dir/new").symlink_to("../../x"), ("link_leaves", "dir/new")),
    "climbing through a link": (lambda root: (root / "new").symlink_to("inside/../../../x"), ("link_leaves", "new")),
    "through an old absolute link": (lambda root: (root / "new").symlink_to("already-out/x"), ("link_leaves", "new")),
    "an old link leaves through a new one": (step_becomes_a_link, ("link_leaves", "dir/over")),
    "reserved name": (lambda root: put(root, "dir/.sandbox-x", b""), ("reserved_name", "dir/.sandbox-x")),
}


@pytest.mark.parametrize("name", sorted(BLOCKING))
def test_what_can_never_be_promoted_blocks(tmp_path: Path, name: str) -> None:
    after, (kind, path) = BLOCKING[name]
    assert (kind, path, True) in found(tmp_path, after)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and capabilities")
def test_devices_and_capabilities_block(tmp_path: Path) -> None:
    def after(root: Path) -> None:
        os.mknod(root / "null", 0o020666, os.makedev(1, 3))
        os.setxattr(put(root, "capable", b"", 0o755), "security.capability", CAPABILITY)

    kinds = found(tmp_path, after)
    assert {("device", "null", True), ("capability", "capable", True)} <= kinds


NOT_BLOCKING: dict[str, tuple[Callable[[Path], object], tuple[str, str]]] = {
    "world-writable": (lambda root: (root / "dir").chmod(0o777), ("world_writable", "dir")),
    "world-readable": (lambda root: (root / "file").chmod(0o644), ("world_readable", "file")),
    "executable": (lambda root: (root / "file").chmod(0o700), ("executable", "file")),
    "a new program": (lambda root: put(root, "new", b"", 0o755), ("executable", "new")),
    "case twin": (lambda root: put(root, "README", b""), ("name_twin", "README")),
    "Unicode twins": (
        lambda root: (put(root, "caf\u00e9", b""), put(root, "cafe\u0301", b"")),
        ("name_twin", "cafe\u0301"),
    ),
    "setgid directory": (setgid_directory, ("setgid_directory", "new")),
}


@pytest.mark.parametrize("name", sorted(NOT_BLOCKING))
def test_what_widens_rights_or_confuses_is_told(tmp_path: Path, name: str) -> None:
    after, (kind, path) = NOT_BLOCKING[name]
    assert (kind, path, False) in found(tmp_path, after)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_changes_are_told(tmp_path: Path) -> None:
    def after(root: Path) -> None:
        os.chown(root / "file", 1000, 1000)
        os.chown(put(root, "new", b""), 1000, 1000)

    assert {("owner", "file", False), ("owner", "new", False)} <= found(tmp_path, after)


def test_an_ordinary_change_has_no_hazards(tmp_path: Path) -> None:
    def after(root: Path) -> None:
        put(root, "file", b"changed", 0o600)
        put(root, "dir/new", b"new")
        (root / "dir/to-file").symlink_to("../file")
        (root / "already-out").unlink()

    assert found(tmp_path, after) == set()


def test_what_the_base_had_and_the_change_does_not_touch_is_carried(tmp_path: Path) -> None:
    def old(root: Path) -> None:
        before(root)
        put(root, "old-setuid", b"", 0o4755)
        with socket.socket(socket.AF_UNIX):
            bind(root / "old-socket")

    it = world(tmp_path, old, lambda root: put(root, "file", b"changed", 0o600))
    assert it.target().inspect(it.base, it.changes) == []


def test_e9_deleting_everything_blocks(tmp_path: Path) -> None:
    def after(root: Path) -> None:
        for path in root.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    assert ("everything_deleted", ".", True) in found(tmp_path, after)


def test_a_directory_with_ignored_content_can_not_be_deleted(tmp_path: Path) -> None:
    it = world(tmp_path, before, lambda root: shutil.rmtree(root / "dir"), ignore=("*.log",))
    put(it.root, "dir/deep/service.log", b"precious")
    hazards = it.target().inspect(it.base, it.changes)
    assert [(each.kind, each.path, each.blocks) for each in hazards] == [
        ("ignored_content_lost", "dir/deep/service.log", True)
    ]


def test_an_ignored_path_can_not_be_changed(tmp_path: Path) -> None:
    it = world(tmp_path, before, lambda root: put(root, "new.log", b""), ignore=("*.log",))
    assert [(each.kind, each.blocks) for each in it.target().inspect(it.base, it.changes)] == [("ignored_path", True)]


def test_hard_links_that_will_be_separated_are_told(tmp_path: Path) -> None:
    it = world(tmp_path, before, lambda root: put(root, "Readme", b"changed"))
    os.link(it.root / "Readme", tmp_path / "other name")
    hazards = it.target().inspect(it.base, it.changes)
    assert [(each.kind, each.path, each.blocks) for each in hazards] == [("hard_link_separated", "Readme", False)]
