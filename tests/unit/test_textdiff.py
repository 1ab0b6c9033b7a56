"""The diff that people read says everything that differs, and says so when it shows only a part."""

from __future__ import annotations

import difflib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.reviewing import textdiff
from sandbox.reviewing.textdiff import unified

TEXTS = st.lists(st.sampled_from([b"a", b"b", b"c", b"", b"\r"]), max_size=30).map(b"\n".join)


def patched(old: bytes, diff: list[bytes]) -> bytes:
    """`old` with `diff` applied, by the rules of unified diffs."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", old)
    result: list[bytes] = []
    at = 0
    for number, line in enumerate(diff):
        if line.startswith(b"@@"):
            start, _, count = line.split()[1][1:].partition(b",")
            first = int(start) - (0 if count == b"0" else 1)
            result += lines[at:first]
            at = first
        elif line[:1] in (b" ", b"+"):
            bare = number + 1 < len(diff) and diff[number + 1].startswith(b"\\")
            result.append(line[1:] + (b"" if bare else b"\n"))
        if line[:1] in (b" ", b"-"):
            at += 1
    return b"".join(result + lines[at:])


@given(TEXTS, TEXTS)
def test_the_diff_turns_the_old_text_into_the_new_one(old: bytes, new: bytes) -> None:
    assert patched(old, list(unified(old, new, None))) == new


@given(TEXTS, TEXTS)
def test_it_still_does_where_the_texts_are_too_long_to_compare_line_by_line(old: bytes, new: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textdiff, "COMPARED_LINES", 0)
        assert patched(old, list(unified(old, new, None))) == new


def test_a_small_edit_in_a_long_file_is_shown_with_context_and_line_numbers() -> None:
    old = [b"line %d" % n for n in range(100_000)]
    new = [*old[:70_000], b"changed", *old[70_001:]]
    shown = list(unified(b"\n".join(old), b"\n".join(new), 400))
    assert shown == [
        b"@@ -69998,7 +69998,7 @@",
        *(b" line %d" % n for n in (69_997, 69_998, 69_999)),
        b"-line 70000",
        b"+changed",
        *(b" line %d" % n for n in (70_001, 70_002, 70_003)),
    ]


def test_same_text_as_the_standard_library_says() -> None:
    old, new = "a\nb\nc\nd\ne\nf\ng\nh\n", "a\nb\nX\nd\ne\nf\ng\nh\ni\n"
    theirs = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm=""))[2:]
    assert [line.decode() for line in unified(old.encode(), new.encode(), None)] == theirs


def test_what_is_left_out_is_counted() -> None:
    shown = list(unified(b"", b"x\n" * 50, 10))
    assert len(shown) == 11
    assert shown[-1] == b"... 41 more lines of this file are not shown here"


def test_a_missing_last_newline_is_shown() -> None:
    assert list(unified(b"a\n", b"a", None))[1:] == [b"-a", b"+a", b"\\ No newline at end of file"]
