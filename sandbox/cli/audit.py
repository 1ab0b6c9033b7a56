"""Verbs about the audit log: audit log, audit verify."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli.failures import CONFLICT, DONE
from sandbox.cli.options import Json
from sandbox.cli.session import begin
from sandbox.cli.tables import moment

if TYPE_CHECKING:
    from sandbox.journal.entries import AuditEntry

_DIGEST = re.compile(r"[0-9a-f]{64}")


def log(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(metavar="SEQ", help="Only what came after this entry.")] = 0,
    change: Annotated[str | None, typer.Option(metavar="CHANGE", help="Only what is about this change.")] = None,
    json: Json = False,
) -> None:
    """Show every step that was recorded.

    Oldest first: when, who, what, on which thing.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.audit_log(after, change=change)
    lines = [line for entry in found.entries for line in told(entry)]
    session.answer(found.document(), lines or ["There is no entry."])


_PROOFS = frozenset(
    {"exact", "signature", "statement", "text", "parts", "checks", "rehearsals", "targets", "at", "version"}
    | {"identity", "signed_at", "nonce_sha256"}
)
"""For `audit verify` and scripts; no person reads them in a list."""
_WIDTH = 78


def told(entry: AuditEntry) -> Iterator[str]:
    """An entry for a person: when, who, what, on what; then what else is known, in lines that fit a terminal."""
    yield f"{entry.seq:>5}  {moment(entry.at)}  {entry.actor or '-'}  {entry.event}  {entry.subject}".rstrip()
    words = [
        f"{name} {_shown(value)}"
        for name, value in entry.detail.items()
        if name not in _PROOFS and value not in ("", 0, [], None)
    ]
    words += _counted(entry.detail)
    yield from textwrap.wrap(
        ", ".join(words),
        _WIDTH,
        initial_indent=" " * 7,
        subsequent_indent=" " * 7,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _counted(detail: dict[str, Any]) -> Iterator[str]:
    if "checks" in detail:
        good = sum(one["exit_code"] == 0 and not one["timed_out"] for one in detail["checks"])
        yield f"{good} of {len(detail['checks'])} checks passed"
    if detail.get("rehearsals"):
        yield f"rehearsed {', '.join(one['target'] for one in detail['rehearsals'])}"
    if "signature" in detail:
        yield "signed" if detail["signature"] else "not signed"
    for target in detail.get("targets", ()):
        yield f"{target['name']} was {(target['fingerprint'] or '?')[:12]}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    text = str(value)
    return text[:12] if _DIGEST.fullmatch(text) else text


def verify(
    ctx: typer.Context,
    log_file: Annotated[
        str | None, typer.Option("--log", metavar="FILE", help="A copied journal or an exported log.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="The manager's public key.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="FILE", help="A checkpoint or an export kept elsewhere, to hold it against.")
    ] = None,
    json: Json = False,
) -> int:
    """Check that the log is what was signed.

    No entry was edited, dropped, reordered or cut off, and every promotion had approvals that cover what was applied.
    It works offline, on the home's own journal or on a copy.
    """
    session = begin(ctx, json)
    from sandbox.manager import audit_verify

    found = audit_verify(session.home, log=log_file, key=key, checkpoint=checkpoint)
    good = f"The log holds: {found.entries} entries, {found.signed} of them under a signature."
    bad = [f"DOES NOT HOLD: {one.kind}: {one.says}" for one in found.findings]
    session.answer({**found.document(), "ok": found.ok}, bad or [good])
    return DONE if found.ok else CONFLICT
