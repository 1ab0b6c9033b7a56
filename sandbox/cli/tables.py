"""Records as columns and short sentences for a person; untrusted text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sandbox.terminal import escape

if TYPE_CHECKING:
    from sandbox.records import EntryChange, TargetDelta

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(header: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> Iterator[str]:
    """Rows under a header, in columns as wide as they need; `nothing` where there are no rows."""
    if not rows:
        yield nothing
        return
    cells = [list(header), *([escape(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def pairs(*found: tuple[str, object]) -> Iterator[str]:
    """One `name  value` a line; what has no value is left out."""
    width = max(len(name) for name, _ in found)
    for name, value in found:
        if value not in (None, "", ()):
            yield f"{name.ljust(width)}  {escape(str(value))}"


def size(count: int) -> str:
    """Bytes for a person: `512 B`, `3.4 MiB`."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def moment(at: datetime | None) -> str:
    """A time in the reader's own zone, to the second."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def counts(targets: Sequence[TargetDelta]) -> str:
    """`1 added, 2 modified, 0 deleted` over all targets."""
    added, modified, deleted = (sum(getattr(t, name) for t in targets) for name in ("added", "modified", "deleted"))
    return f"{added} added, {modified} modified, {deleted} deleted"


def deltas(targets: Sequence[TargetDelta]) -> Iterator[str]:
    """Each target with its changed paths, deleted ones first."""
    order = {"deleted": 0, "modified": 1, "added": 2}
    for target in targets:
        yield f"{target.name}: {counts([target])}"
        for entry in sorted(target.entries, key=lambda one: order[one.op]):
            yield f"  {entry.op:<8}  {escape(entry.path)}{_what(entry)}"


def _what(entry: EntryChange) -> str:
    """What changed besides the content, in words."""
    found = []
    if entry.kind_before not in (None, entry.kind):
        found.append(f"{entry.kind_before} becomes {entry.kind}")
    elif entry.kind != "file":
        found.append(entry.kind)
    for name, before, after in (
        ("mode", entry.mode_before, entry.mode_after),
        ("owner", entry.owner_before, entry.owner_after),
    ):
        if entry.op == "modified" and before != after:
            found.append(f"{name} {before} becomes {after}")
    if entry.link_after is not None:
        found.append(f"to {escape(entry.link_after)}")
    return f"  ({', '.join(found)})" if found else ""
