"""What is around a promotion besides its policy: what is run after it, what must be well, where it is witnessed (C9).

Whoever edits that after people have signed gets the sign-off voided; and what is refused is in the log (G5).
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.manager import Manager
from tests.flows.house import Answer, House, listing

pytestmark = pytest.mark.one_engine

EDITS: dict[str, dict[str, Any]] = {
    "health": {"health": []},
    "after_apply": {"after_apply": [["touch", "/tmp/never"]]},
    "ignore": {"ignore": ["*.log", "*.py"]},
    "bake_s": {"bake_s": 0.25},
    "grace_s": {"grace_s": 60},
}


def refusals(house: House, event: str = "promotion.refused") -> list[str]:
    found = [one for one in house("audit", "log", "--json").json["entries"] if one["event"] == event]
    return [" ".join(one["detail"]["reasons"]) for one in found]


def test_c9_settings_of_a_target_that_changed_after_the_request_void_it(house: House) -> None:
    settings = {"kind": "directory", "path": str(house.root / "production/app"), "policy": "production"}
    settings |= {"health": [{"run": ["true"]}], "ignore": ["*.log"]}
    house.write("targets", "app", settings)
    change = house.propose("echo new > new.txt")
    house.approve(change, "alice").expect(0)
    house.write("targets", "app", settings | EDITS["health"])
    reasons = house.approve(change, "bob").expect(0).json["decision"]["reasons"]
    assert any("changed after the request was made" in reason for reason in reasons)
    before = listing(house.root / "production")
    for name, edit in EDITS.items():
        house.write("targets", "app", settings | edit)
        (reason,) = house.promote(change).expect(3).json["reasons"]
        assert "its health checks, after_apply, ignore or bake changed after the request" in reason, name
        assert refusals(house)[-1] == reason
    assert listing(house.root / "production") == before
    house.write("targets", "app", settings)
    house.promote(change).expect(0)
    house("audit", "verify").expect(0)


def test_c9_g2_another_witness_or_none_after_the_request_voids_it(house: House) -> None:
    path, file = house.root / "audit.jsonl", house.config / "manager.yaml"
    file.write_text(json.dumps({"audit_export": str(path)}))
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    for said in ({}, {"audit_export": str(path.with_name("other.jsonl"))}):
        file.write_text(json.dumps(said))
        (reason,) = house.promote(change).expect(3).json["reasons"]
        assert "Where the audit log is exported" in reason
    file.write_text(json.dumps({"audit_export": str(path)}))
    assert len([reason for reason in refusals(house) if "Where the audit log" in reason]) == 2
    house.promote(change).expect(0)


def test_g5_what_is_locked_damaged_or_written_to_is_refused_with_an_entry(house: House) -> None:
    change = house.propose("echo 2 > app.py; rm -r data")
    house.sign_off(change)
    with Manager.open(house.home, house.config, house.engine, "erin") as manager, ExitStack() as lease:
        lease.enter_context(manager.context.target("app").lease())
        busy = house.promote(change).expect(6).json["error"]
    assert busy["kind"] == "locked"
    assert refusals(house) == [busy["says"]]
    seal = house.home / "changes" / change["id"] / "seal.json"
    sealed = seal.read_bytes()
    seal.write_bytes(sealed + b" ")
    assert refusals_after(house, house.promote(change), 2)
    seal.write_bytes(sealed)
    done = house.promote(change).expect(0).json
    (house.root / "production/app/app.py").write_text("theirs")
    answer = house("restore", done["promotion"], "--json").expect(6).json["error"]
    assert refusals(house, "restore.refused") == [answer["says"]]


def refusals_after(house: House, answer: Answer, count: int) -> bool:
    says = answer.expect(6).json["error"]["says"]
    found = refusals(house)
    return len(found) == count and found[-1] == says


def test_g5_making_an_image_is_an_entry(house: House) -> None:
    house("image", "build", house.image, "--json").expect(0)
    made = [one for one in house("audit", "log", "--json").json["entries"] if one["event"].startswith("image.")]
    assert [(one["event"], one["subject"]) for one in made] == [
        ("image.building", house.image),
        ("image.built", house.image),
    ]
    assert made[1]["detail"]["digest"]


def test_b2_a_target_that_drifted_says_where(house: House) -> None:
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    app = house.root / "production/app"
    (app / "app.py").write_text("theirs")
    (reason,) = house.promote(change).expect(6).json["reasons"]
    assert "has drifted from the base that was captured (app.py); run the task again" in reason
    for name in ("a", "b", "c"):
        (app / name).write_text("theirs")
    (reason,) = house.promote(change).expect(6).json["reasons"]
    assert "(a, app.py, b and 1 more)" in reason


def test_the_way_back_from_a_policy_is_a_proposal_and_is_said(house: House, tmp_path: Path) -> None:
    house.propose("echo first > first.txt")
    house.policy(quorum=1)
    change = house("policy", "propose", "production", "--json").expect(0).json
    house.sign_off(change)
    said = house("promote", change["id"]).expect(0).stdout.decode()
    assert "sandbox restore" not in said
    assert "put the old policy into its file again, and run `sandbox policy propose" in said
