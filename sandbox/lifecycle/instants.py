"""Snapshots that an engine holds and no record tells of: those being taken now, and those of managers that died.

Owns the rule that tells one from the other: while one is taken, its name lies in the scratch directory under its
owner. Must not record snapshots (`sessions` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sandbox.engines.base import SnapshotRequest
from sandbox.faults import reached
from sandbox.lifecycle.context import SNAPSHOT, Context
from sandbox.records import SandboxRecord, SnapshotRecord


@contextmanager
def taken(ctx: Context, record: SandboxRecord, snapshot: str) -> Iterator[None]:
    """Take a snapshot; until this is left nobody sweeps it, and then only if the journal does not know it."""
    mark = ctx.home.root / "scratch" / f"{ctx.owner.name}.{snapshot}"
    mark.mkdir(mode=0o700)
    try:
        ctx.engine_of(record).snapshot(SnapshotRequest(record.sandbox, snapshot))
        reached("snapshot.made")
        yield
    finally:
        with suppress(OSError):  # `recover` finds what is left of it
            mark.rmdir()


def discard_unknown(ctx: Context, engine: str) -> list[str]:
    """Discard what the engine holds of managers that died before they could record it; a line for each."""
    lines: list[str] = []
    # In this order: whatever is held was marked by then, and a mark goes only when there is a record.
    held = ctx.engine(engine).snapshots()
    marks = [path.name.partition(".") for path in (ctx.home.root / "scratch").iterdir()]
    being_taken = {snapshot for owner, _, snapshot in marks if ctx.owner.is_alive(owner)}
    known = {one.snapshot for one in ctx.ledger.find(SNAPSHOT, SnapshotRecord, status="kept")}
    for snapshot in held:
        if snapshot not in being_taken | known:
            ctx.engine(engine).discard(snapshot)
            lines.append(f"snapshot {snapshot} had no record, removed")
    return lines
