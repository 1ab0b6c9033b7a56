"""Promotion: lease, drift check, restore point, apply, health, commit, or everything put back.

Owns the order of the steps, each durable in the journal before the next is taken. Must not decide who may
(`rulings` does) nor know how a target is changed (`targets` does).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from sandbox.clock import fresh_id, now
from sandbox.decide import Reason, Ruling, decide
from sandbox.errors import Conflict, Drifted, Frozen, InputError, JournalError, Locked, NotFound, Refused, in_words
from sandbox.facts import Facts
from sandbox.faults import reached
from sandbox.lifecycle import exports, health, policy_changes, reserve, sealing
from sandbox.lifecycle.context import CHANGE, PROMOTION, Context
from sandbox.lifecycle.refusals import noted
from sandbox.lifecycle.restoring import close_change, put_back
from sandbox.lifecycle.sealing import Sealed, SealedTarget
from sandbox.lifecycle.signoff import objections, testimony
from sandbox.lifecycle.signoff.requests import load_request
from sandbox.lifecycle.signoff.rulings import Observed, content, gather, rule
from sandbox.records import PromotedTarget, PromotionRecord, StoredChange
from sandbox.targets.base import ApplyRequest
from sandbox.trees.entry import Change, path_text

_NAMED = 3
"""So many paths that drifted are named; the rest are counted."""


def promote(ctx: Context, change: str) -> PromotionRecord:
    """Apply a signed-off change to its targets; whatever goes wrong after the first byte, all come back.

    Raises Locked where somebody else promotes to one of the targets, NotFound for an unknown change.
    """
    started = time.monotonic()
    stored = stored_change(ctx, change)
    name = fresh_id("prm")
    if stored.kind == "policy":
        return _promote_policy(ctx, stored, name, started)
    with noted(ctx, "promotion.refused", stored.id):
        sealed = sealing.load(ctx, stored)
        for part in sealed.targets:
            sealed.blobs.verify(part.changes)
    parts = [part for part in sealed.targets if part.changes]
    first = rule(ctx, stored, sealed)
    if not first.decision.allowed:
        return _refuse(ctx, name, stored, first, started)
    with ExitStack() as leases:
        with noted(ctx, "promotion.refused", stored.id):
            for part in sorted(parts, key=lambda part: part.identity):
                leases.enter_context(_leased(ctx, part))
            observed = _observe(ctx, sealed)
        facts = gather(ctx, stored_change(ctx, change), sealed, observed)
        last = _ruled(ctx, facts)
        if not last.decision.allowed:
            return _refuse(ctx, name, stored, last, started)
        reached("promotion.decided")
        try:
            record = _start(ctx, name, stored, parts, facts)
        except Refused as error:
            return _refuse(ctx, name, stored, Ruling((Reason(error.says),)), started)
        try:
            _prepare(ctx, record, sealed, parts)
            _take(ctx, record, stored)
        except BaseException as error:
            for part in parts:
                ctx.target(part.spec.name).settle(ctx.home.promotion(name, part.spec.name))
            reserve.release(ctx.home.promotion_folder(name))
            refused = _refused_in_preparation(ctx, record, error, started)
            if isinstance(error, Drifted | Refused):
                return refused
            raise
        return _go_through(ctx, record, stored, sealed, parts, started)


def _promote_policy(ctx: Context, stored: StoredChange, name: str, started: float) -> PromotionRecord:
    """The same rules, and nothing to lease, bake or put back: all of it is in the journal."""
    with noted(ctx, "promotion.refused", stored.id):
        sealed = content(ctx, stored)
    facts = gather(ctx, stored, sealed, {})
    ruling = _ruled(ctx, facts)
    if not ruling.decision.allowed:
        return _refuse(ctx, name, stored, ruling, started)
    reached("promotion.decided")
    try:
        return policy_changes.promote(ctx, stored, name, facts, started)
    except (Drifted, Refused) as error:
        stale = isinstance(error, Conflict)
        return _refuse(ctx, name, stored, Ruling((Reason(error.says, stale=stale),)), started)


def _ruled(ctx: Context, facts: Facts) -> Ruling:
    """The decision, and a no where the log can't be vouched for outside: that must be known before anything is
    changed (G2)."""
    ruling = decide(facts)
    if ruling.decision.allowed:
        try:
            exports.preflight(ctx)
        except JournalError as error:
            return Ruling((Reason(f"{error.says} Nothing is promoted that is not exported."),))
    return ruling


def stored_change(ctx: Context, change: str) -> StoredChange:
    """The record of a change. Raises NotFound."""
    try:
        return ctx.ledger.get(CHANGE, change, StoredChange)
    except NotFound:
        raise NotFound(f"There is no change {change!r}.", "`sandbox changes` shows those that exist.") from None


def _leased(ctx: Context, part: SealedTarget) -> AbstractContextManager[None]:
    """The lease of a target. Raises Drifted where it is not there any more, Locked."""
    target = ctx.target(part.spec.name)
    try:
        target.identify()
    except InputError as error:
        raise Drifted(error.says, "Nothing was changed. Put it back, or run the task on what is there.") from error
    return target.lease()


def _observe(ctx: Context, sealed: Sealed) -> dict[str, Observed]:
    """What the targets really are, read anew under the lease."""
    seen: dict[str, Observed] = {}
    for part in sealed.targets:
        target = ctx.target(part.spec.name)
        drift = target.check(part.base)
        seen[part.spec.name] = Observed(target.identify(), drift.fingerprint, _few(drift.changes))
    return seen


def _few(changes: Sequence[Change]) -> str:
    names = [path_text(change.path) or "." for change in changes[:_NAMED]]
    more = len(changes) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _refuse(ctx: Context, name: str, stored: StoredChange, ruling: Ruling, started: float) -> PromotionRecord:
    record = PromotionRecord(
        promotion=name,
        change=stored.id,
        kind=stored.kind,
        digest=stored.digest,
        status="refused",
        reasons=ruling.decision.reasons,
        stale=ruling.stale,
        targets=tuple(PromotedTarget(name=part.name, status="untouched") for part in stored.targets),
        started_at=now(),
        seconds=round(time.monotonic() - started, 6),
    )
    ctx.ledger.put(PROMOTION, name, record, event="promotion.refused", actor=ctx.launcher, reasons=list(record.reasons))
    return record


def _refused_in_preparation(
    ctx: Context, record: PromotionRecord, error: BaseException, started: float
) -> PromotionRecord:
    says = in_words(error)
    refused = record.model_copy(
        update={
            "status": "refused",
            "reasons": (says,),
            "stale": isinstance(error, Conflict),
            "targets": tuple(PromotedTarget(name=part.name, status="untouched") for part in record.targets),
            "seconds": round(time.monotonic() - started, 6),
            "owner": None,
        }
    )
    ctx.ledger.put(PROMOTION, record.promotion, refused, event="promotion.refused", actor=ctx.launcher, reasons=[says])
    return refused


def _start(
    ctx: Context, name: str, stored: StoredChange, parts: Sequence[SealedTarget], facts: Facts
) -> PromotionRecord:
    """Durable only together with the last look: the log never has a start that follows what stood against it (B7)."""
    record = PromotionRecord(
        promotion=name,
        change=stored.id,
        digest=stored.digest,
        status="promoting",
        targets=tuple(PromotedTarget(name=part.spec.name, status="pending") for part in parts),
        started_at=now(),
        owner=ctx.owner.name,
    )
    decided = testimony.decided(facts)
    with ctx.ledger.together():
        objections.check(ctx, stored)
        ctx.ledger.put(PROMOTION, name, record, event="promotion.started", actor=ctx.launcher, **decided)
    return record


def _request(ctx: Context, record: PromotionRecord, sealed: Sealed, part: SealedTarget) -> ApplyRequest:
    point = ctx.home.promotion(record.promotion, part.spec.name)
    return ApplyRequest(part.base, part.changes, sealed.blobs, point, record.promotion)


def _prepare(ctx: Context, record: PromotionRecord, sealed: Sealed, parts: Sequence[SealedTarget]) -> None:
    reserve.keep(ctx.home.promotion_folder(record.promotion))
    for part in parts:
        ctx.target(part.spec.name).prepare(_request(ctx, record, sealed, part), lambda step: reached(f"prepare.{step}"))
        ctx.ledger.note("promotion.prepared", actor=ctx.launcher, subject=record.promotion, target=part.spec.name)


def _take(ctx: Context, record: PromotionRecord, stored: StoredChange) -> None:
    """Use the sign-off up, before the first byte changes: no second promotion can stand on it (B5)."""
    request, _ = load_request(ctx, stored.id, stored.request)
    taken = stored.model_copy(update={"status": "promoting"})
    with ctx.ledger.together():
        objections.check(ctx, stored)
        ctx.ledger.spend(request.nonce, promotion=record.promotion)
        if not ctx.ledger.swap(
            CHANGE, stored.id, stored, taken, event="change.promoting", actor=ctx.launcher, promotion=record.promotion
        ):
            raise Drifted(f"The change {stored.id} moved on: it was promoted meanwhile.")


def _go_through(
    ctx: Context,
    record: PromotionRecord,
    stored: StoredChange,
    sealed: Sealed,
    parts: Sequence[SealedTarget],
    started: float,
) -> PromotionRecord:
    names = [part.spec.name for part in parts]
    try:
        record = _apply_all(ctx, record, stored, sealed, parts)
        health.bake([part.spec for part in parts], lambda: objections.check(ctx, stored, windows=False))
        ctx.ledger.note("promotion.baked", actor=ctx.launcher, subject=record.promotion)
        # Signed before it counts: a log that can't be vouched for commits nothing (G2, G3).
        exports.vouch(ctx)
        for name in names:
            ctx.target(name).settle(ctx.home.promotion(record.promotion, name))
        reserve.release(ctx.home.promotion_folder(record.promotion))
        done = _commit(ctx, record, stored, started)
    except BaseException as error:
        ended = _put_back(ctx, record, in_words(error), started)
        # That a person is needed now says more than that it was interrupted.
        if not isinstance(error, Exception) and ended.status != "frozen":
            raise
        return ended
    return done


def _put_back(ctx: Context, record: PromotionRecord, reason: str, started: float) -> PromotionRecord:
    """Raises Frozen where not even the journal can be used: nothing is done that it does not know of (G3)."""
    try:
        record = ctx.ledger.get(PROMOTION, record.promotion, PromotionRecord)
        return put_back(ctx, record, reason=reason, started=started)
    except (JournalError, Locked) as error:
        raise Frozen(
            f"The promotion {record.promotion} failed ({reason}), and is not put back yet: {error.says}",
            f"{error.hint} Then run `sandbox recover`, which puts it back.",
        ) from error


def _commit(ctx: Context, record: PromotionRecord, stored: StoredChange, started: float) -> PromotionRecord:
    """Nobody can take their word back between the last look and this: both are one step of the journal (B7)."""
    done = record.model_copy(
        update={
            "status": "committed",
            "targets": tuple(part.model_copy(update={"status": "committed"}) for part in record.targets),
            "seconds": round(time.monotonic() - started, 6),
            "owner": None,
        }
    )
    with ctx.ledger.together():
        objections.check(ctx, stored, windows=False)
        ctx.ledger.put(PROMOTION, done.promotion, done, event="promotion.committed", actor=ctx.launcher)
        close_change(ctx, done)
    return done


def _set(
    ctx: Context, record: PromotionRecord, name: str, status: str, fingerprint: str | None = None
) -> PromotionRecord:
    """Make durable where one target is."""
    moved = record.model_copy(
        update={
            "targets": tuple(
                part.model_copy(update={"status": status, "fingerprint": fingerprint}) if part.name == name else part
                for part in record.targets
            )
        }
    )
    told: dict[str, Any] = {"fingerprint": fingerprint} if fingerprint else {}
    ctx.ledger.put(
        PROMOTION, record.promotion, moved, event=f"promotion.{status}", actor=ctx.launcher, target=name, **told
    )
    return moved


def _apply_all(
    ctx: Context, record: PromotionRecord, stored: StoredChange, sealed: Sealed, parts: Sequence[SealedTarget]
) -> PromotionRecord:
    for part in parts:
        name = part.spec.name
        objections.check(ctx, stored)  # again, because the target before may have taken its time (E8)
        record = _set(ctx, record, name, "applying")
        fingerprint = ctx.target(name).apply(_request(ctx, record, sealed, part), lambda step: reached(f"apply.{step}"))
        if fingerprint != part.delta.predicted:
            raise Conflict(f"{name}: the result is {fingerprint[:12]}, not {part.delta.predicted[:12]} as predicted.")
        record = _set(ctx, record, name, "applied", fingerprint)
        health.after_apply(part.spec)
    return record
