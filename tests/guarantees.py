"""The table in docs/guarantees.md, held against the tests that carry an invariant in their name.

`python -m tests.guarantees` writes the tests into the table; `tests/unit/test_guarantees.py` checks that it is so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "guarantees.md"
NOT_YET = "not yet"

_TEST = re.compile(r"^\s*def (test_((?:[a-it]\d+_)+)\w+)", re.MULTILINE)
_ROW = re.compile(r"^\| ([A-IT]\d+) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)


class Row(NamedTuple):
    """One invariant or threat."""

    id: str
    guarantee: str
    """`not yet` where it is not kept, or does not apply yet."""
    where: str
    """Modules that enforce it; for `not yet`: why, and what there is instead."""
    tests: str

    @property
    def kept(self) -> bool:
        return self.guarantee != NOT_YET


def rows() -> list[Row]:
    """The table as it is written."""
    return [Row(*match) for match in _ROW.findall(TABLE.read_text("utf-8"))]


def tests_by_id() -> dict[str, list[str]]:
    """Every test that names an invariant, as `FILE::NAME`, by the invariants that it names."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, ids in _TEST.findall(file.read_text("utf-8")):
            for one in ids.strip("_").split("_"):
                found[one.upper()].append(f"{file.relative_to(ROOT / 'tests')}::{name}")
    return dict(found)


def shown(tests: list[str]) -> str:
    """The last column: the tests, by file."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        file, _, name = test.partition("::")
        by_file[file].append(f"`{name}`")
    return "<br>".join(f"{file}: {', '.join(names)}" for file, names in by_file.items()) or "-"


def main() -> None:
    """Write the tests into the table."""
    found = tests_by_id()

    def renewed(match: re.Match[str]) -> str:
        row = Row(*match.groups())
        return f"| {row.id} | {row.guarantee} | {row.where} | {shown(found.get(row.id, []))} |"

    TABLE.write_text(_ROW.sub(renewed, TABLE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
