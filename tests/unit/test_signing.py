"""Votes: signed with real keys by the real ssh-keygen, and judged from the signed bytes alone."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sandbox import sshsig
from sandbox.errors import InputError
from sandbox.lifecycle.signoff.signing import NAMESPACE, judge, request_bytes, request_digest, sign, vote_message
from sandbox.records import Request, RequestTarget, Vote, VoteView
from sandbox.spec import Person, PolicySpec

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LAUNCHER = "dave"


def make_key(folder: Path, name: str, *options: str) -> Path:
    path = folder / name
    kind = options or ("-t", "ed25519")
    subprocess.run(["ssh-keygen", "-q", *kind, "-N", "", "-C", name, "-f", str(path)], check=True, timeout=60)
    return path


def public(key: Path) -> str:
    return key.with_name(key.name + ".pub").read_text().strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {
        "alice": make_key(folder, "alice"),
        "bob": make_key(folder, "bob", "-t", "ecdsa"),
        "carol": make_key(folder, "carol", "-t", "rsa", "-b", "2048"),
        "dave": make_key(folder, "dave"),
        "stranger": make_key(folder, "stranger"),
    }


@pytest.fixture(scope="module")
def policy(keys: dict[str, Path]) -> PolicySpec:
    people = {name: Person(keys=(public(key),)) for name, key in keys.items() if name != "stranger"}
    return PolicySpec(name="production", quorum=2, people=people)


def a_request(**changed: Any) -> Request:
    target = RequestTarget(
        name="cost-explorer",
        identity="dir:1:2",
        base="b" * 64,
        predicted="c" * 64,
        policy="production",
        policy_digest="d" * 64,
    )
    fields: dict[str, Any] = {
        "change": "chg_1",
        "digest": "a" * 64,
        "targets": (target,),
        "evidence": "e" * 64,
        "review": "f" * 64,
        "launcher": LAUNCHER,
        "nonce": "n1",
        "made_at": NOW - timedelta(hours=1),
        "expires_at": NOW + timedelta(hours=1),
        "version": "0.1.0",
    }
    return Request(**(fields | changed))


REQUEST = a_request()


def signed(message: bytes, key: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return sign(message, key, Path(folder))


def a_vote(signature: str = "", *, key: Path | None = None, request: Request = REQUEST, **changed: Any) -> Vote:
    fields: dict[str, Any] = {
        "vote": "vote_1",
        "change": request.change,
        "request": request_digest(request),
        "person": "alice",
        "decision": "approve",
        "reason": "",
        "signed_at": NOW,
    } | changed
    said = {name: fields[name] for name in ("person", "decision", "reason", "signed_at")}
    fields.setdefault("message", vote_message(request_bytes(request), **said))
    return Vote(**fields, signature=signature or signed(fields["message"], key))


def judged(vote: Vote, policy: PolicySpec, request: Request = REQUEST, now: datetime = NOW) -> VoteView:
    return judge(vote, request, [policy], LAUNCHER, now)


def refused(vote: Vote, policy: PolicySpec, request: Request = REQUEST, now: datetime = NOW) -> str:
    view = judged(vote, policy, request, now)
    assert not view.valid
    return view.says


@pytest.mark.parametrize("person", ["alice", "bob", "carol"])
def test_people_sign_with_the_keys_they_have(person: str, keys: dict[str, Path], policy: PolicySpec) -> None:
    view = judged(a_vote(key=keys[person], person=person, reason='says "why"\nand: “naïve”'), policy)
    listed = subprocess.run(["ssh-keygen", "-lf", str(keys[person])], capture_output=True, text=True, check=True).stdout
    assert view.valid, view.says
    assert view.key == listed.split()[1]
    assert (view.person, view.decision, view.reason) == (person, "approve", 'says "why"\nand: “naïve”')


def test_a8_a_signature_that_was_found_good_vouches_for_those_bytes_and_that_key_alone(
    keys: dict[str, Path], policy: PolicySpec
) -> None:
    """What is remembered of it must not help another message, another signature, or a key that was taken out."""
    good = a_vote(key=keys["alice"])
    assert judged(good, policy).valid
    assert judged(good, policy).valid
    other = a_vote(key=keys["alice"], reason="other words")
    assert "does not fit" in refused(a_vote(good.signature, reason="other words"), policy)
    assert "does not fit" in refused(good.model_copy(update={"signature": other.signature}), policy)
    without = policy.model_copy(update={"people": {**policy.people, "alice": Person(keys=(public(keys["stranger"]),))}})
    assert "nobody's" in refused(good, without)
    assert judged(good, policy).valid


def test_a_vote_comes_back_valid_from_its_stored_form(keys: dict[str, Path], policy: PolicySpec) -> None:
    vote = a_vote(key=keys["alice"], reason="naïve", signed_at=NOW + timedelta(microseconds=7))
    assert judged(Vote.model_validate_json(vote.model_dump_json()), policy).valid


def test_the_signed_bytes_are_a_header_and_the_exact_request() -> None:
    message = vote_message(b'{"x":1}', person="alice", decision="reject", reason='no "way"\n', signed_at=NOW)
    assert message == (
        b"sandbox-vote v1\ndecision: reject\nperson: alice\nsigned_at: 2026-05-01T12:00:00.000000Z\n"
        b'reason: "no \\"way\\"\\n"\n\n{"x":1}'
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "0" * 64},
        {"evidence": "0" * 64},
        {"review": "0" * 64},
        {"nonce": "n2"},
        {"version": "0.1.1"},
        {"expires_at": NOW + timedelta(hours=2)},
        {"targets": (REQUEST.targets[0].model_copy(update={"base": "0" * 64}),)},
        {"targets": (REQUEST.targets[0].model_copy(update={"predicted": "0" * 64}),)},
        {"targets": (REQUEST.targets[0].model_copy(update={"identity": "dir:1:3"}),)},
        {"targets": (REQUEST.targets[0].model_copy(update={"policy_digest": "0" * 64}),)},
        {"targets": (*REQUEST.targets, *REQUEST.targets)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_b1_a_vote_for_another_request_is_void(
    changed: dict[str, Any], keys: dict[str, Path], policy: PolicySpec
) -> None:
    vote = a_vote(key=keys["alice"])
    other = a_request(**changed)
    assert "another request" in refused(vote, policy, other)
    moved = vote.model_copy(update={"request": request_digest(other)})
    assert "another request" in refused(moved, policy, other)


@pytest.mark.parametrize(
    "changed",
    [{"decision": "reject"}, {"person": "bob"}, {"reason": "other"}, {"signed_at": NOW + timedelta(seconds=1)}],
    ids=lambda changed: next(iter(changed)),
)
def test_t1_a_row_that_says_other_than_the_signed_text_is_void(
    changed: dict[str, Any], keys: dict[str, Path], policy: PolicySpec
) -> None:
    vote = a_vote(key=keys["alice"]).model_copy(update=changed)
    assert "something else than the stored vote" in refused(vote, policy)


def test_t1_a_row_made_by_hand_is_void(keys: dict[str, Path], policy: PolicySpec) -> None:
    real = a_vote(key=keys["alice"])
    forged = a_vote(real.signature, person="alice", reason="forged")
    assert "does not fit the signed text" in refused(forged, policy)
    assert "can't be read" in refused(a_vote("nothing"), policy)


def test_a_naive_time_is_void(keys: dict[str, Path], policy: PolicySpec) -> None:
    assert "no time zone" in refused(a_vote(key=keys["alice"], signed_at=NOW.replace(tzinfo=None)), policy)


@pytest.mark.parametrize("namespace", ["git", "file", "sandbox-promotion@v2"])
def test_a8_a_signature_for_another_purpose_is_void(
    namespace: str, keys: dict[str, Path], policy: PolicySpec, tmp_path: Path
) -> None:
    message = a_vote("unsigned").message
    path = tmp_path / "message"
    path.write_bytes(message)
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(keys["alice"]), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    says = refused(a_vote(path.with_suffix(".sig").read_text()), policy)
    assert f"made for {namespace!r}, not for 'sandbox-promotion@v1'" in says


def test_c1_somebody_elses_key_is_void(keys: dict[str, Path], policy: PolicySpec) -> None:
    assert "is bob's, not one of alice's" in refused(a_vote(key=keys["bob"]), policy)
    assert "is nobody's in the policy, not one of alice's" in refused(a_vote(key=keys["stranger"]), policy)


def test_c2_the_launcher_and_strangers_do_not_count(keys: dict[str, Path], policy: PolicySpec) -> None:
    assert "launched this task" in refused(a_vote(key=keys["dave"], person="dave"), policy)
    assert "no policy of these targets names stranger" in refused(
        a_vote(key=keys["stranger"], person="stranger"), policy
    )
    assert "no policy" in judge(a_vote(key=keys["alice"]), REQUEST, [], LAUNCHER, NOW).says


def test_c8_a_key_taken_out_of_the_policy_no_longer_counts(keys: dict[str, Path], policy: PolicySpec) -> None:
    vote = a_vote(key=keys["alice"])
    assert judged(vote, policy).valid
    rekeyed = policy.model_copy(update={"people": policy.people | {"alice": Person(keys=(public(keys["stranger"]),))}})
    assert "not one of alice's" in refused(vote, rekeyed)


def test_b4_votes_expire_with_the_request(keys: dict[str, Path], policy: PolicySpec) -> None:
    vote = a_vote(key=keys["alice"])
    assert judged(vote, policy, now=REQUEST.expires_at - timedelta(seconds=1)).valid
    assert "expired" in refused(vote, policy, now=REQUEST.expires_at)
    late = a_vote(key=keys["alice"], signed_at=REQUEST.expires_at)
    assert "after the request expired" in refused(late, policy)
    assert "in the future" in refused(a_vote(key=keys["alice"], signed_at=NOW + timedelta(minutes=30)), policy)


# --- a security key, played by software: the real formats, verified by the real ssh-keygen ----------------


def security_key() -> tuple[Ed25519PrivateKey, bytes]:
    key = Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key, string(b"sk-ssh-ed25519@openssh.com") + string(raw) + string(b"ssh:")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def security_key_signature(key: Ed25519PrivateKey, blob: bytes, message: bytes, flags: int) -> str:
    fields = [string(NAMESPACE.encode()), string(b""), string(b"sha512")]
    signed = b"SSHSIG" + b"".join(fields) + string(hashlib.sha512(message).digest())
    tail = bytes([flags]) + (7).to_bytes(4, "big")
    value = key.sign(hashlib.sha256(b"ssh:").digest() + tail + hashlib.sha256(signed).digest())
    signature = string(string(b"sk-ssh-ed25519@openssh.com") + string(value) + tail)
    body = base64.b64encode(b"SSHSIG" + (1).to_bytes(4, "big") + string(blob) + b"".join(fields) + signature).decode()
    return f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"


def test_c10_a_security_key_counts_only_when_it_was_touched(policy: PolicySpec) -> None:
    key, blob = security_key()
    with_key = policy.model_copy(update={"people": policy.people | {"alice": Person(keys=(sshsig.key_line(blob),))}})
    message = a_vote("unsigned").message
    assert judged(a_vote(security_key_signature(key, blob, message, 1)), with_key).valid
    assert "was not touched" in refused(a_vote(security_key_signature(key, blob, message, 0)), with_key)
    assert "does not fit" in refused(a_vote(security_key_signature(key, blob, message + b" ", 1)), with_key)


# --- the signature's own format -----------------------------------------------------------------------------


def dearmored(signature: str) -> bytes:
    return base64.b64decode("".join(signature.strip().splitlines()[1:-1]))


def armored(body: bytes) -> str:
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(body).decode()}\n-----END SSH SIGNATURE-----\n"


def test_a_damaged_signature_is_named_for_what_is_wrong(keys: dict[str, Path]) -> None:
    body = dearmored(signed(b"message", keys["alice"]))
    for broken, why in (
        (b"XXXXXX" + body[6:], "not an SSH signature"),
        (body[:6] + (2).to_bytes(4, "big") + body[10:], "version 2"),
        (body[:-1], "cut short"),
        (body + b"\0", "follows its end"),
        (body.replace(string(b"sha512"), string(b"sha1\0\0")), "neither sha256 nor sha512"),
        (body.replace(NAMESPACE.encode() + string(b""), NAMESPACE.encode() + string(b"x")), "reserved field"),
    ):
        with pytest.raises(ValueError, match=why):
            sshsig.parse(armored(broken))
    for text in ("", "-----BEGIN SSH SIGNATURE-----\n%%%\n-----END SSH SIGNATURE-----", "hello\nthere\nyou"):
        with pytest.raises(ValueError, match="armor"):
            sshsig.parse(text)


def test_a8_a_sha256_signature_counts_too(policy: PolicySpec, keys: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(a_vote("unsigned").message)
    command = ["ssh-keygen", "-Y", "sign", "-O", "hashalg=sha256", "-n", NAMESPACE, "-f", str(keys["alice"]), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    assert judged(a_vote(path.with_suffix(".sig").read_text()), policy).valid


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 %%%", "ssh-rsa AAAAC3NzaC1lZDI1NTE5", "x AAAA"])
def test_a_line_that_is_no_key_is_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"it is|its "):
        sshsig.key_blob(line)


# --- keys that can't sign ---------------------------------------------------------------------------------------


def test_a_missing_or_wrong_key_file_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(InputError, match=r"nothere can't be read: No such file"):
        signed(b"m", tmp_path / "nothere")
    with pytest.raises(InputError, match="can't be read: Is a directory"):
        signed(b"m", tmp_path)
    with pytest.raises(InputError, match="is not an SSH key"):
        signed(b"m", text)
    half = make_key(tmp_path, "half")
    half.unlink()
    with pytest.raises(InputError, match=r"is a public key.*without \.pub"):
        signed(b"m", half.with_name("half.pub"))


def test_a_key_that_others_can_read_is_refused_with_the_cure(tmp_path: Path) -> None:
    key = make_key(tmp_path, "open")
    key.chmod(0o644)
    with pytest.raises(InputError, match=rf"read by other users.*chmod 600 {key}"):
        signed(b"m", key)


def test_a_broken_key_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "broken"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    key.chmod(0o600)
    with pytest.raises(InputError, match="could not sign"):
        signed(b"m", key)


SIGN = """
import sys
from pathlib import Path
from sandbox.errors import InputError
from sandbox.lifecycle.signoff.signing import sign
try:
    print(sign(b"m", Path(sys.argv[1]), Path(sys.argv[2])))
except InputError as error:
    print(error)
"""


def test_a_locked_key_without_a_terminal_says_so(tmp_path: Path) -> None:
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(key)], check=True)
    quiet = {
        name: value for name, value in os.environ.items() if name not in ("SSH_AUTH_SOCK", "DISPLAY", "SSH_ASKPASS")
    }
    command = [sys.executable, "-c", SIGN, str(key), str(tmp_path)]
    said = subprocess.run(
        command,
        input="not it\n",
        capture_output=True,
        text=True,
        env=quiet,
        start_new_session=True,
        timeout=60,
        check=True,
    ).stdout
    assert "was not unlocked" in said
    asked = {**quiet, "SSH_ASKPASS": str(tmp_path / "ask"), "SSH_ASKPASS_REQUIRE": "force"}
    (tmp_path / "ask").write_text("#!/bin/sh\necho a passphrase\n")
    (tmp_path / "ask").chmod(0o700)
    said = subprocess.run(command, capture_output=True, text=True, env=asked, timeout=60, check=True).stdout
    assert said.startswith("-----BEGIN SSH SIGNATURE-----")
