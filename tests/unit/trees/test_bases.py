"""The store of bases: what is captured is the target at one instant, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.errors import Conflict, InputError, NotFound
from sandbox.trees import manifest, stored
from sandbox.trees.bases import BaseStore, StoredBase
from sandbox.trees.entry import ROOT, Change
from sandbox.trees.removal import remove_tree
from sandbox.trees.scan import scan
from tests.unit.trees.captures import NOTHING, Contents, capture, inodes, leftovers
from tests.unit.trees.test_scan import AWKWARD, CAPABILITY, as_root, dig


def test_a_base_is_what_a_scan_finds(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    for name in AWKWARD:
        Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_bytes(name)
    base = capture(store, tree)
    found = list(scan(tree, NOTHING))
    assert list(base.entries()) == found
    assert base.fingerprint == manifest.fingerprint(found)
    assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())
    for entry in found:
        assert base.find(entry.path) == entry
        if entry.kind == "file":
            with base.open(entry.path) as file:
                assert hashlib.sha256(file.read()).digest() == entry.content
    assert (base.tree.root / "a").stat().st_mtime_ns == 10**18 + 1
    assert store.get(base.fingerprint) == base
    assert store.list() == (base,)
    assert leftovers(tmp_path) == []


@as_root
def test_on_disk_root_stands_for_the_owner_of_the_target(store: BaseStore, tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        os.chown(path, 1234, 4321, follow_symlinks=False)
    os.chown(tree / "b", 0, 77)
    base = capture(store, tree)
    assert list(base.entries()) == list(scan(tree, NOTHING))
    assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())
    on_disk = {entry.path: (entry.uid, entry.gid) for entry in scan(base.tree.root, NOTHING)}
    assert on_disk == {entry.path: (0, 0) for entry in base.entries()} | {b"b": (1234, 77)}


@as_root
def test_what_the_target_already_had_is_carried_as_it_is(store: BaseStore, tree: Path) -> None:
    os.mknod(tree / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(tree / "fifo")
    os.chown(tree / "b", 5, 6)
    (tree / "b").chmod(0o6755)
    (tree / "d").chmod(0o1777)
    os.setxattr(tree / "b", "security.capability", CAPABILITY)
    base = capture(store, tree)
    assert list(base.entries()) == list(scan(tree, NOTHING)) == list(scan(base.tree.root, NOTHING))


@as_root
def test_an_overlay_whiteout_is_bad_input(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    os.mknod(tree / "white", 0o600 | stat.S_IFCHR, os.makedev(0, 0))
    with pytest.raises(InputError, match="whiteout"):
        capture(store, tree)
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("settled")
def test_i4_a_base_never_shares_an_inode_with_the_target(store: BaseStore, tree: Path) -> None:
    first = capture(store, tree)
    (tree / "a").write_text("other")
    second = capture(store, tree)
    for base in (first, second):
        assert not set(inodes(tree).values()) & set(inodes(base.tree.root).values())
    assert {path.stat().st_nlink for path in tree.rglob("*") if path.is_file() and not path.is_symlink()} == {1}


@pytest.mark.usefixtures("settled")
def test_an_unchanged_target_gives_the_base_that_is_there(store: BaseStore, tree: Path) -> None:
    first = capture(store, tree)
    before = inodes(first.tree.root)
    assert capture(store, tree) == first
    assert inodes(first.tree.root) == before


@pytest.mark.usefixtures("settled")
def test_bases_of_one_target_share_what_did_not_change(store: BaseStore, tree: Path) -> None:
    first = inodes(capture(store, tree).tree.root)
    (tree / "a").write_text("other")
    (tree / "b").chmod(0o600)
    (tree / "new").write_text("new")
    base = capture(store, tree)
    assert list(base.entries()) == list(scan(tree, NOTHING)) == list(scan(base.tree.root, NOTHING))
    second = inodes(base.tree.root)
    shared = {name for name, inode in second.items() if first.get(name) == inode}
    assert shared == {"big", "nothing", "d/a"}


@pytest.mark.usefixtures("settled")
def test_every_kind_of_change_is_in_the_next_base(store: BaseStore, tree: Path) -> None:
    capture(store, tree)
    (tree / "a").unlink()
    assert list(capture(store, tree).entries()) == list(scan(tree, NOTHING))
    (tree / "big").unlink()
    (tree / "big").mkdir()
    assert list(capture(store, tree).entries()) == list(scan(tree, NOTHING))
    remove_tree(tree / "d")
    (tree / "d").write_text("a file")
    base = capture(store, tree)
    assert list(base.entries()) == list(scan(tree, NOTHING)) == list(scan(base.tree.root, NOTHING))


@as_root
@pytest.mark.usefixtures("settled")
def test_a_target_that_changed_its_owner_shares_nothing(store: BaseStore, tree: Path) -> None:
    first = inodes(capture(store, tree).tree.root)
    os.chown(tree, 1234, 4321)
    base = capture(store, tree)
    assert not set(first.values()) & set(inodes(base.tree.root).values())
    assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())


def test_holes_stay_holes(store: BaseStore, tree: Path) -> None:
    with (tree / "sparse").open("wb") as file:
        file.seek(40 << 20)
        file.write(b"x" * 70_000)
        file.truncate(80 << 20)
    base = capture(store, tree)
    assert (base.tree.root / "sparse").stat().st_blocks * 512 < 1 << 20
    assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())


def test_depth_has_no_limit(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    dig(tree, b"d" * 30, 200)
    try:
        base = capture(store, tree)
        deepest = b"/".join([b"d" * 30] * 200)
        assert base.find(deepest) is not None
        assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())
        derived = store.derive(base, [Change(b"a", base.find(b"a"), None)], Contents())
        assert derived.find(deepest) is not None
    finally:
        remove_tree(tree)
        remove_tree(tmp_path / "home")


def test_progress_ends_at_all_entries_and_bytes(store: BaseStore, tree: Path) -> None:
    for number in range(500):
        (tree / f"n{number}").write_text("x")
    seen: list[tuple[int, int]] = []
    base = store.capture(tree, NOTHING, key="k", on_progress=lambda entries, size: seen.append((entries, size)))
    found = list(base.entries())
    assert len(seen) > 1
    assert seen[-1] == (len(found), sum(entry.size for entry in found))


@pytest.mark.parametrize("name", ["missing", "a", "link"])
def test_a_source_that_is_no_directory_is_bad_input(store: BaseStore, tree: Path, name: str) -> None:
    with pytest.raises(InputError):
        capture(store, tree / name)


def while_capturing(store: BaseStore, tree: Path, act: Callable[[int], object]) -> StoredBase:
    """Capture; `act` is called at the end of each pass, with its number."""
    passes = 0

    def on_progress(_entries: int, _size: int) -> None:
        nonlocal passes
        passes += 1
        act(passes)

    return store.capture(tree, NOTHING, key="target", on_progress=on_progress)


@pytest.mark.parametrize("act", ["write", "delete", "chmod"])
def test_a_change_behind_the_copy_is_copied_too(store: BaseStore, tree: Path, tmp_path: Path, act: str) -> None:
    def once(number: int) -> None:
        if number > 1:
            return
        if act == "write":
            (tree / "a").write_text("b")
        elif act == "delete":
            (tree / "a").unlink()
        else:
            (tree / "a").chmod(0o600)

    base = while_capturing(store, tree, once)
    assert list(base.entries()) == list(scan(tree, NOTHING)) == list(scan(base.tree.root, NOTHING))
    assert leftovers(tmp_path) == []


def test_a_target_that_never_keeps_still_is_a_conflict(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        while_capturing(store, tree, lambda number: (tree / "a").write_text(str(number)))
    assert store.list() == ()
    assert leftovers(tmp_path) == []


def test_two_captures_at_once_give_one_base(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def one(_: int) -> StoredBase:
        together.wait()
        return BaseStore(tmp_path / "home" / "bases").capture(tree, NOTHING, key="target")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(one, range(4)))) == 1
    assert len(store.list()) == 1
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("point", ["base.built", "base.placed"])
def test_a_killed_capture_leaves_a_whole_base_or_none(store: BaseStore, tree: Path, tmp_path: Path, point: str) -> None:
    code = f"""if True:
        from pathlib import Path
        from sandbox.trees.bases import BaseStore
        from sandbox.trees.patterns import Patterns
        BaseStore(Path({str(tmp_path / "home" / "bases")!r})).capture(Path({str(tree)!r}), Patterns([]), key="target")
    """
    environment = os.environ | {"SANDBOX_FAULT": f"{point}:kill"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -signal.SIGKILL
    assert len(store.list()) == (1 if point == "base.placed" else 0)
    assert len(store.sweep()) == (0 if point == "base.placed" else 1)
    assert leftovers(tmp_path) == []
    base = capture(store, tree)
    assert list(base.entries()) == list(scan(tree, NOTHING)) == list(scan(base.tree.root, NOTHING))


def test_nothing_is_swept_from_under_a_capture(store: BaseStore, tree: Path) -> None:
    swept: list[object] = []
    base = while_capturing(store, tree, lambda _: swept.append(store.sweep()))
    assert swept == [()]
    assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())


@as_root
@pytest.mark.parametrize("size", ["1m", "3m"])
def test_a_full_disk_is_bad_input_and_leaves_nothing(tree: Path, tmp_path: Path, size: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", small], check=True)
    try:
        store = BaseStore(small / "bases")
        with pytest.raises(InputError, match=r"no room .* takes about \d+ bytes, and \d+ are free"):
            capture(store, tree)
        assert store.list() == ()
        assert [path.name for path in (small / "bases").iterdir()] == [".lock"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_removed_base_is_gone_and_captured_anew(store: BaseStore, tree: Path, tmp_path: Path) -> None:
    base = capture(store, tree)
    store.remove(base.fingerprint)
    store.remove(base.fingerprint)
    assert store.list() == ()
    with pytest.raises(NotFound):
        store.get(base.fingerprint)
    assert leftovers(tmp_path) == []
    assert capture(store, tree) == base


@pytest.mark.parametrize("name", ["../../etc", "", "0" * 63, "0" * 64, "/etc", "caches"])
def test_what_is_no_base_is_not_found(store: BaseStore, tree: Path, name: str) -> None:
    capture(store, tree)
    with pytest.raises(NotFound):
        store.get(name)
    store.remove(name)


def test_after_a_crash_of_the_machine_a_base_is_verified_once(
    store: BaseStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = capture(store, tree)
    monkeypatch.setattr("sandbox.trees.bases.boot_id", lambda: "the next boot")
    assert store.get(base.fingerprint) == base
    assert stored.Meta.read(base.directory).boot == "the next boot"
    monkeypatch.setattr("sandbox.trees.bases.boot_id", lambda: "the boot after a crash")
    (base.tree.root / "a").write_bytes(b"\0")
    with pytest.raises(NotFound, match="damaged"):
        store.get(base.fingerprint)
    again = capture(store, tree)
    assert again == base
    assert list(scan(again.tree.root, NOTHING)) == list(again.tree.entries())


def test_after_a_crash_several_may_verify_at_once(
    store: BaseStore, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = capture(store, tree)
    together = threading.Barrier(4)
    monkeypatch.setattr("sandbox.trees.bases.boot_id", lambda: "the next boot")

    def one(_: int) -> StoredBase:
        together.wait()
        return BaseStore(tmp_path / "home" / "bases").get(base.fingerprint)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(4))) == {base}
    assert sorted(path.name for path in base.directory.iterdir()) == ["manifest", "meta.json", "tree"]


def test_what_is_no_file_of_the_base_is_not_found(store: BaseStore, tree: Path) -> None:
    base = capture(store, tree)
    for path in (b"missing", b"d", b"link", b"a/b", b"d/../a", b"../target/a", b"..", b"link/x", ROOT):
        with pytest.raises(NotFound):
            base.open(path)


@as_root
def test_without_root_the_manifest_is_the_truth(tree: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    tmp_path.chmod(0o755)
    for path in [home, tree, *tree.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    (tree / "b").chmod(0o4555)
    (tree / "d").chmod(0o500)
    code = f"""if True:
        import os
        from pathlib import Path
        from sandbox.trees.bases import BaseStore
        from sandbox.trees.patterns import Patterns
        os.chdir({str(tmp_path)!r})
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        store = BaseStore(Path("home"))
        base = store.capture(Path("target"), Patterns([]), key="target")
        assert base.open(b"b").read() == b"b"
        assert store.capture(Path("target"), Patterns([]), key="target") == base
        derived = store.derive(base, [], None)
        assert derived == base
        print(base.fingerprint)
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    fingerprint = ran.stdout.strip()
    assert fingerprint == manifest.fingerprint(scan(tree, NOTHING))
    with pytest.raises(NotFound, match="without root"):
        BaseStore(home).get(fingerprint)
    base = BaseStore(home).capture(tree, NOTHING, key="target")
    assert base.fingerprint == fingerprint
    assert list(scan(base.tree.root, NOTHING)) == list(base.tree.entries())
