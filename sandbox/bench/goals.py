"""What is wanted of each operation, as data, and what a run says to it.

Owns the limits, and which floor could forbid one. Must not measure: a goal is met by what is in the record, or it is
not. Why one is not met is in `reasons`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sandbox.bench import reasons
from sandbox.bench.outcome import BenchRecord, Goal

Measure = Callable[[BenchRecord], float | None]


@dataclass(frozen=True, slots=True)
class Floor:
    """What the machine takes for the least of it, in the goal's unit, whoever does it."""

    says: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Wanted:
    """One goal: what, at most how much of what, and the floor that could forbid it."""

    what: str
    limit: float
    measure: Measure
    says: str = "median"
    unit: str = "ms"
    at_least: bool = False
    floor: Floor | None = None
    reflinks: bool | None = None
    """Whether it is wanted where files can share their blocks, or where they can't; None: everywhere."""


def _ms(*operations: str) -> Measure:
    """The sum of medians; None where one is missing."""

    def measure(run: BenchRecord) -> float | None:
        found = [run.median(one) for one in operations]
        known = [one for one in found if one is not None]
        return round(sum(known), 3) if len(known) == len(found) else None

    return measure


def _floor(*floors: str) -> Floor:
    return Floor(" + ".join(floors), _ms(*floors))


def _to_floor(operation: str, floor: str) -> Measure:
    """The median of an operation as a multiple of a floor of the same run."""

    def measure(run: BenchRecord) -> float | None:
        ours, least = run.median(operation), run.median(floor)
        return round(ours / least, 3) if ours is not None and least else None

    return measure


def _to(operation: str, peer: str) -> Measure:
    return lambda run: run.ratio(operation, peer)


def _of_peer(operation: str, name: str) -> Measure:
    def measure(run: BenchRecord) -> float | None:
        timings = (one for peer in run.peers if peer.name == name for one in peer.operations)
        return next((one.median_ms for one in timings if one.name == operation), None)

    return measure


def _to_fastest(operation: str) -> Measure:
    """The ratio to the fastest other tool; one made by hand for this benchmark is no tool."""

    def measure(run: BenchRecord) -> float | None:
        tools = {peer.name for peer in run.peers if not peer.by_hand}
        ratios = [one.ratio for one in run.comparisons if one.operation == operation and one.peer in tools]
        return max(ratios, default=None)

    return measure


_START = _floor("namespaces")
_RECORD = _floor("fsync")
_TIMES = "times"
_LSTAT = "times a walk with lstat (find)"

_NATIVE_VERBS = (
    Wanted("create and first exec", 15, _ms("create"), floor=_START),
    Wanted("exec", 2, _ms("exec"), floor=_floor("enter")),
    Wanted("live snapshot, change A, with reflinks", 4, _ms("snapshot_a"), floor=_RECORD, reflinks=True),
    Wanted("live snapshot, change A, without reflinks", 8, _ms("snapshot_a"), floor=_RECORD, reflinks=False),
    Wanted("snapshot with nothing new", 3, _ms("snapshot_again"), floor=_RECORD),
    Wanted("live snapshot, change B", 15, _ms("snapshot_b"), floor=_RECORD),
    Wanted("rollback to A", 15, _ms("rollback_a"), floor=_START),
    Wanted("rollback to B", 15, _ms("rollback_b"), floor=_START),
    Wanted("fork", 15, _ms("fork"), "median, with a first exec", floor=_START),
    Wanted("fork of 16 at once", 150, _ms("fork_16")),
    Wanted("diff of A", 4, _ms("diff_a")),
    Wanted("diff of B", 15, _ms("diff_b")),
    Wanted("destroy", 6, _ms("destroy"), floor=_RECORD),
    Wanted("memory of an idle sandbox", 3, lambda run: run.memory_mib, "resident processes", "MiB"),
)
_TARGETS = (
    Wanted(
        "first capture of 10,000 files, 200 MB",
        1.2,
        _to_floor("capture_first", "copy"),
        "times cp -a --reflink=auto",
        _TIMES,
    ),
    Wanted("capture of an unchanged tree", 2.5, _to_floor("capture_again", "walk"), _LSTAT, _TIMES),
    Wanted("capture with one file changed", 2.5, _to_floor("capture_changed", "walk"), _LSTAT, _TIMES),
)
_NATIVE_MORE = (
    Wanted("create and first exec, warm pool", 5, _ms("create_warm"), floor=_floor("enter", "fsync")),
    Wanted(
        "create beside the fastest tool", 0.7, _to_fastest("create"), "times of it; needs others by --against", "times"
    ),
    Wanted(
        "exec through an OCI runtime",
        6,
        _ms("exec_runtime"),
        "median, where SANDBOX_RUNTIME asks for one",
        floor=Floor("runc exec by hand; needs --against runc", _of_peer("exec", "runc")),
    ),
    Wanted("idle sandboxes at once", 200, lambda run: run.crowd.idle or None, "needs --idle", "", at_least=True),
    Wanted(
        "disk of one more idle sandbox",
        1024,
        lambda run: run.crowd.idle_disk_kib,
        "its base is shared: one copy on disk; needs --idle",
        "KiB",
    ),
    Wanted(
        "32 tasks at once",
        0.9,
        lambda run: run.crowd.throughput if run.crowd.tasks >= 32 else None,
        "times the throughput of one after the other; needs --tasks",
        _TIMES,
        at_least=True,
    ),
    *_TARGETS,
    Wanted("seal, review and promote A", 150, _ms("propose", "review", "promote"), "medians added up, without checks"),
    Wanted("restore of A", 50, _ms("restore"), floor=_RECORD),
    Wanted("sandbox --help", 120, _ms("help"), floor=_floor("python")),
    Wanted("sandbox list", 180, _ms("list"), floor=_floor("python")),
    Wanted("sandbox run -- true, nothing changed", 400, _ms("run_true"), floor=_floor("python", "walk", "namespaces")),
)
_BY_HAND = {
    "create": 1.15,
    "exec": 1.15,
    "snapshot_a": 1.15,
    "snapshot_again": 1.15,
    "snapshot_b": 1.15,
    "rollback_a": 0.75,
    "rollback_b": 0.75,
    "fork": 1.15,
    "fork_16": 1.15,
    "diff_a": 0.2,
    "diff_b": 0.2,
    "destroy": 1.15,
}
"""On docker: at most so much of the same step written by hand with the SDK."""
_DOCKER_VERBS = tuple(
    Wanted(step, most, _to(step, "docker-sdk"), "times the SDK by hand; needs --against docker-sdk", _TIMES)
    for step, most in _BY_HAND.items()
)
_DOCKER_MORE = (Wanted("create and first exec, warm pool", 70, _ms("create_warm")), *_TARGETS)
REFLINKS = ("xfs", "btrfs")
WANTED = {"native": (_NATIVE_VERBS, _NATIVE_MORE), "docker": (_DOCKER_VERBS, _DOCKER_MORE)}
"""By engine: of what is done with sandboxes, and of all else."""


def judge(run: BenchRecord) -> Iterator[Goal]:
    """Each goal of what the run was asked to measure on its engine, with what was measured."""
    reflinks = run.machine.filesystem in REFLINKS
    verbs, more = WANTED.get(run.engine, ((), ()))
    for one in verbs if run.only_verbs else (*verbs, *more):
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
            floor=one.floor.says if one.floor else None,
            floor_measured=one.floor.measure(run) if one.floor else None,
            because=reasons.WHY.get((run.engine, one.what)) if met is False else None,
        )


def unexplained(runs: dict[str, BenchRecord]) -> Iterator[str]:
    """A line for each goal that was not met with no floor that forbids it and no reason given, by run."""
    for title, run in runs.items():
        for goal in judge(run):
            if goal.met is False and not goal.forbidden and not goal.because:
                yield f"{title}: {goal.what}: {goal.measured}, wanted {goal.limit} {goal.unit}, and nothing says why"


def needless(runs: dict[str, BenchRecord]) -> Iterator[str]:
    """A line for each reason that no run has a use for: what it excuses is met wherever it was measured."""
    judged = [((run.engine, goal.what), goal.met) for run in runs.values() for goal in judge(run)]
    met = {key for key, met in judged if met} - {key for key, met in judged if met is False}
    for engine, what in sorted(reasons.WHY.keys() & met):
        yield f"{engine}: {what}: a reason is given why it is not met, and it is met"
