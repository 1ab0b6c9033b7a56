"""Bases made from a base and a change set: what a clean room starts from."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from sandbox.errors import Conflict, NotFound, SandboxError
from sandbox.trees import manifest
from sandbox.trees.bases import BaseStore
from sandbox.trees.changes import compare, net, predict
from sandbox.trees.entry import ROOT, Change, Entry
from sandbox.trees.scan import scan
from tests.unit.trees.captures import NOTHING, Contents, capture, inodes, leftovers
from tests.unit.trees.test_scan import as_root


def test_a_derived_base_is_the_prediction_and_shares_the_rest(store: BaseStore, tree: Path) -> None:
    base = capture(store, tree)
    before = (inodes(base.tree.root), list(scan(base.tree.root, NOTHING)))
    one = base.find(b"a")
    assert one is not None
    new = one._replace(path=b"d/new", size=3, content=hashlib.sha256(b"new").digest(), xattrs=((b"user.y", b"2"),))
    gone = [(b"d/empty", None), (b"b", None)]
    changes = net(base.entries(), [(b"d/new", new), (b"a", one._replace(mode=0o600)), *gone])
    derived = store.derive(base, changes, Contents(b"new"))
    predicted = list(predict(base.entries(), changes))
    assert derived.fingerprint == manifest.fingerprint(predicted)
    assert list(derived.entries()) == predicted
    assert list(scan(derived.tree.root, NOTHING)) == list(derived.tree.entries())
    with derived.open(b"d/new") as file:
        assert file.read() == b"new"
    after = inodes(derived.tree.root)
    assert {name for name, inode in after.items() if before[0].get(name) == inode} == {"big", "nothing", "d/a"}
    assert (inodes(base.tree.root), list(scan(base.tree.root, NOTHING))) == before
    assert store.derive(base, changes, Contents(b"new")) == derived


def test_deriving_from_nothing_but_deletions_leaves_an_empty_tree(store: BaseStore, tree: Path) -> None:
    base = capture(store, tree)
    root = base.find(ROOT)
    assert root is not None
    derived = store.derive(base, tuple(compare(base.entries(), [root])), Contents())
    assert list(derived.entries()) == [root]
    assert list(derived.tree.root.iterdir()) == []


@as_root
def test_a_workspace_that_was_given_away_keeps_the_view_of_the_base(store: BaseStore, tree: Path) -> None:
    os.chown(tree, 1234, 4321)
    base = capture(store, tree)
    root = base.find(ROOT)
    assert root is not None
    derived = store.derive(base, [Change(ROOT, root, root._replace(uid=99))], Contents())
    assert derived.owner == base.owner
    assert list(scan(derived.tree.root, NOTHING)) == list(derived.tree.entries())
    os.chown(tree, 99, 4321)
    captured = capture(store, tree)
    assert captured.fingerprint == derived.fingerprint
    assert captured.tree.id != derived.tree.id
    assert list(scan(captured.tree.root, NOTHING)) == list(captured.tree.entries())
    store.remove(captured.fingerprint)
    assert store.list() == (base,)


def added(content: bytes) -> Change:
    return Change(b"x", None, Entry(b"x", "file", 0o644, 0, 0, len(content), hashlib.sha256(content).digest()))


def test_a7_a_content_that_is_not_the_sealed_one_makes_no_base(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    class Swapped(Contents):
        def open(self, sha256: bytes) -> io.BytesIO:
            return io.BytesIO(b"evil")

    base = capture(store, tree)
    with pytest.raises(SandboxError, match="damaged"):
        store.derive(base, [added(b"good")], Swapped())
    with pytest.raises(NotFound):
        store.derive(base, [added(b"good")], Contents())
    with pytest.raises(Conflict):
        store.derive(base, [Change(b"a", None, base.find(b"b"))], Contents())
    assert store.list() == (base,)
    assert leftovers(tmp_path) == []
