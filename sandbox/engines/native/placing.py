"""Layers that put a directory of the host somewhere else in a sandbox, without copying it.

Owns placement layers. Such a layer has, at the place, an empty directory that redirects to `/NAME`, and hides `/NAME`
and its neighbours at the root; the next lower layer is the directory that holds NAME. The place is no mount point,
so that `rm -rf` of it works.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from sandbox.engines.base import Placement
from sandbox.engines.native import overlay
from sandbox.errors import InputError

_FORBIDDEN = ("proc", "sys", "dev")


def layers_for(placement: Placement, directory: Path) -> list[Path]:
    """Make the placement layer in the new `directory`; the two layers of the placement, topmost first."""
    place = PurePosixPath(placement.path)
    if not place.is_absolute() or ".." in place.parts or len(place.parts) < 2 or place.parts[1] in _FORBIDDEN:
        raise InputError(f"A target can't be placed at {placement.path!r}.", "Use /workspace or a directory in it.")
    source = placement.tree.root
    directory.mkdir(parents=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(source.parent):
            if name != place.parts[1]:
                overlay.make_whiteout(handle, name)
    finally:
        os.close(handle)
    inside = directory.joinpath(*place.parts[1:])
    inside.mkdir(parents=True)
    _dress(source, inside)
    overlay.set_redirect(inside, f"/{source.name}")
    return [directory, source.parent]


def _dress(source: Path, directory: Path) -> None:
    """Mode, owner, attributes and times of a merged directory are those of its topmost layer."""
    state = source.stat()
    os.chown(directory, state.st_uid, state.st_gid)
    shutil.copystat(source, directory)
