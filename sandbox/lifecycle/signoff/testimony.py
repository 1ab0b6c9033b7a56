"""What the log is told of a sign-off, so that anybody can judge it again from a copy of the log alone.

Owns these details of its entries; `replay` reads them. Nothing in them is a secret: checks and tasks are commands,
which may carry some, so they are told by salted digests.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sandbox.facts import Facts
from sandbox.records import StoredChange, Vote


def proposed(stored: StoredChange, request: bytes, evidence: str) -> dict[str, Any]:
    """Of a request: its exact bytes, and what was found out before people were asked."""
    return {
        "digest": stored.digest,
        "request": hashlib.sha256(request).hexdigest(),
        "evidence": evidence,
        "holds": stored.kind,
        "launcher": stored.launcher,
        "exact": request.decode("utf-8"),
        "checks": [
            {
                "check": hashlib.sha256(f"{stored.id}{stored.salt} {one.check}".encode()).hexdigest(),
                "exit_code": one.exit_code,
                "timed_out": one.timed_out,
                "output_sha256": one.output_sha256,
            }
            for one in stored.evidence
        ],
        "rehearsals": [
            {name: getattr(one, name) for name in ("target", "applied", "restored", "reapplied")}
            for one in stored.rehearsals
        ],
        "blocking": sum(one.blocks for one in stored.hazards),
    }


def voted(vote: Vote, key: str) -> dict[str, Any]:
    """Of a vote: with the request's bytes, all that the person signed."""
    return {
        "change": vote.change,
        "request": vote.request,
        "key": key,
        "reason": vote.reason,
        "signed_at": vote.signed_at.isoformat(),
        "signature": vote.signature,
    }


def decided(facts: Facts) -> dict[str, Any]:
    """Of a decision to go ahead: what it rested on besides the request and its votes."""
    return {
        "at": facts.now.isoformat(),
        "change": facts.request.change,
        "request": facts.request_digest,
        "digest": facts.change_digest,
        "version": facts.version,
        "participants": list(facts.participants),
        "session": facts.session_digest,
        "audit_export": facts.audit_export,
        "parts": [
            {name: getattr(part, name) for name in ("part", "person", "verb", "launched", "key")}
            for part in facts.parts
        ],
        "targets": [
            {
                "name": target.name,
                "policy": asked.policy,
                "policy_digest": asked.policy_digest,
                "identity": target.identity,
                "fingerprint": target.fingerprint,
                "added": target.added,
                "modified": target.modified,
                "deleted": target.deleted,
                "empties": target.empties,
                "settings": target.settings,
                "roles": [[rule.role, rule.count] for rule in target.protected],
            }
            for asked, target in zip(facts.request.targets, facts.targets, strict=True)
        ],
    }
