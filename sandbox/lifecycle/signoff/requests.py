"""The request of a change: the exact bytes that people sign, made once and read back unchanged.

Owns the files `request.json` and `review.txt` of a sealed change set.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import rfc8785

import sandbox
from sandbox import durable
from sandbox.decide import policy_digest
from sandbox.errors import Conflict
from sandbox.faults import reached
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.sealing import Sealed
from sandbox.lifecycle.signoff.policies import policy_of, signing_time
from sandbox.lifecycle.signoff.signing import request_bytes
from sandbox.records import Evidence, Hazard, Rehearsal, Request, RequestTarget, StoredChange
from sandbox.spec import TargetSpec

REQUEST = "request.json"
REVIEW = "review.txt"


def expiry(ctx: Context, sealed: Sealed, made_at: datetime) -> datetime:
    """Until when people may sign a request made at `made_at`: the shortest window of its policies."""
    found = [policy_of(ctx, part.spec) for part in sealed.targets]
    return made_at + signing_time(policy for policy in found if policy)


def make_request(
    ctx: Context, sealed: Sealed, draft: StoredChange, evidence: str, document: bytes, session: str
) -> bytes:
    """Write the review document and the request, durable; the request's exact bytes."""
    policies = {part.spec.name: policy_of(ctx, part.spec) for part in sealed.targets}
    targets = tuple(
        RequestTarget(
            name=part.spec.name,
            identity=part.identity,
            base=part.delta.base,
            predicted=part.delta.predicted,
            policy=part.spec.policy,
            policy_digest=policy_digest(policy) if (policy := policies[part.spec.name]) else None,
            settings=settings_digest(part.spec, draft.salt),
        )
        for part in sealed.targets
    )
    return write_request(ctx, draft, targets, evidence, document, session)


def write_request(
    ctx: Context,
    draft: StoredChange,
    targets: tuple[RequestTarget, ...],
    evidence: str,
    document: bytes,
    session: str,
) -> bytes:
    """The same for a change of any kind."""
    request = Request(
        change=draft.id,
        digest=draft.digest,
        targets=targets,
        evidence=evidence,
        review=hashlib.sha256(document).hexdigest(),
        launcher=draft.launcher,
        participants=draft.participants,
        session=session,
        nonce=secrets.token_hex(16),
        made_at=draft.created_at,
        expires_at=draft.expires_at,
        version=sandbox.__version__,
        audit_export=ctx.config.manager().audit_export,
    )
    exact = request_bytes(request)
    directory = ctx.home.change(draft.id)
    durable.write(directory / REVIEW, document)
    durable.write(directory / REQUEST, exact)
    reached("request.made")
    return exact


def load_request(ctx: Context, change: str, recorded: str) -> tuple[Request, bytes]:
    """The request of a change with its exact bytes. Raises Conflict unless it is the one that was `recorded`."""
    exact = _read(ctx, change, REQUEST)
    if hashlib.sha256(exact).hexdigest() != recorded:
        raise Conflict(
            f"The request of {change} is not the one that was made.",
            "Nothing was changed. Find out who wrote to the home directory; propose the change anew.",
        )
    return Request.model_validate_json(exact), exact


def load_review(ctx: Context, change: str, request: Request) -> bytes:
    """The review document that the request names. Raises Conflict where it is another."""
    document = _read(ctx, change, REVIEW)
    if hashlib.sha256(document).hexdigest() != request.review:
        raise Conflict(
            f"The review of {change} is not the one that people sign.",
            "Find out who wrote to the home directory; propose the change anew.",
        )
    return document


def _read(ctx: Context, change: str, name: str) -> bytes:
    try:
        return (ctx.home.kept_change(change) / name).read_bytes()
    except OSError as error:
        raise Conflict(
            f"The {name} of {change} can't be read: {error.strerror}.", "Propose the change anew."
        ) from error


def settings_digest(spec: TargetSpec, salt: str) -> str:
    """Over what a target's file says, besides its policy, about how a promotion goes: what is left out, what is run
    after it, what must be well and for how long (C9). Salted, because commands may carry secrets (G6)."""
    said = spec.model_dump(mode="json", include={"ignore", "health", "grace_s", "bake_s", "after_apply"})
    return hashlib.sha256(rfc8785.dumps([salt, said])).hexdigest()


def evidence_digest(
    evidence: Sequence[Evidence], rehearsals: Sequence[Rehearsal], hazards: Sequence[Hazard], salt: str
) -> str:
    """One digest over all that was found out about a change before people were asked (A3)."""
    document: dict[str, Any] = {
        **({"salt": salt} if salt else {}),
        "evidence": [one.model_dump(mode="json") for one in evidence],
        "rehearsals": [one.model_dump(mode="json") for one in rehearsals],
        "hazards": [one.model_dump(mode="json") for one in hazards],
    }
    return hashlib.sha256(rfc8785.dumps(document)).hexdigest()
