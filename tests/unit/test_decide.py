"""Every rule of a sign-off: what is allowed, and each reason that speaks against it."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import sshsig
from sandbox.decide import Facts, Protected, Ruling, TargetFacts, decide, policy_digest
from sandbox.records import Evidence, Hazard, Rehearsal, Request, RequestTarget, VoteView
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


def test_two_people_may_promote() -> None:
    ruling = decide(facts(*SIGNED))
    assert ruling == Ruling(())
    assert ruling.decision.allowed
    assert not ruling.stale


def test_it_is_a_pure_function() -> None:
    known = facts(vote("alice"), vote("bob", "reject", reason="no"))
    assert decide(known) == decide(known)


# --- who, how many -------------------------------------------------------------------------------------


def test_c6_no_answer_is_no() -> None:
    says = refusal(facts())
    assert says == "cost-explorer: 2 different people must approve, and it has none; missing: 2 of alice, bob, carol."


def test_c1_one_person_with_two_keys_is_one_person() -> None:
    says = refusal(facts(vote("alice"), vote("alice", key="alice-2")))
    assert "it has 1 (alice); missing: 1 of bob, carol" in says


@pytest.mark.parametrize(
    "second",
    [
        vote("dave"),
        vote("mallory"),
        vote("bob", valid=False, says="forged"),
        vote("bob", key="carol"),
        vote("bob", key="mallory"),
    ],
    ids=["the launcher", "a stranger", "an invalid vote", "another's key", "an unknown key"],
)
def test_c2_what_does_not_count(second: VoteView) -> None:
    assert "it has 1 (alice)" in refusal(facts(vote("alice"), second))
    assert decide(facts(*SIGNED, second)).decision.allowed


def test_c2_the_launcher_is_excluded_however_it_is_spelled() -> None:
    assert "it has 1 (alice)" in refusal(facts(vote("alice"), vote("bob"), launcher="Bob", request={"launcher": "Bob"}))


def test_c3_the_launcher_is_the_one_of_the_session() -> None:
    assert "launched by bob, but the request names dave" in decide(facts(*SIGNED, launcher="bob")).decision.reasons[0]


def test_c4_a_quorum_that_cannot_be_met_says_so() -> None:
    pair = PolicySpec(name="pair", quorum=2, people={name: PEOPLE[name] for name in ("alice", "dave")})
    says = refusal(with_target(vote("alice"), policy=pair))
    assert "wants 2 people and has 1 besides the launcher dave" in says


@pytest.mark.parametrize("order", [0, 1])
def test_c6_one_reject_blocks_whatever_its_person_says_later(order: int) -> None:
    pair = [vote("carol", "reject", reason="too risky"), vote("carol")]
    says = refusal(facts(*SIGNED, pair[order], pair[1 - order]))
    assert says == "carol rejected it: too risky; propose a new change."
    assert decide(facts(*SIGNED, vote("carol", "reject", valid=False))).decision.allowed


@pytest.mark.parametrize(
    ("status", "why", "stale"),
    [
        ("rejected", "was rejected", False),
        ("promoting", "under way", True),
        ("promoted", "already promoted", False),
        ("restored", "taken back", False),
        ("frozen", "a person has to repair", False),
        ("open?", "status is 'open?'", False),
    ],
)
def test_b7_only_an_open_change_is_promoted(status: str, why: str, stale: bool) -> None:
    assert why in refusal(facts(*SIGNED, status=status), stale=stale)


def test_c11_no_policy_denies() -> None:
    assert "no policy that can be read" in refusal(with_target(*SIGNED, policy=None))
    unread = facts(*SIGNED, request={"targets": facts().request.targets}, targets=(replace(TARGET, policy=None),))
    assert len(decide(unread).decision.reasons) == 2


def test_a_launcher_who_must_sign_is_not_taken_at_their_word() -> None:
    strict = POLICY.model_copy(update={"launcher": "signed"})
    known = with_target(*SIGNED, policy=strict)
    assert "was only named" in refusal(known)
    assert decide(replace(known, launcher_signed=True)).decision.allowed


# --- roles -----------------------------------------------------------------------------------------------

SECURITY = Protected("security", ".github/workflows/ci.yml", 3)
SRE = Protected("sre", "db/schema.sql", 1)


def test_c5_a_protected_path_needs_a_vote_of_its_role() -> None:
    people = POLICY.model_copy(update={"people": PEOPLE | {"erin": Person(keys=(a_key("erin"),))}})
    known = with_target(vote("bob"), vote("erin"), policy=people, protected=(SECURITY,))
    assert refusal(known) == (
        "cost-explorer: .github/workflows/ci.yml and 2 more is protected;"
        " somebody with the role security must approve (alice, carol)."
    )
    assert decide(replace(known, votes=(*known.votes, vote("carol")))).decision.allowed


def test_c5_one_person_fills_one_role() -> None:
    both = (SECURITY, SRE)
    people = POLICY.model_copy(update={"people": PEOPLE | {"erin": Person(keys=(a_key("erin"),))}})
    assert "who signs for another role" in refusal(
        with_target(vote("alice"), vote("erin"), policy=people, protected=both)
    )
    assert decide(with_target(vote("alice"), vote("bob"), protected=both)).decision.allowed
    assert decide(with_target(vote("alice"), vote("carol"), protected=both)).decision.allowed
    assert decide(with_target(vote("alice"), vote("carol"), protected=both[::-1])).decision.allowed


def test_c5_a_role_that_only_the_launcher_holds_cannot_be_filled() -> None:
    known = with_target(*SIGNED, protected=(Protected("dba", "db/x", 1),))
    assert "nobody besides the launcher holds it" in refusal(known)


# --- budgets and hazards -----------------------------------------------------------------------------------


def test_e9_a_change_over_budget_is_refused_whoever_signs() -> None:
    assert decide(with_target(*SIGNED, deleted=5)).decision.allowed
    assert "it deletes 6 entries, and its policy allows 5" in refusal(with_target(*SIGNED, deleted=6))
    assert decide(with_target(*SIGNED, added=8)).decision.allowed
    assert "it changes 11 entries, and its policy allows 10" in refusal(with_target(*SIGNED, added=9))


def test_e9_everything_removed_is_refused() -> None:
    assert "everything in it would be removed" in refusal(with_target(*SIGNED, empties=True))


def test_a_blocking_hazard_is_refused_and_another_is_not() -> None:
    hazard = Hazard(kind="setuid", path="bin/su", says="the setuid bit is added")
    assert decide(facts(*SIGNED, hazards=(hazard,))).decision.allowed
    blocking = hazard.model_copy(update={"blocks": True})
    says = refusal(facts(*SIGNED, hazards=(blocking,)))
    assert says == "bin/su: the setuid bit is added (setuid); this can't be promoted, whoever signs."


def test_a_change_of_nothing_is_not_promoted() -> None:
    assert refusal(with_target(*SIGNED, added=0, modified=0, deleted=0)) == "It changes nothing."


# --- binding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"change_digest": "0" * 64}, "sealed change is not the one"),
        ({"evidence_digest": "0" * 64}, "evidence is not the one"),
        ({"request_digest": "0" * 64}, "request is not the one that was made"),
        ({"version": "0.2.0"}, "made by version 0.1.0, this is 0.2.0"),
        ({"nonce_spent": True}, "already used for a promotion"),
    ],
    ids=["a1", "a3", "a8", "i5", "b5"],
)
def test_a_any_byte_that_differs_voids_the_votes(changed: dict[str, Any], why: str) -> None:
    assert why in refusal(facts(*SIGNED, **changed))


def test_a2_b2_a_moved_base_is_stale() -> None:
    assert decide(with_target(*SIGNED, identity="dir:1:2", fingerprint=BASE)).decision.allowed
    assert "has drifted" in refusal(with_target(*SIGNED, fingerprint="0" * 64), stale=True)


def test_a6_another_system_under_the_same_name_is_stale() -> None:
    says = refusal(with_target(*SIGNED, identity="dir:1:9"), stale=True)
    assert "another system (dir:1:9) than was captured (dir:1:2)" in says


def test_staleness_with_a_refusal_of_policy_is_a_refusal_of_policy() -> None:
    ruling = decide(with_target(vote("alice"), fingerprint="0" * 64))
    assert len(ruling.reasons) == 2
    assert not ruling.stale


@pytest.mark.parametrize("looked", [{}, {"identity": "dir:1:2"}, {"fingerprint": BASE}])
def test_b2_nothing_is_applied_unlooked(looked: dict[str, str]) -> None:
    known = with_target(*SIGNED, **looked)
    assert decide(known).decision.allowed
    assert "nobody looked" in refusal(replace(known, applying=True))
    seen = with_target(*SIGNED, identity="dir:1:2", fingerprint=BASE)
    assert decide(replace(seen, applying=True)).decision.allowed


@pytest.mark.parametrize(
    "edit",
    [
        {"quorum": 1},
        {"people": PEOPLE | {"erin": Person(keys=(a_key("erin"),))}},
        {"protected": ()},
        {"budget": Budget()},
        {"approve_within_s": 86401},
        {"name": "staging"},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_a4_an_edited_policy_voids_the_request(edit: dict[str, Any]) -> None:
    known = facts(*SIGNED)
    edited = replace(TARGET, policy=POLICY.model_copy(update=edit))
    assert "policy changed after the request" in refusal(replace(known, targets=(edited,)))


def test_a9_a_target_left_out_or_renamed_voids_the_votes() -> None:
    other = replace(TARGET, name="billing")
    both = facts(
        *SIGNED, targets=(TARGET, other), rehearsals=(REHEARSED, REHEARSED.model_copy(update={"target": "billing"}))
    )
    assert decide(both).decision.allowed
    assert "not those that the request names" in refusal(replace(both, targets=(TARGET,)))
    assert "not those that the request names" in refusal(replace(both, targets=(other, TARGET)))


def test_a9_every_changed_target_needs_its_own_quorum() -> None:
    strict = POLICY.model_copy(update={"quorum": 3})
    other = replace(TARGET, name="billing", policy=strict)
    rehearsals = (REHEARSED, REHEARSED.model_copy(update={"target": "billing"}))
    known = facts(*SIGNED, targets=(TARGET, other), rehearsals=rehearsals)
    assert "billing: 3 different people must approve, and it has 2" in refusal(known)
    assert decide(replace(known, votes=(*SIGNED, vote("carol")))).decision.allowed


def test_a_target_that_does_not_change_needs_no_signature_but_must_not_move() -> None:
    idle = TargetFacts(name="billing", policy=None, added=0, modified=0, deleted=0, empties=False)
    assert decide(facts(*SIGNED, targets=(TARGET, idle))).decision.allowed
    moved = replace(idle, fingerprint="0" * 64)
    assert "billing has drifted" in refusal(facts(*SIGNED, targets=(TARGET, moved)), stale=True)


# --- time -----------------------------------------------------------------------------------------------------


def test_b4_an_expired_request_is_refused() -> None:
    last = NOW + timedelta(hours=1)
    assert decide(facts(*SIGNED, now=last - timedelta(seconds=1))).decision.allowed
    assert "expired at 2026-05-01T13:00:00+00:00" in refusal(facts(*SIGNED, now=last))


def test_t32_a_clock_that_was_set_back_is_refused() -> None:
    assert "clock was set back" in refusal(facts(*SIGNED, now=NOW - timedelta(hours=2), last_entry_at=None))
    assert "clock was set back" in refusal(facts(*SIGNED, last_entry_at=NOW + timedelta(minutes=6)))
    assert decide(facts(*SIGNED, last_entry_at=NOW + timedelta(minutes=4))).decision.allowed


def test_b4_a_request_that_lives_longer_than_its_policy_allows_is_refused() -> None:
    hasty = POLICY.model_copy(update={"approve_within_s": 7199})
    assert "lets a request live for 7199 s" in refusal(with_target(*SIGNED, policy=hasty))


# --- evidence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{"exit_code": 1}, {"timed_out": True}])
def test_d3_a_failed_check_is_refused(bad: dict[str, Any]) -> None:
    assert "The check 'pytest'" in refusal(facts(*SIGNED, evidence=(GREEN, GREEN.model_copy(update=bad))))


def test_zero_checks_are_the_reviewers_to_judge() -> None:
    assert decide(facts(*SIGNED, evidence=())).decision.allowed


@pytest.mark.parametrize("step", ["applied", "restored", "reapplied"])
def test_d5_a_failed_or_missing_rehearsal_is_refused(step: str) -> None:
    failed = REHEARSED.model_copy(update={step: False, "says": "it broke"})
    assert "rehearsal of apply and restore failed: it broke" in refusal(facts(*SIGNED, rehearsals=(failed,)))
    assert "were not rehearsed" in refusal(facts(*SIGNED, rehearsals=()))


# --- properties --------------------------------------------------------------------------------------------------

names = st.sampled_from(["alice", "bob", "carol", "dave", "mallory"])
votes_drawn = st.lists(
    st.builds(
        vote,
        names,
        st.sampled_from(["approve", "approve", "approve", "reject"]),
        key=st.sampled_from(["", "", "", "alice-2", "bob", "mallory"]),
        valid=st.sampled_from([True, True, True, False]),
    ),
    max_size=6,
)
evidence_drawn = st.lists(st.builds(GREEN.model_copy, update=st.fixed_dictionaries({"exit_code": st.integers(0, 1)})))
roles_drawn = st.lists(st.sampled_from([SECURITY, SRE, Protected("data", "db/x", 1)]), unique=True).map(tuple)


def as_kept(votes: tuple[VoteView, ...], evidence: tuple[Evidence, ...], roles: tuple[Protected, ...]) -> Facts:
    """As the manager keeps it: a valid reject is in the change's status too."""
    rejected = any(one.valid and one.decision == "reject" for one in votes)
    target = replace(TARGET, protected=roles)
    return facts(*votes, targets=(target,), evidence=evidence, status="rejected" if rejected else "open")


@given(votes_drawn, evidence_drawn, roles_drawn, st.data())
def test_b8_dropping_a_record_never_turns_no_into_yes(
    votes: list[VoteView], evidence: list[Evidence], roles: tuple[Protected, ...], data: st.DataObject
) -> None:
    known = as_kept(tuple(votes), tuple(evidence), roles)
    if decide(known).decision.allowed:
        return
    kept_votes = tuple(one for one in known.votes if data.draw(st.booleans()))
    kept_evidence = tuple(one for one in known.evidence if data.draw(st.booleans()))
    kept_rehearsals = tuple(one for one in known.rehearsals if data.draw(st.booleans()))
    less = replace(
        known,
        votes=kept_votes,
        evidence=kept_evidence,
        rehearsals=kept_rehearsals,
        evidence_digest=evidence_digest(kept_evidence, kept_rehearsals),
        last_entry_at=None,
    )
    assert not decide(less).decision.allowed


@given(votes_drawn, roles_drawn)
def test_c1_what_is_allowed_has_a_quorum_of_people_and_a_person_for_each_role(
    votes: list[VoteView], roles: tuple[Protected, ...]
) -> None:
    """An oracle that tries every assignment of people to roles."""
    ruling = decide(as_kept(tuple(votes), (GREEN,), roles))
    own = {name: {key_name(name)} for name in PEOPLE} | {"alice": {key_name("alice"), key_name("alice-2")}}
    people = {v.person for v in votes if v.valid and v.person in ("alice", "bob", "carol") and v.key in own[v.person]}
    approvers = {
        p
        for p in people
        if any(v.person == p and v.decision == "approve" and v.valid and v.key in own[p] for v in votes)
    }
    rejected = any(v.valid and v.decision == "reject" for v in votes)
    filled = any(
        all(rule.role in PEOPLE[person].roles for rule, person in zip(roles, order, strict=True))
        for order in permutations(sorted(approvers), len(roles))
    )
    assert ruling.decision.allowed == (len(approvers) >= 2 and filled and not rejected)


@given(votes_drawn, st.permutations(range(6)))
def test_the_order_of_votes_does_not_matter(votes: list[VoteView], order: list[int]) -> None:
    mixed = [votes[i] for i in order if i < len(votes)]
    assert decide(facts(*votes)).decision.allowed == decide(facts(*mixed)).decision.allowed
