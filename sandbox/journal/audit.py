"""The audit log's tamper-evident face: the manager's key, signed checkpoints, and export.

Owns what a checkpoint says: size and edge of the Merkle tree over all entries, signed as `ssh-keygen -Y sign`
would, so that stock OpenSSH can check it too. The newest one lies beside the key as well, so that an older
copy of the journal is noticed. Must not write entries (`ledger` does) or judge a log (`verify` does).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox import clock, durable, sshsig
from sandbox.errors import InputError, JournalError
from sandbox.faults import reached
from sandbox.journal.ledger import Ledger
from sandbox.journal.merkle import Edge
from sandbox.records import Record

NAMESPACE = "sandbox-audit@v1"

KEY = "audit_ed25519"
NEWEST = "audit_checkpoint"


class Checkpoint(Record):
    """What is signed: the log was this at that time."""

    type: Literal["sandbox-checkpoint/v1"] = "sandbox-checkpoint/v1"
    size: int
    """Number of entries."""
    root: str
    """Root of the Merkle tree over them, 64 hex digits."""
    edge: tuple[str, ...]
    """The tree's right edge, from which it can be followed on without the entries before."""
    at: datetime

    def canonical(self) -> bytes:
        """The exact bytes that are signed."""
        return rfc8785.dumps(self.model_dump(mode="json"))


class SignedCheckpoint(Record):
    """A checkpoint with its signature, as it is stored and exported."""

    checkpoint: Checkpoint
    signature: str
    """Armored SSHSIG over the checkpoint's canonical bytes."""

    def line(self) -> bytes:
        """The line of it in an exported log."""
        return rfc8785.dumps(self.model_dump(mode="json")) + b"\n"

    def check(self, public_key: bytes) -> None:
        """Check signature and consistency, given the blob of the public key. Raises ValueError."""
        sshsig.verify_ed25519(self.signature, public_key, NAMESPACE, self.checkpoint.canonical())
        if self.edge().root().hex() != self.checkpoint.root:
            raise ValueError("its edge and its root contradict each other")

    def edge(self) -> Edge:
        """The right edge of the tree that was signed. Raises ValueError."""
        return Edge.unpack(self.checkpoint.size, bytes.fromhex("".join(self.checkpoint.edge)))


class Notary:
    """The manager's own key, which signs the audit log."""

    def __init__(self, keys: Path, private: Ed25519PrivateKey, public_key: str) -> None:
        self._keys = keys
        self._private = private
        self.public_key = public_key
        """As a line for people to keep elsewhere: `ssh-ed25519 AAAA…`."""

    @classmethod
    def open(cls, keys: Path) -> Self:
        """Load the key from the directory `keys`, making both where they are missing. Raises InputError."""
        try:
            keys.mkdir(mode=0o700, exist_ok=True)
            with _alone(keys):
                if not os.path.lexists(keys / KEY):
                    _make_key(keys)
            return cls(keys, *_load_key(keys / KEY))
        except OSError as error:
            raise InputError(
                f"The audit key in {keys} can't be used: {error.strerror}.", "Make the folder accessible for this user."
            ) from error

    @property
    def newest(self) -> Path:
        """The newest checkpoint, beside the key: a witness to hold the journal against."""
        return self._keys / NEWEST

    def checkpoint(self, ledger: Ledger) -> SignedCheckpoint:
        """Sign the log as it is now; durable in the journal and beside the key when it returns."""
        with _alone(self._keys):
            edge = ledger.edge()
            hashes = tuple(part.hex() for part in edge.hashes)
            checkpoint = Checkpoint(size=edge.size, root=edge.root().hex(), edge=hashes, at=clock.now())
            signature = sshsig.sign_ed25519(self._private, NAMESPACE, checkpoint.canonical())
            signed = SignedCheckpoint(checkpoint=checkpoint, signature=signature)
            ledger.add_checkpoint(edge.size, signed.line())
            reached("checkpoint.signed")
            durable.write(self.newest, signed.line())
        reached("checkpoint.kept")
        return signed

    def check_start(self, ledger: Ledger) -> int:
        """Make sure that the journal goes on from the newest checkpoint; costs what was added since.

        Returns how many entries are signed. Raises JournalError where it was put back, cut short or rewritten.
        """
        try:
            signed = SignedCheckpoint.model_validate_json(self.newest.read_bytes())
            signed.check(sshsig.key_blob(self.public_key))
            edge = signed.edge()
        except FileNotFoundError:
            return 0
        except ValueError as error:
            raise _suspicious(f"the newest checkpoint {self.newest} is false: {_first_line(error)}") from error
        _check_follows(ledger, edge, "")
        return signed.checkpoint.size

    def check_follows(self, ledger: Ledger, signed: SignedCheckpoint, kept: str) -> None:
        """Make sure that the journal goes on from a checkpoint that is `kept` elsewhere. Raises JournalError."""
        try:
            signed.check(sshsig.key_blob(self.public_key))
            edge = signed.edge()
        except ValueError as error:
            raise _suspicious(f"the checkpoint in {kept} is not one of its: {_first_line(error)}") from error
        _check_follows(ledger, edge, f" in {kept}")

    def export(self, ledger: Ledger, path: Path) -> SignedCheckpoint:
        """Write all entries and a fresh checkpoint as JSON lines to `path`, all or nothing (0600).

        Each entry's line is the exact bytes of its leaf. Raises InputError.
        """
        signed = self.checkpoint(ledger)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                for seq, body in ledger.leaves():
                    if seq > signed.checkpoint.size:
                        break
                    file.write(body + b"\n")
                file.write(signed.line())
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
            durable.sync_directory(path.parent)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise InputError(
                f"The audit log can't be written to {path}: {error.strerror}.", "Name a file in a writable folder."
            ) from error
        return signed


@contextmanager
def _alone(keys: Path) -> Iterator[None]:
    """One process at a time, so that the newest checkpoint never goes back to an older one."""
    handle = os.open(keys / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make_key(keys: Path) -> None:
    fresh = keys / f"{KEY}.new"
    for left in (fresh, fresh.with_name(f"{fresh.name}.pub")):
        left.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sandbox audit log", "-f", str(fresh)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError("The program ssh-keygen is not there.", "Install OpenSSH (Debian: openssh-client).") from error
    if done.returncode != 0:
        raise InputError(f"ssh-keygen could not make the audit key in {keys}: {done.stderr.strip()}")
    os.chmod(fresh, 0o600)
    # The private half comes last: while it is missing, the pair is made anew.
    fresh.with_name(f"{fresh.name}.pub").rename(keys / f"{KEY}.pub")
    fresh.rename(keys / KEY)
    durable.sync_directory(keys)


def _load_key(path: Path) -> tuple[Ed25519PrivateKey, str]:
    if path.stat().st_mode & 0o077:
        raise InputError(f"The audit key {path} can be read by other users.", f"Run: chmod 600 {path}")
    try:
        private = sshsig.load_ed25519(path.read_text("ascii"))
    except ValueError as error:
        raise InputError(
            f"The audit key {path} is damaged: {error}.",
            "Put it back from a backup; a new one can't vouch for the old log.",
        ) from error
    return private, sshsig.ed25519_line(private.public_key())


def _check_follows(ledger: Ledger, edge: Edge, where: str) -> None:
    stored = ledger.edge()
    if stored.size < edge.size:
        raise _suspicious(f"it has {stored.size} entries, and {edge.size} were signed already{where}")
    for seq, leaf in ledger.hashes(after=edge.size, until=stored.size):
        if seq != edge.size + 1:
            raise _suspicious(f"the entry {edge.size + 1} is missing")
        edge = edge.grown(leaf)
    if edge != stored:
        raise _suspicious(f"its entries do not follow on those that were signed{where}")


def _suspicious(why: str) -> JournalError:
    return JournalError(
        f"The journal is not the one that was signed: {why}.",
        "Somebody changed it or put back an old copy: run `sandbox audit verify` and find out who.",
    )


def _first_line(error: ValueError) -> str:
    return str(error).splitlines()[0]
