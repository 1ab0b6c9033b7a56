"""Signatures that do not count, met by the real command: too late, of a key that was taken away, of a key that nobody
touched, of a key that two people claim. Each is refused in words, touches nothing, and is in the log.

What is forged in the database alone is in `test_insider_forgeries`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.lifecycle.signoff.signing import NAMESPACE, vote_message
from tests.flows.house import PEOPLE, Answer, House, listing
from tests.hostile.test_insider_forgeries import insert, votes

pytestmark = pytest.mark.one_engine

SK = b"sk-ssh-ed25519@openssh.com"


def people(house: House, **keys: list[str]) -> dict[str, Any]:
    own = {person: [house.public(person)] for person in PEOPLE}
    return {person: {"keys": lines, "roles": ["sre"]} for person, lines in (own | keys).items() if lines}


def refused(house: House, answer: Answer, why: str, event: str, code: int = 3) -> None:
    """In words, and in the log, by the entry that was made last of its kind."""
    document = answer.expect(code).json
    says = document["error"]["says"] if "error" in document else " ".join(document["reasons"])
    assert why in says
    entries = [one for one in house("audit", "log", "--json").json["entries"] if one["event"] == event]
    assert why in json.dumps(entries[-1]["detail"], ensure_ascii=False)


# --- too late -------------------------------------------------------------------------------------------


def test_b4_nobody_signs_or_promotes_what_has_expired(house: House) -> None:
    house.policy(approve_within_s=0.01)
    before = listing(house.root / "production")
    change = house.propose("echo new > new.txt")
    refused(house, house.approve(change, "alice"), "the request has expired", "vote.refused")
    # Two votes that were given in time, as far as they say; for a promotion they come too late all the same.
    exact = (house.home / "changes" / change["id"] / "request.json").read_bytes()
    for person in ("alice", "bob"):
        at = datetime.fromisoformat(change["created_at"])
        message = vote_message(exact, person=person, decision="approve", reason="", signed_at=at)
        insert(house, row(change, person, at, message, ssh_keygen(house, person, message)))
    refused(house, house.promote(change), "The request expired at", "promotion.refused")
    assert listing(house.root / "production") == before


# --- keys that were taken away --------------------------------------------------------------------------


@pytest.mark.parametrize("left", [[], ["bob-2"]], ids=["the person", "the key"])
def test_c8_a_vote_ends_with_its_key(house: House, left: list[str]) -> None:
    """Taken out as everything of a policy is: signed by the others."""
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    keys = [house.public("bob", int(name[-1])) for name in left]
    house.policy(people=people(house, bob=keys))
    move = house("policy", "propose", "production", "--json").expect(0).json
    house.sign_off(move, "alice", "carol")
    house.promote(move).expect(0)
    before = listing(house.root / "production")
    shown = {one["person"]: one for one in house("review", change["id"], "--json").json["votes"]}
    assert not shown["bob"]["valid"]
    assert shown["bob"]["says"].startswith("no policy" if not left else "the key SHA256:")
    refused(house, house.promote(change), "its policy changed after the request was made", "promotion.refused")
    later = house.propose("echo later > later.txt")
    why = "No policy of the targets" if not left else "is nobody's in the policy"
    refused(house, house.approve(later, "bob"), why, "vote.refused")
    assert listing(house.root / "production") == before


# --- keys that mean more than they say ------------------------------------------------------------------


def ecdsa(house: House) -> str:
    """The public half of a key whose base64 ends in bits that say nothing."""
    path = house.root / "keys/shared"
    house.key("alice")
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text().strip()


def respelled(line: str) -> str:
    """The same key in other letters: base64 ignores the last bits before its padding."""
    kind, text = line.split()[:2]
    assert text.endswith("=")
    at = len(text.rstrip("=")) - 1
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:at] + letters[letters.index(text[at]) ^ 1] + text[at + 1 :]
    assert base64.b64decode(other, validate=True) == base64.b64decode(text, validate=True)
    return f"{kind} {other}"


TWICE, NO_KEY = "this key already belongs to alice; one key, one person", "is not an OpenSSH public key"
CLAIMS = {
    "{line}": TWICE,
    "{respelled}": TWICE,
    "*@example.org {line}": NO_KEY,
    'valid-before="20200101Z" {line}': NO_KEY,
    "cert-authority {line}": NO_KEY,
    "ssh-rsa {blob}": NO_KEY,
}


def test_c1_c11_a_key_that_two_people_claim_or_that_comes_with_rules_of_its_own_is_no_policy(house: House) -> None:
    """Lists of signers know principals, patterns and dates; a policy knows people, each with keys, and nothing else."""
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    before = listing(house.root / "production")
    line = ecdsa(house)
    for claim, says in CLAIMS.items():
        bobs = claim.format(line=line, respelled=respelled(line), blob=line.split()[1])
        house.policy(people=people(house, alice=[line], bob=[bobs]))
        error = house("policy", "check", "production", "--json").expect(2).json["error"]
        assert "production.yaml:" in error["says"]
        assert says in error["says"], claim
        refused(house, house.promote(change), "can't be read", "promotion.refused")
    assert listing(house.root / "production") == before


# --- keys that nobody touched ---------------------------------------------------------------------------


class SecurityKey:
    """A security key as its own protocol has it (PROTOCOL.u2f), but for the hardware: so it can say that nobody touched
    it, which a real one only does where it was made with `no-touch-required`."""

    APPLICATION = b"ssh:"

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.blob = _string(SK) + _string(self._private.public_key().public_bytes_raw()) + _string(self.APPLICATION)

    @property
    def line(self) -> str:
        return f"{SK.decode()} {base64.b64encode(self.blob).decode()}"

    def sign(self, message: bytes, *, touched: bool) -> str:
        space, digest = NAMESPACE.encode(), hashlib.sha512(message).digest()
        said = b"SSHSIG" + _string(space) + _string(b"") + _string(b"sha512") + _string(digest)
        flags = bytes([touched]) + (7).to_bytes(4, "big")
        value = self._private.sign(hashlib.sha256(self.APPLICATION).digest() + flags + hashlib.sha256(said).digest())
        inner = _string(SK) + _string(value) + flags
        body = b"SSHSIG" + (1).to_bytes(4, "big") + _string(self.blob) + _string(space) + _string(b"")
        text = base64.b64encode(body + _string(b"sha512") + _string(inner)).decode()
        lines = [text[at : at + 70] for at in range(0, len(text), 70)]
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


@pytest.mark.parametrize("touched", [True, False])
def test_c10_a_security_key_that_nobody_touched_signs_nothing(house: House, touched: bool) -> None:
    key = SecurityKey()
    house.policy(people=people(house, bob=[key.line]))
    change = house.propose("echo new > new.txt")
    house.approve(change, "alice").expect(0)
    exact = (house.home / "changes" / change["id"] / "request.json").read_bytes()
    at = datetime.fromisoformat(votes(house).popitem()[1]["signed_at"])
    message = vote_message(exact, person="bob", decision="approve", reason="", signed_at=at)
    insert(house, row(change, "bob", at, message, key.sign(message, touched=touched)))
    (his,) = [one for one in house("review", change["id"], "--json").json["votes"] if one["person"] == "bob"]
    assert his["valid"] == touched
    if touched:  # what differs is one bit under the signature, and nothing else
        house.promote(change).expect(0)
        return
    before = listing(house.root / "production")
    assert his["says"] == "the security key was not touched for this signature"
    refused(house, house.promote(change), "it has 1 (alice)", "promotion.refused")
    assert listing(house.root / "production") == before


def row(change: dict[str, Any], person: str, at: datetime, message: bytes, signature: str) -> dict[str, Any]:
    """A vote as the journal has it."""
    return {
        "change": change["id"], "request": change["request"], "person": person, "decision": "approve", "reason": "",
        "signed_at": at.isoformat().replace("+00:00", "Z"), "message": base64.b64encode(message).decode(),
        "signature": signature,
    }  # fmt: skip


def ssh_keygen(house: House, person: str, message: bytes) -> str:
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(house.key(person))]
    return subprocess.run(command, input=message, check=True, capture_output=True).stdout.decode()


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
