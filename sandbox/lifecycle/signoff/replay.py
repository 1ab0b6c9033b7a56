"""Judges every promotion of a log again, from the log alone: does what was signed cover what was applied?

Owns what an approval must be in a log. Everything is rebuilt from entries (`testimony` wrote them) and put to the same
`decide` that was asked then; people's signatures are verified with the keys of the policies in force by the log.
Must not read a home.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sandbox import sshsig
from sandbox.decide import decide, policy_digest
from sandbox.facts import Facts, PartView, Protected, TargetFacts
from sandbox.governance import LaunchStatement
from sandbox.journal.entries import AuditEntry
from sandbox.journal.verify import Finding
from sandbox.lifecycle.signoff import launching, signing
from sandbox.records import Evidence, Hazard, Rehearsal, Request, Vote
from sandbox.spec import PolicySpec

_SKEW = timedelta(minutes=5)


@dataclass(slots=True)
class _Asked:
    """A request with what was found out about it."""

    request: Request
    exact: bytes
    detail: dict[str, Any]


@dataclass(slots=True)
class _Log:
    """What the entries have told so far."""

    requests: dict[str, _Asked] = field(default_factory=dict)
    votes: dict[str, list[Vote]] = field(default_factory=lambda: defaultdict(list))
    status: dict[str, str] = field(default_factory=dict)
    policies: dict[str, PolicySpec] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    """The digest of the policy in force, by target."""
    spent: set[str] = field(default_factory=set)
    statements: dict[str, tuple[str, str]] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    """The change of each promotion that was decided on."""
    applied: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    latest: datetime | None = None


def uncovered(entries: Iterable[AuditEntry]) -> Iterator[Finding]:
    """What in the log was put into effect without an approval that covers it, in the order of the entries."""
    log = _Log()
    for entry in entries:
        take = _TAKES.get(entry.event)
        if take:
            try:
                reasons = list(take(log, entry))
            except (KeyError, TypeError, ValueError) as error:  # pydantic's are ValueErrors
                reasons = [f"{entry.event} can't be judged again: {type(error).__name__}"]
            for says in reasons:
                yield Finding(kind="approval", says=f"{entry.subject}: {says}", seq=entry.seq)
        log.latest = max(log.latest or entry.at, entry.at)


# --- what entries tell ----------------------------------------------------------------------------------


def _proposed(log: _Log, entry: AuditEntry) -> Iterator[str]:
    exact = entry.detail["exact"].encode()
    if hashlib.sha256(exact).hexdigest() != entry.detail["request"]:
        yield "its request is not the one that the entry names."
    log.requests[entry.subject] = _Asked(Request.model_validate_json(exact), exact, entry.detail)
    log.status[entry.subject] = "open"


def _voted(log: _Log, entry: AuditEntry) -> Iterator[str]:
    detail = entry.detail
    asked = log.requests.get(detail["change"])
    if asked is None:
        yield "a vote for a change that the log does not have."
        return
    decision, signed_at = entry.event.partition(".")[2], datetime.fromisoformat(detail["signed_at"])
    vote = Vote.model_validate(
        {
            "vote": entry.subject,
            "change": detail["change"],
            "request": detail["request"],
            "person": entry.actor,
            "decision": decision,
            "reason": detail["reason"],
            "signed_at": signed_at,
            "message": signing.vote_message(
                asked.exact,
                person=entry.actor,
                decision="reject" if decision == "reject" else "approve",
                reason=detail["reason"],
                signed_at=signed_at,
            ),
            "signature": detail["signature"],
        }
    )
    log.votes[vote.change].append(vote)


def _status(log: _Log, entry: AuditEntry) -> Iterator[str]:
    log.status[entry.subject] = entry.event.partition(".")[2]
    yield from ()


def _spent(log: _Log, entry: AuditEntry) -> Iterator[str]:
    if entry.detail["nonce_sha256"] in log.spent:
        yield "a sign-off was used twice."
    log.spent.add(entry.detail["nonce_sha256"])


def _stated(log: _Log, entry: AuditEntry) -> Iterator[str]:
    log.statements[entry.subject] = entry.detail["statement"], entry.detail["signature"]
    yield from ()


def _pinned(log: _Log, entry: AuditEntry) -> Iterator[str]:
    policy = PolicySpec.model_validate_json(entry.detail["text"])
    digest = policy_digest(policy)
    if digest != entry.detail["digest"]:
        yield "the policy that came into force is not the one that the entry names."
    if entry.event == "policy.accepted" and entry.subject in log.pins:
        yield "its first policy was accepted a second time."
    if entry.event == "policy.moved":
        asked = log.requests.get(entry.detail["change"])
        promised = {one.name: one.predicted for one in asked.request.targets} if asked else {}
        if entry.detail["change"] not in log.started.values() or promised.get(entry.subject) != digest:
            yield f"the policy {policy.name} came into force without an approval that covers it."
    log.policies[digest] = policy
    log.pins[entry.subject] = digest


def _applied(log: _Log, entry: AuditEntry) -> Iterator[str]:
    log.applied[entry.subject][entry.detail["target"]] = entry.detail["fingerprint"]
    yield from ()


def _committed(log: _Log, entry: AuditEntry) -> Iterator[str]:
    change = log.started.get(entry.subject)
    if change is None:
        yield "it was committed, and nobody decided on it in this log."
        return
    asked = log.requests[change]
    if asked.detail["holds"] == "policy":
        return
    promised = {one.name: one.predicted for one in asked.request.targets if one.predicted != one.base}
    for name, fingerprint in log.applied[entry.subject].items() | dict.fromkeys(promised, "").items():
        if name not in log.applied[entry.subject]:
            yield f"{name} was approved and not applied."
        elif fingerprint and promised.get(name) != fingerprint:
            yield f"what was applied to {name} is not what the approvals cover."


# --- the decision, once more ----------------------------------------------------------------------------


def _started(log: _Log, entry: AuditEntry) -> Iterator[str]:
    detail = entry.detail
    asked = log.requests.get(detail["change"])
    if asked is None:
        yield f"it was started for {detail['change']}, which the log does not have."
        return
    log.started[entry.subject] = detail["change"]
    decided_at = datetime.fromisoformat(detail["at"])
    if abs(entry.at - decided_at) > _SKEW:
        yield f"it was decided on at {detail['at']} and started at {entry.at.isoformat()}."
    yield from decide(_facts(log, asked, detail, decided_at)).decision.reasons
    for target in asked.request.targets:
        in_force = {log.pins[target.name]} if target.name in log.pins else set(log.pins.values())
        if target.policy_digest not in in_force:
            yield f"{target.name}: the approvals name another policy than the one in force."


def _facts(log: _Log, asked: _Asked, detail: dict[str, Any], at: datetime) -> Facts:
    known, request = asked.detail, asked.request
    policies = [log.policies[one.policy_digest] for one in request.targets if one.policy_digest in log.policies]
    votes = [signing.judge(vote, request, policies, known["launcher"], at) for vote in log.votes[request.change]]
    nonce = hashlib.sha256(request.nonce.encode()).hexdigest()
    return Facts(
        request=request,
        request_digest=detail["request"],
        recorded_request_digest=known["request"],
        change_digest=detail["digest"],
        evidence_digest=known["evidence"],
        status=log.status[request.change],
        launcher=known["launcher"],
        targets=tuple(_target(log, one, known["holds"]) for one in detail["targets"]),
        hazards=(Hazard(kind="blocking", path="", says="something blocks it", blocks=True),) * known["blocking"],
        evidence=tuple(Evidence(seconds=0, **one) for one in known["checks"]),
        rehearsals=tuple(Rehearsal(restore_seconds=0, **one) for one in known["rehearsals"]),
        votes=tuple(votes),
        nonce_spent=nonce in log.spent,
        version=detail["version"],
        now=at,
        last_entry_at=log.latest,
        parts=tuple(_part(log, one) for one in detail["parts"]),
        participants=tuple(detail["participants"]),
        session_digest=detail["session"],
        audit_export=detail.get("audit_export"),
        applying=True,
    )


def _target(log: _Log, told: dict[str, Any], holds: str) -> TargetFacts:
    return TargetFacts(
        name=told["name"],
        policy=log.policies.get(told["policy_digest"]),
        added=told["added"],
        modified=told["modified"],
        deleted=told["deleted"],
        empties=told["empties"],
        protected=tuple(Protected(role, "a path", count) for role, count in told["roles"]),
        identity=told["identity"],
        fingerprint=told["fingerprint"],
        settings=told.get("settings"),
        files=holds == "files",
    )


def _part(log: _Log, told: dict[str, Any]) -> PartView:
    says = ""
    if told["key"]:
        message, armored = log.statements.get(told["part"], ("", ""))
        try:
            signature = signing.parsed(armored, launching.NAMESPACE)
            if sshsig.fingerprint(signature.key) != told["key"]:
                raise signing.Void("it was made with another key")
            signing.check_crypto(message.encode(), armored, signature)
            statement = LaunchStatement.model_validate_json(message)
            if (statement.part, statement.person) != (told["part"], told["person"]):
                raise signing.Void("it is somebody else's")
        except signing.Void as void:
            says = str(void)
    return PartView(told["person"], told["verb"], told["launched"], told["key"], says, told["part"])


_ENDS = ("rejected", "expired", "promoting", "promoted", "restored", "frozen")
_VERBS = ("run", "create", "exec", "shell", "write", "rollback", "fork", "propose", "policy")
_TAKES: dict[str, Callable[[_Log, AuditEntry], Iterator[str]]] = {
    "change.proposed": _proposed,
    "vote.approve": _voted,
    "vote.reject": _voted,
    **{
        f"change.{status}": _status for status in ("rejected", "expired", "promoting", "promoted", "restored", "frozen")
    },
    "nonce.spent": _spent,
    **{
        f"session.{verb}": _stated
        for verb in ("run", "create", "exec", "shell", "write", "rollback", "fork", "propose")
    },
    "session.policy": _stated,
    "policy.accepted": _pinned,
    "policy.moved": _pinned,
    "policy.moved_back": _pinned,
    "promotion.started": _started,
    "promotion.applied": _applied,
    "promotion.committed": _committed,
}
