"""Layers that put a directory of the host somewhere else in a sandbox, without copying it.

Owns placement layers. Such a layer has, at the place, an empty directory that redirects to `/NAME`, and hides `/NAME`
and its neighbours at the root; the next lower layers are the directories that hold NAME. The place is no mount point,
so that `rm -rf` of it works.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sandbox.engines.base import Placement
from sandbox.engines.native import overlay
from sandbox.engines.native.cloning import Cloner
from sandbox.errors import InputError

_FORBIDDEN = ("proc", "sys", "dev")


def make(placements: Sequence[Placement], image: Sequence[Path], fresh: Path, final: Path) -> list[Path]:
    """Make the layers of all placements in the new directory `fresh`, which will be renamed to `final`.

    Returns the lower layers that place them, topmost first, by their final names.
    """
    fresh.mkdir(mode=0o700)
    layers: list[Path] = []
    taken: list[Path] = []
    for number, placement in enumerate(placements):
        sources = (placement.tree.root, *placement.tree.under)
        lent = [source.parent for source in sources]
        if all(_can_lend(source, taken, image, final) for source in sources):
            taken += lent
        else:
            sources, lent = _copied(sources, fresh, final, number)
        _make_layer(placement.path, sources, fresh / f"place-{number}")
        layers += [final / f"place-{number}", *lent]
    return layers


def _copied(sources: Sequence[Path], fresh: Path, final: Path, number: int) -> tuple[tuple[Path, ...], list[Path]]:
    """Copies of the layers of a tree, and the layers to be that they are in, by their final names."""
    copies = []
    for depth, source in enumerate(sources):
        holder = fresh / f"copy-{number}-{depth}"
        holder.mkdir(mode=0o755)
        Cloner().clone(source, holder / f".tree-{number}")
        copies.append(holder / f".tree-{number}")
    return tuple(copies), [final / copy.parent.name for copy in copies]


def _can_lend(source: Path, taken: Sequence[Path], image: Sequence[Path], final: Path) -> bool:
    """Whether the directory that holds the tree can be a layer itself; else the tree is copied.

    The kernel takes no directory twice, nor one within another, and an image must not have that name too.
    """
    holder = source.parent
    near = any(holder.is_relative_to(other) or other.is_relative_to(holder) for other in (*taken, *image, final))
    return not near and not any(os.path.lexists(layer / source.name) for layer in image)


def _make_layer(path: str, sources: Sequence[Path], layer: Path) -> None:
    place = PurePosixPath(path)
    if not place.is_absolute() or ".." in place.parts or len(place.parts) < 2 or place.parts[1] in _FORBIDDEN:
        raise InputError(f"A target can't be placed at {path!r}.", "Use /workspace or a directory in it.")
    layer.mkdir(mode=0o755)
    root = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in {name for source in sources for name in os.listdir(source.parent)} - {place.parts[1]}:
            overlay.make_whiteout(root, name)
    finally:
        os.close(root)
    inside = layer.joinpath(*place.parts[1:])
    inside.mkdir(parents=True)
    _dress(sources[0], inside)
    overlay.set_redirect(inside, f"/{sources[0].name}")


def _dress(source: Path, directory: Path) -> None:
    """Mode, owner, attributes and times of a merged directory are those of its topmost layer."""
    state = source.stat()
    os.chown(directory, state.st_uid, state.st_gid)
    shutil.copystat(source, directory)
