"""What is refused is in the log, whoever refuses it (G5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.errors import Conflict, Refused
from sandbox.lifecycle.context import Context


@contextmanager
def noted(ctx: Context, event: str, subject: str) -> Iterator[None]:
    """Whatever refuses the work within, by policy or because the world moved, is an entry before it is said."""
    try:
        yield
    except (Conflict, Refused) as error:
        ctx.ledger.note(event, actor=ctx.launcher, subject=subject, reasons=[error.says])
        raise
