"""What a sign-off is bound to: bytes, bases, policy, time and evidence; any that moves voids it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sandbox.decide import decide
from sandbox.facts import TargetFacts
from sandbox.spec import Budget, Person
from tests.unit.sign_off import (
    BASE,
    GREEN,
    NOW,
    PEOPLE,
    POLICY,
    REHEARSED,
    SIGNED,
    TARGET,
    a_key,
    facts,
    refusal,
    vote,
    with_target,
)

# --- binding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"change_digest": "0" * 64}, "sealed change is not the one"),
        ({"request_digest": "0" * 64}, "request is not the one that was made"),
        ({"nonce_spent": True}, "already used for a promotion"),
    ],
    ids=["change", "request", "nonce"],
)
def test_a1_a8_b5_any_byte_that_differs_voids_the_votes(changed: dict[str, Any], why: str) -> None:
    assert why in refusal(facts(*SIGNED, **changed))


def test_a3_other_evidence_voids_the_votes() -> None:
    assert "evidence is not the one" in refusal(facts(*SIGNED, evidence_digest="0" * 64))


def test_i5_a_request_of_another_version_is_void() -> None:
    assert "made by version 0.1.0, this is 0.2.0" in refusal(facts(*SIGNED, version="0.2.0"))


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
