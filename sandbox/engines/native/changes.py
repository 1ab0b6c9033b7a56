"""What an agent changed, read from its layers alone: the cost grows with the change, never with the tree.

Owns the telling of what differs; `merged` says what the layers show together. Never follows a link.

`base` is what was placed, as layers: where a layer hides it, what it held and is not there any more is told as
gone, once per subtree.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from sandbox.engines.base import Candidate, Sink
from sandbox.engines.native.merged import (
    DIRECTORY,
    MAX_DEPTH,
    Directory,
    Leaf,
    base_has,
    base_names,
    kept,
    look_up,
    state_at,
)
from sandbox.errors import OverLimit
from sandbox.trees.entry import KIND_OF, ROOT, Entry

_CHUNK = 1 << 20


def candidates(layers: Sequence[Path], place: str, base: Sequence[Path], sink: Sink) -> Iterator[Candidate]:
    """Every path below `place` that the layers (topmost first) touch, relative to it, in depth-first order."""
    with ExitStack() as stack:
        handles = tuple(kept(stack, os.open(layer, DIRECTORY)) for layer in layers)
        *parents, last = (os.fsencode(name) for name in place.strip("/").split("/"))
        above = Directory(handles, True, ())
        for name in parents:
            found = look_up(above, name, stack)
            if not isinstance(found, Directory):
                yield from [(ROOT, None)] if _is_gone(above, name) else []
                return
            above = found
        found = look_up(above, last, stack)
        if isinstance(found, Directory):
            bottom = tuple(kept(stack, os.open(layer, DIRECTORY)) for layer in base)
            top = Directory(found.layers, found.shows_base, bottom)
            yield ROOT, _directory_entry(ROOT, top)
            yield from _below(top, b"", sink, 1)
        elif found is not None:
            yield ROOT, _leaf_entry(ROOT, last, found, sink)
        elif _is_gone(above, last):
            yield ROOT, None


def _below(at: Directory, path: bytes, sink: Sink, depth: int) -> Iterator[Candidate]:
    if depth > MAX_DEPTH:
        raise OverLimit(f"Directories are nested deeper than {MAX_DEPTH} levels in the sandbox.")
    names = {os.fsencode(name) for layer in at.layers for name in os.listdir(layer)}
    hidden = set() if at.shows_base else base_names(at.base)
    for name in sorted(names | hidden):
        where = path + b"/" + name if path else name
        with ExitStack() as stack:
            found = look_up(at, name, stack)
            if isinstance(found, Directory):
                yield where, _directory_entry(where, found)
                yield from _below(found, where, sink, depth + 1)
            elif found is not None:
                yield where, _leaf_entry(where, name, found, sink)
            elif name in hidden or (at.shows_base and base_has(at.base, name)):
                yield where, None


def _is_gone(at: Directory, name: bytes) -> bool:
    """Of a name that is no directory in the layers: whether they hide the base's, or only say nothing of it."""
    return not at.shows_base or any(state_at(name, layer) is not None for layer in at.layers)


def _directory_entry(path: bytes, found: Directory) -> Entry:
    state = os.fstat(found.layers[0])
    mode = stat.S_IMODE(state.st_mode)
    return Entry(path, "dir", mode, state.st_uid, state.st_gid, xattrs=_xattrs(found.layers[0]))


def _leaf_entry(path: bytes, name: bytes, leaf: Leaf, sink: Sink) -> Entry:
    state = leaf.state
    kind, mode = KIND_OF[stat.S_IFMT(state.st_mode)], stat.S_IMODE(state.st_mode)
    if kind == "link":
        target = os.readlink(name, dir_fd=leaf.layer)
        return Entry(path, kind, 0o777, state.st_uid, state.st_gid, content=target)
    if kind in ("char", "block"):
        number = b"%d:%d" % (os.major(state.st_rdev), os.minor(state.st_rdev))
        return Entry(path, kind, mode, state.st_uid, state.st_gid, content=number)
    if kind != "file":
        return Entry(path, kind, mode, state.st_uid, state.st_gid)
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=leaf.layer)
    try:
        sha256, size = sink(path, iter(lambda: os.read(handle, _CHUNK), b""))
        return Entry(path, kind, mode, state.st_uid, state.st_gid, size, sha256, _xattrs(handle))
    finally:
        os.close(handle)


def _xattrs(handle: int) -> tuple[tuple[bytes, bytes], ...]:
    found = os.listxattr(handle)
    if not found:
        return ()
    names = sorted(map(os.fsencode, found))
    kept = (name for name in names if name.startswith(b"user.") or name == b"security.capability")
    return tuple((name, os.getxattr(handle, name)) for name in kept)
