"""docs/guarantees.md can't go stale: what it says is kept has a test of that name, and the other way round."""

from __future__ import annotations

from tests import guarantees
from tests.guarantees import ROOT, rows, shown

IDS = [
    *(f"{letter}{n}" for letter, last in zip("ABCDEFGHI", (9, 9, 11, 7, 10, 9, 6, 5, 5), strict=True)
      for n in range(1, last + 1)),
    *(f"T{n}" for n in range(1, 36)),
]  # fmt: skip


def test_every_invariant_and_threat_has_its_row() -> None:
    assert [row.id for row in rows() if row.id in IDS] == IDS


def test_what_is_kept_has_tests_and_what_has_tests_is_kept() -> None:
    assert {row.id for row in rows() if row.kept} == set(guarantees.tests_by_id())


def test_the_table_names_the_tests_that_there_are() -> None:
    found = guarantees.tests_by_id()
    stale = [row.id for row in rows() if row.tests != shown(found.get(row.id, []))]
    assert stale == [], "run: python -m tests.guarantees"


def test_the_modules_that_enforce_exist() -> None:
    named = {module.strip(" `") for row in rows() if row.kept for module in row.where.split(",")}
    assert {module for module in named if not (ROOT / "sandbox" / module).is_file()} == set()
