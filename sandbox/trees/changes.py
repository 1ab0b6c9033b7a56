"""What differs between two states of a tree, as pure values.

Owns the three ways to a list of changes or back: `compare` two full states, `net` a base with what an engine
says may differ, `predict` the state that changes lead to. All go through the trees as streams, in depth-first
order, so that memory grows with the changes only. Must not touch a file system.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sandbox.errors import Conflict, SandboxError
from sandbox.trees.block import Block
from sandbox.trees.entry import ROOT, Change, Entry, order_key, parent_of, path_text, sort_key

Candidate = tuple[bytes, Entry | None]
"""A path and its state now; None: it is gone, with all that was below it."""


def compare(before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[Change]:
    """The changes that lead from one state to the other, in depth-first order."""
    for old, new in _side_by_side(before, after):
        if old is None or new is None or not old.same(new):
            path = old.path if old is not None else new.path if new is not None else ROOT
            yield Change(path, old, new)


def net(base: Iterable[Entry], candidates: Iterable[Candidate]) -> tuple[Change, ...]:
    """The exact changes that the candidates mean, in depth-first order.

    Candidates may name paths that do not differ, and may come in any order; for one path the last state counts.
    A path that is gone, or is no directory any more, takes everything below it along; where it is there again
    (None, then an Entry), what the candidates do not name below it is deleted. Deleted and recreated with equal
    content is no change. Raises SandboxError where a candidate lies in something that is no directory.
    """
    said = _gather(candidates)
    order = sorted(said, key=sort_key)
    changes: list[Change] = []
    emptied: tuple[bytes, ...] | None = None
    for old, path in _merge_paths(base, order):
        key = sort_key(path)
        if emptied is not None and key[: len(emptied)] != emptied:
            emptied = None
        now = said.get(path)
        new = now.entry if now is not None else (None if emptied is not None else old)
        gone_below = now is not None and (now.emptied or new is None or new.kind != "dir")
        if emptied is None and gone_below:
            emptied = key
        if old != new:
            changes.append(Change(path, old, new))
    _refuse_homeless(said)
    return tuple(changes)


def predict(base: Iterable[Entry], changes: Sequence[Change]) -> Iterator[Entry]:
    """The state that the changes make of the base.

    Raises Conflict where they do not fit: a path is not as a change says it was before, comes twice, or would
    end up in something that is no directory.
    """
    pending = {change.path: change for change in changes}
    if len(pending) != len(changes):
        raise Conflict("The change set names one path twice.")
    parents: list[tuple[bytes, ...]] = []
    for old, path in _merge_paths(base, sorted(pending, key=sort_key)):
        change = pending.get(path)
        if change is not None and change.before != old:
            raise _unlike(path)
        new = change.after if change is not None else old
        if new is None:
            continue
        key = sort_key(path)
        while parents and key[: len(parents[-1])] != parents[-1]:
            parents.pop()
        if path != ROOT and (not parents or len(parents[-1]) != len(key) - 1):
            raise _homeless(path)
        if new.kind == "dir":
            parents.append(key)
        yield new


def predicted(base: Iterable[Block], changes: Sequence[Change]) -> Iterator[bytes]:
    """`predict` on blocks in, and canonical bytes of one or more entries out: what the changes leave alone is neither
    decoded nor looked at one by one."""
    steps = sorted(changes, key=lambda change: order_key(change.path))
    if len({change.path for change in steps}) != len(steps):
        raise Conflict("The change set names one path twice.")
    homes = _Homes(steps)
    keys = [order_key(change.path) for change in steps]
    at = 0
    for block in base:
        homes.enter(block)
        here, end = 0, bisect_right(keys, order_key(block.paths[-1]), at)
        for change, key in zip(steps[at:end], keys[at:end], strict=True):
            place = block.places.get(change.path)
            if (place is None) != (change.before is None):
                raise _unlike(change.path)
            if place is None:
                place = following = bisect_left(block.paths, key, here, key=order_key)
            else:
                following = place + 1
                if change.before is None or block.canonical(place, following) != change.before.canonical():
                    raise _unlike(change.path)
            yield homes.left_alone(block, here, place)
            yield from homes.taken(change)
            here = following
        yield homes.left_alone(block, here, len(block))
        at = end
    for change in steps[at:]:
        if change.before is not None:
            raise _unlike(change.path)
        yield from homes.taken(change)


class _Homes:
    """Whether each entry of a prediction ends up in a directory; asked in depth-first order."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._wanted = {parent_of(change.path): False for change in changes if change.before is None}
        self._closed: bytes | None = None
        """What the path of everything begins with that lay in what is no directory any more."""

    def enter(self, block: Block) -> None:
        """These entries are next, changed or not."""
        for path in self._wanted.keys() & block.places.keys() if self._wanted else ():
            self._wanted[path] = block.canonical(at := block.places[path], at + 1).startswith(b"dir\0")

    def left_alone(self, block: Block, start: int, stop: int) -> bytes:
        """The entries of a block between two places. Raises Conflict where what they lay in is gone."""
        if start == stop:
            return b""
        # What lay in one directory is in one piece, right behind it: where the first is not of it, none is.
        if self._closed is not None and block.paths[start].startswith(self._closed):
            raise _homeless(block.paths[start])
        return block.canonical(start, stop)

    def taken(self, change: Change) -> Iterator[bytes]:
        """What is there after the change, if anything. Raises Conflict where that has no home."""
        path, before, after = change
        closed = self._closed is not None and path.startswith(self._closed)
        if after is not None and (closed or not self._wanted.get(parent_of(path), True)) and path != ROOT:
            raise _homeless(path)
        is_directory = after is not None and after.kind == "dir"
        if path in self._wanted:
            self._wanted[path] = is_directory
        if before is not None and before.kind == "dir" and not is_directory and not closed:
            self._closed = b"" if path == ROOT else path + b"/"
        if after is not None:
            yield after.canonical()


def composed(first: Sequence[Change], then: Sequence[Change]) -> tuple[Change, ...]:
    """One list of changes for two, the second of which starts from what the first leads to; in depth-first order."""
    steps = {change.path: change for change in first}
    for change in then:
        known = steps.get(change.path)
        steps[change.path] = Change(change.path, known.before if known else change.before, change.after)
    different = (change for change in steps.values() if change.before != change.after)
    return tuple(sorted(different, key=lambda change: order_key(change.path)))


def _unlike(path: bytes) -> Conflict:
    return Conflict(f"{path_text(path)!r} is not what the change set was made from.", "Make the change set anew.")


def _homeless(path: bytes) -> Conflict:
    return Conflict(f"{path_text(path)!r} would be in something that is no directory.")


@dataclass(slots=True)
class _Said:
    """What the candidates say of one path."""

    entry: Entry | None
    emptied: bool
    """It was gone at some time, so nothing below it is left of the base."""


def _gather(candidates: Iterable[Candidate]) -> dict[bytes, _Said]:
    said: dict[bytes, _Said] = {}
    for path, entry in candidates:
        if entry is not None and entry.path != path:
            raise SandboxError(f"The candidate {path_text(path)!r} holds the entry of another path.")
        known = said.setdefault(path, _Said(entry, False))
        known.entry = entry
        known.emptied = known.emptied or entry is None
    return said


def _refuse_homeless(said: dict[bytes, _Said]) -> None:
    """Raises SandboxError where the candidates put something into what they say is no directory."""
    for path, state in said.items():
        above = path if state.entry is not None else ROOT
        while above != ROOT:
            above = parent_of(above)
            home = said.get(above)
            if home is not None and (home.entry is None or home.entry.kind != "dir"):
                raise SandboxError(f"{path_text(path)!r} lies in what is no directory.")


def _side_by_side(before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Both streams merged: the entries of one path together, None where one of them lacks it."""
    lefts, rights = iter(before), iter(after)
    left, right = next(lefts, None), next(rights, None)
    while left is not None or right is not None:
        if left is not None and right is not None and left.path == right.path:
            yield left, right
            left, right = next(lefts, None), next(rights, None)
        elif right is None or (left is not None and sort_key(left.path) < sort_key(right.path)):
            yield left, None
            left = next(lefts, None)
        else:
            yield None, right
            right = next(rights, None)


def _merge_paths(base: Iterable[Entry], paths: Sequence[bytes]) -> Iterator[tuple[Entry | None, bytes]]:
    """Every path of the base and of `paths` (in depth-first order), with the base's entry where it has one."""
    at = 0
    for entry in base:
        if at < len(paths) and paths[at] != entry.path:
            key = sort_key(entry.path)
            while at < len(paths) and sort_key(paths[at]) < key:
                yield None, paths[at]
                at += 1
        if at < len(paths) and paths[at] == entry.path:
            at += 1
        yield entry, entry.path
    for path in paths[at:]:
        yield None, path
