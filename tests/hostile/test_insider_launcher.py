"""A borrowed name: nobody launches or takes part as somebody else to be able to sign afterwards."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import PEOPLE, Answer, House

pytestmark = pytest.mark.one_engine


@pytest.fixture
def strict(house: House) -> House:
    """A policy that wants launchers to sign; the robot may launch and never sign off."""
    people = {person: {"keys": [house.public(person)]} for person in PEOPLE}
    robot = {"robot": {"keys": [house.public("robot")]}}
    house.policy(people=people, launcher="signed", launchers=robot)
    return house


def launched(house: House, name: str, key: str | None = None, *command: str) -> Answer:
    signed = ["--key", str(house.key(key))] if key else []
    script = command or ("sh", "-c", "echo new > new.txt")
    return house.run(*signed, "--", *script, env={"SANDBOX_IDENTITY": name})


def made(house: House, name: str, key: str) -> str:
    arguments = ["create", "--json", "--target", "app", "--image", house.image, "--key", str(house.key(key))]
    return str(house("--as", name, *arguments).expect(0).json["sandbox"])


def proposed(house: House, box: str) -> Answer:
    return house("--as", "carol", "propose", box, "--json", "--key", str(house.key("carol")))


def edit(house: House, statement: str, *values: str) -> None:
    with sqlite3.connect(house.home / "journal.db") as database:
        assert database.execute(statement, values).rowcount
    database.close()


def events(house: House) -> list[str]:
    return [entry["event"] for entry in house("audit", "log", "--json").expect(0).json["entries"]]


def test_t3_c2_a_launch_without_a_signature_or_with_somebody_elses_is_refused(strict: House) -> None:
    answer = launched(strict, "carol").expect(3)
    assert "--key" in answer.json["error"]["hint"]
    # alice would like to sign it off later, so she says that she is carol, bob, or the robot.
    for name in ("carol", "bob", "robot", "nobody"):
        assert "does not know the key" in launched(strict, name, "alice").expect(3).json["error"]["says"]
    assert strict("changes", "--json").json["changes"] == []
    assert events(strict).count("launch.refused") == 5


@pytest.mark.parametrize(("name", "signers"), [("carol", ("alice", "bob")), ("robot", ("alice", "carol"))])
def test_c2_a_signed_launch_is_promoted_by_others(strict: House, name: str, signers: tuple[str, str]) -> None:
    change = launched(strict, name, name).expect(0).json["change"]
    assert change["launcher"] == name
    strict.approve(change, name).expect(3)
    strict.sign_off(change, *signers)
    strict.promote(change).expect(0)
    assert (strict.root / "production/app/new.txt").exists()


def test_t1_c2_a_launcher_or_a_part_edited_in_the_database_is_found(strict: House) -> None:
    box = made(strict, "carol", "carol")
    strict("--as", "alice", "exec", box, "--key", str(strict.key("alice")), "--", "touch", "new").expect(0)
    change = proposed(strict, box).expect(0).json["change"]
    assert change["participants"] == ["alice"]
    strict.approve(change, "alice").expect(3)
    strict.approve(change, "bob").expect(0)
    with sqlite3.connect(strict.home / "journal.db") as database:
        rows = dict(database.execute("SELECT id, body FROM records WHERE kind = 'part'").fetchall())
        hers = next(name for name, body in rows.items() if json.loads(body)["person"] == "alice")
        database.execute("DELETE FROM records WHERE id = ?", (hers,))
    database.close()
    assert any("Who took part" in reason for reason in strict.promote(change).expect(3).json["reasons"])
    edit(
        strict, "INSERT INTO records (kind, id, body) VALUES ('part', ?, ?)", hers, rows[hers].replace("alice", "erin")
    )
    reasons = strict.promote(change).expect(3).json["reasons"]
    assert any("Who took part" in reason for reason in reasons)
    assert any("about something else than this session" in reason for reason in reasons)


def test_t6_c2_a_launch_statement_fits_no_other_session(strict: House) -> None:
    first, second = made(strict, "carol", "carol"), made(strict, "carol", "carol")
    with sqlite3.connect(strict.home / "journal.db") as database:
        bodies = dict(database.execute("SELECT id, body FROM records").fetchall())
        replayed, body = json.loads(bodies[first]), json.loads(bodies[second])
        old = json.loads(bodies[replayed["launch"]])
        stolen = json.dumps({**old, "session": second, "part": body["launch"]})
        database.execute("UPDATE records SET body = ? WHERE kind = 'part' AND id = ?", (stolen, body["launch"]))
    database.close()
    answer = proposed(strict, second).expect(3)
    assert "about something else than this session" in answer.json["error"]["says"]


def test_c2_whoever_works_in_it_under_a_name_that_was_only_given_spoils_it(strict: House) -> None:
    box = made(strict, "carol", "carol")
    # bob says that he is carol, prepares the change that he wants, and would sign it as bob.
    strict("--as", "carol", "exec", box, "--", "touch", "new").expect(0)
    answer = proposed(strict, box).expect(3)
    assert "only given" in answer.json["error"]["says"]


def test_c2_whoever_forked_rolled_back_or_made_the_snapshot_never_counts(house: House) -> None:
    def as_(name: str, *arguments: str) -> dict[str, Any]:
        return house("--as", name, *arguments, "--json").expect(0).json

    box = as_("dave", "create", "--target", "app", "--image", house.image)["sandbox"]
    house("--as", "alice", "exec", box, "--", "touch", "new").expect(0)
    kept = as_("dave", "snapshot", box)["snapshot"]
    (forked,) = as_("erin", "fork", kept)["sandboxes"]
    house("--as", "bob", "exec", box, "--", "touch", "later").expect(0)
    change = as_("erin", "propose", forked)["change"]
    # bob only worked in the other one after the fork.
    assert (change["launcher"], change["participants"]) == ("erin", ["alice", "dave"])
    for person, code in (("alice", 3), ("bob", 0), ("carol", 0)):
        house.approve(change, person).expect(code)
    house.promote(change).expect(0)

    other = as_("frank", "create", "--target", "app", "--image", house.image)["sandbox"]
    later = as_("frank", "snapshot", other)["snapshot"]
    house("--as", "carol", "rollback", other, later).expect(0)
    change = as_("bob", "propose", other)
    assert change["status"] == "empty"
    house("--as", "frank", "exec", other, "--", "touch", "x").expect(0)
    change = as_("bob", "propose", other)["change"]
    assert change["participants"] == ["bob", "carol"]
    shown = house("review", change["id"]).expect(0).stdout.decode()
    assert "took part  bob (can not vote on it)" in shown
    answer = house.promote(change).expect(3).json
    assert any("besides the launcher frank and bob, carol who took part" in reason for reason in answer["reasons"])


def test_t5_c2_a_vote_is_no_launch_and_a_launch_no_vote(strict: House, tmp_path: Path) -> None:
    change = launched(strict, "carol", "carol").expect(0).json["change"]
    strict.approve(change, "alice").expect(0)
    with sqlite3.connect(strict.home / "journal.db") as database:
        (part,) = database.execute("SELECT body FROM records WHERE kind = 'part'").fetchone()
        (vote,) = database.execute("SELECT body FROM records WHERE kind = 'vote'").fetchone()
        forged = {**json.loads(vote), "vote": "vote_2", "person": "carol"}
        forged |= {name: json.loads(part)[name] for name in ("message", "signature")}
        database.execute("INSERT INTO records (kind, id, body) VALUES ('vote', 'vote_2', ?)", (json.dumps(forged),))
    database.close()
    seen = strict("review", change["id"], "--json").expect(0).json["votes"]
    assert [(one["person"], one["valid"]) for one in seen] == [("alice", True), ("carol", False)]
    assert "sandbox-launch@v1" in seen[1]["says"]
    strict.promote(change).expect(3)


def test_c2_in_python_one_signature_covers_a_sitting(strict: House) -> None:
    from sandbox import Manager

    with Manager.open(strict.home, strict.config, strict.engine, "carol") as manager:  # type: ignore[arg-type]
        with manager.create("app", strict.image, key=strict.key("carol")) as box:
            box.exec(["touch", "new"])
            box.write("/workspace/more", b"1\n")
            change = box.propose()
        manager.approve(change.id, person="alice", key=strict.key("alice"))
        manager.approve(change.id, person="bob", key=strict.key("bob"))
        assert manager.promote(change.id).status == "committed"
