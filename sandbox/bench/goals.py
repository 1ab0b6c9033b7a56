"""What is wanted of each operation, as data, and what a run says to it.

Owns the limits. Must not measure: a goal is met by what is in the record, or it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sandbox.bench.outcome import BenchRecord, Goal

Measure = Callable[[BenchRecord], float | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One goal: what, at most how much of what, and the floor that could forbid it."""

    what: str
    limit: float
    measure: Measure
    says: str = "median"
    unit: str = "ms"
    at_least: bool = False
    floor: str | None = None
    """An operation of the machine that bounds it from below."""
    reflinks: bool | None = None
    """Whether it is wanted where files can share their blocks, or where they can't; None: everywhere."""


def _ms(*operations: str) -> Measure:
    """The sum of medians; None where one is missing."""

    def measure(run: BenchRecord) -> float | None:
        found = [run.median(one) for one in operations]
        known = [one for one in found if one is not None]
        return round(sum(known), 3) if len(known) == len(found) else None

    return measure


def _to_floor(operation: str, floor: str) -> Measure:
    """The median of an operation as a multiple of a floor of the same run."""

    def measure(run: BenchRecord) -> float | None:
        ours, least = run.median(operation), run.median(floor)
        return round(ours / least, 3) if ours is not None and least else None

    return measure


def _to(operation: str, peer: str) -> Measure:
    return lambda run: run.ratio(operation, peer)


def _to_fastest(operation: str) -> Measure:
    """The ratio to the fastest other tool; one made by hand for this benchmark is no tool."""

    def measure(run: BenchRecord) -> float | None:
        tools = {peer.name for peer in run.peers if not peer.by_hand}
        ratios = [one.ratio for one in run.comparisons if one.operation == operation and one.peer in tools]
        return max(ratios, default=None)

    return measure


_TREE = "first capture of 10,000 files, 200 MB"
_TARGETS = (
    Wanted(_TREE, 1.2, _to_floor("capture_first", "copy"), "times cp -a --reflink=auto", "times"),
    Wanted("capture of an unchanged tree", 2.5, _to_floor("capture_again", "walk"), "times a walk with lstat", "times"),
    Wanted(
        "capture with one file changed", 2.5, _to_floor("capture_changed", "walk"), "times a walk with lstat", "times"
    ),
)
_NATIVE = (
    Wanted("create and first exec", 15, _ms("create"), floor="namespaces"),
    Wanted("create and first exec, warm pool", 5, _ms("create_warm"), floor="enter"),
    Wanted(
        "create beside the fastest tool", 0.7, _to_fastest("create"), "times of it; needs others by --against", "times"
    ),
    Wanted("exec", 2, _ms("exec"), floor="enter"),
    Wanted("live snapshot, change A, with reflinks", 4, _ms("snapshot_a"), floor="fsync", reflinks=True),
    Wanted("live snapshot, change A, without reflinks", 8, _ms("snapshot_a"), floor="fsync", reflinks=False),
    Wanted("snapshot with nothing new", 3, _ms("snapshot_again"), floor="fsync"),
    Wanted("live snapshot, change B", 15, _ms("snapshot_b"), floor="fsync"),
    Wanted("rollback to A", 15, _ms("rollback_a"), floor="namespaces"),
    Wanted("rollback to B", 15, _ms("rollback_b"), floor="namespaces"),
    Wanted("fork", 15, _ms("fork"), "median, with a first exec", floor="namespaces"),
    Wanted("fork of 16 at once", 150, _ms("fork_16")),
    Wanted("diff of A", 4, _ms("diff_a")),
    Wanted("diff of B", 15, _ms("diff_b")),
    Wanted("destroy", 6, _ms("destroy"), floor="fsync"),
    Wanted("memory of an idle sandbox", 3, lambda run: run.memory_mib, "resident processes", "MiB"),
    Wanted("idle sandboxes at once", 200, lambda run: run.crowd.idle or None, "needs --idle", "", at_least=True),
    Wanted(
        "32 tasks at once",
        0.9,
        lambda run: run.crowd.throughput if run.crowd.tasks >= 32 else None,
        "times the throughput of one after the other; needs --tasks",
        "times",
        at_least=True,
    ),
    *_TARGETS,
    Wanted("seal, review and promote A", 150, _ms("propose", "review", "promote"), "medians added up, without checks"),
    Wanted("restore of A", 50, _ms("restore"), floor="fsync"),
    Wanted("sandbox --help", 120, _ms("help"), floor="python"),
    Wanted("sandbox list", 180, _ms("list"), floor="python"),
    Wanted("sandbox run -- true, nothing changed", 400, _ms("run_true"), floor="python"),
)
_BY_HAND = {
    "create": 1.15,
    "exec": 1.15,
    "snapshot_a": 1.15,
    "snapshot_b": 1.15,
    "rollback_a": 0.75,
    "rollback_b": 0.75,
    "fork": 1.15,
    "diff_a": 0.2,
    "diff_b": 0.2,
    "destroy": 1.15,
}
"""On docker: at most so much of the same step written by hand with the SDK."""
_DOCKER = (
    *(
        Wanted(step, most, _to(step, "docker-sdk"), "times the SDK by hand; needs --against docker-sdk", "times")
        for step, most in _BY_HAND.items()
    ),
    Wanted("create and first exec, warm pool", 70, _ms("create_warm")),
    *_TARGETS,
)
REFLINKS = ("xfs", "btrfs")
WANTED = {"native": _NATIVE, "docker": _DOCKER}


def judge(run: BenchRecord) -> Iterator[Goal]:
    """Each goal of the run's engine, with what was measured."""
    reflinks = run.machine.filesystem in REFLINKS
    for one in WANTED.get(run.engine, ()):
        if one.reflinks not in (None, reflinks):
            continue
        measured = one.measure(run)
        met = None
        if measured is not None:
            met = measured >= one.limit if one.at_least else measured <= one.limit
        yield Goal(
            what=one.what,
            says=one.says,
            limit=one.limit,
            at_least=one.at_least,
            unit=one.unit,
            measured=measured,
            met=met,
            floor=one.floor,
            floor_measured=run.median(one.floor) if one.floor else None,
        )
