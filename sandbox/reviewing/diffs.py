"""The difference itself as a review shows it: ordered by risk, each item with its raw columns, texts as diffs.

Owns order and bounds. Must not leave an item out: where the document is full or a content can't be shown, the
item's line stays and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from sandbox.records import Hazard
from sandbox.reviewing.content import is_text
from sandbox.reviewing.subject import Subject
from sandbox.reviewing.surface import executable_surface
from sandbox.reviewing.textdiff import unified
from sandbox.terminal import escape
from sandbox.trees.entry import Change, Entry, path_text

FILE_LINES = 400
DOCUMENT_LINES = 20_000
LINE_CHARACTERS = 1000
SHOWN_BYTES = 4 << 20
"""A larger content is named by its digest only."""

_DESTRUCTIVE = 2
"""Ranks below this one are destructive, and shown before any bound of the document applies."""


def diff_section(subjects: Sequence[Subject], hazards: Sequence[Hazard], change: str, *, full: bool) -> Iterator[str]:
    """All items of all targets; unless `full`, with bounds, and then a line that says how to see the rest."""
    risky = {(hazard.target, hazard.path) for hazard in hazards}
    items = [(_rank(subject, one, risky), subject, one) for subject in subjects for one in subject.changes]
    items.sort(key=lambda item: (item[0], item[1].delta.name, item[2].path))
    used, cut = 0, False
    for number, (rank, subject, one) in enumerate(items, 1):
        yield f"[{number}/{len(items)}] {_columns(one)}  {subject.shown(one.path)}"
        if not full and used > DOCUMENT_LINES and rank >= _DESTRUCTIVE:
            cut = True
            yield "    not shown: the document is full"
            continue
        for line in _content(subject, one, full):
            used += 1
            cut = cut or line.startswith("    ...")
            yield line
    if cut:
        yield f"Not all is shown above. `sandbox review {change} --full` shows every line."


def _rank(subject: Subject, change: Change, risky: set[tuple[str | None, str]]) -> int:
    """Lower is shown first."""
    before, after = change.before, change.after
    if after is None:
        return 0
    if before is not None and (before.kind != after.kind or (before.size and not after.size)):
        return 1
    named = (None if subject.alone else subject.delta.name, path_text(change.path))
    if any(executable_surface(change.path)) or named in risky:
        return 2
    if before is not None and before.content == after.content:
        return 3
    return 4 if before is not None else 5


def _columns(change: Change) -> str:
    def pair(before: object, after: object) -> str:
        return f"{after}" if before == after else f"{before} -> {after}"

    old, new = change.before, change.after
    if old is None or new is None:
        one = new or old
        return "" if one is None else f"{change.op:<8} {one.kind} {one.mode:04o} {one.uid}:{one.gid} {one.size} bytes"
    return " ".join(
        (
            f"{change.op:<8}",
            pair(old.kind, new.kind),
            pair(f"{old.mode:04o}", f"{new.mode:04o}"),
            pair(f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}"),
            f"{pair(old.size, new.size)} bytes",
        )
    )


def _content(subject: Subject, change: Change, full: bool) -> Iterator[str]:
    old, new = change.before, change.after
    if old is not None and new is not None and old.xattrs != new.xattrs:
        yield f"    extended attributes: {_xattrs(old)} -> {_xattrs(new)}"
    if old is not None and new is not None and (old.kind, old.content) == (new.kind, new.content):
        return
    for sign, entry in (("-", old), ("+", new)):
        if entry is not None and entry.kind != "file" and entry.content:
            yield f"    {sign} {entry.kind} to {escape(entry.content)}"
    if not (_is_file(old) or _is_file(new)):
        return
    contents = _texts(subject, change)
    if contents is None:
        yield f"    content not shown (not text, or too large): sha256 {_digest(old)} -> {_digest(new)}"
        return
    for line in unified(*contents, None if full else FILE_LINES):
        yield f"    {_bounded(escape(line, keep=chr(9)), full)}"


def _texts(subject: Subject, change: Change) -> tuple[bytes, bytes] | None:
    """Both contents, or None where they are not for reading."""
    old, new = change.before, change.after
    if any(entry is not None and entry.size > SHOWN_BYTES for entry in (old, new)):
        return None
    before = _read(subject.base.open(change.path)) if _is_file(old) else b""
    after = _read(subject.blobs.open(new.content)) if new is not None and _is_file(new) else b""
    return (before, after) if is_text(before) and is_text(after) else None


def _read(file: BinaryIO) -> bytes:
    with file:
        return file.read()


def _bounded(line: str, full: bool) -> str:
    if full or len(line) <= LINE_CHARACTERS:
        return line
    return f"{line[:LINE_CHARACTERS]} ... and {len(line) - LINE_CHARACTERS} more characters (see --full)"


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == "file"


def _digest(entry: Entry | None) -> str:
    return (entry.sha256 if entry else None) or "none"


def _xattrs(entry: Entry) -> str:
    return ", ".join(f"{escape(name)}={value.hex()}" for name, value in entry.xattrs) or "none"
