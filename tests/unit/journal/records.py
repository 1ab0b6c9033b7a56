"""A record to store, of which these tests need nothing but that it comes back."""

from __future__ import annotations

from datetime import UTC, datetime

from sandbox.records import SnapshotRecord


def snapshot(name: str, sandbox: str = "sbx_1") -> SnapshotRecord:
    made = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    return SnapshotRecord(snapshot=name, parent=None, sandbox=sandbox, created_at=made, seconds=0.25)
