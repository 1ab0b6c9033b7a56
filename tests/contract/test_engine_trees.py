"""Captured trees: whatever a tree holds arrives, stays, comes back and is compared exactly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.engines.base import ChangesRequest, Engine
from sandbox.errors import InputError, NotFound, SandboxError
from sandbox.trees.bases import BaseStore
from sandbox.trees.entry import sort_key
from sandbox.trees.patterns import Patterns
from tests.contract.differing import differences, expected
from tests.engines import Box, Boxes
from tests.trees import Hashing, odd_tree, whiteout_tree, xattr_tree

pytestmark = pytest.mark.timeout(240)


@contextmanager
def or_refused(word: str) -> Iterator[None]:
    """What is done inside works, or is refused by an error that names `word`."""
    try:
        yield
    except InputError as refused:
        if word not in refused.says:
            raise


def test_an_odd_tree_arrives_exactly(boxes: Boxes) -> None:
    tree = boxes.tree(odd_tree)
    entries = list(tree.entries())
    assert len(entries) >= 50
    assert boxes.create(tree).entries() == entries


def test_a_captured_target_of_somebody_else_is_roots_in_the_sandbox(boxes: Boxes, tmp_path: Path) -> None:
    """The agent is root, and root stands for the target's owner, so that what it makes anew is the owner's again."""
    target = tmp_path / "target"
    target.mkdir()
    odd_tree(target)
    (target / "of root").write_text("not the owner's")
    for path in (target, target / "README", target / "app"):
        os.chown(path, 1234, 5678)
    base = BaseStore(tmp_path / "bases").capture(target, Patterns(()), key="target")
    box = boxes.create(base.tree)
    assert box.out("stat -c %u:%g . README 'of root'") == b"0:0\n0:0\n1234:5678\n"
    assert box.entries() == list(base.tree.entries())
    assert differences(box) == {}
    box.out(
        "cp README README.new; rm README; mv README.new README; echo more >> app/main.py; touch app/new; rm app/new"
    )
    changed = [base.owner.swap(new) for _, new in differences(box).values() if new]
    assert [(entry.path, entry.uid, entry.gid) for entry in changed] == [(b"app/main.py", 0, 0)]


def test_an_odd_tree_has_no_changes_in_a_new_sandbox_a_snapshot_or_a_fork(boxes: Boxes) -> None:
    box = boxes.create(boxes.tree(odd_tree))
    assert differences(box) == {}
    snapshot = box.snapshot()
    assert differences(box, snapshot) == {}
    assert differences(boxes.fork(snapshot, box)) == {}


def test_an_odd_tree_made_in_the_sandbox_survives_snapshot_rollback_and_fork(boxes: Boxes) -> None:
    """Copied inside, so that all of it is the agent's own work."""
    box = boxes.create(boxes.tree(odd_tree))
    box.out("cd /; mkdir /made && cp -a /workspace/. /made/ && rm -rf /workspace && mkdir /workspace")
    box.out("chmod 755 /workspace && cp -a /made/. /workspace/")
    entries = box.entries()
    assert entries == list(box.placements[0].tree.entries())
    snapshot = box.snapshot()
    box.out("cd /; rm -rf /workspace /made")
    box.rollback(snapshot)
    assert box.entries() == box.entries("/made") == entries
    assert boxes.fork(snapshot, box).entries() == entries
    assert differences(box) == {}, "deleted and recreated with equal content is no change"
    assert differences(box, snapshot) == {}


def test_xattrs_of_users_are_no_change_while_nobody_changes_them(boxes: Boxes) -> None:
    box = boxes.create(boxes.tree(xattr_tree))
    tree = list(box.placements[0].tree.entries())
    assert sum(bool(entry.xattrs) for entry in tree) == 2
    assert differences(box) == {}
    box.out("echo three >> README; echo new > app/new")
    wanted = {entry.path: entry.xattrs for entry in tree if entry.path in (b"README", b"app")}
    snapshot = box.snapshot()
    for found in (differences(box), differences(box, snapshot), differences(boxes.fork(snapshot, box))):
        assert set(found) == {b"README", b"app/new"}
        assert found[b"README"][1].xattrs == wanted[b"README"]  # type: ignore[union-attr]


def test_xattrs_that_are_changed_inside_are_changes_where_the_engine_keeps_them(boxes: Boxes) -> None:
    box = boxes.create(boxes.tree(xattr_tree))
    keeps = box.engine.traits.keeps_attributes
    assert (box.entries() == list(box.placements[0].tree.entries())) == keeps
    box.python("import os; os.setxattr('README', 'user.mine', b'\\0\\xff'); os.removexattr('app', 'user.dir')")
    wanted = expected(box) if keeps else {}
    assert set(wanted) == ({b"README", b"app"} if keeps else set())
    assert differences(box) == wanted
    snapshot = box.snapshot()
    assert differences(box, snapshot) == wanted
    assert differences(boxes.fork(snapshot, box)) == wanted


def test_a_name_that_means_a_deletion_in_image_layers_is_kept_or_refused(boxes: Boxes) -> None:
    """`.wh.NAME` in a layer's archive deletes NAME: such a file may not be carried that way unnoticed."""
    with or_refused(".wh."):
        box = boxes.create(boxes.tree(whiteout_tree))
        assert box.entries() == list(box.placements[0].tree.entries())
        assert differences(box) == {}


def test_a_file_made_inside_with_such_a_name_deletes_nothing_unnoticed(boxes: Boxes) -> None:
    box = boxes.create()
    box.out(": > .wh.README; : > app/.wh..wh..opq")
    wanted = expected(box)
    assert set(wanted) == {b".wh.README", b"app/.wh..wh..opq"}
    with or_refused(".wh."):
        assert differences(box) == wanted
        snapshot = box.snapshot()
        assert differences(box, snapshot) == wanted
        fork = boxes.fork(snapshot, box)
        assert differences(fork) == wanted
        assert fork.out("cat README; ls app") == b"one\ntwo\nmain.py\nrun.sh\ntemplates\n"


@pytest.mark.every_image
def test_changes_come_in_depth_first_order_and_cover_several_snapshots(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    for step in (
        "rm -rf data",
        "mkdir data; echo 1 > data/one",
        "rm -rf app",
        "mkdir app; echo b > app-b; echo a > app/a",
    ):
        box.out(step)
        box.snapshot()
    wanted = expected(box)
    assert differences(box) == wanted
    order = [path for path, _ in engine.changes(ChangesRequest(box.id, box.placements[0], Hashing()))]
    assert order == sorted(order, key=sort_key)


def test_changes_of_a_fork_are_against_the_base_not_the_snapshot(boxes: Boxes) -> None:
    box = boxes.create()
    box.out("echo first > first")
    fork = boxes.fork(box.snapshot(), box)
    fork.out("echo second > second")
    assert set(differences(fork)) == {b"first", b"second"}
    assert set(differences(box)) == {b"first"}


def test_several_trees_are_placed_apart_and_changed_apart(boxes: Boxes) -> None:
    box = boxes.create(boxes.tree(name="left"), boxes.tree(odd_tree, name="right"))
    assert box.out("pwd; ls") == b"/workspace\nt0\nt1\n"
    assert box.entries("/workspace/t0") == list(box.placements[0].tree.entries())
    assert box.entries("/workspace/t1") == list(box.placements[1].tree.entries())
    box.out("rm -rf t0/app; echo x > t1/README; echo neither > other")
    changed = [set(box.changes(index=index)) for index in range(2)]
    assert b"app" in changed[0]
    assert b"README" in changed[1]
    assert not {b"other", b"t0", b"t1"} & (changed[0] | changed[1])
    snapshot = box.snapshot()
    box.out("rm -rf /workspace/t1")
    box.rollback(snapshot)
    assert box.out("cat t1/README") == b"x\n"


def test_the_captured_tree_is_never_written_to(boxes: Boxes) -> None:
    tree = boxes.tree(odd_tree)
    before = list(tree.entries())
    box, other = boxes.create(tree), boxes.create(tree)
    box.out("for f in app/main.py README setuid; do echo x > $f; done; chmod -R 777 app; chown -R 5:5 app; rm -rf data")
    snapshot = box.snapshot()
    box.rollback(snapshot)
    box.out("rm -rf /workspace")
    assert list(tree.entries()) == before
    assert other.entries() == before


def test_a_workspace_that_became_a_link_is_not_followed(boxes: Boxes) -> None:
    box = boxes.create()
    box.out("cd /; rm -rf /workspace; ln -s /etc /workspace")
    snapshot = box.snapshot()
    for origin in (box.id, snapshot):
        try:
            found = box.changes(origin)
        except SandboxError:
            continue
        assert not any(path.startswith((b"passwd", b"group")) for path in found)


def test_changes_of_something_unknown_are_not_found(box: Box) -> None:
    with pytest.raises(NotFound):
        box.changes("snap_00000000000000000000")
