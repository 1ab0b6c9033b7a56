"""Restore: putting targets back, after a failed promotion, a crash, or because somebody asks.

Owns what `restored` and `frozen` mean: every changed path is as before and was read again to see it, or a
person gets exact steps and nothing more happens by itself (F6).
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from sandbox.clock import fresh_id, now
from sandbox.errors import Conflict, NotFound, Refused, in_words
from sandbox.faults import reached
from sandbox.lifecycle import health, reserve
from sandbox.lifecycle.context import CHANGE, PROMOTION, Context
from sandbox.lifecycle.interrupts import deferred
from sandbox.lifecycle.refusals import noted
from sandbox.records import PromotedTarget, PromotionRecord, StoredChange
from sandbox.targets.base import Target
from sandbox.trees.entry import path_text
from sandbox.trees.sealed import read_changes


def promotion_record(ctx: Context, promotion: str) -> PromotionRecord:
    """The record of a promotion. Raises NotFound."""
    try:
        return ctx.ledger.get(PROMOTION, promotion, PromotionRecord)
    except NotFound:
        raise NotFound(
            f"There is no promotion {promotion!r}.", "`sandbox promotions` shows those that exist."
        ) from None


def put_back(ctx: Context, record: PromotionRecord, *, reason: str, started: float) -> PromotionRecord:
    """Put every target of an unfinished promotion back, last one first; the caller holds the leases.

    Can be repeated, and after a crash at any step. An interrupt waits until it is done, and is forgotten where a
    person is needed: that says more.
    """
    ended: list[PromotionRecord] = []
    try:
        with deferred():
            ended.append(_put_all_back(ctx, record, reason, started))
    except KeyboardInterrupt:
        if not ended or ended[0].status != "frozen":
            raise
    return ended[0]


def _put_all_back(ctx: Context, record: PromotionRecord, reason: str, started: float) -> PromotionRecord:
    restoring_since = time.monotonic()
    reserve.release(ctx.home.promotion_folder(record.promotion))
    record = record.model_copy(update={"status": "restoring", "reasons": (*record.reasons, reason)})
    ctx.ledger.put(PROMOTION, record.promotion, record, event="promotion.restoring", actor=ctx.launcher, reason=reason)
    steps: list[str] = []
    notes: list[str] = []
    ended: list[PromotedTarget] = []
    for part in reversed(record.targets):
        # One that an earlier try put back has been in use since: it is not looked at again.
        over = part.status in ("restored", "untouched")
        ended.insert(0, part if over else _put_back_one(ctx, record, part, steps, notes))
    frozen = any(part.status == "frozen" for part in ended)
    done = record.model_copy(
        update={
            "status": "frozen" if frozen else "restored",
            "targets": tuple(ended),
            "reasons": (*record.reasons, *notes),
            "manual_steps": tuple(steps),
            "seconds": round(time.monotonic() - started, 6),
            "restore_seconds": round(time.monotonic() - restoring_since, 6),
            "owner": None,
        }
    )
    # The record itself comes last: until then a crash leads back here, and all of this is done again.
    if done.restores:
        original = promotion_record(ctx, done.restores).model_copy(
            update={"status": done.status, "targets": done.targets}
        )
        ctx.ledger.put(
            PROMOTION, done.restores, original, event="promotion.taken_back", actor=ctx.launcher, by=done.promotion
        )
    close_change(ctx, done)
    ctx.ledger.put(PROMOTION, done.promotion, done, event=f"promotion.{done.status}", actor=ctx.launcher, notes=notes)
    return done


def _put_back_one(
    ctx: Context, record: PromotionRecord, part: PromotedTarget, steps: list[str], notes: list[str]
) -> PromotedTarget:
    target = ctx.target(part.name)
    point = ctx.home.promotion(record.restores or record.promotion, part.name)
    try:
        outcome = target.restore(point, lambda step: reached(f"restore.{step}"))
        if not outcome.clean:
            raise Conflict(f"{part.name}: not every changed path could be put back")
        target.settle(point)
    except Exception as error:  # noqa: BLE001 (whatever it is: this target is frozen, the others still come back)
        notes.append(f"{part.name}: restore failed: {in_words(error)}")
        steps.extend(target.manual_steps(point))
        return part.model_copy(update={"status": "frozen"})
    wrote = f"{part.name}: somebody else wrote meanwhile to"
    notes.extend(f"{wrote} {path_text(path)}; kept as {kept}" for path, kept in outcome.kept_aside)
    notes.extend(f"{wrote} {path_text(path)}; left as it is" for path in outcome.foreign)
    if part.status != "pending":
        notes.extend(_revive(target))
    return part.model_copy(
        update={
            "status": "untouched" if part.status == "pending" else "restored",
            "fingerprint": outcome.fingerprint,
            "kept_aside": tuple(str(kept) for _, kept in outcome.kept_aside),
        }
    )


def _revive(target: Target) -> list[str]:
    """Reload what uses the target and wait until it is well; why not, where it is not."""
    try:
        health.after_apply(target.spec)
        health.await_first(target.spec)
    except health.Unhealthy as error:
        return [f"{target.spec.name} is as before, but not well: {error.says}"]
    return []


def close_change(ctx: Context, record: PromotionRecord) -> None:
    """Let the change say how its promotion ended; it can't be promoted again (F8)."""
    stored = ctx.ledger.get(CHANGE, record.change, StoredChange)
    status = {"committed": "promoted"}.get(record.status, record.status)
    ctx.ledger.put(
        CHANGE,
        stored.id,
        stored.model_copy(update={"status": status}),
        event=f"change.{status}",
        actor=ctx.launcher,
        promotion=record.promotion,
    )


def take_back(ctx: Context, promotion: str) -> PromotionRecord:
    """Restore what a committed promotion changed, if nobody else wrote there since.

    It is a promotion record of its own (F5). Raises Conflict where it can't be taken back.
    """
    started = time.monotonic()
    record = promotion_record(ctx, promotion)
    with noted(ctx, "restore.refused", promotion), ExitStack() as leases:
        backwards = _begin_taking_back(ctx, record, leases)
        kept = leases.pop_all()
    with kept:
        return put_back(ctx, backwards, reason=f"taken back by {ctx.launcher}", started=started)


def _begin_taking_back(ctx: Context, record: PromotionRecord, leases: ExitStack) -> PromotionRecord:
    """Raises Conflict and Refused where it can't be; from here on it goes through, whatever happens."""
    promotion = record.promotion
    if record.status != "committed":
        raise Conflict(
            f"The promotion {promotion} is {record.status}, not committed: there is nothing to take back.",
            "`sandbox promotions` shows how each ended.",
        )
    if ctx.ledger.get(CHANGE, record.change, StoredChange).kind == "policy":
        raise Refused(
            f"The promotion {promotion} changed a policy, which is not taken back without signatures.",
            "Put the old policy into its file again, and run `sandbox policy propose NAME`.",
        )
    for part in sorted(record.targets, key=lambda part: part.name):
        leases.enter_context(ctx.target(part.name).lease())
    _refuse_foreign_writes(ctx, record)
    owner, name = ctx.owner.name, fresh_id("prm")
    reserve.keep(ctx.home.promotion_folder(name))
    backwards = PromotionRecord(
        promotion=name,
        change=record.change,
        digest=record.digest,
        status="restoring",
        targets=tuple(part.model_copy(update={"status": "applied"}) for part in record.targets),
        started_at=now(),
        restores=promotion,
        owner=owner,
    )
    ctx.ledger.put(
        PROMOTION,
        backwards.promotion,
        backwards,
        event="promotion.taking_back",
        actor=ctx.launcher,
        restores=promotion,
    )
    return backwards


def _refuse_foreign_writes(ctx: Context, record: PromotionRecord) -> None:
    """Raise Conflict where a path that the promotion changed is no longer as it left it."""
    stored = ctx.ledger.get(CHANGE, record.change, StoredChange)
    bases = {delta.name: delta.base for delta in stored.targets}
    for part in record.targets:
        made = read_changes(ctx.home.change(record.change) / f"{part.name}.changes")
        moved = ctx.target(part.name).written_since(ctx.bases.get(bases[part.name]), made)
        if moved:
            raise Conflict(
                f"{part.name}: somebody else wrote to {path_text(moved[0])!r}"
                + (f" and {len(moved) - 1} more" if len(moved) > 1 else "")
                + f" since the promotion {record.promotion}.",
                "Nothing was changed. Make the change that you want in a new task, on the target as it is now.",
            )
