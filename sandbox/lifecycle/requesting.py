"""From a sealed difference to a request that people can sign: check in the clean room, rehearse, ask.

Owns what is verified before anybody is asked. A failed check is a result (`Outcome.failure`), never a proposal.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from sandbox.clock import now
from sandbox.lifecycle import cleanroom, parts
from sandbox.lifecycle.context import CHANGE, Context
from sandbox.lifecycle.events import ChangeSealed, OnEvent
from sandbox.lifecycle.proposing import Outcome
from sandbox.lifecycle.sealing import Sealed, SealedTarget
from sandbox.lifecycle.signoff import policies
from sandbox.lifecycle.signoff.requests import evidence_digest, expiry, make_request
from sandbox.lifecycle.signoff.reviews import document as review_document
from sandbox.lifecycle.signoff.testimony import proposed
from sandbox.records import Evidence, Failure, Hazard, Rehearsal, SandboxRecord, StoredChange
from sandbox.reviewing import hazards as suspicion
from sandbox.spec import Check
from sandbox.trees.patterns import Patterns

LISTED = 20
"""So many of the entries that can't be promoted are named; the rest are counted."""


def request(
    ctx: Context,
    record: SandboxRecord,
    sealed: Sealed,
    *,
    run: str,
    asked: str,
    checks: Sequence[Check],
    on_event: OnEvent,
) -> Outcome:
    """Verify a difference away from the agent, and make a request of it."""
    on_event(_announced(sealed))
    inspected = {part.spec.name: ctx.target(part.spec.name).inspect(part.base, part.changes) for part in sealed.targets}
    if refused := _unpromotable(inspected):
        return Outcome(failure=Failure(step="seal", reason=refused))
    evidence = cleanroom.check(ctx, sealed, checks, record, on_event)
    for found in evidence:
        if not found.passed:
            step = f"check: {found.check}"
            return Outcome(failure=Failure(step=step, reason=found.failure, exit_code=found.exit_code))
    rehearsals = cleanroom.rehearse(ctx, sealed)
    hazards = _hazards(sealed, inspected, checks)
    change = _request(ctx, record, sealed, run, asked, (tuple(hazards), tuple(evidence), rehearsals))
    return Outcome(change=change)


def _announced(sealed: Sealed) -> ChangeSealed:
    deltas = [part.delta for part in sealed.targets]
    return ChangeSealed(
        sealed.id,
        sealed.digest,
        added=sum(delta.added for delta in deltas),
        modified=sum(delta.modified for delta in deltas),
        deleted=sum(delta.deleted for delta in deltas),
    )


def _unpromotable(inspected: dict[str, list[Hazard]]) -> str:
    """What no target would take, whoever signs; empty where there is nothing. Asked before any check is run."""
    found = [
        f"{name}: {one.path}: {one.says} ({one.kind})"
        for name, hazards in inspected.items()
        for one in hazards
        if one.blocks
    ]
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return "; ".join(found[:LISTED]) + more


def _hazards(sealed: Sealed, inspected: dict[str, list[Hazard]], checks: Sequence[Check]) -> list[Hazard]:
    several = len(sealed.targets) > 1
    found: list[Hazard] = []
    for part in sealed.targets:
        of_part = [*inspected[part.spec.name]]
        of_part += suspicion.find(part.base, part.changes, sealed.blobs)
        of_part += _pristine(part, checks, several)
        found += [one.model_copy(update={"target": part.spec.name}) if several else one for one in of_part]
    return list(dict.fromkeys(found))


def _pristine(part: SealedTarget, checks: Sequence[Check], several: bool) -> list[Hazard]:
    """What the agent changed and the checks did not see (D1)."""
    prefix = part.spec.name.encode() + b"/" if several else b""
    touched = {
        path for check in checks for path in cleanroom.touched_pristine(part.changes, Patterns(check.pristine), prefix)
    }
    says = "a check used this path as it is in the base"
    return [Hazard(kind="pristine_changed", path=path, says=says) for path in sorted(touched)]


def _request(
    ctx: Context,
    record: SandboxRecord,
    sealed: Sealed,
    run: str,
    asked: str,
    verified: tuple[tuple[Hazard, ...], tuple[Evidence, ...], tuple[Rehearsal, ...]],
) -> StoredChange:
    hazards, evidence, rehearsals = verified
    for part in sealed.targets:
        policies.accept(ctx, part.spec)
    made_at = now()
    session = parts.session_of(ctx, record.sandbox, made_at)
    draft = StoredChange(
        id=sealed.id,
        digest=sealed.digest,
        status="open",
        run=run,
        sandbox=record.sandbox,
        launcher=record.launcher,
        participants=session.participants(record.launcher),
        asked=asked,
        image_digest=record.image_digest,
        created_at=made_at,
        expires_at=expiry(ctx, sealed, made_at),
        request="",
        targets=tuple(part.delta.model_copy(update={"entries": ()}) for part in sealed.targets),
        hazards=hazards,
        evidence=evidence,
        rehearsals=rehearsals,
        salt=secrets.token_hex(16),
    )
    proof = evidence_digest(evidence, rehearsals, hazards, draft.salt)
    document = review_document(record, sealed, draft)
    request = make_request(ctx, sealed, draft, proof, document, session.digest)
    change = draft.model_copy(update={"request": hashlib.sha256(request).hexdigest()})
    ctx.ledger.put(
        CHANGE, change.id, change, event="change.proposed", actor=ctx.launcher, **proposed(change, request, proof)
    )
    return change
