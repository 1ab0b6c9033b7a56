"""Who may sign off, how many, and what nobody may: each rule and its sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox.decide import Ruling, decide
from sandbox.facts import PartView, Protected
from sandbox.records import Hazard, VoteView
from sandbox.spec import DenyWindow, Launcher, Person, PolicySpec
from tests.unit.sign_off import (
    PEOPLE,
    POLICY,
    SECURITY,
    SIGNED,
    SRE,
    TARGET,
    a_key,
    facts,
    key_name,
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


STRICT = POLICY.model_copy(update={"launcher": "signed", "launchers": {"robot": Launcher(keys=(a_key("robot"),))}})


def part(person: str, verb: str = "run", key: str | None = None, says: str = "") -> PartView:
    signed = key_name(person) if key is None else key
    return PartView(person, verb, launched=verb == "run", key=signed, says=says)


def test_c2_a_launcher_who_must_sign_is_not_taken_at_their_word() -> None:
    known = with_target(*SIGNED, policy=STRICT)
    assert "was only named" in refusal(known)
    assert decide(replace(known, parts=(part("dave"),))).decision.allowed
    assert "under a name that was only given" in refusal(replace(known, parts=(part("dave", key=""),)))
    assert "forged" in refusal(replace(known, parts=(part("dave", says="forged"),)))
    assert "does not know as theirs" in refusal(replace(known, parts=(part("dave", key=key_name("alice")),)))
    assert "dave was only named" in refusal(replace(known, parts=(part("carol"),)))


def test_c2_somebody_who_may_only_launch_signs_with_a_key_of_its_own() -> None:
    known = facts(*SIGNED, launcher="robot", request={"launcher": "robot"}, targets=(replace(TARGET, policy=STRICT),))
    assert decide(replace(known, parts=(part("robot"),))).decision.allowed
    assert "does not know" in refusal(replace(known, parts=(part("robot", key=key_name("dave")),)))


def test_c2_whoever_took_part_must_sign_too() -> None:
    known = with_target(vote("alice"), vote("bob"), policy=STRICT)
    launch = part("dave")
    assert "carol took part in it (exec) under" in refusal(
        replace(known, parts=(launch, part("carol", "exec", key="")))
    )
    assert decide(replace(known, parts=(launch, part("carol", "exec")))).decision.allowed


def test_c2_whoever_took_part_never_counts() -> None:
    known = facts(*SIGNED, participants=("alice",), request={"participants": ("alice",)})
    assert "1 (bob)" in refusal(known)
    # Either of the two is enough to leave them out; that they differ speaks against it, too.
    for one in (facts(*SIGNED, participants=("Alice",)), facts(*SIGNED, request={"participants": ("alice",)})):
        assert any("Who took part" in reason for reason in decide(one).decision.reasons)
        assert any("1 (bob)" in reason for reason in decide(one).decision.reasons)
    assert "Who took part" in refusal(facts(*SIGNED, session_digest="0" * 64))


# --- windows ---------------------------------------------------------------------------------------------


# NOW is a Friday, 12:00 UTC.
@pytest.mark.parametrize(
    ("window", "denied"),
    [
        ({"start": "11:00", "end": "13:00"}, True),
        ({"start": "12:00", "end": "12:01"}, True),
        ({"start": "11:00", "end": "12:00"}, False),
        ({"start": "11:00", "end": "13:00", "days": ("fri",)}, True),
        ({"start": "11:00", "end": "13:00", "days": ("sat", "thu")}, False),
        ({"start": "22:00", "end": "12:30", "days": ("thu",)}, True),
        ({"start": "22:00", "end": "12:30", "days": ("fri",)}, False),
        ({"start": "12:00", "end": "24:00", "days": ("fri",)}, True),
        ({"start": "2026-05-01 00:00", "end": "2026-05-02 00:00"}, True),
        ({"start": "2026-05-01 12:01", "end": "2026-05-02 00:00"}, False),
        ({"start": "2026-04-01 00:00", "end": "2026-05-01 12:00"}, False),
    ],
)
def test_e8_a_deny_window_of_the_policy_denies(window: dict[str, Any], denied: bool) -> None:
    policy = POLICY.model_copy(update={"deny": (DenyWindow(reason="a freeze", **window),)})
    known = with_target(*SIGNED, policy=policy)
    if denied:
        assert "a freeze" in refusal(known)
    else:
        assert decide(known).decision.allowed


@pytest.mark.parametrize(
    "window",
    [
        {"start": "25:00", "end": "26:00"},
        {"start": "10:00", "end": "10:00"},
        {"start": "24:00", "end": "01:00"},
        {"start": "10:00", "end": "2026-05-01 10:00"},
        {"start": "2026-05-02 10:00", "end": "2026-05-01 10:00"},
        {"start": "2026-05-01 10:00", "end": "2026-05-02 10:00", "days": ("fri",)},
        {"start": "10:00", "end": "11:00", "reason": ""},
        {"start": "tomorrow", "end": "11:00"},
    ],
)
def test_e8_a_window_that_is_no_time_is_refused(window: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DenyWindow(**({"reason": "a freeze"} | window))


def test_e8_a_global_stop_denies() -> None:
    assert "stopped: an incident" in refusal(facts(*SIGNED, stopped="an incident"))


def test_b9_evidence_expires_where_the_policy_says_so() -> None:
    policy = POLICY.model_copy(update={"evidence_within_s": 1800.0})
    assert "checks are older" in refusal(with_target(*SIGNED, policy=policy))
    longer = POLICY.model_copy(update={"evidence_within_s": 7200.0})
    assert decide(with_target(*SIGNED, policy=longer)).decision.allowed


def test_c9_a_policy_that_is_not_in_force_denies() -> None:
    assert "its edit is not signed" in refusal(with_target(*SIGNED, policy_says="its edit is not signed"))


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
