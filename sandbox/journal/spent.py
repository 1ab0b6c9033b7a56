"""Spent nonces as files beside the journal, so that an old copy of the journal can't revive an approval.

Owns HOME/spent: one empty file for each nonce, named by its SHA-256. Must not be asked instead of the
journal, only besides it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sandbox.errors import JournalError


def is_marked(directory: Path, nonce: str) -> bool:
    """Whether the nonce was spent, whatever the journal says."""
    return os.path.lexists(directory / _name(nonce))


def mark(directory: Path, nonce: str) -> None:
    """Mark the nonce as spent; durable when it returns. Raises JournalError."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory / _name(nonce), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.close(descriptor)
        for folder in (directory, directory.parent):
            _sync(folder)
    except OSError as error:
        raise JournalError(
            f"The spent nonce can't be marked in {directory}: {error.strerror}.",
            "Make the folder writable and propose the change anew: its approvals are spent.",
        ) from error


def _name(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
