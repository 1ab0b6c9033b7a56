"""What a pile of layers shows together, one directory at a time.

Owns the merging as the kernel does it: the topmost entry of a name counts, directories merge, a whiteout or an opaque
directory hides what is below. Reads relative to directory handles and never follows a link.
"""

from __future__ import annotations

import os
import stat
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
    base: int | None
    """Handle of the base's directory of that path, where it has one."""


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
    base = None
    if at.base is not None and _is_directory(state_at(name, at.base)):
        base = kept(stack, os.open(name, DIRECTORY, dir_fd=at.base))
    return Directory(tuple(merged), shows_base, base)


def _is_directory(state: os.stat_result | None) -> bool:
    return state is not None and stat.S_ISDIR(state.st_mode)


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
