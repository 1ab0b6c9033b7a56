"""Archives: every entry survives the way into tar and back; hostile ones raise our error."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.engines.docker_engine import archive
from sandbox.errors import EngineError, InputError
from sandbox.trees.entry import Entry

NAMES = st.binary(min_size=1, max_size=300).map(lambda raw: raw.replace(b"\0", b"_").replace(b"/", b"_"))
IDS = st.integers(0, 2**32 - 2)
XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"user.\xc3\xa9", b"security.capability"]), st.binary(max_size=40), max_size=3
).map(lambda pairs: tuple(sorted(pairs.items())))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["file", "dir", "link", "fifo", "char", "block"]))
    content = b""
    if kind == "link":
        content = draw(NAMES)
    elif kind in ("char", "block"):
        content = b"%d:%d" % (draw(st.integers(0, 4000)), draw(st.integers(0, 2**20)))
    mode = 0o777 if kind == "link" else draw(st.integers(0, 0o7777))
    return Entry(b"at/" + draw(NAMES), kind, mode, draw(IDS), draw(IDS), content=content, xattrs=draw(XATTRS))


@given(entries())
def test_an_entry_survives_the_way_into_an_archive_and_back(entry: Entry) -> None:
    info = archive.member(entry.path, entry)
    assert info is not None
    [(read, _)] = archive.members([archive.header(info), archive.END])
    assert archive.raw(read.name) == entry.path.rstrip(b"/")
    assert archive.entry_of(entry.path, read) == entry


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_content_survives_however_the_bytes_are_cut(content: bytes, cut: int) -> None:
    whole = archive.directory("a") + archive.file("a/b", content, 0o600) + archive.END
    pieces = [whole[at : at + cut] for at in range(0, len(whole), cut)]
    read = [(info.name, info.mode, file.read() if file else None) for info, file in archive.members(pieces)]
    assert read == [("a", 0o755, None), ("a/b", 0o600, content)]


def test_a_socket_is_left_out() -> None:
    assert archive.member(b"s", Entry(b"s", "socket", 0o777, 0, 0)) is None


def test_what_is_no_archive_is_the_engines_fault() -> None:
    with pytest.raises(EngineError, match="can't be read"):
        list(archive.members([b"not an archive" * 100]))


def test_an_unknown_kind_is_not_guessed() -> None:
    info = tarfile.TarInfo("x")
    info.type = b"V"
    with pytest.raises(EngineError, match="unknown type"):
        archive.entry_of(b"x", info)


@pytest.mark.parametrize("path", [".wh.a", "a/.wh..wh..opq", "/a/b/.wh.c"])
def test_a_name_that_deletes_in_a_layer_is_refused(path: str) -> None:
    with pytest.raises(InputError, match=r"\.wh\."):
        archive.refuse_whiteouts(["fine", path], "The tree")


def test_names_that_only_resemble_one_are_taken() -> None:
    archive.refuse_whiteouts([".whx", "a.wh.b", "x/.w", ".wh"], "The tree")
