"""Checking the audit log of a home from outside: on a journal that no manager would open any more, and offline."""

from __future__ import annotations

from pathlib import Path

from sandbox.errors import InputError
from sandbox.journal.audit import KEY, NEWEST
from sandbox.journal.verify import Verification, verify
from sandbox.lifecycle.home import Home


def verify_log(root: Path, *, log: Path | None, key: Path | None) -> Verification:
    """Check the journal of the home `root`, or `log`, a copy of one, against the manager's public key.

    The home's own journal is also held against the newest checkpoint beside its key, so that an older copy in its
    place is found. Raises InputError.
    """
    home = Home(root)
    public = key or home.keys / f"{KEY}.pub"
    try:
        line = public.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The public key {public} can't be read.", "Name it with --key FILE, or the home with --home DIR."
        ) from error
    witness = home.keys / NEWEST
    return verify(log or home.journal, line, witness if log is None and witness.exists() else None)
