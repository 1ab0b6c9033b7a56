"""Copies of a layer are exact, share only what is safe, and never a file with the live layer."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

from sandbox.engines.native import overlay
from sandbox.engines.native.cloning import Cloner, shares_mappings
from tests.trees import entries_below, odd_tree


def settled(*paths: Path) -> None:
    """Wait until the times of these files can be told from those of a later write."""
    newest = max(path.stat().st_ctime for path in paths)
    while time.time() < newest + 0.2:
        time.sleep(0.02)


def test_a_clone_equals_its_source_in_everything(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    odd_tree(source)
    os.setxattr(source / "README", "user.note", b"kept")
    os.mkfifo(source / "pipe")
    Cloner().clone(source, tmp_path / "clone")
    assert entries_below(tmp_path / "clone") == entries_below(source)
    for name in ("README", "app", "current", "pipe"):
        was, now = os.lstat(source / name), os.lstat(tmp_path / "clone" / name)
        assert (now.st_mtime_ns, now.st_mode, now.st_uid) == (was.st_mtime_ns, was.st_mode, was.st_uid)


def test_whiteouts_and_opaque_directories_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "made again").mkdir(parents=True)
    for path, mark in (
        (source, lambda fd: overlay.make_whiteout(fd, "gone")),
        (source / "made again", overlay.set_opaque),
    ):
        handle = os.open(path, os.O_RDONLY)
        mark(handle)
        os.close(handle)
    Cloner().clone(source, tmp_path / "clone")
    assert overlay.is_whiteout(os.lstat(tmp_path / "clone" / "gone"))
    handle = os.open(tmp_path / "clone" / "made again", os.O_RDONLY)
    assert overlay.is_opaque(handle)
    os.close(handle)


def test_a_sparse_file_stays_sparse(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"in the middle")
    Cloner().clone(source, tmp_path / "clone")
    state = (tmp_path / "clone" / "sparse").stat()
    assert state.st_size == 1 << 30
    assert state.st_blocks * 512 < 1 << 20
    with (tmp_path / "clone" / "sparse").open("rb") as file:
        file.seek(1 << 29)
        assert file.read(13) == b"in the middle"


def test_hard_links_stay_hard_links(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_text("x")
    os.link(source / "one", source / "two")
    Cloner().clone(source, tmp_path / "clone")
    assert os.path.samefile(tmp_path / "clone" / "one", tmp_path / "clone" / "two")
    assert not os.path.samefile(source / "one", tmp_path / "clone" / "one")


def test_what_did_not_change_is_shared_with_the_previous_clone_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("same", "other"):
        (source / name).write_text("first")
    settled(source / "same", source / "other")
    first = Cloner()
    first.clone(source, tmp_path / "first")
    times = (source / "other").stat()
    (source / "other").write_text("secnd")
    os.utime(source / "other", ns=(times.st_atime_ns, times.st_mtime_ns))  # as one that covers its tracks
    Cloner(tmp_path / "first", first.index).clone(source, tmp_path / "second")
    assert os.path.samefile(tmp_path / "first" / "same", tmp_path / "second" / "same")
    assert (tmp_path / "second" / "other").read_text() == "secnd"
    assert (tmp_path / "first" / "other").read_text() == "first"
    assert not os.path.samefile(source / "same", tmp_path / "second" / "same")


def test_a_file_as_young_as_the_clone_is_copied_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "young").write_text("x")
    cloner = Cloner()
    cloner.clone(source, tmp_path / "clone")
    assert cloner.index == {}


def test_nothing_is_shared_while_a_file_may_change_through_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(bytes(4096))
    assert not shares_mappings([os.getpid()])
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert shares_mappings([os.getpid()])
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    settled(source / "file")
    cloner = Cloner(mapped=True)
    cloner.clone(source, tmp_path / "clone")
    assert cloner.index == {}
