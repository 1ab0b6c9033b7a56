"""The copy of the audit log away from the home, where `manager.yaml` asks for one (G2).

Owns when it is written and what it means that it can't be: then nothing is promoted. Must not know its format
(`journal.exported` does).
"""

from __future__ import annotations

from pathlib import Path

from sandbox.clock import now
from sandbox.errors import JournalError, NotFound, SandboxError
from sandbox.governance import ExportBegun
from sandbox.journal import exported
from sandbox.lifecycle.context import EXPORT, Context


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
    known = _check_there(ctx, path)
    exported.extend(ctx.notary, ctx.ledger, path)
    if not known:  # only now, or a crash in between would tell of a copy that never was
        begun = ExportBegun(path=str(path), at=now())
        ctx.ledger.add(EXPORT, str(path), begun, event="audit.export_begun", actor=ctx.launcher)
        exported.extend(ctx.notary, ctx.ledger, path)
    return True


def _check_there(ctx: Context, path: Path) -> bool:
    """Whether this home has written to the copy before. Raises JournalError where it has and the copy is gone: a
    witness that can be done away with in silence is none."""
    try:
        ctx.ledger.get(EXPORT, str(path), ExportBegun)
    except NotFound:
        return False
    # A folder that is not there is a mount that was lost: that is told by whoever writes there next.
    if path.parent.is_dir() and not (path.exists() and path.stat().st_size):
        raise JournalError(
            f"The exported audit log {path} is gone, and it was there before.",
            "Find out who removed it. Put it back, or name another path as audit_export in manager.yaml.",
        )
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
    """Hold the journal against the copy: a home that was put back is found, and a copy that is gone. Raises
    JournalError, ConfigError."""
    if path := path_of(ctx):
        _check_there(ctx, path)
        exported.check(ctx.notary, ctx.ledger, path)
