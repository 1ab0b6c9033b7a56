"""A sandbox's root file system as overlayfs: mounting a chain, and what its marks in a layer mean.

Owns mount options, whiteouts and `trusted.overlay.*` attributes. Must not know where layers come from.

Options: `redirect_dir=follow` obeys the redirects that we put in placement layers, while the kernel writes none of
its own (renaming a directory that is not all the agent's gives EXDEV, and `mv` copies), so each layer can be
read by itself. `metacopy=off`: a file in a layer is whole. `index=off`: layers may be copied. `volatile`: nothing
waits for the disk, since no sandbox outlives a crash of the machine; each mount has a fresh upper layer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sandbox.engines.native.kernel import mount

_OPAQUE = "trusted.overlay.opaque"
_REDIRECT = "trusted.overlay.redirect"
_OPTIONS = "redirect_dir=follow,metacopy=off,index=off,xino=auto,volatile"


def link_layers(lowers: Sequence[Path], upper: Path, work: Path, links: Path) -> str:
    """The options that mount `upper` over `lowers` (the first is the topmost), from the working directory `links`.

    The kernel takes one page of options: `links`, an empty directory, gets links with names of a few bytes to stand for
    the layers.
    """
    for number, layer in enumerate(lowers):
        os.symlink(layer, links / str(number))
    os.symlink(upper, links / "u")
    os.symlink(work, links / "w")
    chain = ":".join(str(number) for number in range(len(lowers)))
    return f"lowerdir={chain},upperdir=u,workdir=w,{_OPTIONS}"


def mount_chain(name: str, lowers: Sequence[Path], upper: Path, work: Path, links: Path, target: Path) -> None:
    """Mount them at `target`; `name` is shown in lists of mounts.

    Changes the working directory, so it belongs into `in_private_mounts`.
    """
    options = link_layers(lowers, upper, work, links)
    os.chdir(links)
    mount(name, str(target), "overlay", options)


def make_whiteout(directory: int, name: str | bytes) -> None:
    """Hide `name` of the layers below."""
    os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=directory)


def is_whiteout(state: os.stat_result) -> bool:
    """Whether an entry of a layer only says that the name is gone."""
    return stat.S_ISCHR(state.st_mode) and state.st_rdev == 0


def is_opaque(directory: int) -> bool:
    """Whether a directory of a layer hides all that the layers below have in it."""
    try:
        return os.getxattr(directory, _OPAQUE) == b"y"
    except OSError:
        return False


def set_opaque(directory: int) -> None:
    """Hide all that the layers below have in this directory."""
    os.setxattr(directory, _OPAQUE, b"y")


def set_redirect(path: Path, target: str) -> None:
    """Let the directory `path` of a layer show, from the layers below, the one that is at `target` there."""
    os.setxattr(path, _REDIRECT, os.fsencode(target))
