"""What a change made of its targets, to be looked at when they are long back: in a sandbox, never where it failed (F4).

Owns where that state comes from, which is the base and the sealed bytes alone, and how long it is kept.
"""

from __future__ import annotations

from datetime import timedelta

from sandbox.clock import now
from sandbox.errors import InputError
from sandbox.lifecycle import sealing
from sandbox.lifecycle.capturing import Captured
from sandbox.lifecycle.context import CHANGE, PROMOTION, Context
from sandbox.records import PromotionRecord, StoredChange

KEPT_FOR = timedelta(days=30)
"""After a promotion failed, before `prune` removes the change."""


def captured(ctx: Context, change: str) -> dict[str, Captured]:
    """Each target as the change makes it, byte for byte. Raises NotFound, InputError, Conflict where it was damaged."""
    stored = ctx.ledger.get(CHANGE, change, StoredChange)
    if stored.kind == "policy":
        raise InputError(f"The change {change} is one of a policy: there are no files to look at.")
    _ = ctx.owner.name  # from now on a `prune` elsewhere leaves bases that no record names yet
    sealed = sealing.load(ctx, stored)
    return {
        part.spec.name: Captured(ctx.bases.derive(part.base, part.changes, sealed.blobs), part.identity)
        for part in sealed.targets
    }


def held(ctx: Context) -> set[str]:
    """The changes whose promotion failed by itself not long ago."""
    records = ctx.ledger.find(PROMOTION, PromotionRecord, status="restored")
    asked_for = {record.restores for record in records}
    return {
        record.change
        for record in records
        if not record.restores and record.promotion not in asked_for
        if record.started_at is None or now() - record.started_at < KEPT_FOR
    }
