"""What a benchmark gave, as frozen records: every time that was measured, and what sums it up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Self

from sandbox.records import Record


class Timing(Record):
    """One operation of one tool, or one floor."""

    name: str
    says: str
    """What was done, and in what state."""
    median_ms: float
    p95_ms: float
    """The time that 95 of 100 samples keep within; the slowest of fewer than 20."""
    samples_ms: tuple[float, ...]
    """In the order in which they were taken."""

    @classmethod
    def of(cls, name: str, says: str, samples: Sequence[float]) -> Self:
        """Sum up samples in milliseconds, of which there is at least one."""
        ordered = sorted(samples)
        rank = math.ceil(0.95 * len(ordered))
        return cls(
            name=name,
            says=says,
            median_ms=round(median(ordered), 3),
            p95_ms=round(ordered[rank - 1], 3),
            samples_ms=tuple(round(one, 3) for one in samples),
        )


class Peer(Record):
    """Another tool, used by hand for the same purpose."""

    name: str
    says: str
    operations: tuple[Timing, ...]


class Comparison(Record):
    """One operation of ours beside a peer's, pair by pair of the same round."""

    operation: str
    peer: str
    ours_ms: float
    theirs_ms: float
    ratio: float
    """Median of ours divided by theirs: below 1, ours is faster."""
    pairs: int

    @classmethod
    def of(cls, operation: str, peer: str, ours: Sequence[float], theirs: Sequence[float]) -> Self:
        """Compare samples that were taken in turn."""
        pairs = list(zip(ours, theirs, strict=True))
        return cls(
            operation=operation,
            peer=peer,
            ours_ms=round(median(ours), 3),
            theirs_ms=round(median(theirs), 3),
            ratio=round(median(one / other for one, other in pairs), 4),
            pairs=len(pairs),
        )


class NotMeasured(Record):
    what: str
    why: str


class Machine(Record):
    cores: int
    """That this process may use."""
    cpu: str
    memory_mb: int
    kernel: str
    python: str
    filesystem: str
    """Of the scratch folder that everything was measured in."""


class BenchRecord(Record):
    engine: str
    image: str
    machine: Machine
    files: int
    bytes: int
    rounds: int
    operations: tuple[Timing, ...]
    floors: tuple[Timing, ...]
    """What this machine needs for the plainest form of such work, measured in the same rounds."""
    peers: tuple[Peer, ...]
    comparisons: tuple[Comparison, ...]
    not_measured: tuple[NotMeasured, ...]
    started_at: datetime
    seconds: float
