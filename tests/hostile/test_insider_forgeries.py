"""Forged sign-offs: votes, files and rows that nobody who may has signed for this very change.

Judging one vote is tested apart (`tests/unit/test_signing.py`); here what is forged lies in a real home and is met by
the real command.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.lifecycle.signoff.signing import vote_message
from tests.flows.house import House, listing

pytestmark = pytest.mark.one_engine

NAMESPACE = "sandbox-promotion@v1"


@pytest.fixture
def change(house: House) -> dict[str, Any]:
    """alice has signed, and somebody wants it promoted."""
    change = house.propose("echo new > new.txt")
    house.approve(change, "alice").expect(0)
    return change


def votes(house: House) -> dict[str, dict[str, Any]]:
    with sqlite3.connect(house.home / "journal.db") as database:
        rows = database.execute("SELECT id, body FROM records WHERE kind = 'vote'").fetchall()
    database.close()
    return {name: json.loads(body) for name, body in rows}


def insert(house: House, vote: dict[str, Any]) -> None:
    """As whoever can write the database would: a row, and no entry of the log."""
    name = f"vote_{hashlib.sha256(json.dumps(vote, sort_keys=True).encode()).hexdigest()[:20]}"
    with sqlite3.connect(house.home / "journal.db") as database:
        body = json.dumps({**vote, "vote": name})
        database.execute("INSERT INTO records (kind, id, body) VALUES ('vote', ?, ?)", (name, body))
    database.close()


def signed(house: House, change: dict[str, Any], person: str, key: Path, namespace: str = NAMESPACE) -> dict[str, Any]:
    """A row that is right in all but what the arguments make wrong."""
    exact = (house.home / "changes" / change["id"] / "request.json").read_bytes()
    (row,) = [one for one in votes(house).values() if one["person"] == "alice"]
    at = datetime.fromisoformat(row["signed_at"])
    message = vote_message(exact, person=person, decision="approve", reason="", signed_at=at)
    path = house.root / "message"
    path.write_bytes(message)
    path.with_suffix(".sig").unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(key), str(path)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    made = {"message": base64.b64encode(message).decode(), "signature": path.with_suffix(".sig").read_text()}
    return {**row, **made, "person": person}


def refused(house: House, change: dict[str, Any], why: str) -> None:
    """bob's vote is there, and does not count, and nothing is touched."""
    before = listing(house.root / "production")
    (seen,) = [one for one in house("review", change["id"], "--json").json["votes"] if one["person"] == "bob"]
    assert not seen["valid"]
    assert why in seen["says"]
    house.promote(change).expect(3)
    assert listing(house.root / "production") == before


def test_t1_a_vote_made_without_a_key_is_void(house: House, change: dict[str, Any]) -> None:
    (row,) = votes(house).values()
    insert(house, {**row, "person": "bob"})
    refused(house, change, "says something else than the stored vote")
    assert "record" in house("audit", "verify", "--json").expect(6).stdout.decode()


@pytest.mark.parametrize(
    ("signer", "namespace", "why"),
    [
        ("mallory", NAMESPACE, "nobody's in the policy"),
        ("alice", NAMESPACE, "alice's"),
        ("bob", "git", "made for 'git'"),
    ],
)
def test_t1_t5_a_vote_by_another_key_or_for_another_purpose_is_void(
    house: House, change: dict[str, Any], signer: str, namespace: str, why: str
) -> None:
    insert(house, signed(house, change, "bob", house.key(signer), namespace))
    refused(house, change, why)


def test_t6_a_vote_for_another_change_is_void(house: House, change: dict[str, Any]) -> None:
    other = house.propose("echo harmless > other.txt")
    house.approve(other, "bob").expect(0)
    (his,) = [one for one in votes(house).values() if one["person"] == "bob"]
    insert(house, {**his, "change": change["id"], "request": change["request"]})
    refused(house, change, "given to another request")


def test_t4_one_person_under_two_names_counts_once(house: House, change: dict[str, Any]) -> None:
    for name in ("Alice", "ALICE", "alice "):
        arguments = ["--as", name, "--key", str(house.key("alice")), "--digest", change["digest"][:12], "--json"]
        house("approve", change["id"], *arguments).expect(3)
    (row,) = votes(house).values()
    insert(house, row)
    assert any("has 1 (alice)" in reason for reason in house.promote(change).expect(3).json["reasons"])


def test_c6_b8_a_reject_that_was_deleted_from_the_database_still_closes(house: House, change: dict[str, Any]) -> None:
    house.approve(change, "bob").expect(0)
    arguments = ["--as", "carol", "--key", str(house.key("carol")), "--reason", "no", "--json"]
    house("reject", change["id"], *arguments).expect(0)
    with sqlite3.connect(house.home / "journal.db") as database:
        database.execute("DELETE FROM records WHERE kind = 'vote' AND body LIKE '%\"reject\"%'")
    database.close()
    house.promote(change).expect(3)
    assert "is missing" in house("audit", "verify", "--json").expect(6).stdout.decode()


def test_t1_files_that_claim_an_approval_are_nothing(house: House) -> None:
    fake = json.dumps({"person": "bob", "decision": "approve", "valid": True})
    script = f"mkdir -p .sandbox; echo '{fake}' > .sandbox/approval.json; echo '{fake}' > /approved.json"
    change = house.propose(script)
    (house.home / "changes" / change["id"] / "approval.json").write_text(fake)
    assert house("review", change["id"], "--json").expect(0).json["votes"] == []
    house.promote(change).expect(3)


@pytest.mark.parametrize("name", ["request.json", "seal.json"])
@pytest.mark.parametrize("how", ["twice", "nan", "big", "bom", "crlf"])
def test_t25_what_people_signed_is_exact_bytes(house: House, change: dict[str, Any], name: str, how: str) -> None:
    """Whatever another parser would read in them, other bytes are not what was signed."""
    house.approve(change, "bob").expect(0)
    path = house.home / "changes" / change["id"] / name
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(
        {
            "twice": data.replace(b"{", b'{"launcher":"mallory","type":"x",', 1),
            "nan": data.replace(b"{", b'{"x":NaN,', 1),
            "big": data.replace(b"{", b'{"x":9007199254740993,', 1),
            "bom": b"\xef\xbb\xbf" + data,
            "crlf": data.replace(b",", b",\r\n") + b"\r\n",
        }[how]
    )
    before = listing(house.root / "production")
    answer = house.promote(change)
    assert answer.code == 6
    assert listing(house.root / "production") == before
