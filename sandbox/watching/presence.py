"""Which entries of a base are there now, in a tree that an agent rewrites while we look.

Owns reading such a tree safely: each directory is opened relative to the one that holds it and never through
a link, so that no swap of a directory for a link leads out of the sandbox. Must not watch or decide anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.trees.entry import ROOT

Names = dict[str, "Names"]
"""A directory's entries by name, each with what is below it; names as `os.fsdecode` gives them."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def names_of(paths: Iterable[bytes]) -> Names:
    """The paths of a base as nested names. The root itself is not counted."""
    levels: dict[bytes, Names] = {b"": {}}
    for path in paths:
        if path != ROOT:
            _level(levels, path)
    return levels[b""]


def _level(levels: dict[bytes, Names], path: bytes) -> Names:
    """What is below a path, put where it belongs."""
    level = levels.get(path)
    if level is None:
        above, _, name = path.rpartition(b"/")
        level = levels[path] = _level(levels, above).setdefault(os.fsdecode(name), {})
    return level


def total(names: Names) -> int:
    """How many entries there are, at all levels."""
    return sum(1 + total(below) for below in names.values())


@contextmanager
def directory(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """A handle of a directory; raises OSError where `name` is none, or is a link below `parent`."""
    # The sandbox's root itself is ours to name, and may be reached through a link (/proc/PID/root is one).
    flags = _DIRECTORY if parent is not None else _DIRECTORY & ~os.O_NOFOLLOW
    handle = os.open(name, flags, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def descend(root: Path, steps: Iterable[str]) -> Iterator[int]:
    """A handle of the directory that is reached from `root` by real directories alone; raises OSError."""
    handle = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        for step in steps:
            below = os.open(step, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def missing(handle: int, names: Names) -> int:
    """How many of `names`, at all levels, are not there now; what is below a non-directory is not there."""
    present = set(os.listdir(handle))
    gone = 0
    for name, below in names.items():
        if name not in present:
            gone += 1 + total(below)
        elif below:
            try:
                with directory(name, handle) as inner:
                    gone += missing(inner, below)
            except OSError:
                gone += total(below)
    return gone
