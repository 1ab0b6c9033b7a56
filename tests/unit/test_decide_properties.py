"""Properties of every decision, over drawn votes, evidence and roles."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.decide import decide
from sandbox.facts import Facts, Protected
from sandbox.records import Evidence, VoteView
from tests.unit.sign_off import (
    GREEN,
    PEOPLE,
    SECURITY,
    SRE,
    TARGET,
    evidence_digest,
    facts,
    key_name,
    vote,
)

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
