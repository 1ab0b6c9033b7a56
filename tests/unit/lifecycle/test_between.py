"""The difference between two states that are both given as differences from one base."""

from __future__ import annotations

from sandbox.lifecycle.differences import between, shown
from sandbox.trees.entry import Change, Entry


def file(path: bytes, content: bytes) -> Entry:
    return Entry(path, "file", 0o644, 0, 0, 1, content * 32)


def test_what_was_there_before_is_left_out() -> None:
    first = Change(b"first", None, file(b"first", b"1"))
    second = Change(b"second", None, file(b"second", b"1"))
    assert between([first], [first, second]) == (second,)


def test_what_was_undone_since_is_told() -> None:
    made = Change(b"a", None, file(b"a", b"1"))
    assert between([made], []) == (Change(b"a", made.after, None),)


def test_a_change_of_a_change_starts_from_the_middle() -> None:
    old, middle, new = (file(b"a", content) for content in (b"1", b"2", b"3"))
    assert between([Change(b"a", old, middle)], [Change(b"a", old, new)]) == (Change(b"a", middle, new),)
    assert between([Change(b"a", old, middle)], []) == (Change(b"a", middle, old),)


def test_a_name_that_is_not_utf8_is_given_exactly_beside_its_text() -> None:
    entry = shown(Change(b"\xff", None, file(b"\xff", b"1")))
    assert (entry.path, entry.path_base64) == ("\\xff", "/w==")
    assert shown(Change(b"plain", None, file(b"plain", b"1"))).path_base64 is None
