"""What can go goes, what is needed stays, and what is gone is said to be."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.flows.house import House, listing


@pytest.fixture
def target(house: House) -> Path:
    return house.root / "production" / "app"


def test_a_prune_leaves_what_forks_open_changes_and_a_restore_need(house: House, target: Path) -> None:
    before = listing(target)
    promoted = house.propose("echo x >> app.py")
    house.sign_off(promoted)
    done = house.promote(promoted).expect(0).json
    waiting = house.propose("echo o > o")
    box = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json["sandbox"]
    taken = house("snapshot", box, "--json").expect(0).json["snapshot"]
    (fork,) = house("fork", taken, "--json").expect(0).json["sandboxes"]
    house("destroy", box).expect(0)
    (target / "later").write_text("x")

    house("prune", "--json").expect(0)

    assert house("diff", fork, "--json").expect(0).json["targets"][0]["entries"] == []
    house("rollback", fork, taken).expect(0)
    assert house("review", waiting["id"], "--json").expect(0).json["targets"] == waiting["targets"]
    (target / "later").unlink()
    house("restore", done["promotion"]).expect(0)
    assert listing(target) == before


def test_what_was_pruned_is_said_to_be_gone(house: House) -> None:
    run = house.run("--", "touch", "new").expect(0).json
    change = run["change"]
    house("reject", change["id"], "--as", "bob", "--key", str(house.key("bob")), "--reason", "no").expect(0)
    assert any(change["id"] in line for line in house("prune", "--json").expect(0).json["done"])
    for words in (["review", change["id"]], ["promote", change["id"]]):
        error = house(*words, "--json").expect(2).json["error"]
        assert (error["kind"], "prune" in error["says"]) == ("not_found", True)
    shown = house("show", run["run"], "--json").expect(0).json["change"]
    assert (shown["id"], shown["status"], shown["decision"]["allowed"]) == (change["id"], "rejected", False)
    (listed,) = house("changes", "--json").expect(0).json["changes"]
    assert "prune" in listed["decision"]["reasons"][0]
    assert house("logs", run["run"], "--json").expect(0).json["output"] == ""


def test_a_change_that_expired_is_pruned_with_its_base(house: House, target: Path) -> None:
    house.policy(approve_within_s=0.01)
    house.propose("touch new")
    (target / "later").write_text("x")
    done = house("prune", "--json").expect(0).json["done"]
    assert [line.split()[0] for line in done] == ["change", "log", "base"]
    (expired,) = house("changes", "--json").expect(0).json["changes"]
    assert expired["status"] == "expired"
    assert house("audit", "log", "--json").expect(0).json["entries"][-2]["event"] == "change.expired"


def test_a_prune_leaves_bases_alone_while_another_process_is_at_work(house: House) -> None:
    house("target", "check", "app").expect(0)
    with (house.home / "owners" / "own_of_somebody_else").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert house("prune", "--json").expect(0).json["done"] == []
    (line,) = house("prune", "--json").expect(0).json["done"]
    assert line.startswith("base ")
