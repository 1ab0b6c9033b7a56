"""Overlay layers mounted and frozen by hand: what tools without snapshots of their own are given for a file system.

Owns the mounts and the layers, all in one folder. Must not run anything.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
from pathlib import Path

from sandbox.clock import fresh_id

_LIBC = ctypes.CDLL(None, use_errno=True)
_DETACH = 2


class Overlays:
    """Handles are names of mounts below the folder; of snapshots, of layers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._base = folder / "base"
        self._layers: dict[str, list[Path]] = {}
        """Of sandboxes and snapshots, the topmost first; a sandbox's own is the first of its own."""

    def create(self) -> str:
        return self._mounted([self._base])

    def _mounted(self, layers: list[Path], box: str = "") -> str:
        """A fresh layer over these, mounted as a sandbox."""
        box = box or fresh_id("box")
        place, upper = self._folder / box, self._folder / fresh_id("layer")
        for made in (place, upper, work := upper.with_suffix(".work")):
            made.mkdir(exist_ok=True)
        lower = ":".join(map(str, layers))
        options = f"lowerdir={lower},upperdir={upper},workdir={work},volatile,redirect_dir=off"
        if _LIBC.mount(b"overlay", os.fsencode(place), b"overlay", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), f"mount: {os.strerror(ctypes.get_errno())}")
        self._layers[box] = [upper, *layers]
        return box

    def _unmount(self, box: str) -> list[Path]:
        if _LIBC.umount2(os.fsencode(self._folder / box), _DETACH) != 0:
            raise OSError(ctypes.get_errno(), f"umount: {os.strerror(ctypes.get_errno())}")
        return self._layers.pop(box)

    def snapshot(self, box: str) -> str:
        """What is the sandbox's own becomes a layer that nobody writes to any more."""
        layers = self._unmount(box)
        self._mounted(layers, box)
        snapshot = fresh_id("snapshot")
        self._layers[snapshot] = layers
        return snapshot

    def rollback(self, box: str, snapshot: str) -> str:
        own, *_ = self._unmount(box)
        self._mounted(self._layers[snapshot], box)
        _remove(own)
        return box

    def fork(self, snapshot: str, count: int) -> list[str]:
        return [self._mounted(self._layers[snapshot]) for _ in range(count)]

    def diff(self, box: str) -> frozenset[str]:
        """The files of all layers above the base that no layer above them hides."""
        found: set[str] = set()
        hidden: set[str] = set()
        for layer in self._layers[box][:-1]:
            hiding: set[str] = set()
            for at, folders, files in os.walk(layer):
                here = os.path.relpath(at, layer)
                if any(here == one or here.startswith(f"{one}/") for one in hidden):
                    folders.clear()
                    continue
                if here != "." and _opaque(at):
                    hiding.add(here)
                for name in files:
                    path = os.path.normpath(os.path.join(here, name))
                    if stat.S_ISCHR(os.lstat(os.path.join(at, name)).st_mode):
                        hiding.add(path)
                    elif path not in hidden:
                        found.add(path)
            hidden |= hiding
        return frozenset(path.removeprefix("tree/") for path in found)

    def destroy(self, box: str) -> None:
        _remove(self._unmount(box)[0])
        (self._folder / box).rmdir()

    def forget(self) -> None:
        """Remove what a round left."""
        for box in [name for name in self._layers if (self._folder / name).exists()]:
            self._unmount(box)
        self._layers.clear()
        for left in self._folder.iterdir():
            if left != self._base:
                shutil.rmtree(left)


def _remove(layer: Path) -> None:
    subprocess.run(["rm", "-rf", str(layer), f"{layer}.work"], check=True)


def _opaque(directory: str) -> bool:
    try:
        return os.getxattr(directory, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False
