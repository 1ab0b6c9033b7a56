"""A promotion that goes wrong puts every target back by itself, also when the manager is killed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.lifecycle import quarantine
from sandbox.manager import Manager
from tests.flows.house import House, listing

STEPS = (
    "promotion.started",
    "promotion.prepared",
    "nonce.spent",
    "change.promoting",
    "promotion.applying",
    "promotion.applied",
    "promotion.baked",
)
"""Every durable step of a promotion before it is committed."""


@pytest.fixture
def target(house: House) -> Path:
    return house.root / "production" / "app"


def signed(house: House, script: str = "sed -i s/one/two/ app.py; rm data/rows.txt; mkdir made") -> dict[str, Any]:
    change = house.propose(script)
    house.sign_off(change)
    return change


def refused_by_health(house: House, target: Path) -> dict[str, Any]:
    """A signed change that the target's health check does not like."""
    house.write(
        "targets", "app",
        {
            "kind": "directory", "path": str(target), "policy": "production", "grace_s": 0.5,
            "health": [{"run": ["grep", "-q", "one", str(target / "app.py")]}],
        },
    )  # fmt: skip
    return signed(house)


def test_f1_a_health_check_that_fails_brings_the_target_back(house: House, target: Path) -> None:
    before = listing(target)
    answer = house.promote(refused_by_health(house, target)).expect(7).json
    assert answer["status"] == "restored"
    assert answer["restore_seconds"] is not None
    assert answer["reasons"]
    assert listing(target) == before


def test_f4_what_a_failed_promotion_had_made_can_be_looked_at_afterwards(house: House, target: Path) -> None:
    change = refused_by_health(house, target)
    house.promote(change).expect(7)
    (target / "later").write_text("x")  # the target has gone on
    house("prune", "--json").expect(0)
    made = house("create", "--json", "--change", change["id"], "--image", house.image).expect(0).json
    seen = house("exec", made["sandbox"], "--", "sh", "-c", "cat app.py; find . -mindepth 1 | sort").expect(0).stdout
    assert seen.decode() == "print('two')\n./app.py\n./data\n./made\n"
    (placed,) = house("show", made["sandbox"], "--json").expect(0).json["bases"]
    assert placed["base"] == change["targets"][0]["predicted"], "byte for byte what was there"
    house("destroy", made["sandbox"]).expect(0)


def test_f4_a_prune_keeps_what_failed_for_a_month(house: House, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = refused_by_health(house, target)
    house.promote(change).expect(7)
    folder = house.home / "changes" / change["id"]
    assert not any(change["id"] in line for line in house("prune", "--json").expect(0).json["done"])
    assert folder.exists()
    with Manager.open(house.home, house.config, house.engine) as manager:  # type: ignore[arg-type]
        monkeypatch.setattr(quarantine, "KEPT_FOR", timedelta(0))
        manager.prune()
    assert not folder.exists()


def test_f1_a_failing_second_target_brings_the_first_one_back(house: House, target: Path) -> None:
    other = house.target("web", {"index.html": "old\n"}, after_apply=[["sh", "-c", "! grep -q new index.html"]])
    house.write(
        "targets", "web",
        {
            "kind": "directory", "path": str(other), "policy": "production",
            "after_apply": [["sh", "-c", f"! grep -q new {other}/index.html"]],
        },
    )  # fmt: skip
    before = listing(house.root / "production")
    change = house(
        "run", "--json", "--target", "app", "--target", "web", "--image", house.image, "--",
        "sh", "-c", "echo new > web/index.html; echo 9 > app/data/rows.txt",
    ).expect(0).json["change"]  # fmt: skip
    house.sign_off(change)
    answer = house.promote(change).expect(7).json
    assert [part["status"] for part in answer["targets"]] == ["restored", "restored"]
    assert listing(house.root / "production") == before


@pytest.mark.parametrize("step", STEPS)
def test_e5_a_manager_killed_at_any_step_is_put_back_by_the_next_command(house: House, target: Path, step: str) -> None:
    before = listing(target)
    change = signed(house)
    assert house.promote(change, env={"SANDBOX_FAULT": f"{step}:kill"}).code == -9
    records = house("promotions", "--json").expect(0).json["promotions"]
    assert [record["status"] for record in records] == ["restored"]
    assert listing(target) == before
    house.promote(change).expect(3)


def test_e5_a_manager_killed_after_the_commit_stays_committed(house: House, target: Path) -> None:
    change = signed(house)
    assert house.promote(change, env={"SANDBOX_FAULT": "promotion.committed:kill"}).code == -9
    (record,) = house("promotions", "--json").expect(0).json["promotions"]
    assert record["status"] == "committed"
    assert (target / "made").is_dir()
    assert house("review", change["id"], "--json").json["status"] == "promoted"


def test_f3_what_somebody_else_wrote_is_kept_aside(house: House, target: Path) -> None:
    theirs = f"echo theirs > {target}/app.py; echo theirs > {target}/untouched.txt; exit 1"
    script = f"if grep -q two {target}/app.py; then {theirs}; fi"
    house.write(
        "targets", "app",
        {"kind": "directory", "path": str(target), "policy": "production", "after_apply": [["sh", "-c", script]]},
    )  # fmt: skip
    change = signed(house)
    house.policy()
    answer = house.promote(change).expect(7).json
    assert answer["status"] == "restored"
    assert (target / "app.py").read_text() == "print('one')\n"
    assert (target / "untouched.txt").read_text() == "theirs\n"
    (kept,) = answer["targets"][0]["kept_aside"]
    assert Path(kept).read_text() == "theirs\n"


def test_a_restore_is_refused_where_somebody_else_wrote_since(house: House, target: Path) -> None:
    done = house.promote(signed(house)).expect(0).json
    (target / "app.py").write_text("print('later')\n")
    house("restore", done["promotion"], "--json").expect(6)
    assert (target / "app.py").read_text() == "print('later')\n"


def test_f5_f8_taking_back_has_its_own_id_and_ends_the_change_for_good(house: House) -> None:
    change = signed(house)
    done = house.promote(change).expect(0).json
    back = house("restore", done["promotion"], "--json").expect(0).json
    assert back["promotion"] != done["promotion"]
    assert back["restores"] == done["promotion"]
    first, _ = house("promotions", "--json").expect(0).json["promotions"]
    assert (first["status"], [part["status"] for part in first["targets"]]) == ("restored", ["restored"])
    house.promote(change).expect(3)
    house.approve(change, "carol").expect(6)


def test_a_target_that_is_gone_is_a_conflict(house: House, target: Path) -> None:
    change = signed(house)
    target.rename(target.with_name("elsewhere"))
    assert house.promote(change).expect(6).json["error"]["kind"] == "drifted"
    target.with_name("elsewhere").rename(target)
    house.promote(change).expect(0)
