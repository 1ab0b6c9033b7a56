"""The cost ledger of a drill's production: some thousand entries, the same bytes on every machine run.

Owns what the right answers are: they are added up here, from the entries themselves, never by the service.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MONTHS = tuple(f"2025-{month:02}" for month in range(1, 13))
SERVICES = ("compute", "storage", "database", "network", "queue", "functions")
ROWS_PER_MONTH = 500
SCHEMA = "CREATE TABLE costs (id INTEGER PRIMARY KEY, month TEXT, service TEXT, resource TEXT, micros INTEGER)"


class Row(NamedTuple):
    id: int
    month: str
    service: str
    resource: str
    micros: int
    """Millionths of a dollar."""


class Answer(NamedTuple):
    """What a report of one month may say."""

    rows: int
    cut: int
    """Its cents, cut off: what the service says before the fix."""
    rounded: int
    """Its cents, rounded: what it says after."""


def rows() -> Iterator[Row]:
    """Every entry, from a fixed seed."""
    chance = random.Random(2025)  # noqa: S311 - amounts, not secrets
    number = 0
    for month in MONTHS:
        for _ in range(ROWS_PER_MONTH):
            number += 1
            service = chance.choice(SERVICES)
            yield Row(number, month, service, f"{service}-{chance.randrange(60):02}", chance.randrange(2_000_000))


def build(path: Path) -> None:
    """Write the ledger."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(SCHEMA)
            connection.execute("CREATE INDEX by_month ON costs (month)")
            connection.executemany("INSERT INTO costs VALUES (?, ?, ?, ?, ?)", rows())
    finally:
        connection.close()


def count(path: Path) -> int:
    """How many entries there are now; 0 where there is no ledger any more."""
    if not path.is_file():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found: int = connection.execute("SELECT COUNT(*) FROM costs").fetchone()[0]
        return found
    except sqlite3.DatabaseError:
        return 0
    finally:
        connection.close()


def answers() -> dict[str, Answer]:
    """The right answer for every month."""
    sums = dict.fromkeys(MONTHS, 0)
    counts = dict.fromkeys(MONTHS, 0)
    for row in rows():
        sums[row.month] += row.micros
        counts[row.month] += 1
    return {month: Answer(counts[month], sums[month] // 10_000, (sums[month] + 5_000) // 10_000) for month in MONTHS}
