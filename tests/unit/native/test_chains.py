"""Chains of layers: long ones, flattened ones, and one tree placed twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.engines.base import RestoreRequest
from sandbox.engines.native import NativeEngine, flattening, overlay, snapshots
from sandbox.engines.native.store import Store
from tests.engines import Boxes
from tests.trees import plain_tree, tree_of

pytestmark = pytest.mark.timeout(240)


def chain_of(home: Path, sandbox: str) -> tuple[str, ...]:
    return Store(home / "engines" / "native").sandbox(sandbox).origin.chain


def test_sixty_snapshots_each_gone_on_from(boxes: Boxes, home: Path) -> None:
    box = boxes.create()
    box.out("mkdir kept; echo old > kept/a; echo old > changing; mkdir emptied; echo x > emptied/gone")
    base = len(chain_of(home, box.id))
    longest = 0
    for number in range(60):
        box.out(f"echo {number} > changing; echo {number} > kept/{number}; rm -rf emptied; mkdir emptied")
        box.rollback(box.snapshot())
        longest = max(longest, len(chain_of(home, box.id)) - base)
    assert longest == snapshots.MAX_SNAPSHOT_LAYERS, "it grows, and is flattened"
    assert box.out("cat changing; ls kept | wc -l; ls -A emptied; cat README") == b"59\n61\none\ntwo\n"
    assert set(box.changes()) >= {b"changing", b"kept/0", b"kept/59"}


def test_a_chain_of_two_hundred_layers_mounts(boxes: Boxes, home: Path) -> None:
    """The chain is lengthened in its files, since two hundred real rollbacks take too long."""
    box, store = boxes.create(), Store(home / "engines" / "native")
    snapshot = box.snapshot()
    state = store.snapshot(snapshot)
    extra = []
    for number in range(200):
        layer = store.layers / snapshot / f"extra-{number}"
        layer.mkdir()
        (layer / f"of-{number}").write_text("seen")
        extra.append(str(layer))
    origin = state.origin.model_copy(update={"chain": (*extra, *state.origin.chain)})
    store.put_snapshot(state.model_copy(update={"origin": origin}))
    box.rollback(snapshot)
    assert box.out("cat /of-0 /of-199 README") == b"seenseenone\ntwo\n"


def test_a_flattened_chain_shows_what_the_chain_showed(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(snapshots, "MAX_SNAPSHOT_LAYERS", 2)
    box = boxes.create()
    steps = (
        "rm -rf app; mkdir app; echo new > app/main.py; chmod 700 app",
        "rm README; mkdir README; echo in > README/file; ln -s nowhere link",
        "rm -rf data; echo file > data; rm -rf README; echo again > README",
        "mkdir -p empty/deep/er; mkfifo pipe; ln README hard",
    )
    for step in steps:
        box.out(step)
        before, candidates = box.entries(), box.changes()
        box.rollback(box.snapshot())
        assert box.entries() == before
        assert {path for path, entry in candidates.items() if entry is None} <= set(box.changes())
    assert any(layer.endswith("/below") for layer in chain_of(home, box.id))


def test_flattening_keeps_what_hides_the_base(tmp_path: Path) -> None:
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    for layer in (top, bottom):
        (layer / "dir").mkdir(parents=True)
    (bottom / "dir" / "from below").write_text("x")
    (bottom / "both").write_text("below")
    (top / "both").write_text("top")
    for layer, name in ((top, "gone"), (bottom, "gone before")):
        handle = os.open(layer, os.O_RDONLY)
        overlay.make_whiteout(handle, name)
        os.close(handle)
    handle = os.open(bottom / "dir", os.O_RDONLY)
    overlay.set_opaque(handle)
    os.close(handle)
    flattening.flatten([top, bottom], tmp_path / "flat")
    flat = tmp_path / "flat"
    assert sorted(os.listdir(flat)) == ["both", "dir", "gone", "gone before"]
    assert (flat / "both").read_text() == "top"
    assert (flat / "dir" / "from below").read_text() == "x"
    assert all(overlay.is_whiteout(os.lstat(flat / name)) for name in ("gone", "gone before"))
    handle = os.open(flat / "dir", os.O_RDONLY)
    assert overlay.is_opaque(handle)
    os.close(handle)


def test_one_tree_placed_twice_is_two_copies(boxes: Boxes) -> None:
    tree = boxes.tree()
    box = boxes.create(tree, tree)
    box.out("echo changed > t0/README")
    assert box.out("cat t1/README; ls /; ls -A /workspace").endswith(b"t0\nt1\n")
    assert box.out("cat t1/README") == b"one\ntwo\n"
    assert b"README" in box.changes(index=0)
    assert b"README" not in box.changes(index=1)


def test_a_tree_that_lies_around_the_engines_own_files_can_be_placed(boxes: Boxes, home: Path) -> None:
    root = home.parent / "tree"
    root.mkdir()
    plain_tree(root)
    box = boxes.create(tree_of(root))
    assert box.out("cat README; ls -A /").startswith(b"one\ntwo\n")
    assert b"manifest" not in box.out("ls -A /")


def test_a_rollback_to_another_sandboxes_snapshot_keeps_the_own_environment(boxes: Boxes, engine: NativeEngine) -> None:
    one, other = boxes.create(env={"WHO": "one"}), boxes.create(env={"WHO": "other"})
    one.out("echo of one > state")
    engine.restore(RestoreRequest(one.snapshot(), other.id))
    assert other.out("cat state; echo $WHO") == b"of one\nother\n"
