"""The entries of the audit log, and how one gets into the journal.

Owns what an entry says and that each is a leaf of the tree. Must not know what the steps mean, nor begin or end a
transaction: an entry and the change that it tells of are one, and the ledger's.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785

from sandbox import clock
from sandbox.errors import JournalError
from sandbox.journal.merkle import Edge, leaf_hash
from sandbox.records import Record


class AuditEntry(Record):
    """One step that was taken; its canonical JSON is one leaf of the audit log."""

    seq: int
    """From 1, without gaps."""
    at: datetime
    event: str
    actor: str
    subject: str
    kind: str = ""
    """Of the record that changed; empty where none did."""
    record: str = ""
    """SHA-256 of the record as stored by this step; empty where none was, or it was dropped."""
    previous: str
    """Leaf hash of the entry before, so that the first false entry can be named; empty for the first."""
    detail: dict[str, Any]

    def canonical(self) -> bytes:
        """The exact bytes of the leaf."""
        return rfc8785.dumps(self.model_dump(mode="json"))


class AuditLog(Record):
    """A stretch of the log."""

    entries: tuple[AuditEntry, ...]


@dataclass(frozen=True)
class Step:
    """What is told of a step by who takes it; the rest of its entry follows from the log."""

    event: str
    actor: str
    subject: str
    detail: dict[str, Any]
    kind: str = ""
    body: str = ""
    """The record as it is stored by this step, in canonical JSON."""


def append(database: sqlite3.Connection, step: Step) -> None:
    """Add an entry to the log and its leaf to the tree, inside the caller's transaction."""
    size, packed, last, latest = database.execute("SELECT size, edge, last, at FROM tree").fetchone()
    entry = AuditEntry(
        seq=size + 1,
        at=clock.now(),
        event=step.event,
        actor=step.actor,
        subject=step.subject,
        kind=step.kind,
        record=hashlib.sha256(step.body.encode()).hexdigest() if step.body else "",
        previous=last.hex(),
        detail=step.detail,
    )
    leaf = leaf_hash(canonical := entry.canonical())
    grown = edge_of(size, packed).grown(leaf)
    database.execute("INSERT INTO audit VALUES (?, ?)", (entry.seq, canonical))
    # The latest, not the newest: else the first entry made after the clock was set back would hide that it was (T32).
    at = entry.at if not latest else max(entry.at, datetime.fromisoformat(latest))
    database.execute(
        "UPDATE tree SET size = ?, edge = ?, last = ?, at = ?", (grown.size, grown.pack(), leaf, at.isoformat())
    )


def edge_of(size: int, packed: bytes) -> Edge:
    """The right edge of the tree, as the journal keeps it. Raises JournalError."""
    try:
        return Edge.unpack(size, packed)
    except ValueError as error:
        raise JournalError(f"The journal's audit log is damaged: {error}.", "Run `sandbox audit verify`.") from error
