"""Somebody writes while we read: what is captured and what is sealed is of one moment, and never from outside."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import Conflict, InputError
from sandbox.trees.bases import BaseStore
from tests.flows.house import House
from tests.trees import entries_below
from tests.unit.targets.test_races import before, outside_of, swapping
from tests.unit.targets.worlds import world

LIMIT_S = 120.0
"""A race is run until it was won and lost often enough, however slow the machine; longer than this it is stuck."""

WRITER = r"""
import itertools, os
os.mkdir("dir")
open("dir/inside", "w").write("inside")
os.symlink("/etc", "/tmp/trap")
for number in range(8):  # what lies between takes time to copy, in which an unfrozen writer gets far
    open(f"g-between-{number}", "wb").write(os.urandom(2 << 20))
first, last, count = (os.open(name, os.O_RDWR | os.O_CREAT) for name in ("a-first", "z-last", "/tmp/count"))
for turn in itertools.count():
    text = b"%016d" % turn
    os.pwrite(first, text, 0)
    os.pwrite(last, text, 0)
    os.pwrite(count, text, 0)
    if turn % 8 == 0:
        os.rename("dir", "/tmp/real"); os.rename("/tmp/trap", "dir")
        os.rename("dir", "/tmp/trap"); os.rename("/tmp/real", "dir")
"""


def test_t7_t17_what_is_captured_while_a_directory_is_swapped_for_a_link_is_never_from_outside(tmp_path: Path) -> None:
    it, outside = world(tmp_path, before, lambda root: None), outside_of(tmp_path)
    secret = b"only outside"
    (outside / "one").write_bytes(secret)
    store, target = BaseStore(tmp_path / "bases"), it.target()
    untouched = entries_below(outside)
    captured, refused = 0, 0
    limit = time.monotonic() + LIMIT_S
    with swapping(it.root, outside) as turns:
        while captured + refused < 40 or turns[0] < 2000:
            assert time.monotonic() < limit
            try:
                base = target.capture(store, lambda entries, size: None)
            except (Conflict, InputError):
                refused += 1
                continue
            captured += 1
            contents = {entry.content for entry in base.entries() if entry.kind == "file"}
            assert hashlib.sha256(secret).digest() not in contents
    assert entries_below(outside) == untouched
    assert turns[0] >= 2000


def counted(house: House, box: str) -> int:
    return int(house("exec", box, "--", "cat", "/tmp/count").expect(0).stdout)


def sealed(house: House, change: dict[str, Any]) -> dict[str, bytes]:
    """The contents of a sealed change, each held against its digest."""
    blobs = house.home / "changes" / change["id"] / "blobs"
    found = {}
    for entry in change["targets"][0]["entries"]:
        if entry["sha256_after"]:
            found[entry["path"]] = (blobs / entry["sha256_after"]).read_bytes()
            assert hashlib.sha256(found[entry["path"]]).hexdigest() == entry["sha256_after"]
    return found


@pytest.mark.timeout(240)
def test_t7_t17_what_is_sealed_while_the_agent_writes_is_of_one_instant(house: House) -> None:
    """Two files that are written one after the other never differ by more than one turn, and a directory that is
    swapped for a link is that directory, or is refused as the link that it was: nothing behind it is ever read."""
    box = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json["sandbox"]
    house("exec", box, "--stdin", "--", "sh", "-c", "cat > /tmp/writer.py", stdin=WRITER.encode()).expect(0)
    house("exec", box, "--", "sh", "-c", "python3 /tmp/writer.py >/dev/null 2>&1 </dev/null & sleep 1").expect(0)
    started = counted(house, box)
    proposed = 0
    limit = time.monotonic() + LIMIT_S
    while proposed < 2:
        assert time.monotonic() < limit
        answer = house("propose", box, "--json").json
        if answer["status"] != "proposed":
            assert answer["failure"]["step"] == "seal"
            assert "leaves the target" in answer["failure"]["reason"]
            continue
        proposed += 1
        found = sealed(house, answer["change"])
        first, last = int(found["a-first"]), int(found["z-last"])
        assert 0 <= first - last <= 1
        assert {path for path in found if "/" in path} <= {"dir/inside"}
    assert counted(house, box) - started > 2000, "the race was run"
