"""A policy that is edited by whoever can write the configuration: it is not in force until the old one says so (C9)."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from tests.flows.house import PEOPLE, House

pytestmark = pytest.mark.one_engine


@pytest.fixture
def governed(house: House) -> House:
    """The first proposal has brought the policy into force."""
    house.propose("echo first > first.txt")
    return house


def entries(house: House, event: str) -> list[dict[str, Any]]:
    return [entry for entry in house("audit", "log", "--json").json["entries"] if entry["event"] == event]


def proposed(house: House, name: str = "production", who: str = "dave") -> dict[str, Any]:
    return house("--as", who, "policy", "propose", name, "--json").expect(0).json


def edit_people(house: House, **people: dict[str, Any]) -> None:
    known = {person: {"keys": [house.public(person)], "roles": ["sre"]} for person in PEOPLE}
    house.policy(people=known | people)


def test_c9_the_first_policy_is_accepted_once_and_the_log_says_so(governed: House) -> None:
    (accepted,) = entries(governed, "policy.accepted")
    assert accepted["detail"]["first"] is True
    assert json.loads(accepted["detail"]["text"])["quorum"] == 2
    governed.propose("echo second > second.txt")
    assert len(entries(governed, "policy.accepted")) == 1
    (use,) = governed("policy", "check", "production", "--json").json["targets"]
    assert use["in_force"]


def test_t33_c9_an_edited_policy_stops_everything_under_it(governed: House) -> None:
    change = governed("changes", "--json").json["changes"][0]
    governed.sign_off(change)
    edit_people(governed, mallory={"keys": [governed.public("mallory")]})
    for refused in (
        governed.run("--", "touch", "x"),
        governed("create", "--json", "--target", "app", "--image", governed.image),
        governed.approve(change, "carol"),
    ):
        error = refused.expect(3).json["error"]
        assert "nobody signed that" in error["says"]
        assert "sandbox policy propose production" in error["hint"]
    governed.approve(change, "mallory").expect(3)
    reasons = governed.promote(change).expect(3).json["reasons"]
    assert reasons == [f"app: {reason}" for reason in [reasons[0].removeprefix("app: ")]]
    assert "sandbox policy propose production" in reasons[0]
    assert "EDITED, NOT SIGNED" in governed("policy", "check", "production").expect(0).stdout.decode()
    edit_people(governed)
    governed.promote(change).expect(0)


def test_t33_c9_a_policy_is_changed_by_votes_under_the_old_one(governed: House) -> None:
    edit_people(governed, mallory={"keys": [governed.public("mallory")]})
    change = proposed(governed, who="alice")
    assert [hazard["says"] for hazard in change["hazards"]] == ["mallory may sign"]
    shown = governed("review", change["id"]).expect(0).stdout.decode()
    assert "! mallory may sign" in shown
    assert "THIS CHANGES WHO MAY SIGN" in shown
    governed.approve(change, "mallory").expect(3)  # the new one is not in force
    governed.approve(change, "alice").expect(3)  # whoever proposes never counts
    governed.approve(change, "bob").expect(0)
    governed.promote(change).expect(3)
    governed.approve(change, "carol").expect(0)
    done = governed.promote(change).expect(0).json
    assert done["status"] == "committed"
    governed.promote(change).expect(3)
    later = governed.propose("echo later > later.txt")
    governed.sign_off(later, "mallory", "bob")
    governed.promote(later).expect(0)
    assert "not taken back" in governed("restore", done["promotion"], "--json").expect(3).json["error"]["says"]
    assert entries(governed, "policy.moved")[0]["detail"]["change"] == change["id"]


def test_c9_another_policy_or_none_in_the_targets_file_is_no_way_out(governed: House) -> None:
    path = str(governed.root / "production/app")
    governed.policy("weak", quorum=1)
    governed.write("targets", "app", {"kind": "directory", "path": path, "policy": "weak"})
    assert "production is in force" in governed.run("--", "touch", "x").expect(3).json["error"]["says"]
    governed.write("targets", "app", {"kind": "directory", "path": path})
    assert "no policy any more" in governed.run("--", "touch", "x").expect(3).json["error"]["says"]
    # Nor is another name for the same place, or for a part of it.
    for name, where in (("twin", path), ("part", f"{path}/data"), ("whole", str(governed.root / "production"))):
        governed.write("targets", name, {"kind": "directory", "path": where, "policy": "weak"})
        says = governed.run("--", "touch", "x", target=name).expect(3).json["error"]["says"]
        assert "under the policy production already" in says
    governed.write("targets", "app", {"kind": "directory", "path": path, "policy": "weak"})
    change = proposed(governed, "weak")
    assert [target["name"] for target in change["targets"]] == ["app", "part", "twin", "whole"]
    governed.sign_off(change)
    governed.promote(change).expect(0)
    later = governed.propose("echo x > x")
    governed.approve(later, "bob").expect(0)
    governed.promote(later).expect(0)


def test_c9_a_policy_edited_again_after_it_was_proposed_is_another(governed: House) -> None:
    edit_people(governed, erin={"keys": [governed.public("erin")]})
    change = proposed(governed)
    governed.sign_off(change)
    edit_people(governed, mallory={"keys": [governed.public("mallory")]})
    assert any("edited again" in reason for reason in governed.promote(change).expect(3).json["reasons"])


def test_c9_two_proposals_from_one_policy_and_only_one_is_promoted(governed: House) -> None:
    edit_people(governed, erin={"keys": [governed.public("erin")]})
    first, second = proposed(governed), proposed(governed)
    for change in (first, second):
        governed.sign_off(change)
    governed.promote(first).expect(0)
    governed.promote(second).expect(3)


@pytest.mark.parametrize("how", ["deleted", "edited", "inserted"])
def test_t1_c9_a_pin_that_was_tampered_with_is_found(governed: House, how: str) -> None:
    change = governed("changes", "--json").json["changes"][0]
    governed.policy(quorum=1)
    with sqlite3.connect(governed.home / "journal.db") as database:
        (body,) = database.execute("SELECT body FROM records WHERE kind = 'pin'").fetchone()
        weak = {**json.loads(body), "text": json.dumps({**json.loads(json.loads(body)["text"]), "quorum": 1})}
        if how == "deleted":
            database.execute("DELETE FROM records WHERE kind = 'pin'")
        elif how == "edited":
            database.execute("UPDATE records SET body = ? WHERE kind = 'pin'", (json.dumps(weak),))
        else:
            database.execute("INSERT INTO records (kind, id, body) VALUES ('pin', 'other', ?)", (json.dumps(weak),))
    database.close()
    assert "not the one that the log tells of" in governed.promote(change).expect(2).json["error"]["says"]
    assert "pin" in governed("audit", "verify", "--json").expect(6).stdout.decode()


def test_c9_nothing_to_propose_says_so(governed: House) -> None:
    assert "nothing to sign" in governed("policy", "propose", "production", "--json").expect(2).json["error"]["says"]


def test_b7_c9_a_reject_counts_under_the_policy_in_force(governed: House) -> None:
    change = governed("changes", "--json").json["changes"][0]
    governed.policy(quorum=1)
    answer = governed(
        "reject", change["id"], "--json", "--as", "carol", "--key", str(governed.key("carol")), "--reason", "no"
    )
    answer.expect(0)
    governed.policy()
    governed.promote(change).expect(3)
