"""A change that is in order, signed by two people, for tests to put one thing wrong at a time."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sandbox import sshsig
from sandbox.decide import decide, policy_digest
from sandbox.facts import Facts, Protected, TargetFacts
from sandbox.records import Evidence, Rehearsal, Request, RequestTarget, VoteView
from sandbox.spec import Budget, Person, PolicySpec, ProtectedPaths

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
BASE, PREDICTED, DIGEST = "b" * 64, "c" * 64, "a" * 64


def a_key(name: str) -> str:
    raw = hashlib.sha256(name.encode()).digest()
    blob = len(b"ssh-ed25519").to_bytes(4, "big") + b"ssh-ed25519" + len(raw).to_bytes(4, "big") + raw
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def key_name(name: str) -> str:
    return sshsig.fingerprint(sshsig.key_blob(a_key(name)))


PEOPLE = {
    "alice": Person(keys=(a_key("alice"), a_key("alice-2")), roles=("sre", "security")),
    "bob": Person(keys=(a_key("bob"),), roles=("sre", "data")),
    "carol": Person(keys=(a_key("carol"),), roles=("security",)),
    "dave": Person(keys=(a_key("dave"),)),
}
POLICY = PolicySpec(
    name="production",
    quorum=2,
    people=PEOPLE,
    protected=(ProtectedPaths(paths=(".github/**",), role="security"), ProtectedPaths(paths=("db/**",), role="sre")),
    budget=Budget(max_deleted=5, max_changed=10),
)
TARGET = TargetFacts(name="cost-explorer", policy=POLICY, added=1, modified=1, deleted=1, empties=False)
GREEN = Evidence(check="pytest", exit_code=0, seconds=1, output_sha256="0" * 64)
REHEARSED = Rehearsal(target="cost-explorer", applied=True, restored=True, reapplied=True, restore_seconds=1)


def evidence_digest(evidence: tuple[Evidence, ...], rehearsals: tuple[Rehearsal, ...]) -> str:
    document = [record.model_dump(mode="json") for record in (*evidence, *rehearsals)]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def vote(
    person: str, decision: Literal["approve", "reject"] = "approve", *, key: str = "", valid: bool = True, **more: Any
) -> VoteView:
    return VoteView(person=person, decision=decision, valid=valid, key=key_name(key or person), **more)


def facts(*votes: VoteView, targets: tuple[TargetFacts, ...] = (TARGET,), **changed: Any) -> Facts:
    """An open change launched by dave, all in order, with these votes."""
    request_changes = changed.pop("request", {})
    given_facts: dict[str, Any] = {"evidence": (GREEN,), "rehearsals": (REHEARSED,)} | changed
    digest = evidence_digest(given_facts["evidence"], given_facts["rehearsals"])
    request = Request(
        **{
            "change": "chg_1",
            "digest": DIGEST,
            "targets": tuple(
                RequestTarget(
                    name=target.name,
                    identity="dir:1:2",
                    base=BASE,
                    predicted=PREDICTED,
                    policy="production",
                    policy_digest=policy_digest(target.policy) if target.policy else None,
                )
                for target in targets
            ),
            "evidence": digest,
            "review": "f" * 64,
            "launcher": "dave",
            "nonce": "n1",
            "made_at": NOW - timedelta(hours=1),
            "expires_at": NOW + timedelta(hours=1),
            "version": "0.1.0",
        }
        | request_changes
    )
    defaults: dict[str, Any] = {
        "request": request,
        "request_digest": "e" * 64,
        "recorded_request_digest": "e" * 64,
        "change_digest": DIGEST,
        "evidence_digest": digest,
        "status": "open",
        "launcher": "dave",
        "targets": targets,
        "hazards": (),
        "votes": votes,
        "nonce_spent": False,
        "version": "0.1.0",
        "now": NOW,
        "last_entry_at": NOW,
    }
    return Facts(**(defaults | given_facts))


SIGNED = (vote("alice"), vote("bob"))


def refusal(known: Facts, *, stale: bool = False) -> str:
    """The one reason against it."""
    ruling = decide(known)
    assert not ruling.decision.allowed
    assert len(ruling.decision.reasons) == 1, ruling.decision.reasons
    assert ruling.stale == stale
    return ruling.decision.reasons[0]


def with_target(*votes: VoteView, **changed: Any) -> Facts:
    return facts(*votes, targets=(replace(TARGET, **changed),))


SECURITY = Protected("security", ".github/workflows/ci.yml", 3)
SRE = Protected("sre", "db/schema.sql", 1)
