"""Who may sign off, how many, and what nobody may: each rule and its sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.decide import Protected, Ruling, decide
from sandbox.records import Hazard, VoteView
from sandbox.spec import Person, PolicySpec
from tests.unit.sign_off import (
    PEOPLE,
    POLICY,
    SECURITY,
    SIGNED,
    SRE,
    TARGET,
    a_key,
    facts,
    refusal,
    vote,
    with_target,
)


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
