"""Which changes a check with pristine paths sees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.lifecycle.cleanroom import touched_pristine, without
from sandbox.trees.changes import compare, predict
from sandbox.trees.entry import ROOT, Change, Entry, sort_key
from sandbox.trees.patterns import Patterns

TESTS = Patterns(["tests/**"])


def file(path: bytes, content: bytes = b"1") -> Entry:
    return Entry(path, "file", 0o644, 0, 0, 1, content * 32)


def folder(path: bytes) -> Entry:
    return Entry(path, "dir", 0o755, 0, 0)


BASE = [folder(ROOT), file(b"app"), folder(b"tests"), file(b"tests/check"), file(b"tests/other")]


def test_d1_an_edited_test_is_taken_from_the_base() -> None:
    changes = (Change(b"app", file(b"app"), file(b"app", b"2")), Change(b"tests/check", file(b"tests/check"), None))
    assert [change.path for change in without(changes, TESTS)] == [b"app"]
    assert touched_pristine(changes, TESTS) == ["tests/check"]


def test_d1_deleting_the_directory_of_the_tests_leaves_the_tests() -> None:
    after = [entry for entry in BASE if not entry.path.startswith(b"tests")]
    kept = without(tuple(compare(BASE, after)), TESTS)
    assert list(predict(BASE, kept)) == BASE


def test_d1_replacing_the_directory_of_the_tests_by_a_file_leaves_the_tests() -> None:
    after = [*[entry for entry in BASE if not entry.path.startswith(b"tests")], file(b"tests")]
    kept = without(tuple(compare(BASE, after)), TESTS)
    assert list(predict(BASE, kept)) == BASE


def test_with_several_targets_patterns_start_with_the_targets_name() -> None:
    changes = (Change(b"tests/check", file(b"tests/check"), None),)
    assert without(changes, Patterns(["web/tests/**"]), b"web/") == ()
    assert without(changes, Patterns(["tests/**"]), b"web/") == changes


names = st.sampled_from([b"app", b"tests", b"tests/check", b"tests/deep", b"tests/deep/one", b"lib", b"lib/x"])


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """A tree whose files hold one of two contents, and in which every parent is a directory."""
    chosen = draw(st.sets(names))
    entries = {ROOT: folder(ROOT)}
    for path in sorted(chosen, key=sort_key):
        parent = path.rpartition(b"/")[0] or ROOT
        if parent not in entries or entries[parent].kind != "dir":
            continue
        entries[path] = folder(path) if draw(st.booleans()) else file(path, draw(st.sampled_from([b"1", b"2"])))
    return sorted(entries.values(), key=lambda entry: sort_key(entry.path))


@given(trees(), trees())
def test_d1_what_the_base_has_of_the_tests_is_always_there_unchanged(before: list[Entry], after: list[Entry]) -> None:
    kept = without(tuple(compare(before, after)), TESTS)
    tests = [entry for entry in before if TESTS.match(entry.path, entry.kind == "dir")]
    result = {entry.path: entry for entry in predict(before, kept)}
    assert [result.get(entry.path) for entry in tests] == tests
