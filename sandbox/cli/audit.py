"""Verbs about the audit log: audit log, audit verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sandbox.cli.failures import CONFLICT, DONE
from sandbox.cli.options import Json
from sandbox.cli.session import begin
from sandbox.cli.tables import moment

if TYPE_CHECKING:
    from sandbox.journal.ledger import AuditEntry


def log(ctx: typer.Context, json: Json = False) -> None:
    """Show every step that was recorded.

    Oldest first: when, who, what, on which thing.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        entries = list(manager.audit_log())
    document = {"schema": 1, "entries": [entry.model_dump(mode="json") for entry in entries]}
    session.answer(document, (_line(entry) for entry in entries) if entries else ["The log is empty."])


def _line(entry: AuditEntry) -> str:
    detail = ", ".join(f"{name}={value}" for name, value in entry.detail.items())
    who = entry.actor or "-"
    return f"{entry.seq:>6}  {moment(entry.at)}  {who:<10}  {entry.event:<24}  {entry.subject}  {detail}".rstrip()


def verify(ctx: typer.Context, json: Json = False) -> int:
    """Check that the log is what was signed.

    No entry was edited, dropped, reordered or cut off.

    A log that does not hold ends with 6: what it says conflicts with what was signed.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.audit_verify()
    good = f"The log holds: {found.entries} entries, all as they were signed."
    session.answer(found.document(), [good] if found.ok else [f"DOES NOT HOLD: {one}" for one in found.problems])
    return DONE if found.ok else CONFLICT
