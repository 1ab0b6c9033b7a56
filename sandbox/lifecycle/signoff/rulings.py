"""Gathers what `decide` has to know about a change, from its files, the journal and the configuration.

Owns the gathering alone: every fact is read anew, none is taken from an earlier answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sandbox
from sandbox.clock import now
from sandbox.decide import Ruling, decide
from sandbox.facts import Facts, Protected, TargetFacts
from sandbox.lifecycle import policy_changes
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.parts import Session, session_of, session_of_proposal
from sandbox.lifecycle.policy_changes import SealedPolicy
from sandbox.lifecycle.sealing import Sealed, SealedTarget, load
from sandbox.lifecycle.signoff.policies import standing
from sandbox.lifecycle.signoff.requests import evidence_digest, load_request, settings_digest
from sandbox.lifecycle.signoff.votes import judged
from sandbox.records import StoredChange, VoteView
from sandbox.spec import PolicySpec
from sandbox.trees.entry import Change, path_text
from sandbox.trees.patterns import Patterns


class Observed(NamedTuple):
    """What a target really is, read under its lease."""

    identity: str
    fingerprint: str
    drifted: str = ""
    """Which paths are not as they were captured, in words."""


Content = Sealed | SealedPolicy
"""What a change holds, by its kind."""


def content(ctx: Context, stored: StoredChange) -> Content:
    """A sealed change of either kind, read anew. Raises Conflict where it is not what was sealed."""
    return policy_changes.load(ctx, stored) if stored.kind == "policy" else load(ctx, stored)


def rule(
    ctx: Context,
    stored: StoredChange,
    sealed: Content,
    observed: Mapping[str, Observed] | None = None,
    votes: Sequence[VoteView] | None = None,
) -> Ruling:
    """May the change be promoted now? See `gather`."""
    return decide(gather(ctx, stored, sealed, observed, votes))


def gather(
    ctx: Context,
    stored: StoredChange,
    sealed: Content,
    observed: Mapping[str, Observed] | None = None,
    votes: Sequence[VoteView] | None = None,
) -> Facts:
    """All that a decision rests on now. `observed`: it is about to be applied, and this is how the targets are."""
    request, exact = load_request(ctx, stored.id, stored.request)
    session = _session(ctx, stored, sealed)
    return Facts(
        request=request,
        request_digest=hashlib.sha256(exact).hexdigest(),
        recorded_request_digest=stored.request,
        change_digest=sealed.digest,
        evidence_digest=evidence_digest(stored.evidence, stored.rehearsals, stored.hazards, stored.salt),
        status=stored.status,
        launcher=stored.launcher,
        targets=_targets(ctx, stored, sealed, observed),
        hazards=stored.hazards,
        evidence=stored.evidence,
        rehearsals=stored.rehearsals,
        votes=tuple(judged(ctx, stored) if votes is None else votes),
        nonce_spent=ctx.ledger.is_spent(request.nonce),
        version=sandbox.__version__,
        now=now(),
        last_entry_at=ctx.ledger.latest_at(),
        parts=session.parts,
        participants=session.participants(stored.launcher),
        session_digest=session.digest,
        stopped=ctx.config.manager().stop or "",
        audit_export=ctx.config.manager().audit_export,
        applying=observed is not None,
    )


def _session(ctx: Context, stored: StoredChange, sealed: Content) -> Session:
    if stored.kind == "policy":
        return session_of_proposal(ctx, stored.id, stored.launcher, {"digest": sealed.digest})
    return session_of(ctx, stored.sandbox, stored.created_at)


def _targets(
    ctx: Context, stored: StoredChange, sealed: Content, observed: Mapping[str, Observed] | None
) -> tuple[TargetFacts, ...]:
    if isinstance(sealed, SealedPolicy):
        applying = observed is not None
        return tuple(policy_changes.facts(ctx, move, applying=applying) for move in sealed.moves)
    seen = observed or {}
    return tuple(_facts(ctx, stored, part, seen.get(part.spec.name)) for part in sealed.targets)


def _facts(ctx: Context, stored: StoredChange, part: SealedTarget, observed: Observed | None) -> TargetFacts:
    stands = standing(ctx, part.spec)
    policy = stands.policy
    return TargetFacts(
        name=part.spec.name,
        policy=policy,
        added=part.delta.added,
        modified=part.delta.modified,
        deleted=part.delta.deleted,
        empties=_empties(part),
        protected=_protected(policy, part.changes) if policy else (),
        identity=observed.identity if observed else None,
        fingerprint=observed.fingerprint if observed else None,
        drifted=observed.drifted if observed else "",
        policy_says=stands.says,
        settings=settings_digest(part.spec, stored.salt),
    )


def _empties(part: SealedTarget) -> bool:
    if part.delta.added or not part.delta.deleted:
        return False
    held = sum(map(len, part.base.blocks())) - 1
    return part.delta.deleted >= held


def _protected(policy: PolicySpec, changes: Sequence[Change]) -> tuple[Protected, ...]:
    found: list[Protected] = []
    for rule_ in policy.protected:
        patterns = Patterns(rule_.paths)
        touched = [change.path for change in changes if patterns.match(change.path, _is_dir(change))]
        if touched:
            found.append(Protected(rule_.role, path_text(touched[0]), len(touched)))
    return tuple(found)


def _is_dir(change: Change) -> bool:
    return any(entry is not None and entry.kind == "dir" for entry in (change.before, change.after))
