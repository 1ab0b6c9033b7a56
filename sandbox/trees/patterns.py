"""Which paths a list of globs means, with the meaning that .gitignore gives them.

Owns the matching of byte paths. The last pattern that matches a path decides; what lies below a matched
directory is matched, whatever later patterns say. `logs/**` means all that is in `logs`, not `logs` itself.
Must not touch a file system.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from sandbox.errors import InputError
from sandbox.trees.entry import ROOT

_NEWLINE = "\udc0a"
"""Stands for a newline in a name, which the regular expressions would take for the end; no name decodes to it."""

_DIRECTORY_MARK = "(?P<ps_d>/)"
"""Where pathspec's regular expressions take a directory's slash; not in those for what is inside a directory."""


class Patterns:
    """A list of globs. An empty one matches nothing and is false."""

    def __init__(self, globs: Sequence[str]) -> None:
        """Raises InputError for a glob that can't be understood."""
        rules = [rule for glob in globs if (rule := _compile(glob))]
        runs = [
            (include, [regex for _, regex in run]) for include, run in itertools.groupby(rules, lambda rule: rule[0])
        ]
        self._runs = [_Run(include, regexes) for include, regexes in reversed(runs)]

    def __bool__(self) -> bool:
        return bool(self._runs)

    def match(self, path: bytes, is_dir: bool = False) -> bool:
        """Whether the path or a directory above it is meant; the root of a tree never is."""
        if not self._runs or path == ROOT:
            return False
        end = path.find(b"/")
        while end != -1:
            if self.match_alone(path[:end], is_dir=True):
                return True
            end = path.find(b"/", end + 1)
        return self.match_alone(path, is_dir=is_dir)

    def match_alone(self, path: bytes, *, is_dir: bool) -> bool:
        """The same for a path whose parents are known not to match: what a walk from the root asks."""
        if not self._runs:
            return False
        text = path.decode("utf-8", "surrogateescape")
        if "\n" in text:
            text = text.replace("\n", _NEWLINE)
        for run in self._runs:
            if run.match(text, is_dir):
                return run.include
        return False


class _Run:
    """Globs that follow each other and all include, or all exclude, as one regular expression."""

    def __init__(self, include: bool, regexes: list[re.Pattern[str]]) -> None:
        self.include = include
        self._any = _one_of([regex.pattern for regex in regexes])
        self._marked = _one_of([regex.pattern for regex in regexes if _DIRECTORY_MARK in regex.pattern])
        self._inside = _one_of([regex.pattern for regex in regexes if _DIRECTORY_MARK not in regex.pattern])

    def match(self, text: str, is_dir: bool) -> bool:
        """A directory is asked for with its slash, save by globs that mean what is inside one."""
        if not is_dir:
            return self._any.match(text) is not None
        return self._marked.match(text + "/") is not None or self._inside.match(text) is not None


def _compile(glob: str) -> tuple[bool, re.Pattern[str]] | None:
    """The rule that a glob stands for; None for a blank line or a comment."""
    import pathspec  # here, because most targets have no globs, and it takes longer to load than to scan a small tree

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


def _one_of(patterns: list[str]) -> re.Pattern[str]:
    """Matches what any of the patterns matches; nothing where there are none."""
    return re.compile("|".join(f"(?:{pattern.replace(_DIRECTORY_MARK, '/')})" for pattern in patterns) or "(?!)")


_CURE = "Write it as in a .gitignore file."
