"""A log that somebody wants to be believed: what is wrong with it is named, offline and with public keys alone."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from sandbox.journal.audit import Notary
from sandbox.journal.ledger import Ledger
from tests.engines import Registry
from tests.flows.house import PEOPLE, Answer, House

pytestmark = pytest.mark.one_engine

Entry = dict[str, Any]

FAILED = {"check": "", "exit_code": 1, "timed_out": False, "output_sha256": ""}


@pytest.fixture(scope="module")
def story(place: tuple[str, str], registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house in which much has happened, with its log exported; afterwards its home is only looked at."""
    engine, image = place
    registry.engine(engine, image)
    house = House(tmp_path_factory.mktemp("story"), engine, image)
    (house.config / "manager.yaml").write_text(json.dumps({"audit_export": str(house.root / "audit.jsonl")}))
    people = {person: {"keys": [house.public(person)], "roles": ["sre"]} for person in PEOPLE}
    house.policy(people=people, launcher="signed", protected=[{"paths": ["db/**"], "role": "sre"}])
    house.target()
    signed = ["--key", str(house.key("carol"))]

    def proposed(script: str) -> dict[str, Any]:
        arguments = [*signed, "--check", "test ! -e CANARY-secret-in-a-check", "--", "sh", "-c", script]
        answer = house.run("--env", "TOKEN=CANARY-secret-in-env", *arguments, env={"SANDBOX_IDENTITY": "carol"})
        return answer.expect(0).json["change"]

    first = proposed("mkdir db; echo 1 > db/x; : CANARY-secret-in-a-command")
    house.approve(first, "alice").expect(0)
    house.promote(first).expect(3)
    house.approve(first, "bob").expect(0)
    done = house.promote(first).expect(0).json
    rejected = proposed("echo 2 > y")
    key = str(house.key("bob"))
    house("reject", rejected["id"], "--as", "bob", "--key", key, "--reason", "not on a Friday").expect(0)
    house.policy(people=people | {"erin": {"keys": [house.public("erin")]}}, launcher="signed")
    change = house("--as", "carol", "policy", "propose", "production", "--json", *signed).expect(0).json
    house.sign_off(change)
    house.promote(change).expect(0)
    house("restore", done["promotion"], "--json").expect(0)
    shutil.copy(house.home / "keys/audit_ed25519.pub", house.root / "audit.pub")
    yield house
    assert house("recover", "--json").expect(0).json["done"] == []


def verify(house: House, log: Path, *more: str) -> Answer:
    """With a home that does not exist."""
    nowhere = (
        House(log.parent / "nowhere", house.engine, house.image) if not (log.parent / "nowhere").exists() else None
    )
    command = nowhere or house
    key = str(house.root / "audit.pub")
    return command("audit", "verify", "--json", "--log", str(log), "--key", key, *more)


def found(answer: Answer) -> list[tuple[str, str]]:
    return [(one["kind"], one["says"]) for one in answer.expect(6).json["findings"]]


def test_g4_what_happened_verifies_offline_from_an_export_and_from_a_journal(story: House, tmp_path: Path) -> None:
    export = Path(shutil.copy(story.root / "audit.jsonl", tmp_path / "copy.jsonl"))
    assert verify(story, export).expect(0).json["entries"] > 50
    journal = Path(shutil.copy(story.home / "journal.db", tmp_path / "journal.db"))
    assert verify(story, journal).expect(0).json["findings"] == []
    story("audit", "verify").expect(0)


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda lines: [line.replace('"actor":"bob"', '"actor":"eve"') for line in lines], "edited"),
        (lambda lines: lines[:10] + lines[11:], "dropped"),
        (lambda lines: [*lines[:10], lines[11], lines[10], *lines[12:]], "reordered"),
        (lambda lines: lines[:-20] + lines[-1:], "truncated"),
        (lambda lines: [line for line in lines if '"checkpoint"' not in line], "unsigned"),
    ],
    ids=["edited", "dropped", "reordered", "truncated", "unsigned"],
)
def test_g1_g4_a_copy_that_was_touched_is_named(
    story: House, tmp_path: Path, edit: Callable[[list[str]], list[str]], kind: str
) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_text("\n".join(edit((story.root / "audit.jsonl").read_text().splitlines())) + "\n")
    assert kind in {name for name, _ in found(verify(story, copy))}


def test_g2_an_older_copy_is_named_when_a_newer_checkpoint_was_kept(story: House, tmp_path: Path) -> None:
    lines = (story.root / "audit.jsonl").read_text().splitlines()
    last = max(number for number, line in enumerate(lines[:-1]) if '"checkpoint"' in line)
    older = tmp_path / "older.jsonl"
    older.write_text("\n".join(lines[: last + 1]) + "\n")
    verify(story, older).expect(0)
    answer = verify(story, older, "--checkpoint", str(story.root / "audit.jsonl"))
    assert found(answer)[0][0] == "truncated"


def rewritten(story: House, folder: Path, change: Callable[[Entry], Entry | None]) -> Path:
    """The same story told otherwise by somebody who holds the manager's own key: chain and signature are in order."""
    log = folder / "rewritten.jsonl"
    keys = shutil.copytree(story.home / "keys", folder / "keys")
    with Ledger.open(folder / "journal.db") as ledger:
        for line in (story.root / "audit.jsonl").read_text().splitlines():
            entry = json.loads(line)
            told = change(entry) if "seq" in entry else None
            if told:
                ledger.note(told["event"], actor=told["actor"], subject=told["subject"], **told["detail"])
        Notary.open(keys).export(ledger, log)
    return log


def without(event: str, actor: str | None = None) -> Callable[[Entry], Entry | None]:
    return lambda entry: None if entry["event"] == event and actor in (None, entry["actor"]) else entry


def with_(event: str, **detail: Any) -> Callable[[Entry], Entry | None]:
    return lambda entry: {**entry, "detail": entry["detail"] | detail} if entry["event"] == event else entry


def weaker(entry: Entry) -> Entry:
    if entry["event"] != "policy.accepted":
        return entry
    text = json.loads(entry["detail"]["text"]) | {"quorum": 1}
    return {**entry, "detail": entry["detail"] | {"text": json.dumps(text)}}


def as_approved_by_alice(entry: Entry) -> Entry:
    return {**entry, "actor": "alice"} if entry["event"] == "vote.approve" and entry["actor"] == "bob" else entry


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda entry: entry, None),
        (without("vote.approve", "bob"), "2 different people must approve, and it has 1 (alice)"),
        (as_approved_by_alice, "must approve, and it has 1"),
        (with_("vote.approve", signature=""), "must approve, and it has none"),
        (with_("promotion.applied", fingerprint="0" * 64), "what was applied to app is not what the approvals cover"),
        (without("promotion.applied"), "app was approved and not applied"),
        (without("promotion.started"), "nobody decided on it in this log"),
        (with_("promotion.started", digest="0" * 64), "The sealed change is not the one"),
        (with_("promotion.started", parts=[]), "wants a launcher who signed"),
        (with_("session.run", signature=""), "signature does not count"),
        (
            with_("change.proposed", checks=[{"check": "", "exit_code": 1, "timed_out": False, "output_sha256": ""}]),
            "check",
        ),
        (weaker, "not the one that the entry names"),
        (without("policy.accepted"), "policy"),
    ],
    ids=range(13),
)
def test_g4_t1_an_approval_that_does_not_cover_what_was_applied_is_named(
    story: House, tmp_path: Path, change: Callable[[Entry], Entry | None], says: str | None
) -> None:
    answer = verify(story, rewritten(story, tmp_path, change))
    if says is None:
        answer.expect(0)
        return
    assert any(says in line for kind, line in found(answer) if kind == "approval")


def test_t29_g6_no_secret_of_a_command_a_check_or_the_environment_is_in_the_log(story: House) -> None:
    for log in (story.root / "audit.jsonl", story.home / "keys/audit_checkpoint"):
        assert b"CANARY" not in log.read_bytes()
    assert b"CANARY" not in story("audit", "log", "--json").stdout


def test_g6_no_secret_can_be_tried_on_the_digests_of_an_export(story: House) -> None:
    """Whoever has a copy of the log, and knows everything but one weak secret, has nothing to hold a guess against."""
    told = set(re.findall(r"[0-9a-f]{64}", (story.root / "audit.jsonl").read_text()))
    with closing(sqlite3.connect(story.home / "journal.db")) as journal:
        rows = journal.execute(
            "SELECT kind, id, body FROM records WHERE kind IN ('sandbox', 'part', 'change')"
        ).fetchall()
    records = [(kind, name, json.loads(body)) for kind, name, body in rows]
    assert {kind for kind, _, record in records if "CANARY" in json.dumps(record)} == {"sandbox", "change"}
    records = [one for one in records if one[2].get("kind") != "policy"]  # there is nothing secret in these
    for _, _, record in records:
        assert len(record.pop("salt")) == 32
        assert digest(record) not in told
    changes = [record for kind, _, record in records if kind == "change"]
    for change in changes:
        guessed = {name: change[name] for name in ("evidence", "rehearsals", "hazards")}
        assert digest(guessed) not in told
        for check in change["evidence"]:
            assert hashlib.sha256(f"{change['id']} {check['check']}".encode()).hexdigest() not in told
    (box,) = [record for kind, name, record in records if kind == "sandbox" and name == changes[0]["sandbox"]]
    work = {"targets": ["app"], **{name: box[name] for name in ("limits", "network", "env")}}
    for _, name, part in [one for one in records if one[0] == "part"]:
        assert digest([name, {**work, "task": part["task"]}]) not in told


def digest(what: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(what)).hexdigest()


def test_g4_the_log_of_a_change_reads_well(story: House) -> None:
    change = story("changes", "--json").json["changes"][0]["id"]
    lines = story("audit", "log", "--change", change).expect(0).stdout.decode().splitlines()
    text = " ".join(" ".join(lines).split()).replace("vote.approve", "approve")
    for said in ("alice approve", "1 of 1 checks passed", "rehearsed app", "promotion.committed", "taken_back"):
        assert said in text
    assert "not on a Friday" not in text
    # An entry's first line has a name of its own of any length; the rest fits a terminal.
    assert [line for line in lines if line.startswith("       ") and len(line) > 80] == []
    assert "BEGIN SSH" not in text
    everything = story("audit", "log").expect(0).stdout.decode()
    assert "reason not on a Friday" in everything
    assert story("audit", "log", "--change", "chg_none", "--json").expect(2).json["error"]["kind"] == "not_found"
