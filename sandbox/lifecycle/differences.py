"""The net difference of a sandbox from its bases, and how it is shown.

Owns the way from an engine's candidates to changes in the target's own terms. Must not store anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from sandbox.engines.base import Candidate, ChangesRequest, Placement, Sink
from sandbox.lifecycle.bounds import Bounded
from sandbox.lifecycle.context import Context
from sandbox.records import EntryChange, PlacedBase, SandboxRecord, TargetDelta
from sandbox.spec import TargetSpec
from sandbox.trees.bases import StoredBase
from sandbox.trees.changes import net
from sandbox.trees.entry import Change, Entry, path_text
from sandbox.trees.patterns import Patterns


def hash_only(path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:  # noqa: ARG001 (the Sink's signature)
    """A sink that keeps nothing."""
    sha, size = hashlib.sha256(), 0
    for chunk in chunks:
        sha.update(chunk)
        size += len(chunk)
    return sha.digest(), size


def differences(
    ctx: Context, record: SandboxRecord, placed: PlacedBase, *, origin: str, sink: Sink = hash_only
) -> tuple[Change, ...]:
    """What differs from one base in a sandbox or a snapshot of it (`origin`), in the target's own terms.

    Raises OverLimit for a difference beyond the sandbox's limits.
    """
    base = ctx.bases.get(placed.base)
    ignored = Patterns(ctx.target(placed.target).spec.ignore)
    bounded = Bounded(sink, record.limits)
    request = ChangesRequest(origin=origin, placement=Placement(placed.path, base.tree), sink=bounded)
    with closing(ctx.engine_of(record).changes(request)) as found:
        candidates = list(_in_target_view(bounded.candidates(found), base, ignored))
    named = {path for path, _ in candidates}
    emptied = {path for path, entry in candidates if entry is None or entry.kind != "dir"}
    return net(base.entries_among(named, emptied), candidates)


def _in_target_view(candidates: Iterable[Candidate], base: StoredBase, ignored: Patterns) -> Iterator[Candidate]:
    for path, entry in candidates:
        if ignored and ignored.match(path, entry is not None and entry.kind == "dir"):
            continue
        yield path, base.owner.swap(entry) if entry else None


def between(before: Sequence[Change], after: Sequence[Change]) -> tuple[Change, ...]:
    """From one state to another, both given as their difference from the same base."""
    old, new = ({change.path: change for change in side} for side in (before, after))
    steps: list[Change] = []
    for path in old.keys() | new.keys():
        base_entry = (old.get(path) or new[path]).before
        was = old[path].after if path in old else base_entry
        now = new[path].after if path in new else base_entry
        if was != now:
            steps.append(Change(path, was, now))
    return tuple(sorted(steps, key=lambda change: change.path.split(b"/")))


def delta(
    spec: TargetSpec, identity: str, base: StoredBase, changes: Sequence[Change], predicted: str | None = None
) -> TargetDelta:
    """The difference of one target as people and scripts see it."""
    ops = [change.op for change in changes]
    return TargetDelta(
        name=spec.name,
        kind=spec.kind,
        identity=identity,
        base=base.fingerprint,
        predicted=predicted or base.predicted(changes),
        added=ops.count("added"),
        modified=ops.count("modified"),
        deleted=ops.count("deleted"),
        bytes=sum(change.after.size for change in changes if change.after),
        entries=tuple(shown(change) for change in changes),
    )


def shown(change: Change) -> EntryChange:
    """One change in its JSON form."""
    before, after = change.before, change.after
    present = after or before
    assert present is not None, "a change has a side"  # noqa: S101
    return EntryChange(
        path=path_text(change.path),
        path_base64=None if _is_utf8(change.path) else base64.b64encode(change.path).decode("ascii"),
        op=change.op,
        kind=present.kind,
        kind_before=before.kind if before else None,
        mode_before=_mode(before),
        mode_after=_mode(after),
        owner_before=_owner(before),
        owner_after=_owner(after),
        sha256_before=before.sha256 if before else None,
        sha256_after=after.sha256 if after else None,
        bytes_before=before.size if before else 0,
        bytes_after=after.size if after else 0,
        link_before=_link(before),
        link_after=_link(after),
    )


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _mode(entry: Entry | None) -> str | None:
    return f"{entry.mode:04o}" if entry else None


def _owner(entry: Entry | None) -> str | None:
    return f"{entry.uid}:{entry.gid}" if entry else None


def _link(entry: Entry | None) -> str | None:
    return path_text(entry.content) if entry and entry.kind == "link" else None
