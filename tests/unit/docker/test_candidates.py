"""The comparison of an archive with a tree: what differs comes out, in order, and nothing else is copied."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from contextlib import nullcontext

import pytest

from sandbox.engines.base import Candidate
from sandbox.engines.docker_engine import archive
from sandbox.engines.docker_engine.candidates import differing
from sandbox.errors import EngineError
from sandbox.trees.entry import ROOT, Entry

TOP = Entry(ROOT, "dir", 0o755, 0, 0)


def a_file(path: bytes, content: bytes, mode: int = 0o644, xattrs: tuple[tuple[bytes, bytes], ...] = ()) -> Entry:
    return Entry(path, "file", mode, 0, 0, len(content), hashlib.sha256(content).digest(), xattrs)


def a_dir(path: bytes) -> Entry:
    return Entry(path, "dir", 0o755, 0, 0)


def packed(*members: tuple[Entry, bytes] | tarfile.TarInfo) -> bytes:
    """An archive as the engine sends it: everything below the name of its top."""
    data = b""
    for item in members:
        if isinstance(item, tarfile.TarInfo):
            data += archive.header(item)
            continue
        entry, content = item
        name = b"workspace" if entry.path == ROOT else b"workspace/" + entry.path
        info = archive.member(name, entry._replace(xattrs=()))
        assert info is not None
        data += archive.header(info) + content + bytes(-len(content) % 512)
    return data + archive.END


class Sunk(dict[bytes, bytes]):
    def __call__(self, path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:
        self[path] = b"".join(chunks)
        return hashlib.sha256(self[path]).digest(), len(self[path])


def compared(base: list[Entry], data: bytes, again: bytes = b"") -> tuple[list[Candidate], Sunk]:
    sunk = Sunk()
    return list(differing(base, [data], sunk, lambda path: nullcontext([again]))), sunk


def test_an_equal_tree_has_no_candidates_and_nothing_is_copied() -> None:
    base = [TOP, a_dir(b"d"), a_file(b"d/x", b"one"), a_file(b"y", b"")]
    assert compared(base, packed((TOP, b""), (base[1], b""), (base[2], b"one"), (base[3], b""))) == ([], {})


def test_equal_size_and_other_content_is_found() -> None:
    found, sunk = compared([TOP, a_file(b"x", b"one")], packed((TOP, b""), (a_file(b"x", b"two"), b"two")))
    assert found == [(b"x", a_file(b"x", b"two"))]
    assert sunk == {b"x": b"two"}


def test_a_change_of_mode_alone_comes_with_its_content() -> None:
    now = a_file(b"x", b"one", 0o600)
    found, sunk = compared([TOP, a_file(b"x", b"one")], packed((TOP, b""), (now, b"one")))
    assert (found, sunk) == ([(b"x", now)], {b"x": b"one"})


def test_of_a_subtree_that_is_gone_only_the_top_comes() -> None:
    base = [TOP, a_file(b"a", b""), a_dir(b"d"), a_dir(b"d/e"), a_file(b"d/e/f", b""), a_file(b"d-", b""), a_dir(b"z")]
    found, _ = compared(base, packed((TOP, b""), (base[1], b"")))
    assert found == [(b"d", None), (b"d-", None), (b"z", None)]


def test_a_directory_that_became_a_file_and_what_was_in_it() -> None:
    base = [TOP, a_dir(b"d"), a_dir(b"d/e"), a_file(b"d/e/f", b"")]
    found, _ = compared(base, packed((TOP, b""), (a_file(b"d", b"now"), b"now")))
    assert found == [(b"d", a_file(b"d", b"now")), (b"d/e", None)]


def linked(name: str, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"workspace/{name}")
    info.type, info.linkname, info.mode = tarfile.LNKTYPE, f"workspace/{to}", 0o644
    return info


def test_a_new_hard_link_to_an_unchanged_file_is_a_file_with_its_content() -> None:
    data = packed((TOP, b""), (a_file(b"a", b"same"), b"same"), linked("b", "a"))
    found, sunk = compared([TOP, a_file(b"a", b"same")], data, archive.file("b", b"same", 0o644) + archive.END)
    assert (found, sunk) == ([(b"b", a_file(b"b", b"same"))], {b"b": b"same"})


def test_files_that_were_hard_linked_with_equal_content_are_no_change() -> None:
    base = [TOP, a_file(b"a", b"same"), a_file(b"b", b"same")]
    assert compared(base, packed((TOP, b""), (base[1], b"same"), linked("b", "a"))) == ([], {})


def test_a_hard_link_to_nothing_is_the_engines_fault() -> None:
    with pytest.raises(EngineError, match="not in the archive"):
        compared([TOP], packed((TOP, b""), linked("b", "a")))


def test_a_socket_of_the_base_is_not_missed_unless_its_directory_is_gone() -> None:
    base = [TOP, a_dir(b"run"), Entry(b"run/s", "socket", 0o777, 0, 0)]
    assert compared(base, packed((TOP, b""), (base[1], b"")))[0] == []
    assert compared(base, packed((TOP, b"")))[0] == [(b"run", None)]


def test_attributes_that_an_archive_can_not_hold_stay_as_they_were() -> None:
    base = [TOP, a_file(b"x", b"one", xattrs=((b"user.a", b"1"),))]
    assert compared(base, packed((TOP, b""), (base[1], b"one")))[0] == []
    found, _ = compared(base, packed((TOP, b""), (a_file(b"x", b"more"), b"more")))
    assert found == [(b"x", a_file(b"x", b"more", xattrs=((b"user.a", b"1"),)))]


def test_members_out_of_order_are_refused() -> None:
    with pytest.raises(EngineError, match="out of order"):
        compared([TOP], packed((TOP, b""), (a_dir(b"b"), b""), (a_dir(b"a"), b"")))
