"""May this change be promoted now? One pure function over records, policies, votes and time.

Owns every rule of a sign-off and the sentence that says what must be true first. Asked alike when a change
is shown, voted on, leased and applied, and offline. Must not read files, clocks or targets: what it has to
know is in `Facts`, and what it does not know speaks against the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import rfc8785

from sandbox import sshsig
from sandbox.facts import Facts, PartView, TargetFacts
from sandbox.records import Decision, RequestTarget
from sandbox.spec import PolicySpec
from sandbox.windows import closed

_SKEW = timedelta(minutes=5)
"""A clock may be set back by this much without anybody meaning harm."""


EXPORT_MOVED = (
    "Where the audit log is exported (audit_export in manager.yaml) changed after the request was made;"
    " take the edit back, or propose the change anew."
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that stands against a promotion."""

    says: str
    stale: bool = False
    """The world moved (exit code 6); otherwise policy says no (exit code 3)."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer: every reason that stands against the promotion, or none."""

    reasons: tuple[Reason, ...]

    @property
    def decision(self) -> Decision:
        """For people and scripts."""
        return Decision(allowed=not self.reasons, reasons=tuple(reason.says for reason in self.reasons))

    @property
    def stale(self) -> bool:
        """Nothing stands against it but that the world moved."""
        return bool(self.reasons) and all(reason.stale for reason in self.reasons)


def policy_digest(policy: PolicySpec) -> str:
    """SHA-256 over a policy's canonical JSON: 64 hex digits that change with any rule of it."""
    return hashlib.sha256(rfc8785.dumps(policy.model_dump(mode="json"))).hexdigest()


def decide(facts: Facts) -> Ruling:
    """Every reason why the change can't be promoted now; allowed where there is none."""
    reasons = [*_of_the_change(facts), *_of_the_request(facts), *_of_the_time(facts), *_of_the_evidence(facts)]
    for asked, target in zip(facts.request.targets, facts.targets, strict=False):
        reasons += _of_the_target(facts, asked, target)
        if target.changed:
            reasons += _of_the_policy(facts, target)
    reasons += _of_the_rejections(facts)
    return Ruling(tuple(dict.fromkeys(reasons)))


_STATUSES = {
    "rejected": Reason("It was rejected; propose a new change."),
    "promoting": Reason("A promotion of it is under way; wait until it has ended.", stale=True),
    "promoted": Reason("It was already promoted."),
    "restored": Reason("It was promoted and taken back; propose it anew and have it signed again."),
    "frozen": Reason("A promotion of it failed and could not be taken back; a person has to repair the targets first."),
}


def _of_the_change(facts: Facts) -> Iterator[Reason]:
    if facts.status != "open":
        yield _STATUSES.get(facts.status) or Reason(f"Its status is {facts.status!r}; only an open change is promoted.")
    if facts.nonce_spent and facts.status == "open":
        yield Reason("Its sign-off was already used for a promotion; propose the change anew.")
    if not any(target.changed for target in facts.targets):
        yield Reason("It changes nothing.")
    for hazard in facts.hazards:
        if hazard.blocks:
            yield Reason(f"{hazard.where}: {hazard.says} ({hazard.kind}); this can't be promoted, whoever signs.")


def _of_the_request(facts: Facts) -> Iterator[Reason]:
    request = facts.request
    if facts.request_digest != facts.recorded_request_digest:
        yield Reason("The request is not the one that was made; find out who wrote to the home directory.")
    if facts.change_digest != request.digest:
        yield Reason("The sealed change is not the one that the request names; all votes are void.")
    if facts.evidence_digest != request.evidence:
        yield Reason("The evidence is not the one that the request names; all votes are void.")
    if facts.launcher != request.launcher:
        yield Reason(f"It was launched by {facts.launcher}, but the request names {request.launcher}.")
    if set(facts.participants) != set(request.participants) or facts.session_digest != request.session:
        yield Reason("Who took part in its session is not what the request names; propose the change anew.")
    if [target.name for target in facts.targets] != [target.name for target in request.targets]:
        yield Reason("Its targets are not those that the request names; all votes are void.")
    if facts.audit_export != request.audit_export:
        yield Reason(EXPORT_MOVED)
    if facts.version != request.version:
        yield Reason(
            f"The request was made by version {request.version}, this is {facts.version}; propose the change anew."
        )


def _of_the_time(facts: Facts) -> Iterator[Reason]:
    request = facts.request
    if facts.now >= request.expires_at:
        yield Reason(f"The request expired at {_moment(request.expires_at)}; propose the change anew.")
    for earlier in (request.made_at, facts.last_entry_at):
        if earlier is not None and facts.now < earlier - _SKEW:
            yield Reason(f"The clock was set back: it must be later than {_moment(earlier)}.")
    for target in facts.targets:
        window = target.policy.approve_within_s if target.policy and target.changed else None
        if window is not None and (request.expires_at - request.made_at).total_seconds() > window:
            yield Reason(f"{target.name}: its policy lets a request live for {window:g} s, this one lives longer.")
    yield from _of_the_windows(facts)


def _of_the_windows(facts: Facts) -> Iterator[Reason]:
    """What passes by itself, or is for somebody else to end: a stop, a window; and evidence that has aged."""
    if facts.stopped:
        yield Reason(f"All promotions are stopped: {facts.stopped}")
    age = (facts.now - facts.request.made_at).total_seconds()
    for target in facts.targets:
        if not (target.policy and target.changed):
            continue
        window = closed(target.policy.deny, facts.now)
        if window:
            days = f" on {', '.join(window.days)}" if window.days else ""
            yield Reason(
                f"{target.name}: its policy denies promotions from {window.start} to {window.end} UTC{days}:"
                f" {window.reason}"
            )
        limit = target.policy.evidence_within_s
        if limit is not None and age > limit and target.files:
            yield Reason(f"{target.name}: its checks are older than the {limit:g} s of its policy; propose it anew.")


def _of_the_evidence(facts: Facts) -> Iterator[Reason]:
    for check in facts.evidence:
        if not check.passed:
            yield Reason(
                f"The check {check.check!r} failed ({check.failure}); every check must pass in the clean room."
            )
    for rehearsal in facts.rehearsals:
        if not rehearsal.passed:
            why = f": {rehearsal.says}" if rehearsal.says else ""
            yield Reason(f"{rehearsal.target}: the rehearsal of apply and restore failed{why}.")
    rehearsed = {rehearsal.target for rehearsal in facts.rehearsals}
    for target in facts.targets:
        if target.changed and target.files and target.name not in rehearsed:
            yield Reason(f"{target.name}: apply and restore were not rehearsed.")


def _of_the_target(facts: Facts, asked: RequestTarget, target: TargetFacts) -> Iterator[Reason]:
    if facts.applying and (target.identity is None or target.fingerprint is None):
        yield Reason(f"{target.name}: nobody looked whether it is still as it was captured.")
    if target.identity not in (None, asked.identity):
        yield Reason(
            f"{target.name} is now another system ({target.identity}) than was captured ({asked.identity});"
            " run the task again.",
            stale=True,
        )
    if target.fingerprint not in (None, asked.base):
        where = f" ({target.drifted})" if target.drifted else ""
        yield Reason(
            f"{target.name} has drifted from the base that was captured{where}; run the task again.", stale=True
        )
    digest = policy_digest(target.policy) if target.policy else None
    if digest != asked.policy_digest:
        yield Reason(
            f"{target.name}: its policy changed after the request was made, or can't be read; propose the change anew."
        )
    if target.settings != asked.settings:
        yield Reason(
            f"{target.name}: its health checks, after_apply, ignore or bake changed after the request was made;"
            " take the edit back, or propose the change anew."
        )
    if target.policy_says:
        yield Reason(f"{target.name}: {target.policy_says}")
    if target.empties:
        yield Reason(f"{target.name}: everything in it would be removed, which is never promoted.")


def _of_the_policy(facts: Facts, target: TargetFacts) -> Iterator[Reason]:
    policy = target.policy
    if policy is None:
        yield Reason(f"{target.name}: it has no policy that can be read, so nobody can sign it off.")
        return
    budget = policy.budget
    for what, count, cap in (
        ("deletes", target.deleted, budget.max_deleted),
        ("changes", target.changed, budget.max_changed),
    ):
        if cap is not None and count > cap and target.files:
            yield Reason(f"{target.name}: it {what} {count} entries, and its policy allows {cap}.")
    if policy.launcher == "signed":
        for says in unproven(facts.parts, facts.launcher, policy):
            yield Reason(f"{target.name}: {says}")
    approvers = _approvers(facts, policy)
    yield from _quorum(facts, target.name, policy, approvers)
    yield from _roles(facts, target, policy, approvers)


def unproven(parts: Iterable[PartView], launcher: str, policy: PolicySpec) -> Iterator[str]:
    """Why a policy that wants signatures does not know who launched and who took part: whoever is not who they say
    they are could be one of the signers."""
    parts = list(parts)
    if not any(part.launched and part.person == launcher for part in parts):
        yield f"its policy wants a launcher who signed, and {launcher} was only named."
    for part in parts:
        what = f"{part.person} {'launched it' if part.launched else f'took part in it ({part.verb})'}"
        if part.says:
            yield f"{what}, and the signature does not count: {part.says}."
        elif not part.key:
            yield f"{what} under a name that was only given; its policy wants a signature (--key)."
        elif part.key not in launch_keys(policy, part.person):
            yield f"{what} with a key that its policy does not know as theirs ({part.key})."


def launch_keys(policy: PolicySpec, person: str) -> set[str]:
    """Fingerprints of the keys with which somebody proves to a policy who they are when they launch or take part."""
    known = [one.keys for one in (policy.people.get(person), policy.launchers.get(person)) if one]
    return {name for lines in known for name in _fingerprints(lines)}


def _quorum(facts: Facts, name: str, policy: PolicySpec, approvers: set[str]) -> Iterator[Reason]:
    if len(approvers) >= policy.quorum:
        return
    eligible = {person for person in policy.people if not _took_part(facts, person)}
    if len(eligible) < policy.quorum:
        yield Reason(
            f"{name}: its policy wants {policy.quorum} people and has {len(eligible)} besides the launcher"
            f" {facts.launcher}{_others(facts)}; somebody else must launch it, or the policy must name more people."
        )
        return
    has = f"{len(approvers)} ({', '.join(sorted(approvers))})" if approvers else "none"
    yield Reason(
        f"{name}: {_people(policy.quorum)} must approve, and it has {has};"
        f" missing: {policy.quorum - len(approvers)} of {', '.join(sorted(eligible - approvers))}."
    )


def _roles(facts: Facts, target: TargetFacts, policy: PolicySpec, approvers: set[str]) -> Iterator[Reason]:
    """One person fills one role at most, so that two roles are two pairs of eyes (C5)."""
    needed = {rule.role: rule for rule in reversed(target.protected)}
    holders = {role: {name for name in approvers if role in policy.people[name].roles} for role in needed}
    filled = _matched(holders)
    for role, rule in needed.items():
        if role in filled:
            continue
        more = f" and {rule.count - 1} more" if rule.count > 1 else ""
        able = sorted(
            name for name, person in policy.people.items() if role in person.roles and not _took_part(facts, name)
        )
        who = ", ".join(able) if able else "nobody besides the launcher holds it"
        other = f", besides {', '.join(sorted(holders[role]))} who signs for another role" if holders[role] else ""
        yield Reason(
            f"{target.name}: {rule.path}{more} is protected; somebody with the role {role} must approve{other} ({who})."
        )


def _matched(holders: dict[str, set[str]]) -> dict[str, str]:
    """As many roles as can be filled by different people, each with its person (augmenting paths)."""
    role_of: dict[str, str] = {}

    def place(role: str, tried: set[str]) -> bool:
        for person in sorted(holders[role] - tried):
            tried.add(person)
            if person not in role_of or place(role_of[person], tried):
                role_of[person] = role
                return True
        return False

    for role in sorted(holders):
        place(role, set())
    return {role: person for person, role in role_of.items()}


def _of_the_rejections(facts: Facts) -> Iterator[Reason]:
    """One reject blocks for good: no later approval takes it back (C6)."""
    for vote in facts.votes:
        if vote.decision == "reject" and vote.valid:
            why = f": {vote.reason}" if vote.reason else ""
            yield Reason(f"{vote.person} rejected it{why}; propose a new change.")


def _approvers(facts: Facts, policy: PolicySpec) -> set[str]:
    """The different people whose approval counts under this policy, however many keys each of them used."""
    return {
        vote.person
        for vote in facts.votes
        if vote.decision == "approve"
        and vote.valid
        and vote.person in policy.people
        and not _took_part(facts, vote.person)
        and vote.key in _fingerprints(policy.people[vote.person].keys)
    }


def _took_part(facts: Facts, person: str) -> bool:
    """Whoever launched it or had a hand in it, by the session's records or by the request, never signs it off."""
    named = (facts.launcher, facts.request.launcher, *facts.participants, *facts.request.participants)
    return person.casefold() in {name.casefold() for name in named}


def _others(facts: Facts) -> str:
    names = sorted({*facts.participants, *facts.request.participants} - {facts.launcher})
    return f" and {', '.join(names)} who took part" if names else ""


def _fingerprints(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        try:
            yield sshsig.fingerprint(sshsig.key_blob(line))
        except ValueError:
            continue  # a line that can't be read is nobody's key


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} different people"


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
