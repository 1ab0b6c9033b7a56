"""One target's part of a review: its difference together with the contents on both sides.

Owns the reading of it. Must not format more than one entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.records import TargetDelta
from sandbox.spec import TargetSpec
from sandbox.targets.base import Base, Blobs
from sandbox.terminal import escape
from sandbox.trees.block import Block
from sandbox.trees.entry import Change, Entry


@dataclass(frozen=True, slots=True)
class Subject:
    delta: TargetDelta
    changes: tuple[Change, ...]
    """The same changes as in `delta`, with exact paths."""
    base: Base
    blobs: Blobs
    spec: TargetSpec
    alone: bool = True
    """It is the only target of its change, so paths need no name before them."""

    def shown(self, path: bytes) -> str:
        """A path of this target for a person, escaped."""
        return escape(path) if self.alone else f"{self.delta.name}: {escape(path)}"


def entry_words(entry: Entry) -> str:
    """Kind, mode and size in one column."""
    size = f"{entry.size} bytes" if entry.kind == "file" else ""
    return f"{entry.kind:<4} {entry.mode:04o} {size:>12}"


def counted(subject: Subject) -> tuple[dict[str, int], dict[str, int]]:
    """How many entries of each kind, and `bytes` in all, there are before and after."""
    before = _count_stored(subject.base.blocks())
    gone = _count(c.before for c in subject.changes if c.before is not None)
    come = _count(c.after for c in subject.changes if c.after is not None)
    after = Counter(before)
    after.subtract(gone)
    after.update(come)
    return before, after


def _count_stored(blocks: Iterable[Block]) -> Counter[str]:
    """`_count`, of entries that are not decoded."""
    kinds: Counter[bytes] = Counter()
    size = 0
    for block in blocks:
        kinds.update(block.kinds)
        size += sum(map(int, block.sizes))
    return Counter({kind.decode(): number for kind, number in kinds.items()} | {"bytes": size})


def _count(entries: Iterable[Entry]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for entry in entries:
        counts[entry.kind] += 1
        counts["bytes"] += entry.size
    return counts
