"""Verbs about the audit log: audit log, audit verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli.failures import CONFLICT, DONE
from sandbox.cli.options import Json
from sandbox.cli.session import begin
from sandbox.cli.tables import moment

if TYPE_CHECKING:
    from sandbox.journal.ledger import AuditEntry


def log(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(metavar="SEQ", help="Only what came after this entry.")] = 0,
    json: Json = False,
) -> None:
    """Show every step that was recorded.

    Oldest first: when, who, what, on which thing.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.audit_log(after)
    lines = [_line(entry) for entry in found.entries]
    session.answer(found.document(), lines or ["There is no entry."])


def _line(entry: AuditEntry) -> str:
    detail = ", ".join(f"{name}={value}" for name, value in entry.detail.items())
    who = entry.actor or "-"
    return f"{entry.seq:>6}  {moment(entry.at)}  {who:<10}  {entry.event:<24}  {entry.subject}  {detail}".rstrip()


def verify(
    ctx: typer.Context,
    log_file: Annotated[
        str | None, typer.Option("--log", metavar="FILE", help="A copied journal or an exported log.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="The manager's public key.")] = None,
    json: Json = False,
) -> int:
    """Check that the log is what was signed.

    No entry was edited, dropped, reordered or cut off. It works offline, on the home's own journal or on a copy.
    """
    session = begin(ctx, json)
    from sandbox.manager import audit_verify

    found = audit_verify(session.home, log=log_file, key=key)
    good = f"The log holds: {found.entries} entries, {found.signed} of them under a signature."
    bad = [f"DOES NOT HOLD: {one.kind}: {one.says}" for one in found.findings]
    session.answer({**found.document(), "ok": found.ok}, bad or [good])
    return DONE if found.ok else CONFLICT
