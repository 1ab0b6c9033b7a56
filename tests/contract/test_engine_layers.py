"""Captured trees that are a layer over another one: they arrive, change and are compared as one tree."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from sandbox.trees import layering
from sandbox.trees.bases import BaseStore
from sandbox.trees.patterns import Patterns
from tests.contract.differing import differences, expected
from tests.engines import Boxes
from tests.trees import DirectoryTree, odd_tree, tree_of

pytestmark = pytest.mark.timeout(240)


def layered(scratch: Path, name: str = "layered") -> DirectoryTree:
    """Over the odd tree: a changed file, a new one, a file gone, a directory gone, a kind changed either way."""
    below, top, shown = (scratch / name / where / "tree" for where in ("below", "top", "shown"))
    below.mkdir(parents=True)
    odd_tree(below)
    shown.parent.mkdir()
    subprocess.run(["cp", "-a", below, shown], check=True)
    for root in (shown, top):
        (root / "app").mkdir(parents=True, exist_ok=True)
        (root / "app" / "main.py").write_bytes(b"print('layered')\n")
        (root / "app" / "new").write_bytes(b"new")
        (root / "app").chmod(0o750)
    (shown / "README").unlink()
    (shown / "README").mkdir()
    (top / "README").mkdir()
    shutil.rmtree(shown / "data")
    (shown / "app" / "run.sh").unlink()
    shutil.rmtree(shown / "empty")
    (shown / "empty").write_bytes(b"a file now")
    (top / "empty").write_bytes(b"a file now")
    for gone in ("data", "app/run.sh"):
        os.mknod(top / gone, stat.S_IFCHR, os.makedev(0, 0))
    for where in (below, top):
        (where.parent / "manifest").write_text("beside the tree, not in it")
    (top.parent / "changes").write_text("beside the layer alone")
    return DirectoryTree(tree_of(shown).id, top, (below,), shown)


def test_a_layered_tree_arrives_as_one(boxes: Boxes) -> None:
    tree = layered(boxes.scratch)
    box = boxes.create(tree)
    assert box.entries() == list(tree.entries())
    assert differences(box) == {}
    assert b"changes" not in box.out("ls -a / /workspace")


def test_changes_of_a_layered_tree_are_told_from_what_it_shows(boxes: Boxes) -> None:
    box = boxes.create(layered(boxes.scratch))
    box.out("rm -rf app; mkdir app; echo x > app/new; mkdir data; echo back > data/ledger.bin; rm -rf current README")
    snapshot = box.snapshot()
    changed = differences(box)
    assert changed == expected(box) == differences(box, snapshot)
    assert {b"app/main.py", b"app/new", b"data", b"data/ledger.bin", b"README"} <= changed.keys()
    assert b"app/run.sh" not in changed
    box.out("rm -rf /workspace; mkdir /workspace; echo all > /workspace/all")
    assert differences(box) == expected(box)
    box.rollback(snapshot)
    assert differences(box) == changed


def test_two_layered_trees_over_one_are_placed_apart(boxes: Boxes) -> None:
    first = layered(boxes.scratch)
    plain = DirectoryTree(tree_of(first.under[0]).id, first.under[0])
    box = boxes.create(first, plain)
    assert box.entries("/workspace/t0") == list(first.entries())
    assert box.entries("/workspace/t1") == list(plain.entries())
    box.out("rm -rf t0/app t1/app")
    assert {b"app"} <= set(box.changes(index=0)) & set(box.changes(index=1))


def test_a_base_captured_again_after_a_change_arrives_exactly(boxes: Boxes, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    odd_tree(target)
    for number in range(layering.SMALLEST):
        (target / "data" / f"{number}").write_text(f"{number}")
    store = BaseStore(tmp_path / "bases")
    store.capture(target, Patterns(()), key="target")
    (target / "README").write_text("another")
    (target / "data" / "7").unlink()
    shutil.rmtree(target / "app")
    base = store.capture(target, Patterns(()), key="target")
    assert base.under is not None
    box = boxes.create(base.tree)
    assert box.entries() == list(base.tree.entries())
    box.out("rm -rf data; mkdir data; echo 7 > data/7; mkdir app")
    assert set(differences(box)) == set(expected(box))
