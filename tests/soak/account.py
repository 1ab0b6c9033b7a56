"""What was reported, by whom, and whether it is all still there: the soak's own books, which ask nobody.

A line is written when a verb has returned, never before: what is in the books was reported.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sandbox.lifecycle.context import CHANGE, PROMOTION, VOTE
from sandbox.manager import Manager
from sandbox.records import PromotionRecord, StoredChange, Vote


class Account:
    """The lines of one worker."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, **line: Any) -> None:
        os.write(self._handle, json.dumps({"what": what, **line}).encode() + b"\n")


def lines(folder: Path, what: str) -> list[dict[str, Any]]:
    """Everything of a kind that any worker wrote; one that was killed may have left half a line, its last."""
    found = []
    for path in sorted(folder.iterdir()):
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        found += [json.loads(line) for line in whole.splitlines()]
    return [line for line in found if line["what"] == what]


def lost(folder: Path, manager: Manager) -> list[str]:
    """What was reported and is not in the journal (any more)."""
    ledger, missing = manager.context.ledger, []
    kept = {
        "change": {one.id for one in ledger.find(CHANGE, StoredChange)},
        "vote": {f"{one.change} {one.person}" for one in ledger.find(VOTE, Vote)},
        "promotion": {one.promotion for one in ledger.find(PROMOTION, PromotionRecord)},
    }
    for what, known in kept.items():
        missing += [f"{what} {line['id']}" for line in lines(folder, what) if line["id"] not in known]
    size = max((line["size"] for line in lines(folder, "log")), default=0)
    if ledger.edge().size < size:
        missing.append(f"audit entries: {ledger.edge().size} of {size}")
    return missing


def wrong_in_production(manager: Manager, targets: dict[str, Path]) -> list[str]:
    """Files that a promotion which stands did not leave there, or that one left which does not stand.

    Every change of a worker adds one file, named by nothing else.
    """
    records = manager.context.ledger.find(PROMOTION, PromotionRecord)
    standing = {one.change for one in records if one.status == "committed" and not one.restores}
    wrong = []
    for name, path in targets.items():
        due: set[str] = set()
        for change in standing:
            for target in manager.change(change).targets:
                if target.name == name:
                    due |= {entry.path for entry in target.entries if entry.op == "added"}
        there = {found.name for found in path.iterdir() if found.name != "data"}
        wrong += [f"{name}: {one} is missing" for one in sorted(due - there)]
        wrong += [f"{name}: {one} should not be there" for one in sorted(there - due)]
    return wrong
