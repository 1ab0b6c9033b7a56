"""Checking the audit log of a home from outside: on a journal that no manager would open any more, and offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sandbox.errors import InputError
from sandbox.journal.audit import KEY, NEWEST
from sandbox.journal.entries import AuditEntry
from sandbox.journal.verify import Verification, entries_of, verify
from sandbox.lifecycle.context import PROMOTION, Context
from sandbox.lifecycle.home import Home
from sandbox.lifecycle.promotion import stored_change
from sandbox.lifecycle.signoff.replay import uncovered
from sandbox.records import PromotionRecord


def verify_log(root: Path, *, log: Path | None, key: Path | None, checkpoint: Path | None = None) -> Verification:
    """Check the journal of the home `root`, or `log`, a copy of one, against the manager's public key, and judge every
    promotion in it again. `checkpoint`: a newer one, or an export, that was kept elsewhere.

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
    newest = home.keys / NEWEST
    witness = checkpoint or (newest if log is None and newest.exists() else None)
    found = verify(log or home.journal, line, witness)
    approvals = tuple(uncovered(entries_of(log or home.journal)))
    return found.model_copy(update={"findings": (*found.findings, *approvals)})


def about(ctx: Context, change: str, entries: Iterable[AuditEntry]) -> Iterator[AuditEntry]:
    """Those entries that tell of one change: from its session to what became of its promotions. Raises NotFound."""
    stored = stored_change(ctx, change)
    names = {name for name in (change, stored.run, stored.sandbox) if name}
    names |= {record.promotion for record in ctx.ledger.find(PROMOTION, PromotionRecord, change=change)}
    names |= {delta.name for delta in stored.targets} if stored.kind == "policy" else set()
    for entry in entries:
        if entry.subject in names or names & {str(entry.detail.get(key)) for key in ("change", "session", "promotion")}:
            yield entry
