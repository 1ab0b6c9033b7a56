"""Which paths a list of globs means, with the meaning that .gitignore gives them.

Owns the matching of byte paths. The last pattern that matches a path decides; what lies below a matched
directory is matched, whatever later patterns say. `logs/**` means all that is in `logs`, not `logs` itself.
Must not touch a file system.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pathspec

from sandbox.errors import InputError
from sandbox.trees.entry import ROOT

_NEWLINE = "\udc0a"
"""Stands for a newline in a name, which the regular expressions would take for the end; no name decodes to it."""


class Patterns:
    """A list of globs. An empty one matches nothing and is false."""

    def __init__(self, globs: Sequence[str]) -> None:
        """Raises InputError for a glob that can't be understood."""
        self._rules = [rule for glob in globs if (rule := _compile(glob))]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def match(self, path: bytes, is_dir: bool = False) -> bool:
        """Whether the path or a directory above it is meant; the root of a tree never is."""
        if not self._rules or path == ROOT:
            return False
        end = path.find(b"/")
        while end != -1:
            if self.match_alone(path[:end], is_dir=True):
                return True
            end = path.find(b"/", end + 1)
        return self.match_alone(path, is_dir=is_dir)

    def match_alone(self, path: bytes, *, is_dir: bool) -> bool:
        """The same for a path whose parents are known not to match: what a walk from the root asks."""
        if not self._rules:
            return False
        text = path.decode("utf-8", "surrogateescape").replace("\n", _NEWLINE)
        for include, regex in reversed(self._rules):
            subject = f"{text}/" if is_dir and "ps_d" in regex.groupindex else text
            if regex.match(subject):
                return include
        return False


def _compile(glob: str) -> tuple[bool, re.Pattern[str]] | None:
    """The rule that a glob stands for; None for a blank line or a comment."""
    try:
        (pattern,) = pathspec.GitIgnoreSpec.from_lines([glob.replace("\n", _NEWLINE)]).patterns or (None,)
    except (ValueError, re.error) as error:
        raise InputError(f"The pattern {glob!r} can't be understood: {error}.", _CURE) from error
    regex: re.Pattern[str] | None = getattr(pattern, "regex", None)
    if pattern is not None and pattern.include is not None and regex is not None:
        return pattern.include, regex
    if glob.strip() and not glob.startswith("#"):
        raise InputError(f"The pattern {glob!r} can match nothing.", _CURE)
    return None


_CURE = "Write it as in a .gitignore file."
