"""What a pile of layers shows together, one directory at a time.

Owns the merging as the kernel does it: the topmost entry of a name counts, directories merge, a whiteout or an opaque
directory hides what is below. Reads relative to directory handles and never follows a link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple

from sandbox.engines.native import overlay

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""How a directory of a layer is opened."""

MAX_DEPTH = 300
"""Levels of directories that are read, since each costs handles, of which a process has often 1024. Longer paths
than 4096 bytes can't be named anyway."""


class Directory(NamedTuple):
    """A directory as seen through the layers."""

    layers: tuple[int, ...]
    """Handles of those that have it, topmost first."""
    shows_base: bool
    """Whether the base shows through below them."""
    base: tuple[int, ...]
    """Handles of the base's directory of that path, topmost first; none where it has no such directory."""


class Leaf(NamedTuple):
    """Anything but a directory, and the layer that it is in."""

    layer: int
    state: os.stat_result


def look_up(at: Directory, name: bytes, stack: ExitStack) -> Directory | Leaf | None:
    """What the layers make of a name; None where they hide it, or say nothing of it."""
    merged: list[int] = []
    shows_base = at.shows_base
    for layer in at.layers:
        state = state_at(name, layer)
        if state is None:
            continue
        if not stat.S_ISDIR(state.st_mode):
            if not merged:
                return None if overlay.is_whiteout(state) else Leaf(layer, state)
            shows_base = False
            break
        merged.append(kept(stack, os.open(name, DIRECTORY, dir_fd=layer)))
        if overlay.is_opaque(merged[-1]):
            shows_base = False
            break
    if not merged:
        return None
    return Directory(tuple(merged), shows_base, _base_below(at.base, name, stack))


def base_names(base: Iterable[int]) -> set[bytes]:
    """What the base's layers show in a directory."""
    shown: dict[bytes, bool] = {}
    for layer in base:
        with os.scandir(layer) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if name not in shown:
                    shown[name] = not _may_hide(entry) or not overlay.is_whiteout(entry.stat(follow_symlinks=False))
    return {name for name, is_there in shown.items() if is_there}


def _may_hide(entry: os.DirEntry[str]) -> bool:
    """Whether it may be a whiteout: what the directory itself tells of kinds is enough for nearly all."""
    return not (entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False))


def base_has(base: Iterable[int], name: bytes) -> bool:
    """Whether the base's layers show a name."""
    states = (state_at(name, layer) for layer in base)
    topmost = next((state for state in states if state is not None), None)
    return topmost is not None and not overlay.is_whiteout(topmost)


def _base_below(base: Iterable[int], name: bytes, stack: ExitStack) -> tuple[int, ...]:
    found: list[int] = []
    for layer in base:
        state = state_at(name, layer)
        if state is not None and not stat.S_ISDIR(state.st_mode):
            break
        if state is not None:
            found.append(kept(stack, os.open(name, DIRECTORY, dir_fd=layer)))
    return tuple(found)


def state_at(name: bytes, directory: int) -> os.stat_result | None:
    """The state of a name itself; None where there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def kept(stack: ExitStack, handle: int) -> int:
    """The handle, closed when the stack is."""
    stack.callback(os.close, handle)
    return handle
