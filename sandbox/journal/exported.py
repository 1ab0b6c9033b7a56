"""The exported audit log: a file away from the home that only grows, entry by entry, checkpoint by checkpoint.

Owns its format: JSON lines, each the exact bytes of an entry or a signed checkpoint over all the lines before. Must not
overwrite a copy that knows more than the journal: that copy is the witness.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from sandbox import durable
from sandbox.errors import JournalError
from sandbox.faults import reached
from sandbox.journal.audit import Notary, SignedCheckpoint
from sandbox.journal.ledger import Ledger

_TAIL = 1 << 16
_CHECKPOINT = b'{"checkpoint":'


def extend(notary: Notary, ledger: Ledger, path: Path) -> SignedCheckpoint:
    """Add what is new in the journal and a fresh checkpoint; durable on return. Raises JournalError.

    A copy whose end was cut in the middle of a line, as by a power cut, is written anew from what the journal has,
    if that goes on from what is whole in it.
    """
    with _explained(path), _alone(path) as handle:
        last, whole = _newest(handle, path)
        if last is not None:
            notary.check_follows(ledger, last, str(path))
        signed = notary.checkpoint(ledger)
        if last is not None and whole and last.checkpoint.size == signed.checkpoint.size:
            return last
        if whole:
            _append(handle, ledger, last.checkpoint.size if last else 0, signed)
        else:
            notary.export(ledger, path)
        reached("audit.exported")
        return signed


def check(notary: Notary, ledger: Ledger, path: Path) -> None:
    """Make sure that the journal goes on from the copy; one that is not there yet says nothing. Raises JournalError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            last, _ = _newest(handle, path)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(path, error) from error
    if last is not None:
        notary.check_follows(ledger, last, str(path))


def _append(handle: int, ledger: Ledger, after: int, signed: SignedCheckpoint) -> None:
    lines = bytearray()
    for seq, body in ledger.leaves(after):
        if seq > signed.checkpoint.size:
            break
        lines += body + b"\n"
        if len(lines) > _TAIL:
            durable.write_all(handle, bytes(lines))
            lines.clear()
    durable.write_all(handle, bytes(lines) + signed.line())
    os.fsync(handle)


def _newest(handle: int, path: Path) -> tuple[SignedCheckpoint | None, bool]:
    """The last checkpoint of a copy, and whether the copy ends with it, as it does unless a write was cut short."""
    size = os.fstat(handle).st_size
    if size == 0:
        return None, True
    tail = os.pread(handle, _TAIL, max(0, size - _TAIL))
    if tail.endswith(b"\n") and (line := tail[:-1].rpartition(b"\n")[2]).startswith(_CHECKPOINT):
        return _read(line, path), True
    newest = None
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        for line in file:
            if line.startswith(_CHECKPOINT) and line.endswith(b"\n"):
                newest = line
    return (_read(newest, path) if newest else None), False


def _read(line: bytes, path: Path) -> SignedCheckpoint:
    try:
        return SignedCheckpoint.model_validate_json(line)
    except ValidationError:
        raise JournalError(
            f"The exported audit log {path} is damaged: its last checkpoint can't be read.",
            "Find out who wrote to it. Name another path as audit_export in manager.yaml, and a new one is begun.",
        ) from None


@contextmanager
def _alone(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
        durable.sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"The audit log can't be exported to {path}: {error.strerror}.",
        "Make the file and its folder accessible and see that there is room, or correct audit_export in manager.yaml.",
    )
