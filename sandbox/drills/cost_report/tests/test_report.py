"""What must hold before a change of this service is worth a look."""

# ruff: noqa: PT009 - it runs with the standard library alone

from __future__ import annotations

import sqlite3
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import service  # type: ignore[import-not-found]
import totals  # type: ignore[import-not-found]

MONTHS = [f"2025-{month:02}" for month in range(1, 13)]


def _ledger() -> Path:
    found: Path = service.ROOT / service.config()["ledger"]
    return found


class ReportTest(unittest.TestCase):
    def test_the_ledger_has_every_month(self) -> None:
        for month in MONTHS:
            self.assertGreaterEqual(totals.report(_ledger(), month).rows, 100, month)

    def test_totals_are_within_a_cent_of_the_ledger(self) -> None:
        connection = sqlite3.connect(_ledger())
        sums = dict(connection.execute("SELECT month, SUM(micros) FROM costs GROUP BY month"))
        connection.close()
        for month in MONTHS:
            self.assertLessEqual(abs(totals.report(_ledger(), month).total * 10_000 - sums[month]), 10_000, month)

    def test_the_page_shows_the_total(self) -> None:
        total = totals.report(_ledger(), "2025-06").total
        self.assertIn(f'data-cents="{total}"', service.page("2025-06"))

    def test_it_is_healthy(self) -> None:
        self.assertTrue(service.healthy())


if __name__ == "__main__":
    unittest.main()
