"""Captured trees: whatever a tree holds arrives, stays, comes back and is compared exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.engines.base import ChangesRequest, Engine
from sandbox.errors import InputError, NotFound, SandboxError
from sandbox.trees.entry import ROOT, Entry, sort_key
from tests.engines import Box, Boxes
from tests.trees import Hashing, odd_tree, whiteout_tree, xattr_tree

pytestmark = pytest.mark.timeout(240)


def differences(box: Box, origin: str | None = None) -> dict[bytes, tuple[Entry | None, Entry | None]]:
    """What the engine's candidates come to, by the protocol's own words: before and after of each path."""
    before = {entry.path: entry for entry in box.placements[0].tree.entries()}
    after = dict(before)
    for path, entry in box.changes(origin).items():
        if entry is None or entry.kind != "dir":
            for gone in [known for known in before if below(known, path)]:
                after.pop(gone, None)
        if entry is not None:
            after[path] = entry
    found = {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()}
    return {path: (old, new) for path, (old, new) in found.items() if old != new}


def below(path: bytes, top: bytes) -> bool:
    return top == ROOT or path == top or path.startswith(top + b"/")


def expected(box: Box) -> dict[bytes, tuple[Entry | None, Entry | None]]:
    """The same, as a program inside sees it."""
    before = {entry.path: entry for entry in box.placements[0].tree.entries()}
    after = {entry.path: entry for entry in box.entries()}
    found = {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()}
    return {path: (old, new) for path, (old, new) in found.items() if old != new}


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
    assert len(entries) > 50
    assert boxes.create(tree).entries() == entries


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


def test_xattrs_of_users_arrive_stay_and_are_compared(boxes: Boxes) -> None:
    box = boxes.create(boxes.tree(xattr_tree))
    tree = list(box.placements[0].tree.entries())
    assert sum(bool(entry.xattrs) for entry in tree) == 2
    assert differences(box) == {}
    if not box.engine.traits.keeps_attributes:
        assert differences(box, box.snapshot()) == {}
        box.out("echo more >> README")
        [(before, after)] = differences(box, box.snapshot()).values()
        assert before is not None
        assert after is not None
        assert after.xattrs == before.xattrs, "a change of the content loses none"
        return
    assert box.entries() == tree
    box.python("import os; os.setxattr('README', 'user.mine', b'\\0\\xff'); os.removexattr('app', 'user.dir')")
    wanted = expected(box)
    assert set(wanted) == {b"README", b"app"}
    assert differences(box) == wanted
    snapshot = box.snapshot()
    assert differences(box, snapshot) == wanted
    assert differences(boxes.fork(snapshot, box)) == wanted


CHANGES = {
    "modify": "echo more >> README",
    "modify keeping size and time": "touch -r README /tmp/t; printf 'two\\none\\n' > README; touch -r /tmp/t README",
    "truncate": ": > data/ledger.bin",
    "delete a file": "rm README",
    "delete a tree": "rm -rf app",
    "delete everything": "rm -rf /workspace/* /workspace/.[!.]*",
    "add": "echo new > new; mkdir -p a/b/c; echo deep > a/b/c/deep; : > a/empty",
    "add an empty directory": "mkdir app/none",
    "mode": "chmod 600 README; chmod 4755 app/run.sh; chmod 1777 empty",
    "mode of the top": "chmod 711 /workspace",
    "owner": "chown 1234:5678 README app; chown -h 7:8 current",
    "retarget a link": "ln -sfn data/ledger.bin current",
    "dangling link": "ln -s /etc/passwd secrets; ln -s nowhere/at/all app/dangling",
    "file to directory": "rm README; mkdir README; echo x > README/inside",
    "directory to file": "rm -rf app; echo file > app",
    "directory to link": "rm -rf app; ln -s data app",
    "link to directory": "rm current; mkdir current; echo x > current/x",
    "file to link": "rm README; ln -s app/main.py README",
    "link to file": "rm current; echo plain > current",
    "recreate equal": "cp -a . /tmp/copy; rm -rf app data empty README current; cp -a /tmp/copy/. .",
    "recreate with one line": "cp -a . /tmp/copy; rm -rf /workspace/*; cp -a /tmp/copy/. .; echo fix >> app/main.py",
    "recreate smaller": "cp app/main.py /tmp/keep; rm -rf app; mkdir app; cp /tmp/keep app/main.py",
    "recreate the workspace": "cp -a app /tmp; cd /; rm -rf /workspace; mkdir /workspace; cp -a /tmp/app /workspace",
    "remove and recreate in turn": "for i in 1 2 3; do rm -rf app; mkdir app; echo $i > app/n; done; rm -rf app/n",
    "rename a file": "mv README READ.ME",
    "rename a directory": "mv app application",
    "rename over": "mv app/main.py README",
    "swap directories": "mv app x; mv data app; mv x data",
    "move out and back": "mv app /tmp/app; echo gone > note; mv /tmp/app app",
    "move into": "mv data app/templates/data",
    "only touched": "touch README app data/ledger.bin; chmod 644 README; chown 0:0 README",
    "written with what it had": "cat README > /tmp/r; cat /tmp/r > README",
    "two names of one file": "ln README second; ln app/main.py app/templates/third",
    "pipe": "mkfifo app/pipe",
    "odd names": "python3 -c \"import os; [open(n, 'wb').close() for n in (b'a\\xff', b'n\\nl', b'x' * 255)]\"",
    "deleted odd names": "python3 -c \"import os; open(b'\\xfe', 'w'); os.remove(b'\\xfe'); os.remove('README')\"",
    "many files": "mkdir many; cd many; for i in $(seq 600); do echo $i > f$i; done",
    "a large file": "head -c 30000000 /dev/urandom > large; printf x | dd of=data/ledger.bin seek=99 bs=1 conv=notrunc",
    "a file with a hole": "truncate -s 5000000 hole; printf x >> hole",
    "not the workspace": "echo x > /usr/x; rm -rf /usr/share; mkdir /workspace2; echo y > /workspace2/y",
    "an unreadable file": "chmod 000 README data",
}
NO_CHANGE = {"recreate equal", "only touched", "written with what it had", "not the workspace"}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_changes_are_exact_live_and_in_a_snapshot(boxes: Boxes, what: str) -> None:
    box = boxes.create()
    box.sh(CHANGES[what])
    wanted = expected(box)
    assert (wanted == {}) == (what in NO_CHANGE)
    assert differences(box) == wanted
    snapshot = box.snapshot()
    assert differences(box, snapshot) == wanted
    box.out("cd /; rm -rf /workspace; echo later > /later")
    assert differences(box, snapshot) == wanted, "a snapshot can't change"
    box.rollback(snapshot)
    assert expected(box) == wanted
    assert differences(box) == wanted


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
