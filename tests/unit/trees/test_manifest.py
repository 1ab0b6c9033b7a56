"""A manifest names all of a tree, and is found out when a byte of it is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import SandboxError
from sandbox.trees import manifest
from sandbox.trees.entry import ROOT, Entry
from sandbox.trees.ownership import OwnerMap
from tests.unit.trees.strategies import PROPERTY, trees

FILE = Entry(b"a/b", "file", 0o644, 1, 2, 5, hashlib.sha256(b"x").digest(), ((b"user.a", b"\0,="),))
TREE = (Entry(ROOT, "dir", 0o755, 1, 2), Entry(b"a", "dir", 0o755, 1, 2), FILE)


@PROPERTY
@given(trees())
def test_what_was_written_is_read(tmp_path: Path, tree: tuple[Entry, ...]) -> None:
    path = tmp_path / "manifest"
    path.unlink(missing_ok=True)
    assert manifest.write(path, tree) == manifest.fingerprint(tree)
    assert tuple(manifest.read(path)) == tree


@PROPERTY
@given(trees())
def test_every_path_is_found_and_no_other(tmp_path: Path, tree: tuple[Entry, ...]) -> None:
    path = tmp_path / "manifest"
    path.unlink(missing_ok=True)
    manifest.write(path, tree)
    for entry in tree:
        assert manifest.find(path, entry.path) == entry
    assert manifest.find(path, b"not/there") is None


def test_a_link_target_is_not_taken_for_a_path(tmp_path: Path) -> None:
    link = Entry(b"a", "link", 0o777, 0, 0, 0, b"b")
    manifest.write(tmp_path / "manifest", [TREE[0], link])
    assert manifest.find(tmp_path / "manifest", b"b") is None


def test_a_manifest_longer_than_one_read_comes_back_whole(tmp_path: Path) -> None:
    tree = [TREE[0], *(FILE._replace(path=b"%08d" % number + b"x" * 200) for number in range(8000))]
    manifest.write(tmp_path / "manifest", tree)
    assert list(manifest.read(tmp_path / "manifest")) == tree


@pytest.mark.parametrize(
    "other",
    [
        FILE._replace(path=b"a/c"),
        FILE._replace(mode=0o755),
        FILE._replace(mode=0o4644),
        FILE._replace(uid=2),
        FILE._replace(gid=1),
        FILE._replace(size=6),
        FILE._replace(content=hashlib.sha256(b"y").digest()),
        FILE._replace(xattrs=()),
        FILE._replace(xattrs=((b"user.b", b"\0,="),)),
        FILE._replace(xattrs=((b"user.a", b"\0,"),)),
        FILE._replace(xattrs=((b"user.a", b"\0,="), (b"user.b", b""))),
        Entry(b"a/b", "fifo", 0o644, 1, 2),
        Entry(b"a/b", "link", 0o777, 1, 2, 0, b"x"),
        Entry(b"a/b", "link", 0o777, 1, 2, 0, b"y"),
    ],
)
def test_a1_any_field_of_any_entry_changes_the_fingerprint(other: Entry) -> None:
    assert manifest.fingerprint([*TREE[:2], other]) != manifest.fingerprint(TREE)


@PROPERTY
@given(trees(), trees())
def test_a1_trees_have_the_same_fingerprint_only_when_they_are_equal(
    one: tuple[Entry, ...], other: tuple[Entry, ...]
) -> None:
    assert (manifest.fingerprint(one) == manifest.fingerprint(other)) == (one == other)


def test_a1_a_missing_entry_changes_the_fingerprint() -> None:
    assert manifest.fingerprint(TREE[:2]) != manifest.fingerprint(TREE)


@pytest.mark.parametrize("tree", [(TREE[1], TREE[0]), (*TREE, FILE)], ids=["out of order", "twice"])
def test_a_list_without_a_meaning_has_no_fingerprint(tree: tuple[Entry, ...]) -> None:
    with pytest.raises(SandboxError):
        manifest.fingerprint(tree)


@PROPERTY
@given(st.data())
def test_any_damaged_byte_is_found_before_an_entry_is_given(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "manifest"
    path.unlink(missing_ok=True)
    manifest.write(path, TREE)
    stored = bytearray(path.read_bytes())
    at = data.draw(st.integers(min_value=0, max_value=len(stored) - 1))
    stored[at] ^= data.draw(st.integers(min_value=1, max_value=255))
    path.write_bytes(stored)
    with pytest.raises(SandboxError):
        next(manifest.read(path))


def test_a_truncated_or_missing_manifest_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    with pytest.raises(SandboxError):
        next(manifest.read(path))
    manifest.write(path, TREE)
    for length in (0, 10, 70, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(SandboxError):
            next(manifest.read(path))


@PROPERTY
@given(trees(), st.integers(0, 3), st.integers(0, 3))
def test_the_view_of_the_sandbox_swapped_twice_is_the_view_of_the_target(
    tree: tuple[Entry, ...], uid: int, gid: int
) -> None:
    owner = OwnerMap(uid, gid)
    assert tuple(owner.swap(owner.swap(entry)) for entry in tree) == tree


def test_root_stands_for_the_owner_of_the_target() -> None:
    owner = OwnerMap(1000, 50)
    seen = owner.swap(FILE._replace(uid=1000, gid=50))
    assert (seen.uid, seen.gid) == (0, 0)
    real = owner.swap(FILE._replace(uid=0, gid=7))
    assert (real.uid, real.gid) == (1000, 7)
