"""Signing a request, and judging a vote: whose it is, over which bytes, and whether it counts now.

Owns the exact bytes that people sign. A stored vote is only a claim: who, what and why are believed from
the signed bytes alone, and judged anew every time. Keys and signatures are handled by the person's own
`ssh-keygen`. Must not count votes (`decide` does) or store them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import rfc8785

from sandbox import sshsig
from sandbox.errors import InputError
from sandbox.records import Request, Vote, VoteView
from sandbox.spec import PolicySpec

NAMESPACE = "sandbox-promotion@v1"

_SKEW = timedelta(minutes=5)
_KEY_BYTES = 65536
_VERIFY_TIMEOUT_S = 30
_PRINCIPAL = "signer"
_REMEMBERED = 128
"""Signatures that were found good, of some kilobytes each."""


class Void(Exception):
    """A signature that does not count, and why."""


def request_bytes(request: Request) -> bytes:
    """The exact bytes of a request: its canonical JSON."""
    return rfc8785.dumps(request.model_dump(mode="json"))


def request_digest(request: Request) -> str:
    """SHA-256 of the request's exact bytes, 64 hex digits."""
    return hashlib.sha256(request_bytes(request)).hexdigest()


def vote_message(
    request: bytes, *, person: str, decision: Literal["approve", "reject"], reason: str, signed_at: datetime
) -> bytes:
    """The exact bytes of a vote: a header that people can read, then the request's exact bytes."""
    at = signed_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    header = (
        f"sandbox-vote v1\ndecision: {decision}\nperson: {person}\nsigned_at: {at}\nreason: {json.dumps(reason)}\n\n"
    )
    return header.encode("utf-8", "backslashreplace") + request


# --- signing ------------------------------------------------------------------------------------------


def sign(
    message: bytes,
    key: Path,
    folder: Path,
    *,
    namespace: str = NAMESPACE,
    tell: Callable[[str], None] | None = None,
) -> str:
    """Sign with a private key file, or with a public one whose private half an ssh-agent holds.

    `folder` is empty and the caller's: ssh-keygen signs a file, into a file beside it.

    A passphrase is asked for on the terminal; `tell` gets what else ssh-keygen asks of the person, such as to
    touch the key. Returns the armored signature. Raises InputError.
    """
    key = key.expanduser()
    is_public = _looks_public(key)
    path = folder / "vote"
    path.write_bytes(message)
    # A file and not a pipe: where its input is no terminal, ssh-keygen can't ask for a passphrase.
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(key), str(path)]
    code, said = _run_signer(command, tell)
    if code == 0:
        return path.with_suffix(".sig").read_text("ascii")
    raise _unsigned(key, said, is_public=is_public)


def _looks_public(key: Path) -> bool:
    try:
        with key.open("rb") as file:
            start = file.read(_KEY_BYTES)
    except OSError as error:
        raise InputError(
            f"The key {key} can't be read: {error.strerror}.", "Give the path of your private SSH key."
        ) from error
    if start.startswith(b"-----BEGIN"):
        return False
    try:
        sshsig.key_blob(start.decode("ascii"))
    except ValueError:
        raise InputError(f"The file {key} is not an SSH key.", "Give the path of your private SSH key.") from None
    return True


def _run_signer(command: list[str], tell: Callable[[str], None] | None) -> tuple[int, str]:
    stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
    lines = []
    try:
        with subprocess.Popen(
            command, stdin=stdin, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=_plain()
        ) as child:
            for raw in child.stderr or ():
                line = raw.decode("utf-8", "replace").strip()
                lines.append(line)
                if tell is not None and "presence" in line:
                    tell(line)
    except FileNotFoundError as error:
        raise _no_ssh_keygen() from error
    return child.returncode, "\n".join(lines)


def _unsigned(key: Path, said: str, *, is_public: bool) -> InputError:
    if is_public:
        return InputError(
            f"The file {key} is a public key, and no ssh-agent signs for it.",
            "Give the private key (the file without .pub), or add it to your ssh-agent.",
        )
    if "bad permissions" in said or "UNPROTECTED" in said:
        return InputError(
            f"The key {key} can be read by other users, so ssh-keygen refuses to use it.", f"Run: chmod 600 {key}"
        )
    if "passphrase" in said:
        return InputError(
            f"The key {key} was not unlocked: the passphrase is wrong or could not be asked for.",
            "Run this on a terminal, or add the key to your ssh-agent and give its public half.",
        )
    last = said.strip().splitlines()[-1] if said.strip() else "it gave no reason"
    return InputError(f"ssh-keygen could not sign with {key}: {last}", "Try `ssh-keygen -y -f` on the key.")


# --- judging ------------------------------------------------------------------------------------------


def judge(vote: Vote, request: Request, policies: Iterable[PolicySpec], launcher: str, now: datetime) -> VoteView:
    """Whether the vote counts for at least one of the policies, and else why not, in `says`.

    `policies` are those of the request's targets. For which of them it counts follows from the person and the
    key that the answer names. Raises InputError where there is no ssh-keygen.
    """
    view = VoteView(
        person=vote.person, decision=vote.decision, valid=False, reason=vote.reason, at=vote.signed_at, says="", key=""
    )
    try:
        signature = parsed(vote.signature, NAMESPACE)
        view = view.model_copy(update={"key": sshsig.fingerprint(signature.key)})
        _check_message(vote, request)
        _check_signer(vote.person, signature.key, list(policies), launcher, request.participants)
        check_crypto(vote.message, vote.signature, signature)
        _check_time(vote, request, now)
    except Void as void:
        return view.model_copy(update={"says": str(void)})
    return view.model_copy(update={"valid": True, "says": f"signed with {view.key}"})


def parsed(armored: str, namespace: str) -> sshsig.Signature:
    """A signature that says that it was made for this namespace; nothing of it is verified. Raises Void."""
    try:
        signature = sshsig.parse(armored)
    except ValueError as error:
        raise Void(f"the signature can't be read: {error}") from None
    if signature.namespace != namespace:
        raise Void(f"the signature was made for {signature.namespace!r}, not for {namespace!r}")
    if signature.touched is False:
        raise Void("the security key was not touched for this signature")
    return signature


def _check_message(vote: Vote, request: Request) -> None:
    """The row of a vote is a cache of its message: they must say the same, about this very request."""
    exact = request_bytes(request)
    if vote.signed_at.tzinfo is None:
        raise Void("its time has no time zone")
    header, _, body = vote.message.partition(b"\n\n")
    if body != exact or vote.change != request.change or vote.request != hashlib.sha256(exact).hexdigest():
        raise Void("it was given to another request; this one needs a new vote")
    said = vote_message(exact, person=vote.person, decision=vote.decision, reason=vote.reason, signed_at=vote.signed_at)
    if header + b"\n\n" + body != said:
        raise Void("the signed text says something else than the stored vote")


def _check_signer(
    person: str, key: bytes, policies: list[PolicySpec], launcher: str, participants: Iterable[str]
) -> None:
    if person.casefold() == launcher.casefold():
        raise Void(f"{person} launched this task, and who launches never signs off")
    if person.casefold() in {name.casefold() for name in participants}:
        raise Void(f"{person} took part in the session, and who takes part never signs off")
    listed = [policy.people[person] for policy in policies if person in policy.people]
    if not listed:
        raise Void(f"no policy of these targets names {person}")
    if any(key in keys_of(one.keys) for one in listed):
        return
    others = {name for policy in policies for name, other in policy.people.items() if key in keys_of(other.keys)}
    whose = f"{', '.join(sorted(others))}'s" if others else "nobody's in the policy"
    raise Void(f"the key {sshsig.fingerprint(key)} is {whose}, not one of {person}'s")


def keys_of(lines: Iterable[str]) -> frozenset[bytes]:
    """The blobs of public keys; a line that can't be read is no key."""
    blobs = set()
    for line in lines:
        try:
            blobs.add(sshsig.key_blob(line))
        except ValueError:
            continue
    return frozenset(blobs)


def check_crypto(message: bytes, armored: str, signature: sshsig.Signature) -> None:
    """Whether the signature fits the message. Raises Void.

    ssh-keygen is asked about this one key only; whose it is was settled before, not by its matching.
    """
    _verify(message, armored, signature.namespace, sshsig.key_line(signature.key))


@functools.lru_cache(maxsize=_REMEMBERED)
def _verify(message: bytes, armored: str, namespace: str, key: str) -> None:
    """Raises Void. That these very bytes fit each other is true for good, so what fitted once is not asked again by
    this process; what did not is."""
    known = f'{_PRINCIPAL} namespaces="{namespace}" {key}\n'
    with _in_memory(known.encode("ascii")) as signers, _in_memory(armored.encode()) as stored:
        command = ["ssh-keygen", "-Y", "verify", "-n", namespace, "-I", _PRINCIPAL]
        try:
            done = subprocess.run(
                [*command, "-f", f"/proc/self/fd/{signers}", "-s", f"/proc/self/fd/{stored}"],
                pass_fds=(signers, stored),
                input=message,
                capture_output=True,
                timeout=_VERIFY_TIMEOUT_S,
                env=_plain(),
                check=False,
            )
        except FileNotFoundError as error:
            raise _no_ssh_keygen() from error
        except subprocess.TimeoutExpired:
            raise Void("ssh-keygen did not finish checking the signature") from None
    if done.returncode != 0:
        raise Void("the signature does not fit the signed text")


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A file that no killed process leaves behind; its descriptor."""
    with open(os.memfd_create("signature"), "w+b", buffering=0) as file:
        file.write(content)
        yield file.fileno()


def _check_time(vote: Vote, request: Request, now: datetime) -> None:
    if now >= request.expires_at:
        raise Void("the request has expired; propose the change anew")
    if vote.signed_at >= request.expires_at:
        raise Void("it was signed after the request expired")
    if vote.signed_at > now + _SKEW:
        raise Void("it was signed in the future: a clock is wrong")


def _plain() -> dict[str, str]:
    """The environment with messages in English, which `_unsigned` reads."""
    return {**os.environ, "LC_ALL": "C"}


def _no_ssh_keygen() -> InputError:
    return InputError("The program ssh-keygen is not there.", "Install OpenSSH (Debian: openssh-client).")
