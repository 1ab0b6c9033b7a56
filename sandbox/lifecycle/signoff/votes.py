"""Voting: one person's signed approve or reject of one change's request.

Owns what a vote needs before it is kept. Whether it counts is judged anew each time it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sandbox.clock import fresh_id, now
from sandbox.errors import Conflict, InputError, Refused
from sandbox.lifecycle.context import CHANGE, VOTE, Context
from sandbox.lifecycle.signoff import signing, testimony
from sandbox.lifecycle.signoff.policies import in_force, policies_of
from sandbox.lifecycle.signoff.requests import load_request
from sandbox.records import StoredChange, Vote, VoteView

_AT_ONCE = 8
SHORT_DIGEST = 12
"""Hex digits of a change's digest that a person has to give at least."""


def vote(
    ctx: Context,
    stored: StoredChange,
    *,
    person: str,
    key: Path,
    decision: Literal["approve", "reject"],
    reason: str = "",
) -> VoteView:
    """Sign and keep a vote. Raises Refused where it would not count, Conflict where the change is closed."""
    _refuse_at_once(ctx, stored, person, decision)
    request, exact = load_request(ctx, stored.id, stored.request)
    policies = policies_of(ctx, stored)
    signed_at = now()
    message = signing.vote_message(exact, person=person, decision=decision, reason=reason, signed_at=signed_at)
    with ctx.home.scratch(ctx.owner.name) as folder:
        signature = signing.sign(message, key, folder)
    cast = Vote(
        vote=fresh_id("vote"),
        change=stored.id,
        request=stored.request,
        person=person,
        decision=decision,
        reason=reason,
        signed_at=signed_at,
        message=message,
        signature=signature,
    )
    view = signing.judge(cast, request, policies, stored.launcher, now())
    if not view.valid:
        ctx.ledger.note("vote.refused", actor=person, subject=stored.id, decision=decision, says=view.says)
        raise Refused(f"The vote of {person} does not count: {view.says}.")
    try:
        _keep(ctx, cast, view.key)
    except Conflict as error:
        ctx.ledger.note("vote.refused", actor=person, subject=stored.id, decision=decision, says=error.says)
        raise
    return view


def _keep(ctx: Context, cast: Vote, key: str) -> None:
    """Store a vote, and close the change by a reject, all as one step: nothing comes between (B7).

    While a promotion of it is under way, a reject has it taken back instead of committed. Raises Conflict.
    """
    with ctx.ledger.together():
        stored = ctx.ledger.get(CHANGE, cast.change, StoredChange)
        _check_open(stored, cast.decision)
        ctx.ledger.put(
            VOTE, cast.vote, cast, event=f"vote.{cast.decision}", actor=cast.person, **testimony.voted(cast, key)
        )
        if cast.decision == "reject" and stored.status == "open":
            closed = stored.model_copy(update={"status": "rejected"})
            ctx.ledger.put(CHANGE, stored.id, closed, event="change.rejected", actor=cast.person, reason=cast.reason)


def _check_open(stored: StoredChange, decision: str) -> None:
    if stored.status == "open" or (decision, stored.status) == ("reject", "promoting"):
        return
    raise Conflict(
        f"The change {stored.id} is {stored.status}: it takes no more votes.",
        "`sandbox promotions` names its promotion, and `sandbox restore` takes that back."
        if stored.status == "promoted" and stored.kind == "files"
        else "",
    )


def _refuse_at_once(ctx: Context, stored: StoredChange, person: str, decision: str) -> None:
    """Before a key is touched: what no signature helps against. Each attempt is in the log (G5)."""

    def refused(error: Conflict | Refused) -> Conflict | Refused:
        ctx.ledger.note("vote.refused", actor=person, subject=stored.id, decision=decision, says=error.says)
        return error

    try:
        _check_open(stored, decision)
    except Conflict as error:
        raise refused(error) from None
    policies = policies_of(ctx, stored)
    if not any(person in policy.people for policy in policies):
        names = sorted({name for policy in policies for name in policy.people})
        raise refused(
            Refused(
                f"No policy of the targets of {stored.id} names {person!r}.",
                f"The policies name {', '.join(names)}." if names else "Give the target a policy that can be read.",
            )
        )
    if stored.kind == "files" and decision == "approve":
        in_force(ctx, [delta.name for delta in stored.targets], decision)


def same_digest(stored: StoredChange, short: str) -> None:
    """Raise InputError unless `short` names the change by enough of its digest (C10)."""
    wanted = short.strip().lower()
    if len(wanted) < SHORT_DIGEST:
        raise InputError(
            f"A digest is named by its first {SHORT_DIGEST} or more hex digits; {short!r} has {len(wanted)}.",
            f"`sandbox review {stored.id}` shows it.",
        )
    if not stored.digest.startswith(wanted):
        raise InputError(
            f"{short!r} is not the digest of {stored.id}.", f"`sandbox review {stored.id}` shows what you would sign."
        )


def judged(ctx: Context, stored: StoredChange) -> tuple[VoteView, ...]:
    """Every vote of a change as it counts now, oldest first."""
    request, _ = load_request(ctx, stored.id, stored.request)
    policies = policies_of(ctx, stored)
    cast = ctx.ledger.find(VOTE, Vote, change=stored.id)

    def judge(one: Vote) -> VoteView:
        return signing.judge(one, request, policies, stored.launcher, now())

    if len(cast) < 2:
        return tuple(map(judge, cast))
    from concurrent.futures import ThreadPoolExecutor  # here, because most commands judge none

    with ThreadPoolExecutor(min(len(cast), _AT_ONCE)) as threads:  # each waits for a process
        return tuple(threads.map(judge, cast))
