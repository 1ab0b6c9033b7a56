"""What an engine's candidates come to, and what a program inside sees: the two must be equal.

Owns the comparison by the protocol's own words, apart from the product's, which is held against it.
"""

from __future__ import annotations

from sandbox.trees.changes import net
from sandbox.trees.entry import ROOT, Entry
from tests.engines import Box

Difference = tuple[Entry | None, Entry | None]
"""Before and after of one path."""


def differences(box: Box, origin: str | None = None) -> dict[bytes, Difference]:
    """What the engine says, of the sandbox or of `origin`; the product's own `net` must say the same."""
    candidates = box.changes(origin)
    found = plainly(box, candidates)
    changes = net(box.placements[0].tree.entries(), candidates.items())
    assert {change.path: (change.before, change.after) for change in changes} == found
    return found


def plainly(box: Box, candidates: dict[bytes, Entry | None]) -> dict[bytes, Difference]:
    """The protocol's own words, done the slow and obvious way."""
    before = {entry.path: entry for entry in box.placements[0].tree.entries()}
    after = dict(before)
    for path, entry in candidates.items():
        if entry is None or entry.kind != "dir":
            for gone in [known for known in before if below(known, path)]:
                after.pop(gone, None)
        if entry is not None:
            after[path] = entry
    found = {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()}
    return {path: (old, new) for path, (old, new) in found.items() if old != new}


def below(path: bytes, top: bytes) -> bool:
    return top == ROOT or path == top or path.startswith(top + b"/")


def expected(box: Box) -> dict[bytes, Difference]:
    """The same, as a program inside sees it."""
    before = {entry.path: entry for entry in box.placements[0].tree.entries()}
    after = {entry.path: entry for entry in box.entries()}
    found = {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()}
    return {path: (old, new) for path, (old, new) in found.items() if old != new}
