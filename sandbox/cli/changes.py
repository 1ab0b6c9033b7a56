"""Verbs about changes and signing them: changes, review, approve, reject."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli.options import ChangeId, Json, Key, Person
from sandbox.cli.session import ask, begin
from sandbox.cli.tables import counts, moment, table
from sandbox.errors import InputError

if TYPE_CHECKING:
    from sandbox.records import ChangeView

_SHORT = re.compile(r"[0-9a-f]{12,64}")


def list_all(ctx: typer.Context, json: Json = False) -> None:
    """List all changes, oldest first."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.changes()
    rows = [
        (
            one.id,
            one.status,
            one.digest[:12],
            " ".join(target.name for target in one.targets),
            counts(one.targets),
            one.launcher,
            sum(vote.valid and vote.decision == "approve" for vote in one.votes),
            moment(one.expires_at),
        )
        for one in found
    ]
    header = ("CHANGE", "STATUS", "DIGEST", "TARGETS", "DIFFERENCE", "LAUNCHER", "APPROVALS", "SIGN BY")
    from sandbox.answers import ChangeList

    session.answer(ChangeList(changes=found).document(), table(header, rows, "There is no change."))


def review(
    ctx: typer.Context,
    change: ChangeId,
    full: Annotated[bool, typer.Option("--full", help="Show each difference to its last line.")] = False,
    json: Json = False,
) -> None:
    """Show what a person needs before signing.

    What will be lost comes first, then what was asked and verified, then the difference by risk.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        shown = manager.review(change, full=full)
    session.answer(shown.view.document(), shown.lines)


def approve(
    ctx: typer.Context,
    change: ChangeId,
    person: Person,
    key: Key,
    digest: Annotated[
        str | None, typer.Option(metavar="SHORT", help="The first 12 or more digits of the change's digest.")
    ] = None,
    json: Json = False,
) -> None:
    """Sign a change with your SSH key.

    On a terminal it asks for the digest that `sandbox review` showed you.
    """
    session = begin(ctx, json)
    short = _typed(change) if digest is None else digest
    if not _SHORT.fullmatch(short.lower()):
        raise InputError(
            f"{short!r} is not the beginning of a digest.",
            f"Take the first 12 or more hexadecimal digits that `sandbox review {change}` shows.",
        )
    with session.manager() as manager:
        view = manager.approve(change, person=person, key=key, digest=short.lower())
    session.answer(view.document(), _voted(view, f"{person} approved {view.id}."))


def _typed(change: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(
            "Here is no terminal to ask on, so the digest must be given.",
            f"Read `sandbox review {change}`, then repeat this with --digest and the digits that it shows.",
        )
    return ask("Type the first 12 digits of the digest, as the review shows them: ")


def reject(
    ctx: typer.Context,
    change: ChangeId,
    person: Person,
    key: Key,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the launcher and the audit log.")],
    json: Json = False,
) -> None:
    """Sign against a change. One reject closes it for good."""
    session = begin(ctx, json)
    if not reason.strip():
        raise InputError("A reject needs a reason.", 'As in --reason "the tests were weakened".')
    with session.manager() as manager:
        view = manager.reject(change, person=person, key=key, reason=reason)
    session.answer(view.document(), _voted(view, f"{person} rejected {view.id}."))


def _voted(view: ChangeView, first: str) -> Iterator[str]:
    yield first
    if view.status == "promoting" and any(vote.valid and vote.decision == "reject" for vote in view.votes):
        yield "A promotion of it is under way: its targets are put back instead of being committed."
    if view.decision.allowed:
        yield f"It can be promoted now. Next: `sandbox promote {view.id}`."
    for reason in view.decision.reasons:
        yield f"It can not be promoted now: {reason}"
