"""Bases that are a layer over another one: exact, shared, shallow, and never half there."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import NotFound
from sandbox.trees import bases, layering, stat_cache, stored
from sandbox.trees.bases import BaseStore, StoredBase
from sandbox.trees.changes import compare, net
from sandbox.trees.entry import Change, Entry
from sandbox.trees.removal import remove_tree
from sandbox.trees.scan import scan
from sandbox.trees.writer import TreeWriter
from tests.unit.trees.captures import NOTHING, capture, inodes, leftovers
from tests.unit.trees.strategies import PROPERTY, edits, trees
from tests.unit.trees.test_scan import as_root

pytestmark = as_root


@pytest.fixture(autouse=True)
def _small_trees_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layering, "SMALLEST", 1)
    monkeypatch.setattr(layering, "SHARE", 1)


def shown(base: StoredBase, where: Path) -> list[Entry]:
    """What the layers show together, put together by hand, of links, in the directory `where`."""
    where.mkdir()
    for layer in reversed(base.layers):
        _lay(os.fsencode(layer), os.fsencode(where))
    return list(scan(where, NOTHING))


def _lay(layer: bytes, over: bytes) -> None:
    for name in os.listdir(layer):
        new, old = os.path.join(layer, name), os.path.join(over, name)
        state = os.lstat(new)
        directory = stat.S_ISDIR(state.st_mode)
        if os.path.lexists(old) and not (directory and stat.S_ISDIR(os.lstat(old).st_mode)):
            remove_tree(Path(os.fsdecode(old))) if stat.S_ISDIR(os.lstat(old).st_mode) else os.unlink(old)
        if directory:
            os.makedirs(old, exist_ok=True)
            _lay(new, old)
        elif not (stat.S_ISCHR(state.st_mode) and state.st_rdev == 0):
            os.link(new, old, follow_symlinks=False)
    state = os.lstat(layer)
    os.chown(over, state.st_uid, state.st_gid)
    os.chmod(over, stat.S_IMODE(state.st_mode))
    for name in set(os.listxattr(over)) - set(os.listxattr(layer)):
        os.removexattr(over, name)
    for name in os.listxattr(layer):
        os.setxattr(over, name, os.getxattr(layer, name))


def is_exact(base: StoredBase, expected: list[Entry], where: Path) -> bool:
    """It lists, shows and opens what is expected, and nothing else."""
    contents = all(_digest(base, entry.path) == entry.content for entry in expected if entry.kind == "file")
    seen = shown(base, where) == [base.owner.swap(entry) for entry in expected]
    return contents and seen and list(base.entries()) == expected


def _digest(base: StoredBase, path: bytes) -> bytes:
    with base.open(path) as file:
        return hashlib.sha256(file.read()).digest()


@pytest.mark.usefixtures("settled")
def test_what_changed_is_a_layer_over_what_did_not(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    first = capture(store, tree)
    kept = inodes(first.directory)
    (tree / "a").write_text("other")
    (tree / "b").chmod(0o600)
    (tree / "d" / "new").write_text("new")
    (tree / "link").unlink()
    base = capture(store, tree)
    assert base.under == first.directory
    assert is_exact(base, list(scan(tree, NOTHING)), tmp_path / "shown")
    assert sorted(inodes(base.layers[0])) == ["a", "b", "d/new"]
    assert inodes(first.directory) == kept
    assert store.get(base.fingerprint) == base == capture(store, tree)
    assert set(store.list()) == {first, base}
    assert not set(inodes(tree).values()) & set(inodes(base.directory).values())
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("settled")
def test_every_kind_becomes_every_other(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    capture(store, tree)
    number = itertools.count()

    def exact() -> StoredBase:
        base = capture(store, tree)
        assert is_exact(base, list(scan(tree, NOTHING)), tmp_path / f"shown{next(number)}")
        return base

    (tree / "big").unlink()
    (tree / "big").mkdir()
    (tree / "big" / "inner").write_text("inner")
    assert exact().under
    remove_tree(tree / "d")
    (tree / "d").write_text("a file")
    assert exact().under
    (tree / "d").unlink()
    (tree / "d").mkdir()
    (tree / "d" / "a").symlink_to("b")
    (tree / "nothing").unlink()
    os.mkfifo(tree / "nothing")
    assert exact().under
    remove_tree(tree / "big")
    (tree / "0 before all").write_text("0")
    (tree / "z after all").write_text("z")
    os.setxattr(tree / "d", "user.x", b"of a directory")
    tree.chmod(0o711)
    assert exact().under


@pytest.mark.usefixtures("settled")
def test_depth_never_grows_and_what_comes_back_leaves_the_layer(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    first = capture(store, tree)
    for number in range(5):
        (tree / f"new{number}").write_text("x" * number)
        base = capture(store, tree)
        assert base.under == first.directory
        assert sorted(inodes(base.layers[0])) == [f"new{each}" for each in range(number + 1)]
    for number in range(4):
        (tree / f"new{number}").unlink()
    base = capture(store, tree)
    assert sorted(inodes(base.layers[0])) == ["new4"]
    assert is_exact(base, list(scan(tree, NOTHING)), tmp_path / "shown")
    (tree / "new4").unlink()
    assert capture(store, tree) == first


@pytest.mark.usefixtures("settled")
def test_where_much_changed_a_whole_base_is_made_that_shares_the_rest(
    store: BaseStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layering, "SHARE", 4)
    first = capture(store, tree)
    (tree / "a").write_text("one of nine")
    layered = capture(store, tree)
    assert layered.under == first.directory
    for name in ("b", "d/a"):
        (tree / name).write_text("three of nine")
    whole = capture(store, tree)
    assert whole.under is None
    assert list(scan(whole.tree.root, NOTHING)) == list(whole.entries()) == list(scan(tree, NOTHING))
    assert inodes(whole.tree.root)["big"] == inodes(first.tree.root)["big"]
    assert inodes(whole.tree.root)["a"] == inodes(layered.tree.root)["a"]


def test_a_target_that_was_given_away_gets_a_whole_base(store: BaseStore, tree: Path) -> None:
    capture(store, tree)
    os.chown(tree, 1234, 4321)
    base = capture(store, tree)
    assert base.under is None
    assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())


@pytest.mark.parametrize("clock", ["racy", "remote", "set"])
def test_what_changes_behind_the_pass_is_in_the_base(
    store: BaseStore, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """Just now, by a clock that is not ours, or while our clock is being set: each is looked at a second time."""
    monkeypatch.setattr(stat_cache, "RACY_NS", -60_000_000_000)
    capture(store, tree)
    (tree / "a").write_text("seen")
    if clock == "racy":
        monkeypatch.setattr(stat_cache, "RACY_NS", 2_000_000_000)
    elif clock == "remote":
        monkeypatch.setattr(bases, "has_local_clock", lambda _: False)
    ahead = itertools.count(0, 10**10 if clock == "set" else 0)
    now = stat_cache.time.time_ns
    monkeypatch.setattr(stat_cache.time, "time_ns", lambda: now() + next(ahead))
    acted: list[int] = []

    def once(entries: int, _size: int) -> None:
        if not acted:
            acted.append(entries)
            (tree / "b").write_text("behind")

    base = store.capture(tree, NOTHING, key="target", on_progress=once)
    assert acted
    assert is_exact(base, list(scan(tree, NOTHING)), tmp_path / "shown")
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", ["content", "whiteout", "extra", "list", "below"])
def test_after_a_crash_of_the_machine_a_layer_is_verified(
    store: BaseStore, tree: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    capture(store, tree)
    (tree / "a").write_text("other")
    (tree / "b").unlink()
    base = capture(store, tree)
    monkeypatch.setattr(bases, "boot_id", lambda: "the next boot")
    assert store.get(base.fingerprint) == base
    assert stored.Meta.read(base.directory).boot == "the next boot"
    monkeypatch.setattr(bases, "boot_id", lambda: "the boot after a crash")
    top, below = base.layers
    if damage == "content":
        (top / "a").write_text("OTHER")
    elif damage == "whiteout":
        (top / "b").unlink()
    elif damage == "extra":
        (top / "c").write_text("c")
    elif damage == "list":
        (base.directory / "changes").write_bytes(b"")
    else:
        (below / "b").write_text("B")
    with pytest.raises((NotFound, bases.SandboxError), match="damaged"):
        store.get(base.fingerprint)
    again = capture(store, tree)
    assert list(again.entries()) == list(scan(tree, NOTHING))
    assert store.get(again.fingerprint) == again


@pytest.mark.usefixtures("settled")
def test_what_a_layer_lies_over_goes_after_it(store: BaseStore, tree: Path) -> None:
    first = capture(store, tree)
    (tree / "a").write_text("other")
    base = capture(store, tree)
    store.remove(first.fingerprint)
    assert set(store.list()) == {first, base}
    store.remove(base.fingerprint)
    store.remove(first.fingerprint)
    assert store.list() == ()
    assert list(capture(store, tree).entries()) == list(scan(tree, NOTHING))


@pytest.mark.parametrize("gone", [{b"d"}, {b"a", b"link"}, {b"."}, set()])
def test_the_entries_that_a_difference_is_about_give_the_same_difference(
    store: BaseStore, tree: Path, gone: set[bytes]
) -> None:
    base = capture(store, tree)
    new = Entry(b"d/new", "dir", 0o755, 0, 0)
    said = [(path, None) for path in sorted(gone)] + ([] if gone & {b"d", b"."} else [(b"d/new", new)])
    known = list(base.entries_among({path for path, _ in said}, gone))
    assert net(known, said) == net(base.entries(), said)
    assert len(known) < len(list(base.entries())) or gone == {b"."}


@functools.cache
def _short_contents() -> dict[bytes, bytes]:
    known = (bytes(part) for size in range(3) for part in itertools.product(range(256), repeat=size))
    return {hashlib.sha256(content).digest(): content for content in known}


class ShortContents:
    """Every content of up to two bytes."""

    def open(self, sha256: bytes) -> io.BytesIO:
        return io.BytesIO(_short_contents()[sha256])


def _written(root: Path, entries: tuple[Entry, ...]) -> None:
    with TreeWriter(root) as writer:
        for entry in entries:
            if entry.kind == "file":
                writer.pour(entry.path, [_short_contents()[entry.content]])
            writer.add(entry, 0)
        writer.finish()


def _possible(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Without capabilities of no meaning, which the kernel refuses to give."""
    return tuple(
        entry._replace(xattrs=tuple(pair for pair in entry.xattrs if pair[0] != b"security.capability"))
        for entry in entries
    )


@PROPERTY
@given(st.data())
def test_a_derived_layer_shows_exactly_what_the_changes_lead_to(data: st.DataObject) -> None:
    before = _possible(data.draw(trees()))
    after = _possible(data.draw(edits(before)))
    later = _possible(data.draw(edits(after)))
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        _written(place / "target", before)
        store = BaseStore(place / "bases")
        base = capture(store, place / "target")
        for number, (old, new) in enumerate(((before, after), (after, later))):
            changes: tuple[Change, ...] = tuple(compare(old, new))
            base = store.derive(base, changes, ShortContents())
            assert is_exact(base, list(new), place / f"shown{number}")
            assert store.get(base.fingerprint) == base
        remove_tree(place / "bases")
