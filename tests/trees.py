"""Trees for tests: made on disk, read from disk and read from inside a sandbox, by code of the tests' own.

Owns an independent view of what a tree is, so that the product's own reading is not checked by itself.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sandbox.trees.entry import Entry, digest, sort_key

READER = r"""
import hashlib, os, stat, sys
top, skip = os.fsencode(sys.argv[1]), {os.fsencode(name) for name in sys.argv[2:]}
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}
def read(path, name):
    info = os.lstat(path)
    kind, mode, size, content, xattrs = KINDS[stat.S_IFMT(info.st_mode)], stat.S_IMODE(info.st_mode), 0, b"", ()
    if kind == "link":
        mode, content = 0o777, os.readlink(path)
    else:
        names = sorted(n for n in os.listxattr(path) if n.startswith("user.") or n == "security.capability")
        xattrs = tuple((os.fsencode(n), os.getxattr(path, n)) for n in names)
    if kind == "file":
        sha = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                sha.update(chunk)
                size += len(chunk)
        content = sha.digest()
    if kind in ("char", "block"):
        content = b"%d:%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
    return (name, kind, mode, info.st_uid, info.st_gid, size, content, xattrs)
def walk(path, name):
    yield read(path, name or b".")
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for child in sorted(os.listdir(path)):
            where = os.path.join(path, child)
            if where not in skip:
                yield from walk(where, name + b"/" + child if name else child)
"""
"""Python source that defines `walk`; the same on the host and in the sandbox."""

PRINT = "\nfor entry in walk(top, b''): print(ascii(entry))\n"


def entries_below(path: Path) -> list[Entry]:
    """Every entry of a tree on this host, root first, in depth-first order."""
    names: dict[str, object] = {}
    exec(READER.replace("sys.argv[1]", "'/'").replace("sys.argv[2:]", "()"), names)  # no other process needed
    walk = names["walk"]
    assert callable(walk)
    return in_order(Entry(*fields) for fields in walk(os.fsencode(path), b""))


def entries_printed(output: bytes) -> list[Entry]:
    """What READER + PRINT printed."""
    return in_order(Entry(*ast.literal_eval(line)) for line in output.decode("ascii").splitlines())


def in_order(entries: Iterator[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: sort_key(entry.path))


class DirectoryTree(NamedTuple):
    """A directory on this host as an engine's `Tree`; nobody may change it afterwards."""

    id: str
    root: Path
    under: tuple[Path, ...] = ()
    shown: Path | None = None
    """A directory with what the layers show together, where there are several."""

    def entries(self) -> Iterator[Entry]:
        yield from entries_below(self.shown or self.root)


def tree_of(root: Path) -> DirectoryTree:
    """The tree of a directory, with a neighbour that no sandbox may ever see."""
    (root.parent / "manifest").write_text("beside the tree, not in it")
    return DirectoryTree(digest([entry.canonical() for entry in entries_below(root)]), root)


class Hashing:
    """A sink that keeps every content that went through it."""

    def __init__(self) -> None:
        self.taken: dict[bytes, bytes] = {}

    def __call__(self, path: bytes, chunks: Iterator[bytes]) -> tuple[bytes, int]:
        assert path not in self.taken, f"{path!r} was read twice"
        self.taken[path] = content = b"".join(chunks)
        return hashlib.sha256(content).digest(), len(content)


def plain_tree(root: Path) -> None:
    """A small project as an agent finds it."""
    (root / "app" / "templates").mkdir(parents=True)
    (root / "app" / "main.py").write_bytes(b"print('report')\n")
    (root / "app" / "templates" / "page.html").write_bytes(b"<p>cost</p>\n")
    (root / "app" / "run.sh").write_bytes(b"#!/bin/sh\nexec python3 app/main.py\n")
    (root / "app" / "run.sh").chmod(0o755)
    (root / "data").mkdir()
    (root / "data" / "ledger.bin").write_bytes(bytes(range(256)) * 512)
    (root / "empty").mkdir()
    (root / "README").write_bytes(b"one\ntwo\n")
    (root / "current").symlink_to("app/main.py")


def odd_tree(root: Path) -> None:
    """Everything that a tree may hold and that is easily lost on the way."""
    plain_tree(root)
    top = os.fsencode(root)

    def put(name: bytes, content: bytes = b"x", mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        path = os.path.join(top, name)
        with open(path, "wb") as file:
            file.write(content)
        os.chown(path, *owner)
        os.chmod(path, mode)

    put(b"new\nline")
    put(b"latin-\xe9-\xff\xfe")
    put(b"tab\tand\x1bescape")
    put(b"-rf")
    put(b" leading and trailing ")
    put(b"back\\slash 'quote' \"double\" $HOME `id` * ?")
    put(b"n" * 255, b"the longest name")
    put("über-žluťoučký-ふぁいる".encode(), b"utf-8")
    put(b"empty file", b"")
    put(b"setuid", mode=0o4755)
    put(b"setgid", mode=0o2755)
    put(b"no permissions", mode=0o000)
    put(b"all permissions", mode=0o777)
    put(b"of nobody", owner=(65534, 65534))
    put(b"of 1234 5678", mode=0o640, owner=(1234, 5678))
    for name, mode, owner in ((b"sticky", 0o1777, 0), (b"closed", 0o700, 1000), (b"deep\xff", 0o2775, 1000)):
        os.mkdir(os.path.join(top, name))
        os.chown(os.path.join(top, name), owner, owner)
        os.chmod(os.path.join(top, name), mode)
    put(b"closed/inside", owner=(1000, 1000))
    deep = b"deep\xff"
    for _ in range(12):
        deep = os.path.join(deep, b"d" * 60)
        os.mkdir(os.path.join(top, deep))
    put(os.path.join(deep, b"leaf"), b"far down")
    for name, target in (
        (b"dangling", b"nowhere/at/all"),
        (b"absolute", b"/etc/passwd"),
        (b"upwards", b"../../../../../etc/shadow"),
        (b"bytes", b"latin-\xe9-\xff\xfe"),
        (b"to a directory", b"app"),
        (b"loop", b"loop"),
        (b"long", b"t" * 4000),
    ):
        os.symlink(target, os.path.join(top, name))
    os.chown(os.path.join(top, b"dangling"), 1234, 5678, follow_symlinks=False)


def xattr_tree(root: Path) -> None:
    """The small project with extended attributes on a file and a directory."""
    plain_tree(root)
    os.setxattr(root / "README", "user.origin", b"https://example.org/\xff")
    os.setxattr(root / "README", "user.empty", b"")
    os.setxattr(root / "app", "user.dir", b"1")


def whiteout_tree(root: Path) -> None:
    """The small project with a name that image layers give a meaning to."""
    plain_tree(root)
    (root / ".wh.README").write_bytes(b"no whiteout")


def fresh(path: Path) -> Path:
    """An empty directory in a place of its own, as a captured base is."""
    shutil.rmtree(path.parent, ignore_errors=True)
    path.mkdir(parents=True)
    path.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return path
