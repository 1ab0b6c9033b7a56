"""What an agent changed, read from its layers alone: the cost grows with the change, never with the tree.

Owns the merging of layers as the kernel does it: the topmost entry of a name counts, directories merge, a whiteout
or an opaque directory hides what is below. Reads relative to directory handles and never follows a link.

`base` is the directory that was placed: where a layer hides it, what it held and is not there any more is told as
gone, once per subtree.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from sandbox.engines.base import Candidate, Sink
from sandbox.engines.native import overlay
from sandbox.errors import InputError
from sandbox.trees.entry import ROOT, Entry

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MAX_DEPTH = 400
"""Levels of directories, each with a handle for every layer that has it."""
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


class _Directory(NamedTuple):
    """A directory as seen through the layers."""

    layers: tuple[int, ...]
    """Handles of those that have it, topmost first."""
    shows_base: bool
    """Whether the base shows through below them."""
    base: int | None
    """Handle of the base's directory of that path, where it has one."""


class _Leaf(NamedTuple):
    """Anything but a directory, and the layer that it is in."""

    layer: int
    state: os.stat_result


def candidates(layers: Sequence[Path], place: str, base: Path, sink: Sink) -> Iterator[Candidate]:
    """Every path below `place` that the layers (topmost first) touch, relative to it, in depth-first order."""
    with ExitStack() as stack:
        handles = tuple(_kept(stack, os.open(layer, _DIRECTORY)) for layer in layers)
        *parents, last = (os.fsencode(name) for name in place.strip("/").split("/"))
        above = _Directory(handles, True, None)
        for name in parents:
            found = _look_up(above, name, stack)
            if not isinstance(found, _Directory):
                yield from [(ROOT, None)] if _is_gone(above, name) else []
                return
            above = found
        found = _look_up(above, last, stack)
        if isinstance(found, _Directory):
            top = _Directory(found.layers, found.shows_base, _kept(stack, os.open(base, _DIRECTORY)))
            yield ROOT, _directory_entry(ROOT, top)
            yield from _below(top, b"", sink, 1)
        elif found is not None:
            yield ROOT, _leaf_entry(ROOT, last, found, sink)
        elif _is_gone(above, last):
            yield ROOT, None


def _below(at: _Directory, path: bytes, sink: Sink, depth: int) -> Iterator[Candidate]:
    if depth > _MAX_DEPTH:
        raise InputError(f"Directories are nested deeper than {_MAX_DEPTH} levels in the sandbox.")
    names = {os.fsencode(name) for layer in at.layers for name in os.listdir(layer)}
    if not at.shows_base and at.base is not None:
        names.update(os.fsencode(name) for name in os.listdir(at.base))
    for name in sorted(names):
        where = path + b"/" + name if path else name
        with ExitStack() as stack:
            found = _look_up(at, name, stack)
            if isinstance(found, _Directory):
                yield where, _directory_entry(where, found)
                yield from _below(found, where, sink, depth + 1)
            elif found is not None:
                yield where, _leaf_entry(where, name, found, sink)
            elif at.base is not None and _state(name, at.base) is not None:
                yield where, None


def _look_up(at: _Directory, name: bytes, stack: ExitStack) -> _Directory | _Leaf | None:
    """What the layers make of a name; None where they hide it, or say nothing of it."""
    merged: list[int] = []
    shows_base = at.shows_base
    for layer in at.layers:
        state = _state(name, layer)
        if state is None:
            continue
        if not stat.S_ISDIR(state.st_mode):
            if not merged:
                return None if overlay.is_whiteout(state) else _Leaf(layer, state)
            shows_base = False
            break
        merged.append(_kept(stack, os.open(name, _DIRECTORY, dir_fd=layer)))
        if overlay.is_opaque(merged[-1]):
            shows_base = False
            break
    if not merged:
        return None
    base = None
    if at.base is not None and _is_directory(_state(name, at.base)):
        base = _kept(stack, os.open(name, _DIRECTORY, dir_fd=at.base))
    return _Directory(tuple(merged), shows_base, base)


def _is_gone(at: _Directory, name: bytes) -> bool:
    """Of a name that is no directory in the layers: whether they hide the base's, or only say nothing of it."""
    return not at.shows_base or any(_state(name, layer) is not None for layer in at.layers)


def _is_directory(state: os.stat_result | None) -> bool:
    return state is not None and stat.S_ISDIR(state.st_mode)


def _state(name: bytes, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _kept(stack: ExitStack, handle: int) -> int:
    stack.callback(os.close, handle)
    return handle


def _directory_entry(path: bytes, found: _Directory) -> Entry:
    state = os.fstat(found.layers[0])
    mode = stat.S_IMODE(state.st_mode)
    return Entry(path, "dir", mode, state.st_uid, state.st_gid, xattrs=_xattrs(found.layers[0]))


def _leaf_entry(path: bytes, name: bytes, leaf: _Leaf, sink: Sink) -> Entry:
    state = leaf.state
    kind, mode = _KINDS[stat.S_IFMT(state.st_mode)], stat.S_IMODE(state.st_mode)
    if kind == "link":
        target = os.readlink(name, dir_fd=leaf.layer)
        return Entry(path, kind, 0o777, state.st_uid, state.st_gid, content=target)
    if kind in ("char", "block"):
        number = b"%d:%d" % (os.major(state.st_rdev), os.minor(state.st_rdev))
        return Entry(path, kind, mode, state.st_uid, state.st_gid, content=number)
    if kind != "file":
        return Entry(path, kind, mode, state.st_uid, state.st_gid)
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=leaf.layer), "rb", buffering=0) as file:
        sha256, size = sink(path, iter(lambda: file.read(_CHUNK), b""))
        return Entry(path, kind, mode, state.st_uid, state.st_gid, size, sha256, _xattrs(file.fileno()))


def _xattrs(handle: int) -> tuple[tuple[bytes, bytes], ...]:
    names = sorted(os.fsencode(name) for name in os.listxattr(handle))
    kept = (name for name in names if name.startswith(b"user.") or name == b"security.capability")
    return tuple((name, os.getxattr(handle, name)) for name in kept)
