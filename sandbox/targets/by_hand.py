"""The shell commands with which a person puts a target back when a restore has failed.

Owns their text: POSIX sh, one command per step, to be run in order as root; they can be repeated. What is in the
way is moved aside, never removed. Must not run anything.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from sandbox.targets.restore_point import RestorePoint, Saved
from sandbox.targets.units import Unit, in_order
from sandbox.trees.entry import ROOT, Entry, parent_of

_UNCHANGED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_")
_PLAIN = frozenset(range(32, 127))

# Debian has setfattr in a package that is rarely there; Python is, since this is written in it.
_SET_ATTRIBUTE = "python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))'"
_REMOVE_ATTRIBUTE = (
    "python3 -c 'import os, sys; sys.argv[2] in os.listxattr(sys.argv[1]) and os.removexattr(*sys.argv[1:])'"
)


def steps(target: Path, point: RestorePoint, saved: Saved) -> tuple[str, ...]:
    """The commands, in order."""
    aside = point.path / "by-hand"
    lines = [f"cd {shlex.quote(str(target))}", f"mkdir -p {shlex.quote(str(aside))}"]
    for unit in in_order(saved.units, back=True):
        lines += _in_place(unit) if unit.in_place else _replace(unit, aside, point, saved)
    lines.append(f"rm -rf {_quoted(saved.staging)}")
    return tuple(lines)


def _replace(unit: Unit, aside: Path, point: RestorePoint, saved: Saved) -> Iterator[str]:
    path = _quoted(unit.path)
    spare = shlex.quote(f"{aside}/{unit.number}")
    yield f"if [ -e {path} ] || [ -L {path} ]; then mv -T --backup=numbered {path} {spare}; fi"
    if unit.before:
        yield f"mkdir -p {_quoted(parent_of(unit.path))}"
    directories = []
    for entry in unit.before:
        yield from _create(entry, point)
        if entry.kind == "dir":
            directories.append(entry)
        else:
            yield from _finish(entry, saved)
    for entry in reversed(directories):
        yield from _finish(entry, saved)


def _create(entry: Entry, point: RestorePoint) -> Iterator[str]:
    path = _quoted(entry.path)
    if entry.kind == "dir":
        yield f"mkdir {path}"
    elif entry.kind == "file":
        yield f"cp {shlex.quote(str(point.content_path(entry)))} {path}"
    elif entry.kind == "link":
        yield f"ln -s -T -- {_quoted(entry.content, inside=False)} {path}"
    elif entry.kind == "fifo":
        yield f"mkfifo {path}"
    elif entry.kind == "socket":
        yield f"python3 -c 'import os, stat, sys; os.mknod(sys.argv[1], stat.S_IFSOCK)' {path}"
    else:
        major, minor = entry.content.decode("ascii").split(":")
        yield f"mknod {path} {entry.kind[0]} {major} {minor}"


def _finish(entry: Entry, saved: Saved) -> Iterator[str]:
    path = _quoted(entry.path)
    yield f"chown -h {entry.uid}:{entry.gid} {path}"
    if entry.kind != "link":
        for name, value in (*saved.labels(entry.path), *entry.xattrs):
            yield _set_attribute(path, name, value)
        yield f"chmod {entry.mode:04o} {path}"
    if (time := saved.mtime_ns(entry.path)) is not None:
        yield f"touch -h -m -d @{time // 10**9}.{time % 10**9:09d} {path}"


def _in_place(unit: Unit) -> Iterator[str]:
    before, after = unit.before[0], unit.after[0]
    path = _quoted(unit.path)
    yield f"chown -h {before.uid}:{before.gid} {path}"
    wanted = dict(before.xattrs)
    for name, _ in after.xattrs:
        if name not in wanted:
            yield f"{_REMOVE_ATTRIBUTE} {path} {_quoted(name, inside=False)}"
    for name, value in before.xattrs:
        yield _set_attribute(path, name, value)
    yield f"chmod {before.mode:04o} {path}"


def _set_attribute(path: str, name: bytes, value: bytes) -> str:
    return f"{_SET_ATTRIBUTE} {path} {_quoted(name, inside=False)} '{value.hex()}'"


def _quoted(data: bytes, *, inside: bool = True) -> str:
    """One shell word for any bytes, printable ASCII alone; `inside`: a path in the target, safe from being an option.

    `$(...)` drops newlines at the end, so that a name that ends with them gets them from outside of it.
    """
    if inside and data != ROOT:
        data = b"./" + data
    if set(data) <= _PLAIN:
        return shlex.quote(data.decode("ascii"))
    kept = data.rstrip(b"\n")
    word = "".join(chr(byte) if byte in _UNCHANGED else f"\\{byte:03o}" for byte in kept)
    return f"\"$(printf '{word}')\"" + "'\n'" * (len(data) - len(kept))
