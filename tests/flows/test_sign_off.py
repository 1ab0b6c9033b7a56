"""Who may sign, how often, and what makes a sign-off void."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import PEOPLE, House, listing


@pytest.fixture
def target(house: House) -> Path:
    return house.root / "production" / "app"


@pytest.fixture
def change(house: House) -> dict[str, Any]:
    return house.propose("echo new > new.txt")


def test_c2_the_launcher_never_counts(house: House) -> None:
    change = house.run("--", "touch", "new", env={"SANDBOX_IDENTITY": "alice"}).expect(0).json["change"]
    house.approve(change, "alice").expect(3)
    house.approve(change, "bob").expect(0)
    assert house.promote(change).expect(3).json["status"] == "refused"


def test_c1_one_person_with_two_keys_counts_once(house: House) -> None:
    people = {person: {"keys": [house.public(person)]} for person in PEOPLE}
    people["alice"]["keys"].append(house.public("alice", 2))
    house.policy(people=people)
    change = house.propose("touch new")
    house.approve(change, "alice").expect(0)
    house.approve(change, "alice", 2)
    house.promote(change).expect(3)


def test_somebody_elses_key_does_not_count(house: House, change: dict[str, Any]) -> None:
    answer = house(
        "approve", change["id"], "--as", "alice", "--key", str(house.key("mallory")), "--digest", change["digest"]
    )
    answer.expect(3)


def test_a_wrong_digest_is_refused(house: House, change: dict[str, Any]) -> None:
    args = ["approve", change["id"], "--as", "alice", "--key", str(house.key("alice"))]
    house(*args, "--digest", "0" * 12).expect(2)
    house(*args, "--digest", change["digest"][:11]).expect(2)
    house(*args).expect(2)


def test_c6_one_reject_blocks_for_good(house: House, change: dict[str, Any]) -> None:
    house.sign_off(change)
    house(
        "reject", change["id"], "--as", "carol", "--key", str(house.key("carol")), "--reason", "not on a Friday"
    ).expect(0)
    assert house.promote(change).expect(3).json["status"] == "refused"
    assert house("review", change["id"], "--json").json["status"] == "rejected"
    house.approve(change, "alice").expect(6)


def test_b2_t8_a_target_that_drifted_is_not_touched(house: House, change: dict[str, Any], target: Path) -> None:
    house.sign_off(change)
    (target / "app.py").write_text("print('somebody else')\n")
    before = listing(target)
    answer = house.promote(change).expect(6).json
    assert answer["status"] == "refused"
    assert listing(target) == before


def test_a4_a_policy_edited_after_the_vote_voids_it(house: House, change: dict[str, Any]) -> None:
    house.sign_off(change)
    house.policy(quorum=1)
    house.promote(change).expect(3)


def test_c11_a_target_without_a_policy_is_never_promoted(house: House) -> None:
    house.target("free", {"a": "1\n"}, policy=None)
    change = house.run("--", "touch", "new", target="free").expect(0).json["change"]
    house.approve(change, "alice").expect(3)
    house.promote(change).expect(3)


@pytest.mark.parametrize("name", ["blobs/*", "app.changes", "seal.json", "request.json"])
def test_a7_a_sealed_byte_that_was_edited_is_found(
    house: House, change: dict[str, Any], target: Path, name: str
) -> None:
    house.sign_off(change)
    before = listing(target)
    (sealed,) = (house.home / "changes" / change["id"]).glob(name)
    sealed.chmod(0o600)
    sealed.write_bytes(sealed.read_bytes().replace(b"n", b"m"))
    house.promote(change).expect(6)
    assert listing(target) == before


def test_c5_a_protected_path_needs_its_role(house: House) -> None:
    people = {person: {"keys": [house.public(person)], "roles": ["sre"]} for person in PEOPLE}
    people["carol"]["roles"] = ["security"]
    house.policy(people=people, protected=[{"paths": [".github/**"], "role": "security"}])
    change = house.propose("mkdir -p .github/workflows; echo x > .github/workflows/ci.yml")
    house.sign_off(change, "alice", "bob")
    answer = house.promote(change).expect(3).json
    assert any("security" in reason for reason in answer["reasons"])
    house.approve(change, "carol").expect(0)
    house.promote(change).expect(0)


def test_e9_a_budget_caps_what_is_deleted(house: House) -> None:
    house.policy(budget={"max_deleted": 0})
    change = house.propose("rm data/rows.txt")
    house.sign_off(change)
    assert any("allows 0" in reason for reason in house.promote(change).expect(3).json["reasons"])


@pytest.mark.parametrize(
    ("script", "paths"),
    [("ln -s /etc/passwd escape", ["escape"]), ("mkfifo pipe; cp /bin/true tool; chmod 4755 tool", ["pipe", "tool"])],
    ids=["link", "kinds and bits"],
)
def test_t17_t18_what_no_target_takes_is_refused_at_sealing(house: House, script: str, paths: list[str]) -> None:
    answer = house.run("--check", "true", "--", "sh", "-c", script).expect(4).json
    assert (answer["status"], answer["change"], answer["failure"]["step"]) == ("rolled_back", None, "seal")
    for path in paths:
        assert f"app: {path}: " in answer["failure"]["reason"]
    assert house("changes", "--json").json["changes"] == []


def test_b6_a_promotion_voids_the_other_approved_changes_of_its_target(house: House, change: dict[str, Any]) -> None:
    other = house.propose("echo other > other.txt")
    house.sign_off(change)
    house.sign_off(other)
    house.promote(change).expect(0)
    assert house.promote(other).expect(6).json["status"] == "refused"


def test_g5_refused_votes_and_promotions_are_in_the_log(house: House, change: dict[str, Any]) -> None:
    arguments = ["--as", "alice", "--key", str(house.key("mallory")), "--digest", change["digest"]]
    house("approve", change["id"], *arguments).expect(3)
    house.promote(change).expect(3)
    events = [entry["event"] for entry in house("audit", "log", "--json").expect(0).json["entries"]]
    assert {"vote.refused", "promotion.refused"} <= set(events)


def test_g2_an_older_copy_of_the_journal_is_found(house: House, change: dict[str, Any]) -> None:
    def journal() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in house.home.glob("journal.db*")}

    def put_back(files: dict[Path, bytes]) -> None:
        for path in journal():
            path.unlink()
        for path, data in files.items():
            path.write_bytes(data)

    older = journal()
    house.sign_off(change)
    newer = journal()
    house("audit", "verify").expect(0)
    put_back(older)
    assert "truncated" in house("audit", "verify", "--json").expect(6).stdout.decode()
    assert house("list").code != 0, "no command goes on with it"
    put_back(newer)
    house("audit", "verify").expect(0)
