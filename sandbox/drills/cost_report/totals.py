"""The sums of one month, from the ledger. Must not know about HTTP or HTML."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple


class Report(NamedTuple):
    month: str
    rows: int
    """Ledger entries that went into it."""
    services: list[tuple[str, int]]
    """Each service with its cents, most expensive first."""
    total: int
    """Cents."""


def to_cents(micros: int) -> int:
    """Whole cents of an amount in millionths of a dollar."""
    return micros // 10_000


def report(ledger: Path, month: str) -> Report:
    """Add up one month. Raises sqlite3.Error where the ledger can't be read."""
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        sums = connection.execute(
            "SELECT service, COUNT(*), SUM(micros) FROM costs WHERE month = ? GROUP BY service ORDER BY 3 DESC, 1",
            (month,),
        ).fetchall()
    finally:
        connection.close()
    services = [(service, to_cents(micros)) for service, _, micros in sums]
    rows = sum(count for _, count, _ in sums)
    return Report(month, rows, services, to_cents(sum(micros for _, _, micros in sums)))
