"""The copy of the audit log away from the home, where `manager.yaml` asks for one (G2).

Owns when it is written and what it means that it can't be: then nothing is promoted. Must not know its format
(`journal.exported` does).
"""

from __future__ import annotations

from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.journal import exported
from sandbox.lifecycle.context import Context


def path_of(ctx: Context) -> Path | None:
    """Where the copy is to lie; None where none is wanted. Raises ConfigError."""
    named = ctx.config.manager().audit_export
    return Path(named) if named else None


def vouch(ctx: Context) -> None:
    """Sign the log as it is now, and have the copy say so, durable; before anything counts as done.

    Raises JournalError.
    """
    if not preflight(ctx):
        ctx.notary.checkpoint(ctx.ledger)


def preflight(ctx: Context) -> bool:
    """Bring the copy up to date, so that it is known that it can be; False where none is wanted.

    Raises JournalError.
    """
    path = path_of(ctx)
    if path is None:
        return False
    exported.extend(ctx.notary, ctx.ledger, path)
    return True


def late(ctx: Context) -> str:
    """Bring the copy up to date when all is done and said already; why that failed, or nothing. The next promotion
    is refused until it does not."""
    try:
        preflight(ctx)
    except SandboxError as error:
        return str(error)
    return ""


def check_start(ctx: Context) -> None:
    """Hold the journal against the copy: a home that was put back is found. Raises JournalError, ConfigError."""
    if path := path_of(ctx):
        exported.check(ctx.notary, ctx.ledger, path)
