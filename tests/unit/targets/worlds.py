"""Small real directories to promote to, and the changes that lead from one to another.

Owns the making of trees on disk and of the requests that follow from them; what a tree is, is read by `tests.trees`,
not by the product.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sandbox.spec import TargetSpec
from sandbox.targets.base import ApplyRequest
from sandbox.targets.directory import DirectoryTarget
from sandbox.trees.block import Block, blocks_of
from sandbox.trees.changes import compare
from sandbox.trees.entry import Change, Entry
from sandbox.trees.manifest import fingerprint
from tests.trees import entries_below

Edit = Callable[[Path], object]


class Kept:
    """A tree kept in memory: a base, and the contents of both sides as blobs."""

    def __init__(self, root: Path) -> None:
        self.found = [each for each in entries_below(root) if not each.path.startswith(b".sandbox-")]
        self.fingerprint = fingerprint(self.found)
        self.contents: dict[bytes, bytes] = {}
        for each in self.found:
            if each.kind == "file":
                self.contents[each.content] = (root / os.fsdecode(each.path)).read_bytes()

    def entries(self) -> Iterator[Entry]:
        return iter(self.found)

    def blocks(self) -> Iterator[Block]:
        return blocks_of(self.entries())

    def file(self, path: bytes) -> Path | None:
        return None

    def open(self, path: bytes) -> BinaryIO:
        return io.BytesIO(self.contents[next(each.content for each in self.found if each.path == path)])


class Blobs:
    """Contents in a directory, by their digest."""

    def __init__(self, directory: Path, contents: dict[bytes, bytes]) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        for sha, content in contents.items():
            assert hashlib.sha256(content).digest() == sha
            self.path(sha).write_bytes(content)

    def path(self, sha256: bytes) -> Path:
        return self.directory / sha256.hex()

    def open(self, sha256: bytes) -> BinaryIO:
        return self.path(sha256).open("rb")


@dataclass
class World:
    """A real directory, its base and a change that was made in a copy of it."""

    root: Path
    scratch: Path
    base: Kept
    wanted: Kept
    changes: tuple[Change, ...]
    blobs: Blobs
    ignore: tuple[str, ...] = ()

    def target(self) -> DirectoryTarget:
        return DirectoryTarget(
            TargetSpec(name="t", kind="directory", path=str(self.root), ignore=self.ignore),
            cache_dir=self.scratch / "cache",
        )

    @property
    def point(self) -> Path:
        return self.scratch / "point"

    def request(self, tag: str = "prm_1") -> ApplyRequest:
        return ApplyRequest(self.base, self.changes, self.blobs, self.point, tag)

    def now(self) -> str:
        """The real directory's fingerprint, read by the tests."""
        return Kept(self.root).fingerprint

    def reset(self, edit: Edit) -> None:
        """The real directory as it was made, without restore points and leftovers."""
        subprocess.run(["rm", "-rf", str(self.root), str(self.point)], check=True)
        self.root.mkdir()
        edit(self.root)


def world(scratch: Path, before: Edit, after: Edit, ignore: tuple[str, ...] = ()) -> World:
    """`before` makes the real directory; `after` edits a copy of it."""
    root, copy = scratch / "real", scratch / "copy"
    root.mkdir(parents=True)
    before(root)
    subprocess.run(["cp", "-a", str(root), str(copy)], check=True)
    after(copy)
    base, wanted = Kept(root), Kept(copy)
    subprocess.run(["rm", "-rf", str(copy)], check=True)
    changes = tuple(compare(base.entries(), wanted.entries()))
    return World(root, scratch, base, wanted, changes, Blobs(scratch / "blobs", wanted.contents), ignore)


def put(root: Path, path: str | bytes, content: bytes = b"", mode: int = 0o644) -> Path:
    """A file with missing parents; the path may hold any bytes."""
    file = root / os.fsdecode(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink():
        file.unlink()
    file.write_bytes(content)
    file.chmod(mode)
    return file


ODD_NAMES = (
    b"new\nline",
    b"ends with newline\n",
    b"bad \xff utf8",
    b"-rf",
    b'quote\'s "and" $(touch x) `x` \\ %s',
    b" ",
)


def everything(root: Path) -> None:
    """A tree with every kind of thing that a base may hold."""
    put(root, "keep/untouched", b"stays")
    put(root, "edit/text", b"old")
    put(root, "edit/again", b"old too")
    put(root, "edit/mode", b"same", 0o600)
    put(root, "gone/a/b/deep", b"deep")
    put(root, "gone/c", b"c")
    put(root, "file-to-dir", b"was a file")
    put(root, "dir-to-file/inner", b"inner")
    put(root, "dir-to-link/inner", b"inner")
    put(root, "link-to-dir.d", b"")
    (root / "link").symlink_to("edit/text")
    (root / "link-to-dir").symlink_to("edit")
    (root / "gone/link").symlink_to("c")
    (root / "empty").mkdir()
    (root / "closed").mkdir(mode=0o755)
    for name in ODD_NAMES:
        put(root / "odd", name, b"odd " + name)
    os.setxattr(put(root, "attributed", b"x"), "user.note", b"old \x00 value")
    os.setxattr(put(root, "attributed-too", b"x"), "user.gone", b"1")
    os.mkfifo(root / "gone/fifo")
    os.mknod(root / "gone/socket", 0o600 | stat.S_IFSOCK)
    for path, _, names in os.walk(os.fsencode(root)):
        for name in names:
            os.utime(os.path.join(path, name), ns=(1, 1_600_000_000_123_456_789), follow_symlinks=False)
    if os.geteuid() == 0:
        os.chown(put(root, "owned", b"o"), 1234, 2345)
        os.mknod(root / "gone/device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def change_everything(root: Path) -> None:
    """Every operation on every kind."""
    put(root, "edit/text", b"new and longer")
    put(root, "edit/again", b"")
    (root / "edit/mode").chmod(0o644)
    shutil.rmtree(root / "gone")
    (root / "file-to-dir").unlink()
    put(root, "file-to-dir/x/y", b"now a directory")
    shutil.rmtree(root / "dir-to-file")
    put(root, "dir-to-file", b"now a file", 0o755)
    shutil.rmtree(root / "dir-to-link")
    (root / "dir-to-link").symlink_to("keep")
    (root / "link").unlink()
    (root / "link").symlink_to("keep/untouched")
    (root / "link-to-dir").unlink()
    put(root, "link-to-dir/x", b"x")
    (root / "empty").rmdir()
    (root / "closed").chmod(0o700)
    put(root, "closed/new", b"in a directory whose mode changes")
    for name in ODD_NAMES:
        put(root / "odd", name, b"changed " + name)
        put(root / "odd more", name, b"new " + name)
    os.setxattr(root / "attributed", "user.note", b"new")
    os.removexattr(root / "attributed-too", "user.gone")
    root.chmod(0o750)
    if os.geteuid() == 0:
        os.chown(root / "owned", 4321, 5432)
