"""A sealed change set keeps exactly what went in, and says so when a byte is wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from sandbox.errors import InputError, NotFound, SandboxError
from sandbox.trees.changes import compare
from sandbox.trees.entry import Change, Entry
from sandbox.trees.sealed import SealedBlobs, SealWriter, changes_digest, read_changes, write_changes
from tests.unit.trees.strategies import PROPERTY, trees
from tests.unit.trees.test_scan import as_root

CONTENT = b"hello world" * 1000
SHA = hashlib.sha256(CONTENT).digest()
FILE = Entry(b"a", "file", 0o644, 1, 2, len(CONTENT), SHA, ((b"user.a", b"1"),))
ADDED = Change(b"a", None, FILE)


def pieces(content: bytes, size: int = 777) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.fixture
def sealed(tmp_path: Path) -> SealedBlobs:
    writer = SealWriter(tmp_path / "chg")
    assert writer(b"a", pieces(CONTENT)) == (SHA, len(CONTENT))
    return writer.finish([ADDED])


@PROPERTY
@given(trees(), trees())
def test_a_list_of_changes_is_read_as_it_was_written(
    tmp_path: Path, before: tuple[Entry, ...], after: tuple[Entry, ...]
) -> None:
    changes = tuple(compare(before, after))
    assert write_changes(tmp_path / "changes", changes) == changes_digest(changes)
    assert read_changes(tmp_path / "changes") == changes


@PROPERTY
@given(trees(), trees(), trees())
def test_a1_different_changes_have_different_digests(
    before: tuple[Entry, ...], one: tuple[Entry, ...], other: tuple[Entry, ...]
) -> None:
    first, second = tuple(compare(before, one)), tuple(compare(before, other))
    assert (changes_digest(first) == changes_digest(second)) == (first == second)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(
    "other",
    [
        FILE._replace(mode=0o755),
        FILE._replace(uid=2),
        FILE._replace(gid=1),
        FILE._replace(size=1),
        FILE._replace(content=bytes(32)),
        FILE._replace(xattrs=()),
        Entry(b"a", "link", 0o777, 1, 2, 0, b"x"),
    ],
)
def test_a1_any_field_of_either_side_changes_the_digest(side: str, other: Entry) -> None:
    change = Change(b"a", FILE, FILE._replace(mode=0o600))
    assert changes_digest([change._replace(**{side: other})]) != changes_digest([change])


def test_a1_a_deletion_is_not_an_addition() -> None:
    assert changes_digest([ADDED]) != changes_digest([Change(b"a", FILE, None)])


@pytest.mark.parametrize(
    "changes",
    [
        [ADDED, ADDED],
        [Change(b"b", None, FILE._replace(path=b"b")), ADDED],
        [Change(b"b", None, FILE)],
        [Change(b"a", None, None)],
    ],
    ids=["twice", "out of order", "of another path", "of nothing"],
)
def test_a_list_without_a_meaning_has_no_digest(changes: list[Change]) -> None:
    with pytest.raises(SandboxError):
        changes_digest(changes)


def test_a_damaged_or_missing_list_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "changes"
    with pytest.raises(NotFound):
        read_changes(path)
    write_changes(path, [ADDED])
    stored = path.read_bytes()
    for at in range(0, len(stored), 7):
        path.write_bytes(stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :])
        with pytest.raises(SandboxError):
            read_changes(path)


def test_a_content_comes_back_bit_for_bit(sealed: SealedBlobs) -> None:
    with sealed.open(SHA) as file:
        assert file.read() == CONTENT
    with sealed.open(SHA) as file:
        assert b"".join(iter(lambda: file.read(10), b"")) == CONTENT
    sealed.verify([ADDED])


def test_an_empty_content_is_a_content(tmp_path: Path) -> None:
    writer = SealWriter(tmp_path / "chg")
    sha, size = writer(b"empty", ())
    sealed = writer.finish([Change(b"empty", None, Entry(b"empty", "file", 0o644, 0, 0, size, sha))])
    with sealed.open(sha) as file:
        assert file.read() == b""


def test_equal_contents_are_stored_once(tmp_path: Path) -> None:
    writer = SealWriter(tmp_path / "chg")
    writer(b"a", [CONTENT])
    writer(b"b", pieces(CONTENT))
    writer.finish([ADDED, Change(b"b", None, FILE._replace(path=b"b"))])
    assert os.listdir(tmp_path / "chg" / "blobs") == [SHA.hex()]


def test_what_the_changes_do_not_need_is_dropped(tmp_path: Path) -> None:
    writer = SealWriter(tmp_path / "chg")
    writer(b"a", [CONTENT])
    writer(b"b", [b"not needed"])
    writer.finish([ADDED])
    assert os.listdir(tmp_path / "chg" / "blobs") == [SHA.hex()]


def test_a_content_that_was_never_stored_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="never stored"):
        SealWriter(tmp_path / "chg").finish([ADDED])


@pytest.mark.parametrize("damage", [CONTENT[:-1] + b"!", CONTENT[:-1], CONTENT + b"!", b""])
def test_a7_a_damaged_content_is_never_given_to_its_end(sealed: SealedBlobs, damage: bytes) -> None:
    sealed.path(SHA).unlink()
    sealed.path(SHA).write_bytes(damage)
    with pytest.raises(SandboxError, match="damaged"), sealed.open(SHA) as file:
        file.read()
    with pytest.raises(SandboxError, match="damaged"), sealed.open(SHA) as file:
        file.read(len(damage) or 1)
    with pytest.raises(SandboxError, match="damaged"):
        sealed.verify([ADDED])


def test_a7_a_content_swapped_after_it_was_opened_is_the_old_one(sealed: SealedBlobs) -> None:
    with sealed.open(SHA) as file:
        sealed.path(SHA).unlink()
        sealed.path(SHA).write_bytes(b"evil")
        assert file.read() == CONTENT


def test_a_missing_content_is_not_found(sealed: SealedBlobs) -> None:
    sealed.path(SHA).unlink()
    with pytest.raises(NotFound):
        sealed.open(SHA)
    with pytest.raises(NotFound):
        sealed.verify([ADDED])


def test_a_failed_store_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise OSError(errno.EIO, "the sandbox is gone")

    with pytest.raises(OSError, match="gone"):
        SealWriter(tmp_path / "chg")(b"a", broken())
    assert os.listdir(tmp_path / "chg" / "blobs") == []


@as_root
def test_a_full_disk_says_how_much_is_missing_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        writer = SealWriter(small / "chg")
        with pytest.raises(InputError, match=r"has 3000000 bytes, and \d+ are free") as caught:
            writer(b"big", pieces(bytes(3_000_000), 65536))
        assert "at least" in caught.value.hint
        assert os.listdir(small / "chg" / "blobs") == []
        writer(b"a", [CONTENT])
        writer.finish([ADDED]).verify([ADDED])
    finally:
        subprocess.run(["umount", small], check=True)
