"""Globs mean what they mean in a .gitignore."""

from __future__ import annotations

import pytest

from sandbox.errors import InputError
from sandbox.trees.patterns import Patterns


@pytest.mark.parametrize(
    ("globs", "path", "is_dir", "expected"),
    [
        (["logs/**"], b"logs", True, False),
        (["logs/**"], b"logs/a", False, True),
        (["logs/**"], b"logs/sub", True, True),
        (["logs/**"], b"x/logs/a", False, False),
        (["*.pid"], b"deep/down/a.pid", False, True),
        (["*.pid"], b"a.pid", True, True),
        (["*.pid"], b"a.pidx", False, False),
        (["build/"], b"build", False, False),
        (["build/"], b"build", True, True),
        (["build/"], b"x/build/y", False, True),
        (["build/", "!build/keep"], b"build/keep", False, True),
        (["*.log", "!keep.log"], b"keep.log", False, False),
        (["!keep.log", "*.log"], b"keep.log", False, True),
        (["/top"], b"top", False, True),
        (["/top"], b"sub/top", False, False),
        (["a/**/b"], b"a/b", False, True),
        (["a/**/b"], b"a/x/y/b", False, True),
        (["*.pid"], b"new\nline/a.pid", False, True),
        (["*.pid"], b"a.pid\n", False, False),
        (["*.pid"], b"\xff\xfe.pid", False, True),
        (["\u00e9*"], "\u00e9t\u00e9".encode(), False, True),
        (["# comment", "", "  "], b"# comment", False, False),
        (["**"], b".", True, False),
        ([".github/**"], b".github/workflows/ci.yml", False, True),
    ],
)
def test_a_glob_means_what_git_means(globs: list[str], path: bytes, is_dir: bool, expected: bool) -> None:
    assert Patterns(globs).match(path, is_dir) is expected


@pytest.mark.parametrize("glob", ["!", "a[", "\\", "[z-a]"])
def test_a_glob_that_means_nothing_is_bad_input(glob: str) -> None:
    with pytest.raises(InputError, match="pattern"):
        Patterns([glob])


def test_no_globs_are_false_and_match_nothing() -> None:
    assert not Patterns([])
    assert not Patterns(["# only a comment"])
    assert not Patterns([]).match(b"a")
    assert Patterns(["*"])
