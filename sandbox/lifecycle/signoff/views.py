"""A change as people and scripts see it now: its entries, its votes as they count, what stands against it."""

from __future__ import annotations

from sandbox.errors import SandboxError
from sandbox.lifecycle.context import CHANGE, Context
from sandbox.lifecycle.signoff.rulings import content, rule
from sandbox.lifecycle.signoff.votes import judged
from sandbox.records import ChangeView, Decision, StoredChange, TargetDelta, VoteView


def view(ctx: Context, stored: StoredChange) -> ChangeView:
    """The change as it stands now. Raises Conflict where its files are not what was sealed."""
    sealed = content(ctx, stored)
    votes = judged(ctx, stored)
    decision = rule(ctx, stored, sealed, votes=votes).decision
    return shown(stored, sealed.deltas, votes, decision)


def shown(
    stored: StoredChange, targets: tuple[TargetDelta, ...], votes: tuple[VoteView, ...], decision: Decision
) -> ChangeView:
    """The stored change together with what is only true now."""
    return ChangeView(
        id=stored.id,
        digest=stored.digest,
        status=stored.status,
        run=stored.run,
        launcher=stored.launcher,
        participants=stored.participants,
        kind=stored.kind,
        asked=stored.asked,
        created_at=stored.created_at,
        expires_at=stored.expires_at,
        request=stored.request,
        targets=targets,
        hazards=stored.hazards,
        evidence=stored.evidence,
        rehearsals=stored.rehearsals,
        votes=votes,
        decision=decision,
    )


def known(ctx: Context, stored: StoredChange) -> ChangeView:
    """As `view`; of one that can't be read, what the journal has of it, and in its decision why."""
    try:
        return view(ctx, stored)
    except SandboxError as error:
        return shown(stored, stored.targets, (), Decision(allowed=False, reasons=(error.says,)))


def all_changes(ctx: Context) -> tuple[ChangeView, ...]:
    """Every change, oldest first, without its entries; one that can't be read says so in its decision."""
    found: list[ChangeView] = []
    for stored in ctx.ledger.find(CHANGE, StoredChange):
        whole = known(ctx, stored)
        slim = tuple(delta.model_copy(update={"entries": ()}) for delta in whole.targets)
        found.append(whole.model_copy(update={"targets": slim}))
    return tuple(found)
