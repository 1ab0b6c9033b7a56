"""Verbs about states of a sandbox: snapshot, snapshots, rollback, fork."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from sandbox.cli.options import Json, SandboxId, SignedBy, SnapshotId
from sandbox.cli.session import begin
from sandbox.cli.tables import moment, table


def snapshot(
    ctx: typer.Context,
    sandbox: SandboxId,
    label: Annotated[str | None, typer.Option(metavar="L", help="Words to find it again by.")] = None,
    json: Json = False,
) -> None:
    """Keep a sandbox's whole file system as it is.

    What runs in it goes on.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        record = manager.snapshot(sandbox, label)
    lines = [
        f"Kept {sandbox} as {record.snapshot} in {record.seconds:.3f} s.",
        f"Next: `sandbox rollback {sandbox} {record.snapshot}` or `sandbox fork {record.snapshot}`.",
    ]
    session.answer(record.document(), lines)


def list_all(ctx: typer.Context, sandbox: SandboxId, json: Json = False) -> None:
    """List the snapshots of a sandbox, oldest first."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.snapshots(sandbox)
    rows = [(one.snapshot, one.label or "", one.parent or "", moment(one.created_at)) for one in found]
    from sandbox.answers import SnapshotList

    lines = table(("SNAPSHOT", "LABEL", "PARENT", "CREATED"), rows, "There is no snapshot of it.")
    session.answer(SnapshotList(snapshots=found).document(), lines)


def rollback(
    ctx: typer.Context, sandbox: SandboxId, snapshot: SnapshotId, key: SignedBy = None, json: Json = False
) -> None:
    """Take a sandbox to the state of a snapshot.

    The snapshot may be older or newer than what is there; what runs in the sandbox is ended.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        record = manager.rollback(sandbox, snapshot, key=key)
    session.answer(record.document(), [f"{sandbox} is in the state of {snapshot} ({record.seconds:.3f} s)."])


def fork(
    ctx: typer.Context,
    snapshot: SnapshotId,
    count: Annotated[int, typer.Option(metavar="N", help="How many sandboxes to start from it.")] = 1,
    key: SignedBy = None,
    json: Json = False,
) -> None:
    """Start new sandboxes from a snapshot."""
    session = begin(ctx, json)
    with session.manager() as manager:
        started = time.monotonic()
        boxes = manager.fork(snapshot, count, key=key)
        seconds = round(time.monotonic() - started, 6)
    from sandbox.records import ForkRecord

    record = ForkRecord(snapshot=snapshot, sandboxes=tuple(box.id for box in boxes), seconds=seconds)
    session.answer(record.document(), [f"Forked {snapshot} as {name}." for name in record.sandboxes])
