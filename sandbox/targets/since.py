"""What somebody else wrote, since a promotion, to what it made.

Owns which paths that concerns: those that the promotion changed, the directories that lead to them, and all that is in
a directory that it made. Nothing else is looked at: a restore does not touch it. Must not change anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from sandbox.errors import Drifted
from sandbox.targets.base import Base
from sandbox.targets.beneath import GONE, directory, parent, state
from sandbox.targets.sight import look
from sandbox.trees.entry import ROOT, Change, Entry, newly_above
from sandbox.trees.patterns import Patterns
from sandbox.trees.walk import RESERVED


def written(root: int, ignore: Patterns, base: Base, changes: Sequence[Change]) -> list[bytes]:
    """The paths that are not as the changes, made to `base`, left them; each is read whole."""
    made = {change.path: change.after for change in changes}
    above: set[bytes] = set()
    for path in made:
        newly_above(path, above)
    expected = {**dict(_entries(base, above - made.keys() - {ROOT})), **made}
    found = [path for path, entry in expected.items() if not _is(root, path, entry)]
    for change in changes:
        if (
            change.after is not None
            and change.after.kind == "dir"
            and (not change.before or change.before.kind != "dir")
        ):
            found.extend(path for path in _inside(root, change.path, ignore) if path not in made)
    return sorted(found)


def _entries(base: Base, paths: set[bytes]) -> Iterable[tuple[bytes, Entry]]:
    for block in base.blocks():
        for path in paths & block.places.keys():
            yield path, block.entry(block.places[path])


def _is(root: int, path: bytes, entry: Entry | None) -> bool:
    try:
        with parent(root, path) as (handle, name):
            seen = look(handle, name, path)
    except Drifted:
        return False
    except OSError as error:
        if error.errno not in GONE:
            raise
        return entry is None
    return (seen.entry if seen is not None else None) == entry


def _inside(root: int, path: bytes, ignore: Patterns) -> Iterator[bytes]:
    """What is right in a directory that is ours, but for what a target leaves out."""
    try:
        with directory(root, path) as handle:
            for name in map(os.fsencode, os.listdir(handle)):
                found = state(handle, name)
                inside = path + b"/" + name
                if found is None or name.startswith(RESERVED):
                    continue
                if not ignore.match(inside, stat.S_ISDIR(found.st_mode)):
                    yield inside
    except OSError as error:
        if error.errno not in GONE:  # that it is away is told of the directory itself
            raise
