"""What the layers of a real sandbox say of changes: as much as changed, and nothing of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.engines.base import ChangesRequest
from sandbox.engines.native import NativeEngine
from sandbox.trees.changes import compare, net
from tests.engines import Boxes
from tests.trees import Hashing, entries_below, odd_tree, plain_tree

STEPS = (
    "true",
    "echo more >> README",
    "rm -rf app && mkdir app && echo new > app/main.py",
    "rm -rf app && echo file > app",
    "rm README && mkdir -p README/deep && echo x > README/deep/er",
    "rm -rf empty && ln -s /etc empty",
    "mv data moved",
    "chmod 700 data; chown 7:8 README; touch -d 2001-01-01 current app/run.sh",
    "cd / && rm -rf workspace",
    "cd / && rm -rf workspace && mkdir workspace && echo x > workspace/only",
    "cd / && rm -rf workspace && echo file > workspace",
    "cd / && mv workspace elsewhere; mkdir -p workspace/app; cp -a /elsewhere/app/main.py workspace/app/",
    "ln README second; ln -f data/ledger.bin third; rm data/ledger.bin",
    "mkdir -p a/b/c/d && rm -rf a/b && mkdir a/b && mkfifo a/b/pipe && truncate -s 1G a/sparse && rm a/sparse",
)


@pytest.mark.parametrize("tree", [plain_tree, odd_tree])
def test_the_net_of_the_candidates_is_the_exact_difference(boxes: Boxes, tree: object) -> None:
    """Against the whole tree before and after, read by code of the tests' own; over a chain of snapshots too."""
    placed = boxes.tree(tree)  # type: ignore[arg-type]
    base = entries_below(placed.root)
    box = boxes.create(placed)
    fresh = box.snapshot()
    for step in STEPS:
        box.rollback(fresh)
        box.out(step + "; cd /")
        for mid in (False, True):
            if mid:  # the same from a layer below, with one more change above
                box.rollback(box.snapshot())
                box.out("mkdir -p /workspace/zzz 2>/dev/null && echo late > /workspace/zzz/late; true")
            exists = box.sh("test -d /workspace", cwd="/").exit_code == 0
            if not exists:
                continue
            now = box.entries()
            assert net(base, box.changes().items()) == tuple(compare(base, now)), step
            assert net(base, box.changes(box.snapshot()).items()) == tuple(compare(base, now)), step


@pytest.mark.parametrize("end", ["rm -rf /workspace", "rm -rf /workspace; echo x > /workspace"])
def test_a_place_that_is_gone_or_no_directory_is_said(boxes: Boxes, end: str) -> None:
    box = boxes.create()
    box.out(f"cd /; {end}")
    (path, entry), *rest = box.changes().items()
    assert (path, rest) == (b".", [])
    assert entry is None or entry.kind == "file"


def test_a_place_whose_parent_is_gone_is_said_too(boxes: Boxes) -> None:
    box = boxes.create(boxes.tree(name="one"), boxes.tree(name="two"))
    box.out("cd /; rm -rf /workspace; mkdir /workspace")
    assert box.changes(index=0) == {b".": None}
    assert box.changes(index=1) == {b".": None}


def test_the_cost_grows_with_the_change_not_with_the_tree(boxes: Boxes) -> None:
    def wide(root: Path) -> None:
        for number in range(200):
            (root / f"d{number}").mkdir()
            (root / f"d{number}" / "file").write_text("x")

    box = boxes.create(boxes.tree(wide))
    box.out("echo y > d7/file")
    assert set(box.changes()) == {b".", b"d7", b"d7/file"}


def test_a_sandbox_goes_on_when_nobody_reads_its_changes_to_the_end(boxes: Boxes, engine: NativeEngine) -> None:
    box = boxes.create()
    box.out("echo 1 > a; echo 2 > b")
    reading = engine.changes(ChangesRequest(box.id, box.placements[0], Hashing()))
    assert isinstance(reading, Iterator)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert box.out("echo alive", timeout_s=20) == b"alive\n"
