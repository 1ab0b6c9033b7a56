"""From a sandbox to a request that people can sign: seal, check in the clean room, rehearse, ask.

Owns when a difference is worth proposing. A failed check is a result (`Outcome.failure`), never a proposal.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import rfc8785

import sandbox
from sandbox import durable
from sandbox.clock import now
from sandbox.decide import policy_digest
from sandbox.errors import InputError
from sandbox.lifecycle import cleanroom, sealing
from sandbox.lifecycle.context import CHANGE, Context
from sandbox.lifecycle.events import ChangeSealed, OnEvent
from sandbox.lifecycle import hazards as suspicion
from sandbox.lifecycle.policies import policy_of
from sandbox.lifecycle.review import sealed_document
from sandbox.lifecycle.sealing import Sealed
from sandbox.lifecycle.signing import request_bytes
from sandbox.records import Evidence, Failure, Hazard, Rehearsal, Request, RequestTarget, SandboxRecord, StoredChange
from sandbox.spec import Check
from sandbox.trees.patterns import Patterns

REQUEST = "request.json"
REVIEW = "review.txt"
APPROVE_WITHIN_S = 86400.0
"""For a change none of whose targets names a policy; nobody can approve it anyway."""


@dataclass(frozen=True)
class Outcome:
    """What became of a sandbox's difference: a change, nothing (both None), or why it is not proposed."""

    change: StoredChange | None = None
    failure: Failure | None = None


def propose(
    ctx: Context, record: SandboxRecord, *, run: str, asked: str, checks: Sequence[Check], on_event: OnEvent
) -> Outcome:
    """Seal the sandbox's difference, verify it away from the agent, and make a request of it."""
    sealed = sealing.seal(ctx, record)
    kept = False
    try:
        if sealed.empty:
            return Outcome()
        on_event(_announced(sealed))
        evidence = cleanroom.check(ctx, sealed, checks, record, on_event)
        for found in evidence:
            if not found.passed:
                reason = "timed out" if found.timed_out else f"exit code {found.exit_code}"
                return Outcome(failure=Failure(step=f"check: {found.check}", reason=reason, exit_code=found.exit_code))
        rehearsals = cleanroom.rehearse(ctx, sealed)
        hazards = _hazards(ctx, sealed, checks)
        change = _request(ctx, record, sealed, run, asked, (tuple(hazards), tuple(evidence), rehearsals))
        kept = True
        return Outcome(change=change)
    finally:
        if not kept:
            shutil.rmtree(sealed.directory, ignore_errors=True)


def _announced(sealed: Sealed) -> ChangeSealed:
    deltas = [part.delta for part in sealed.targets]
    return ChangeSealed(
        sealed.id,
        sealed.digest,
        added=sum(delta.added for delta in deltas),
        modified=sum(delta.modified for delta in deltas),
        deleted=sum(delta.deleted for delta in deltas),
    )


def _hazards(ctx: Context, sealed: Sealed, checks: Sequence[Check]) -> list[Hazard]:
    found: list[Hazard] = []
    several = len(sealed.targets) > 1
    for part in sealed.targets:
        found += ctx.target(part.spec.name).inspect(part.base, part.changes)
        found += suspicion.find(part.base, part.changes, sealed.blobs)
        prefix = part.spec.name.encode() + b"/" if several else b""
        for check in checks:
            found += [
                Hazard(kind="pristine_changed", path=path, says="the checks used this path as it is in the base")
                for path in cleanroom.touched_pristine(part.changes, Patterns(check.pristine), prefix)
            ]
    return list(dict.fromkeys(found))


def _request(
    ctx: Context,
    record: SandboxRecord,
    sealed: Sealed,
    run: str,
    asked: str,
    verified: tuple[tuple[Hazard, ...], tuple[Evidence, ...], tuple[Rehearsal, ...]],
) -> StoredChange:
    hazards, evidence, rehearsals = verified
    made_at = now()
    policies = {part.spec.name: policy_of(ctx, part.spec) for part in sealed.targets}
    windows = [policy.approve_within_s for policy in policies.values() if policy]
    document = sealed_document(
        sealed.id,
        sealed.digest,
        asked,
        record.launcher,
        tuple((part.delta, part.base, part.changes) for part in sealed.targets),
        sealed.blobs,
        hazards,
        evidence,
        rehearsals,
    )
    durable.write(sealed.directory / REVIEW, document)
    request = Request(
        change=sealed.id,
        digest=sealed.digest,
        targets=tuple(
            RequestTarget(
                name=part.spec.name,
                identity=part.identity,
                base=part.delta.base,
                predicted=part.delta.predicted,
                policy=part.spec.policy,
                policy_digest=policy_digest(policy) if (policy := policies[part.spec.name]) else None,
            )
            for part in sealed.targets
        ),
        evidence=evidence_digest(evidence, rehearsals),
        review=hashlib.sha256(document).hexdigest(),
        launcher=record.launcher,
        nonce=secrets.token_hex(16),
        made_at=made_at,
        expires_at=made_at + timedelta(seconds=min(windows, default=APPROVE_WITHIN_S)),
        version=sandbox.__version__,
    )
    exact = request_bytes(request)
    durable.write(sealed.directory / REQUEST, exact)
    change = StoredChange(
        id=sealed.id,
        digest=sealed.digest,
        status="open",
        run=run,
        sandbox=record.sandbox,
        launcher=record.launcher,
        asked=asked,
        image_digest=record.image_digest,
        created_at=made_at,
        expires_at=request.expires_at,
        request=hashlib.sha256(exact).hexdigest(),
        targets=tuple(part.delta.model_copy(update={"entries": ()}) for part in sealed.targets),
        hazards=hazards,
        evidence=evidence,
        rehearsals=rehearsals,
    )
    ctx.ledger.put(
        CHANGE,
        change.id,
        change,
        event="change.proposed",
        actor=ctx.launcher,
        digest=change.digest,
        request=change.request,
        evidence=request.evidence,
    )
    return change


def evidence_digest(evidence: Sequence[Evidence], rehearsals: Sequence[Rehearsal]) -> str:
    """One digest over all that the clean room found (A3)."""
    document = {
        "evidence": [one.model_dump(mode="json") for one in evidence],
        "rehearsals": [one.model_dump(mode="json") for one in rehearsals],
    }
    return hashlib.sha256(rfc8785.dumps(document)).hexdigest()


def load_request(ctx: Context, change: StoredChange) -> tuple[Request, bytes]:
    """The request with its exact bytes, held against the digest in the journal. Raises InputError."""
    exact = (ctx.home.change(change.id) / REQUEST).read_bytes()
    if hashlib.sha256(exact).hexdigest() != change.request:
        raise InputError(
            f"The request of {change.id} is not the one that was made.",
            "Somebody wrote to the home directory: find out who, and propose the change anew.",
        )
    return Request.model_validate_json(exact), exact
