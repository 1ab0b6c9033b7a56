"""What is special about directories as targets."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.errors import Drifted, InputError, SandboxError
from sandbox.spec import TargetSpec
from sandbox.targets import beneath, open_target, preflight, staging
from tests.unit.targets.worlds import World, change_everything, everything, put, world

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def quiet(_: str) -> None:
    """Nobody listens."""


def promote(it: World) -> None:
    it.target().prepare(it.request(), quiet)
    assert it.target().apply(it.request(), quiet) == it.wanted.fingerprint


def inodes(root: Path) -> dict[Path, int]:
    return {path.relative_to(root): path.lstat().st_ino for path in root.rglob("*")}


@pytest.mark.parametrize("what", ["missing", "file", "link"])
def test_a_path_that_is_no_directory_is_named_with_a_cure(tmp_path: Path, what: str) -> None:
    path = tmp_path / "target"
    if what == "file":
        path.write_bytes(b"")
    elif what == "link":
        path.symlink_to(tmp_path)
    with pytest.raises(InputError, match=str(path)) as caught:
        open_target(TargetSpec(name="t", kind="directory", path=str(path))).identify()
    assert caught.value.hint


def test_an_identity_says_kind_path_file_system_and_inode(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to(tmp_path)
    found = open_target(TargetSpec(name="t", kind="directory", path=str(tmp_path / "way/real"))).identify()
    kind, host, path, file_system, inode = found.split(":")
    assert (kind, path) == ("directory", str(tmp_path / "real"))
    assert (host != "", inode) == (True, f"inode-{(tmp_path / 'real').stat().st_ino}")
    assert file_system == f"fs-{os.statvfs(tmp_path).f_fsid:x}"


def test_unchanged_files_keep_their_inode_and_restored_ones_get_theirs_back(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    before = inodes(it.root)
    changed = {Path(os.fsdecode(change.path)) for change in it.changes}
    promote(it)
    after = inodes(it.root)
    assert all(after[path] == inode for path, inode in before.items() if path not in changed)
    assert after[Path("edit/mode")] == before[Path("edit/mode")]
    it.target().restore(it.point, quiet)
    assert inodes(it.root) == before


@pytest.mark.parametrize("settled", [False, True])
def test_so_many_files_that_they_are_flushed_together_come_and_go(tmp_path: Path, settled: bool) -> None:
    def fill(root: Path, content: bytes) -> None:
        for number in range(2 * beneath.FEW):
            put(root, f"{number % 7}/{number}", content)

    it = world(tmp_path, lambda root: fill(root, b"old"), lambda root: fill(root, b"new"))
    promote(it)
    if settled:
        it.target().settle(it.point)
    assert it.target().restore(it.point, quiet).clean
    assert it.now() == it.base.fingerprint


def test_restored_files_have_their_times_also_when_made_from_the_copy(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    times = {path: path.lstat().st_mtime_ns for path in it.root.rglob("*") if not path.is_dir()}
    promote(it)
    it.target().settle(it.point)
    assert it.target().restore(it.point, quiet).clean
    assert {path: path.lstat().st_mtime_ns for path in it.root.rglob("*") if not path.is_dir()} == times


def test_a_reader_never_sees_a_file_missing_or_half_written(tmp_path: Path) -> None:
    it = world(tmp_path, lambda root: put(root, "file", b"old"), lambda root: put(root, "file", b"new") and None)
    # It reads until it has seen the file change often enough, however little of the machine it gets.
    code = (
        "import sys\nseen, turns, last = set(), 0, None\n"
        "while turns < 20:\n"
        "    now = open(sys.argv[1], 'rb').read()\n"
        "    seen.add(now)\n"
        "    turns, last = turns + (now != last), now\n"
        "print(sorted(seen))"
    )
    command = [sys.executable, "-c", code, str(it.root / "file")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as reader:
        try:
            for _ in range(1000):
                promote(it)
                it.target().restore(it.point, quiet)
                shutil.rmtree(it.point)
                if reader.poll() is not None:
                    break
        finally:
            reader.kill()
        assert reader.stdout is not None
        assert reader.stdout.read() == b"[b'new', b'old']\n"
        assert reader.wait() == 0


def test_f3_what_a_service_writes_to_a_file_that_was_replaced_under_it_is_kept(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    with (it.root / "edit/text").open("ab") as service, (it.root / "gone/c").open("ab") as other:
        promote(it)
        service.write(b", and more")
        other.write(b", and more")
    result = it.target().restore(it.point, quiet)
    kept = {path: where.read_bytes() for path, where in result.kept_aside}
    assert kept == {b"edit/text": b"old, and more", b"gone/c": b"c, and more"}
    assert (result.clean, it.now()) == (True, it.base.fingerprint)


def test_what_a_service_writes_to_a_file_of_which_only_the_mode_changed_stays(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    promote(it)
    put(it.root, "edit/mode", b"written by the service", 0o644)
    result = it.target().restore(it.point, quiet)
    assert (result.clean, result.kept_aside, result.foreign) == (True, (), (b"edit/mode",))
    assert (it.root / "edit/mode").read_bytes() == b"written by the service"
    assert (it.root / "edit/mode").stat().st_mode & 0o777 == 0o600


def test_f3_a_mode_that_somebody_else_set_is_kept_aside(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    promote(it)
    (it.root / "edit/mode").chmod(0o400)
    result = it.target().restore(it.point, quiet)
    ((path, kept),) = result.kept_aside
    assert (path, kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"edit/mode", b"same", 0o400)
    assert (result.clean, it.now()) == (True, it.base.fingerprint)


def test_f3_a_file_that_somebody_else_put_where_one_was_deleted_is_kept(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    promote(it)
    put(it.root, "gone/new", b"theirs")
    (it.root / "file-to-dir/link").symlink_to("nowhere")
    result = it.target().restore(it.point, quiet)
    kept = dict(result.kept_aside)
    assert kept.keys() == {b"gone/new", b"file-to-dir/link"}
    assert kept[b"gone/new"].read_bytes() == b"theirs"
    assert os.readlink(kept[b"file-to-dir/link"]) == "nowhere"
    assert (result.clean, it.now()) == (True, it.base.fingerprint)


def test_restore_gives_up_clearly_where_the_parent_directory_is_gone(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    promote(it)
    (it.root / "edit").rename(tmp_path / "elsewhere")
    assert not it.target().restore(it.point, quiet).clean
    (tmp_path / "elsewhere").rename(it.root / "edit")
    assert it.target().restore(it.point, quiet).clean
    assert it.now() == it.base.fingerprint


def test_a6_a_directory_that_was_recreated_is_not_applied_to_or_restored(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    it.target().prepare(it.request(), quiet)
    it.root.rename(tmp_path / "original")
    subprocess.run(["cp", "-a", str(tmp_path / "original"), str(it.root)], check=True)
    for act in (lambda: it.target().apply(it.request(), quiet), lambda: it.target().restore(it.point, quiet)):
        with pytest.raises(Drifted):
            act()
    assert it.now() == it.base.fingerprint


def test_hard_linked_files_are_replaced_and_their_other_names_keep_everything(tmp_path: Path) -> None:
    def before(root: Path) -> None:
        os.link(put(root, "a", b"same", 0o600), root / "b")
        os.link(root / "a", root / "c")

    def after(root: Path) -> None:
        (root / "a").unlink()
        put(root, "a", b"same", 0o644)
        (root / "b").unlink()
        put(root, "b", b"changed", 0o600)

    it = world(tmp_path, before, after)
    promote(it)
    assert ((it.root / "c").read_bytes(), (it.root / "c").stat().st_mode & 0o777) == (b"same", 0o600)
    assert it.target().restore(it.point, quiet).clean
    assert it.now() == it.base.fingerprint


def test_access_control_lists_stay_with_a_file_that_is_replaced(tmp_path: Path) -> None:
    # Version 2, then (tag, permissions, id): owner rw, user 1234 r, group -, mask r, others -.
    entries = ((1, 6, 2**32 - 1), (2, 4, 1234), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)

    def before(root: Path) -> None:
        os.setxattr(put(root, "file", b"old"), "system.posix_acl_access", acl)

    def after(root: Path) -> None:
        (root / "file").write_bytes(b"new")

    it = world(tmp_path, before, after)
    promote(it)
    assert os.getxattr(it.root / "file", "system.posix_acl_access") == acl
    it.target().settle(it.point)
    it.target().restore(it.point, quiet)
    assert os.getxattr(it.root / "file", "system.posix_acl_access") == acl


def test_leftovers_of_another_promotion_are_refused_and_own_ones_cleared(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    put(it.root, ".sandbox-prm_1/junk", b"")
    it.target().prepare(it.request(), quiet)
    it.target().settle(it.point)
    shutil.rmtree(it.point)
    put(it.root, ".sandbox-prm_other/0", b"precious")
    with pytest.raises(InputError, match="prm_other") as caught:
        it.target().prepare(it.request("prm_2"), quiet)
    assert "recover" in caught.value.hint
    assert (it.root / ".sandbox-prm_other/0").read_bytes() == b"precious"


def test_e3_a_valid_restore_point_is_never_overwritten(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    promote(it)
    with pytest.raises(SandboxError):
        it.target().prepare(it.request(), quiet)
    with pytest.raises(InputError):
        it.target().apply(it.request(), quiet)
    it.target().restore(it.point, quiet)
    assert it.now() == it.base.fingerprint


def test_e3_the_restore_point_is_enough_without_what_is_staged_in_the_target(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    promote(it)
    shutil.rmtree(it.root / ".sandbox-prm_1")
    assert it.target().restore(it.point, quiet).clean
    assert it.now() == it.base.fingerprint


@pytest.mark.parametrize("name", ["manifest", "content"])
def test_f2_a_damaged_restore_point_is_found_before_it_is_used(tmp_path: Path, name: str) -> None:
    it = world(tmp_path, everything, change_everything)
    promote(it)
    it.target().settle(it.point)
    file = it.point / name if name == "manifest" else next((it.point / name).iterdir())
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(SandboxError, match=r"damaged|stored content"):
        it.target().restore(it.point, quiet)


def test_a7_a_sealed_content_that_is_damaged_never_reaches_the_target(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    next(each for each in it.blobs.directory.iterdir() if each.stat().st_size).write_bytes(b"something else")
    with pytest.raises(SandboxError):
        it.target().prepare(it.request(), quiet)
    assert it.now() == it.base.fingerprint
    assert not list(it.root.glob(".sandbox-*"))


def test_no_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = world(tmp_path, everything, change_everything)
    monkeypatch.setattr(preflight, "_RESERVE", 1 << 60)
    with pytest.raises(InputError, match="no room"):
        it.target().prepare(it.request(), quiet)
    assert not it.point.exists()


def test_a_file_system_without_exchange_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = world(tmp_path, everything, change_everything)
    monkeypatch.setattr(staging, "can_exchange", lambda _: False)
    with pytest.raises(InputError, match="swap two names"):
        it.target().prepare(it.request(), quiet)
    assert it.now() == it.base.fingerprint


@AS_ROOT
def test_a_read_only_file_system_is_refused(tmp_path: Path) -> None:
    it = world(tmp_path, everything, change_everything)
    code = (
        "import os, pickle, subprocess, sys\n"
        "it = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for how in (['--bind', str(it.root), str(it.root)], ['-o', 'remount,bind,ro', str(it.root)]):\n"
        "    subprocess.run(['mount', *how], check=True)\n"
        "try: it.target().prepare(it.request(), lambda _: None)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    (tmp_path / "it").write_bytes(pickle.dumps(it))
    command = ["unshare", "-m", sys.executable, "-c", code, str(tmp_path / "it")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("InputError")
    assert "read-only" in done.stdout


def test_a_mount_point_on_the_way_is_refused(tmp_path: Path) -> None:
    with beneath.opened(Path("/")) as root, pytest.raises(InputError, match="another file system"):
        beneath.open_directory(root, b"proc")


@pytest.mark.parametrize("path", [b"../x", b"a/../../x", b"/etc", b"a//b", b"./a"])
def test_a_path_that_is_not_plain_is_refused(tmp_path: Path, path: bytes) -> None:
    (tmp_path / "a").mkdir()
    with beneath.opened(tmp_path) as root, pytest.raises((InputError, OSError)), beneath.parent(root, path + b"/y"):
        pass
