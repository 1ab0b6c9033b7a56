"""The way out of `frozen`: a person puts the targets back, or has the restore tried again.

Owns how that is seen and recorded. Nothing is changed in a target unless a person asks for it (F6).
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from sandbox.errors import Locked, SandboxError
from sandbox.lifecycle.context import PROMOTION, Context
from sandbox.lifecycle.restoring import close_change, promotion_record, put_back
from sandbox.records import PromotedTarget, PromotionRecord


def look(ctx: Context) -> tuple[list[str], list[PromotionRecord]]:
    """Whether people have put back what was frozen: a line for each promotion that is `restored` now, or that could
    not be looked at, and those that still are frozen."""
    lines: list[str] = []
    still: list[PromotionRecord] = []
    taken_back = set()
    records = ctx.ledger.find(PROMOTION, PromotionRecord, status="frozen")
    for record in reversed(records):
        if record.promotion in taken_back:
            continue  # its taking back is what froze, and was looked at
        taken_back.add(record.restores)
        try:
            with _leased(ctx, record):
                ended = _looked_at(ctx, record)
        except Locked as error:
            lines.append(f"promotion {record.promotion}: not looked at: {error.says}")
            ended = record
        if ended.status == "frozen":
            still.insert(0, ended)
        else:
            lines.append(f"promotion {record.promotion} of {record.change}: put back by hand, {ended.status}")
    return lines, still


def try_again(ctx: Context, record: PromotionRecord) -> PromotionRecord:
    """Restore what is still frozen, because a person says that nothing stands in the way any more."""
    started = time.monotonic()
    for later in ctx.ledger.find(PROMOTION, PromotionRecord, restores=record.promotion, status="frozen"):
        record = later
    with _leased(ctx, record):
        return put_back(ctx, record, reason=f"tried again by {ctx.launcher}", started=started)


def _leased(ctx: Context, record: PromotionRecord) -> ExitStack:
    with ExitStack() as leases:
        for part in sorted(record.targets, key=lambda part: part.name):
            leases.enter_context(ctx.target(part.name).lease())
        return leases.pop_all()


def _looked_at(ctx: Context, record: PromotionRecord) -> PromotionRecord:
    parts = tuple(_as_found(ctx, record, part) for part in record.targets)
    if any(part.status == "frozen" for part in parts):
        return record
    done = record.model_copy(update={"status": "restored", "targets": parts, "manual_steps": ()})
    if done.restores:
        original = promotion_record(ctx, done.restores).model_copy(update={"status": "restored", "targets": parts})
        ctx.ledger.put(
            PROMOTION, done.restores, original, event="promotion.taken_back", actor=ctx.launcher, by=done.promotion
        )
    close_change(ctx, done)
    ctx.ledger.put(PROMOTION, done.promotion, done, event="promotion.put_back_by_hand", actor=ctx.launcher)
    return done


def _as_found(ctx: Context, record: PromotionRecord, part: PromotedTarget) -> PromotedTarget:
    if part.status != "frozen":
        return part
    try:
        found = ctx.target(part.name).standing(ctx.home.promotion(record.restores or record.promotion, part.name))
    except SandboxError:
        return part  # what can't be read is not seen to be as before
    return part.model_copy(update={"status": "restored", "fingerprint": found.fingerprint}) if found.clean else part
