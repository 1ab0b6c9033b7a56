"""What a scan of a real directory gives, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from sandbox.errors import Conflict, InputError
from sandbox.trees.entry import ROOT, Entry, sort_key
from sandbox.trees.patterns import Patterns
from sandbox.trees.removal import remove_tree
from sandbox.trees.scan import scan

NOTHING = Patterns([])
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices, mounts, other users")
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
AWKWARD = [b"new\nline", b"\xff\xfe", b"-rf", b" ", b"\x1b[31m", b"z" * 255, "\u202eevil".encode(), b"a.b", b"a-"]


def listing(root: Path, ignore: Patterns = NOTHING) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in scan(root, ignore)}


class Reader:
    """A sink that hashes, and does something when it comes to a path."""

    def __init__(self, at: bytes = b"", then: Callable[[], object] | None = None) -> None:
        self.paths: list[bytes] = []
        self._at, self._then = at, then

    def __call__(self, path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:
        self.paths.append(path)
        content = b"".join(chunks)
        if path == self._at and self._then is not None:
            self._then()
        return hashlib.sha256(content).digest(), len(content)


def dig(root: Path, name: bytes, depth: int) -> None:
    """Make a directory in a directory in a directory, deeper than a path can say."""
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_every_kind_of_name_comes_back_in_depth_first_order(tmp_path: Path) -> None:
    for name in AWKWARD:
        directory = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(directory)
        for inner in AWKWARD:
            Path(os.fsdecode(os.path.join(directory, inner))).write_bytes(inner)
    paths = [entry.path for entry in scan(tmp_path, NOTHING)]
    assert paths[0] == ROOT
    assert paths == sorted(paths, key=sort_key)
    assert set(paths) == {ROOT, *AWKWARD, *(one + b"/" + two for one in AWKWARD for two in AWKWARD)}


def test_an_entry_holds_all_that_counts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file").chmod(0o640)
    os.setxattr(tmp_path / "file", "user.note", b"\0=")
    (tmp_path / "empty").mkdir(0o700)
    os.setxattr(tmp_path / "empty", "user.note", b"dir")
    (tmp_path / "link").symlink_to("../outside")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    found = listing(tmp_path)
    me = (os.geteuid(), (tmp_path / "file").stat().st_gid)
    sha = hashlib.sha256(b"content").digest()
    assert found[b"file"] == Entry(b"file", "file", 0o640, *me, 7, sha, ((b"user.note", b"\0="),))
    assert found[b"empty"] == Entry(b"empty", "dir", 0o700, *me, 0, b"", ((b"user.note", b"dir"),))
    assert found[b"link"] == Entry(b"link", "link", 0o777, *me, 0, b"../outside")
    assert found[b"fifo"] == Entry(b"fifo", "fifo", 0o600, *me)
    assert found[b"s"].kind == "socket"


@as_root
def test_devices_setuid_bits_owners_and_capabilities_are_seen(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(tmp_path / "disk", 0o600 | stat.S_IFBLK, os.makedev(7, 200))
    (tmp_path / "su").touch()
    os.chown(tmp_path / "su", 1234, 4321)
    (tmp_path / "su").chmod(0o6755)
    (tmp_path / "ping").touch()
    os.setxattr(tmp_path / "ping", "security.capability", CAPABILITY)
    found = listing(tmp_path)
    assert (found[b"null"].kind, found[b"null"].content) == ("char", b"1:3")
    assert (found[b"disk"].kind, found[b"disk"].content) == ("block", b"7:200")
    assert (found[b"su"].mode, found[b"su"].uid, found[b"su"].gid) == (0o6755, 1234, 4321)
    assert found[b"ping"].xattrs == ((b"security.capability", CAPABILITY),)


def test_links_are_never_followed(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tree / "dir").symlink_to(outside)
    (tree / "file").symlink_to(outside / "secret")
    assert {entry.kind for entry in scan(tree, NOTHING)} == {"dir", "link"}
    assert set(listing(tree)) == {ROOT, b"dir", b"file"}


@pytest.mark.parametrize(("name", "depth"), [(b"d", 1300), (b"n" * 255, 60)], ids=["many levels", "long path"])
def test_depth_has_no_limit(tmp_path: Path, name: bytes, depth: int) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    dig(tree, name, depth)
    try:
        paths = [entry.path for entry in scan(tree, NOTHING)]
    finally:
        remove_tree(tree)
    assert len(paths) == depth + 1
    assert paths[-1] == b"/".join([name] * depth)
    assert list(tmp_path.iterdir()) == []


def test_a_sparse_file_is_its_content(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(5 << 20)
    entry = listing(tmp_path)[b"sparse"]
    assert (entry.size, entry.content) == (5 << 20, hashlib.sha256(bytes(5 << 20)).digest())


def test_what_is_ignored_or_ours_is_left_out(tmp_path: Path) -> None:
    for name in ("logs/a.log", "src/a.pid", "src/.sandbox-prm_1-x", "src/code", ".sandbox-lease/in"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = listing(tmp_path, Patterns(["logs/**", "*.pid"]))
    assert set(found) == {ROOT, b"logs", b"src", b"src/code"}


def test_what_is_ignored_need_not_be_readable(tmp_path: Path) -> None:
    (tmp_path / "ok").touch()
    (tmp_path / "secret").mkdir(0o000)
    assert set(listing(tmp_path, Patterns(["secret"]))) == {ROOT, b"ok"}


@pytest.mark.parametrize("name", ["missing", "file", "link"])
def test_a_root_that_is_no_directory_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError) as caught:
        listing(tmp_path / name)
    assert name in caught.value.says
    assert caught.value.hint


@as_root
@pytest.mark.parametrize("kind", ["dir", "file", "spaced dir"])
def test_a_mount_point_inside_is_bad_input_even_of_the_same_file_system(tmp_path: Path, kind: str) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    point = tree / "deep" / f"a {kind}\n"
    point.parent.mkdir(parents=True)
    for path in (other, point):
        path.touch() if kind == "file" else path.mkdir()
    subprocess.run(["mount", "--bind", other, point], check=True)
    try:
        with pytest.raises(InputError, match="mount point") as caught:
            listing(tree)
        assert f"a {kind}" in caught.value.says
        assert set(listing(tree, Patterns(["deep"]))) == {ROOT}
    finally:
        subprocess.run(["umount", point], check=True)


@as_root
@pytest.mark.parametrize("kind", ["file", "dir"])
def test_something_unreadable_is_bad_input_that_names_it(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "in" / "secret"
    secret.parent.mkdir()
    secret.touch() if kind == "file" else secret.mkdir()
    secret.chmod(0o000)
    tmp_path.chmod(0o755)
    code = f"""if True:
        import os
        from sandbox.errors import InputError
        from sandbox.trees.patterns import Patterns
        from sandbox.trees.scan import scan
        root = os.open({str(tmp_path)!r}, os.O_RDONLY)
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        try:
            list(scan(root, Patterns([])))
        except InputError as error:
            print(error.says, error.hint)
    """
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'in/secret' can't be read" in told
    assert "ignore" in told


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "busy"
    path.write_bytes(b"one")
    todo = [b"twoo", b"three"]
    reader = Reader(b"busy", lambda: path.write_bytes(todo.pop()) if todo else None)
    found = {entry.path: entry for entry in scan(tmp_path, NOTHING, sink=reader)}
    assert found[b"busy"].content == hashlib.sha256(b"twoo").digest()
    assert reader.paths == [b"busy"] * 3


def test_a_file_that_never_keeps_still_is_a_conflict(tmp_path: Path) -> None:
    path = tmp_path / "busy"
    path.write_bytes(b"")

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"x")

    with pytest.raises(Conflict, match="busy"):
        list(scan(tmp_path, NOTHING, sink=Reader(b"busy", grow)))


def test_what_vanishes_before_it_is_reached_is_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "in").touch()

    def vanish() -> None:
        (tmp_path / "b").unlink()
        (tmp_path / "c" / "in").unlink()
        (tmp_path / "c").rmdir()

    assert [entry.path for entry in scan(tmp_path, NOTHING, sink=Reader(b"a", vanish))] == [ROOT, b"a"]


@pytest.mark.parametrize("act", ["add", "remove", "replace", "rewrite and add", "chmod"])
def test_a_directory_that_changes_behind_the_scan_is_a_conflict(tmp_path: Path, act: str) -> None:
    for name in ("a", "z"):
        (tmp_path / name).write_text("x")

    def change() -> None:
        if act == "remove":
            (tmp_path / "a").unlink()
        elif act == "replace":
            (tmp_path / "new").write_text("y")
            (tmp_path / "new").rename(tmp_path / "a")
        elif act == "chmod":
            tmp_path.chmod(0o711)
        else:
            (tmp_path / "0").touch()
        if act == "rewrite and add":
            (tmp_path / "a").write_text("y")

    with pytest.raises(Conflict, match="changed while"):
        list(scan(tmp_path, NOTHING, sink=Reader(b"z", change)))


def test_churn_in_what_is_ignored_is_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "z").write_text("x")
    reader = Reader(b"z", lambda: (tmp_path / "new.pid").touch())
    assert len(list(scan(tmp_path, Patterns(["*.pid"]), sink=reader))) == 2


def test_a_link_swapped_in_for_a_file_or_directory_is_not_followed(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for path in (tree, outside):
        path.mkdir()
        (path / "d").mkdir()
        (path / "d" / "secret").write_text(path.name)
    (tree / "a").touch()

    def swap() -> None:
        (tree / "d").rename(tmp_path / "moved")
        (tree / "d").symlink_to(outside / "d")

    found = {}
    with pytest.raises(Conflict):  # noqa: PT012 - what came before the conflict counts too
        for entry in scan(tree, NOTHING, sink=Reader(b"d/secret", swap)):
            found[entry.path] = entry
    assert found[b"d/secret"].content == hashlib.sha256(b"tree").digest()
