"""What is claimed of growth, as data, and the judgement of a measured curve.

Owns the bounds. A slope is that of log(time) over log(size): 0 is flat, 1 is linear. Must not measure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

VERBS = ("create", "exec", "snapshot", "snapshot_again", "diff", "rollback", "fork", "destroy")
FLAT = 0.25
"""At most, for what is called flat: a hundred times the size takes at most three times as long."""
LINEAR = 1.15
"""At most, for what is called linear: some room for caches that get too small."""
ROOM = 0.3
"""The last two sizes alone may be so much steeper than the whole: what grows only at the end is seen there first."""


@dataclass(frozen=True, slots=True)
class Claim:
    """How fast one operation may grow."""

    slope: float
    says: str
    room: float = ROOM


@dataclass(frozen=True, slots=True)
class Curve:
    """One operation along one axis, with what is claimed of it; `holds` is None where nothing is."""

    axis: str
    operation: str
    sizes: list[int]
    medians: list[float]
    """Milliseconds, but for `unit`."""
    slope: float
    last_slope: float
    """Between the two largest sizes."""
    claim: str = ""
    bound: float | None = None
    holds: bool | None = None
    unit: str = "ms"


_FLAT = Claim(FLAT, "flat")
_LINEAR = Claim(LINEAR, "linear")
_LINKED = Claim(LINEAR, "linear: what the sandbox holds since it began is linked, 6 us an entry (decision 0018)")
MEMORY = "capture_memory"
"""The most that this process held while it captured for the first time; not a time."""
UNITS = {MEMORY: "MiB"}


def _all(**others: Claim) -> dict[str, Claim]:
    return dict.fromkeys(VERBS, _FLAT) | others


FILES, BYTES, CHANGE, CHAIN, ALIVE = (
    "files in the tree",
    "bytes in each file of the tree",
    "files changed since the last snapshot",
    "snapshots in a chain",
    "sandboxes alive",
)
CLAIMS: dict[str, dict[str, Claim]] = {
    FILES: _all(
        create=Claim(LINEAR, "linear: the target is looked at once, to see whether it is still the base"),
        diff=Claim(LINEAR, "linear: the fingerprint that it leads to is a hash over every entry"),
        capture_first=_LINEAR,
        capture_again=_LINEAR,
        capture_memory=Claim(0.1, "flat: half as much again at a hundred times the size would be too much", 0.1),
    ),
    BYTES: _all(capture_again=Claim(FLAT, "flat: what has not changed is not read"), capture_first=_LINEAR),
    CHANGE: _all(
        snapshot=_LINEAR,
        snapshot_again=_LINKED,
        diff=_LINEAR,
        destroy=Claim(LINEAR, "linear: what was written is removed by a thread that begins meanwhile"),
    ),
    CHAIN: _all(
        snapshot=_LINKED,
        snapshot_again=_LINKED,
        diff=Claim(LINEAR, "linear: each snapshot of this chain adds to what differs"),
        destroy=Claim(LINEAR, "linear: a record for each snapshot that goes with it"),
    ),
    ALIVE: _all(),
}


def slope_of(sizes: Sequence[int], times: Sequence[float]) -> float:
    """The slope of the line that fits the logarithms best, by least squares. Takes two sizes or more."""
    xs, ys = [math.log(size) for size in sizes], [math.log(one) for one in times]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((one - x) * (other - y) for one, other in zip(xs, ys, strict=True)) / sum((one - x) ** 2 for one in xs)


def judged(axis: str, operation: str, medians: dict[int, float]) -> Curve:
    """A curve, by its sizes, held against what is claimed of it."""
    sizes = sorted(medians)
    found = [medians[size] for size in sizes]
    slope, last = round(slope_of(sizes, found), 3), round(slope_of(sizes[-2:], found[-2:]), 3)
    claim, unit = CLAIMS[axis].get(operation), UNITS.get(operation, "ms")
    if claim is None:
        return Curve(axis, operation, sizes, found, slope, last, unit=unit)
    holds = slope <= claim.slope and last <= claim.slope + claim.room
    return Curve(axis, operation, sizes, found, slope, last, claim.says, claim.slope, holds, unit)
