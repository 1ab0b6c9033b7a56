"""Making one layer of several: chains stay short however often a sandbox goes back and on.

Owns that one act. Files become hard links, which is safe among snapshots' layers: nobody ever writes to them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sandbox.engines.native import overlay
from sandbox.engines.native.merged import DIRECTORY, MAX_DEPTH, Directory, kept, look_up
from sandbox.errors import OverLimit


def flatten(layers: Sequence[Path], target: Path) -> None:
    """Make `target` the one layer that shows, over anything, what `layers` (topmost first) show over it."""
    with ExitStack() as stack:
        handles = tuple(kept(stack, os.open(layer, DIRECTORY)) for layer in layers)
        target.mkdir()
        _fill(Directory(handles, True, ()), kept(stack, os.open(target, DIRECTORY)), 1)


def _fill(source: Directory, target: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise OverLimit(f"Directories are nested deeper than {MAX_DEPTH} levels in the sandbox.")
    for name in {os.fsencode(name) for layer in source.layers for name in os.listdir(layer)}:
        with ExitStack() as stack:
            found = look_up(source, name, stack)
            if found is None:
                overlay.make_whiteout(target, name)
            elif isinstance(found, Directory):
                os.mkdir(name, dir_fd=target)
                _fill(found, kept(stack, os.open(name, DIRECTORY, dir_fd=target)), depth + 1)
            else:
                os.link(name, name, src_dir_fd=found.layer, dst_dir_fd=target, follow_symlinks=False)
    _dress(source, target)


def _dress(source: Directory, target: int) -> None:
    top = source.layers[0]
    state = os.fstat(top)
    os.chown(target, state.st_uid, state.st_gid)
    os.chmod(target, stat.S_IMODE(state.st_mode))
    for name in os.listxattr(top):
        os.setxattr(target, name, os.getxattr(top, name))
    if not source.shows_base:
        overlay.set_opaque(target)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
