"""What people sign, what they signed, and what it amounts to.

Owns the shape of these documents; the canonical JSON of a request is what people sign. Must not decide or do anything.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
from datetime import datetime
from typing import Literal

from pydantic import Field

from sandbox.records.base import Record


class RequestTarget(Record):
    name: str
    identity: str
    base: str
    predicted: str
    policy: str | None
    policy_digest: str | None
    """None: the target names no policy, so nobody can approve."""
    settings: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Salted digest of what else its file says about a promotion: `ignore`, health checks, commands after the apply."""


class Request(Record):
    """The exact bytes that people sign are the canonical JSON of this."""

    type: Literal["sandbox-request/v1"] = "sandbox-request/v1"
    change: str
    digest: str
    targets: tuple[RequestTarget, ...]
    evidence: str
    """Digest over all evidence and rehearsals."""
    review: str
    """Digest of the review document as it was rendered."""
    launcher: str
    participants: tuple[str, ...] = ()
    """Who else took part in the session; they can't sign."""
    session: str = ""
    """Digest over the records of who launched and who took part."""
    nonce: str
    made_at: datetime
    expires_at: datetime
    version: str
    """Of the manager."""
    audit_export: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Where the log is vouched for before the promotion counts; None: nowhere."""


class Vote(Record):
    """One person's signed approve or reject of one request, as stored: judged anew each time."""

    vote: str
    change: str
    request: str
    person: str
    decision: Literal["approve", "reject"]
    reason: str = ""
    signed_at: datetime
    message: bytes = Field(repr=False)
    """The exact bytes that were signed."""
    signature: str = Field(repr=False)
    """Armored SSHSIG."""


class VoteView(Record):
    """A vote as judged now."""

    person: str
    decision: Literal["approve", "reject"]
    valid: bool
    says: str = ""
    reason: str = ""
    at: datetime | None = None
    key: str = ""
    """Fingerprint of the key, `SHA256:…`."""


class Decision(Record):
    """May it be promoted now? Every reason that stands against it, or none."""

    allowed: bool
    reasons: tuple[str, ...]
