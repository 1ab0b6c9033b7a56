"""What there is, as the journal has it: sandboxes, snapshots, promotions. Must not ask an engine or a target."""

from __future__ import annotations

from sandbox.lifecycle.context import PROMOTION, SANDBOX, SNAPSHOT, Context
from sandbox.records import PromotionRecord, SandboxRecord, SnapshotRecord


def sandboxes(ctx: Context) -> tuple[SandboxRecord, ...]:
    """Those that have not been destroyed, oldest first."""
    found = ctx.ledger.find(SANDBOX, SandboxRecord, status=("creating", "ready", "destroying"))
    return tuple(record.unsalted() for record in found)


def snapshots(ctx: Context, sandbox: str) -> tuple[SnapshotRecord, ...]:
    """The snapshots that were taken of a sandbox, oldest first. Raises NotFound."""
    ctx.sandbox(sandbox)
    return tuple(ctx.ledger.find(SNAPSHOT, SnapshotRecord, sandbox=sandbox, status="kept"))


def promotions(ctx: Context) -> tuple[PromotionRecord, ...]:
    """Every promotion, refused ones too, oldest first."""
    return tuple(ctx.ledger.find(PROMOTION, PromotionRecord))
