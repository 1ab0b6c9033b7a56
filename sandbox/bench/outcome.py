"""What a benchmark gave, as frozen records: every amount that was measured, and what sums it up."""

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


class NotMeasured(Record):
    what: str
    why: str


class Peer(Record):
    """Another tool, used by hand for the same purpose."""

    name: str
    says: str
    by_hand: bool
    """Made of system tools for this benchmark: nobody keeps records, limits or snapshots safe in it."""
    operations: tuple[Timing, ...]
    failed: tuple[NotMeasured, ...]
    """Operations that gave an error or the wrong content in at least one round; such a round has no time."""
    lacks: tuple[str, ...]
    """Operations that it has no way to do."""
    memory_mib: float | None
    """Of resident processes for each idle sandbox; None where that was not measured."""


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
    def of(cls, operation: str, peer: str, pairs: Sequence[tuple[float, float]]) -> Self:
        """Compare pairs of samples, ours first, of which there is at least one."""
        return cls(
            operation=operation,
            peer=peer,
            ours_ms=round(median(one for one, _ in pairs), 3),
            theirs_ms=round(median(other for _, other in pairs), 3),
            ratio=round(median(one / other for one, other in pairs), 4),
            pairs=len(pairs),
        )


class Crowd(Record):
    """Many sandboxes at once."""

    idle: int
    """Sandboxes that were alive at once, doing nothing; 0: not asked for."""
    idle_memory_mib: float | None = None
    """Of resident processes for each of them."""
    fork_each_ms: float | None = None
    exec_ms: float | None = None
    """A command in one of them, while all are there: median of some."""
    destroy_each_ms: float | None = None
    tasks: int
    """Tasks (`run`: sandbox, command, seal, clean room, request) in each of the two ways; 0: not asked for."""
    one_by_one_s: float | None = None
    """All of them, one after the other: median."""
    at_once_s: float | None = None
    """All of them, each in a thread: median."""
    throughput: float | None = None
    """One by one divided by at once, median of pairs: above 1, doing them at once pays."""
    idle_disk_kib: float | None = None
    """That each of the idle ones added to what the file system of the run holds."""


class Goal(Record):
    """What is wanted of one operation, and what it was."""

    what: str
    says: str
    limit: float
    at_least: bool = False
    """Whether the limit is the least that is wanted; otherwise it is the most."""
    unit: str
    measured: float | None
    """None: this run did not measure it; `says` what that would take."""
    met: bool | None
    floor: str | None = None
    """What bounds it on this machine, whoever does it, in words."""
    floor_measured: float | None = None
    """In the goal's unit, measured in the same run."""
    because: str | None = None
    """Of a goal that was not met: why, where that is known."""

    @property
    def forbidden(self) -> bool:
        """Whether the floor alone is beyond the limit, so that nobody could meet it on this machine."""
        return self.floor_measured is not None and not self.at_least and self.floor_measured > self.limit

    @property
    def verdict(self) -> str:
        """In words, for a person."""
        if self.met is None:
            return "not measured"
        if self.met:
            return "met"
        why = [f"the floor, {self.floor}, is {self.floor_measured:.3g}"] if self.forbidden else []
        return "; ".join(["NOT MET", *why, *([self.because] if self.because else [])])


class Machine(Record):
    cores: int
    """That this process may use."""
    cpu: str
    memory_mb: int
    kernel: str
    python: str
    filesystem: str
    """Of the folder that everything was measured in."""
    below: str | None
    """The file system that holds its loop device; None: it has none."""
    versions: dict[str, str]


class BenchRecord(Record):
    engine: str
    image: str
    machine: Machine
    files: int
    bytes: int
    rounds: int
    """That count; fewer than were asked for where the time was up."""
    only_verbs: bool = False
    """Whether only what is done with sandboxes was measured: no captures, promotions or commands."""
    operations: tuple[Timing, ...]
    memory_mib: float | None
    """Of resident processes for each idle sandbox; None where that was not measured."""
    commands: tuple[Timing, ...]
    """Of the command line, each in a process of its own."""
    floors: tuple[Timing, ...]
    """What this machine needs for the plainest form of such work, measured in the same rounds."""
    peers: tuple[Peer, ...]
    comparisons: tuple[Comparison, ...]
    crowd: Crowd
    goals: tuple[Goal, ...]
    not_measured: tuple[NotMeasured, ...]
    started_at: datetime
    seconds: float

    def median(self, operation: str) -> float | None:
        """Milliseconds of an operation, a command or a floor; None where it was not measured."""
        everything = (*self.operations, *self.commands, *self.floors)
        return next((one.median_ms for one in everything if one.name == operation), None)

    def ratio(self, operation: str, peer: str) -> float | None:
        """Ours divided by a peer's; None where one of them was not measured."""
        found = (one.ratio for one in self.comparisons if (one.operation, one.peer) == (operation, peer))
        return next(found, None)
