"""Verbs that change real systems: promote, restore; and promotions, which lists what was done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from sandbox.cli.failures import BUG, CONFLICT, DONE, FROZEN, REFUSED, RESTORED
from sandbox.cli.options import ChangeId, Json, PromotionId
from sandbox.cli.session import begin
from sandbox.cli.tables import moment, table

if TYPE_CHECKING:
    from sandbox.records import PromotionRecord


def promote(ctx: typer.Context, change: ChangeId, json: Json = False) -> int:
    """Apply a signed-off change to its real targets.

    If anything goes wrong, they are put back by themselves.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        record = manager.promote(change)
    session.answer(record.document(), told(record))
    return _code(record, wanted="committed")


def restore(ctx: typer.Context, promotion: PromotionId, json: Json = False) -> int:
    """Take a committed promotion back.

    Its targets become what they were, if nobody else wrote there since. A frozen one is tried again.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        record = manager.restore(promotion)
    session.answer(record.document(), told(record))
    return _code(record, wanted="restored")


def _code(record: PromotionRecord, *, wanted: str) -> int:
    if record.status == wanted:
        return DONE
    if record.status == "refused":
        return CONFLICT if record.stale else REFUSED
    return {"restored": RESTORED, "frozen": FROZEN}.get(record.status, BUG)


def told(record: PromotionRecord) -> Iterator[str]:
    taken = f" in {record.seconds:.2f} s"
    if record.status == "committed":
        yield f"Promoted {record.change}{taken}: {record.promotion}."
        if record.kind == "policy":
            yield "To take it back: put the old policy into its file again, and run `sandbox policy propose NAME`."
        else:
            yield f"To take it back: `sandbox restore {record.promotion}`."
    elif record.status == "restored" and record.restores:
        yield f"Took back {record.restores}{taken}: {record.promotion}."
    elif record.status == "restored":
        back = f" in {record.restore_seconds:.2f} s" if record.restore_seconds is not None else ""
        yield f"The promotion of {record.change} failed, and the targets were put back{back}: {record.promotion}."
        if record.kind != "policy":
            yield f"To look at what failed: `sandbox create --change {record.change}`."
    elif record.status == "refused":
        yield f"Refused to touch anything for {record.change}:"
    elif record.status == "frozen":
        yield f"FROZEN: {record.promotion} could not be put back. A person is needed; nothing more happens by itself."
    else:
        yield f"{record.promotion} is {record.status}."
    yield from (f"  because {reason}" for reason in record.reasons)
    for target in record.targets:
        yield f"  {target.name}: {target.status}" + (f", now {target.fingerprint[:12]}" if target.fingerprint else "")
        yield from (f"    what others wrote there is kept in {place}" for place in target.kept_aside)
    if record.manual_steps:
        yield f"Once nothing stands in the way any more, `sandbox restore {record.promotion}` tries again."
        yield "Or do this, in this order; then `sandbox recover` looks whether all is as before:"
        yield from (f"  {number}. {step}" for number, step in enumerate(record.manual_steps, 1))


def list_all(ctx: typer.Context, json: Json = False) -> None:
    """List all promotions, refused ones too, oldest first."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.promotions()
    rows = [
        (
            one.promotion,
            one.status,
            one.change,
            " ".join(f"{target.name}={target.status}" for target in one.targets),
            moment(one.started_at),
            one.reasons[0] if one.reasons else "",
        )
        for one in found
    ]
    header = ("PROMOTION", "STATUS", "CHANGE", "TARGETS", "STARTED", "BECAUSE")
    from sandbox.answers import PromotionList

    session.answer(PromotionList(promotions=found).document(), table(header, rows, "There is no promotion."))
