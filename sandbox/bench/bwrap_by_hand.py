"""bubblewrap by hand: overlay layers that are mounted and frozen by ourselves, and bwrap for each command.

Nothing of a sandbox stays between two commands but its mount: a snapshot stops whatever runs by having nothing run.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sandbox.bench import residents
from sandbox.bench.content import Content
from sandbox.bench.peers import Absent
from sandbox.clock import fresh_id
from sandbox.errors import EngineError

_WALLS = ["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"]
_LINKS = ("bin", "lib", "lib64", "sbin")
_LIBC = ctypes.CDLL(None, use_errno=True)
_DETACH = 2


class BwrapByHand:
    name = "bwrap"
    says = (
        "overlay layers mounted and frozen by hand (stop, mount, start), bwrap for each command; no limits, no records"
    )
    by_hand = True
    workspace = "/workspace/tree"
    exact = True
    lacks: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._base = folder / "base"
        self._layers: dict[str, list[Path]] = {}
        """Of sandboxes and snapshots, the topmost first; a sandbox's own is the first of its own."""

    @classmethod
    @contextmanager
    def ready(cls, folder: Path, content: Content) -> Iterator[Self]:
        """Try it once. Raises Absent where it does not run here."""
        place = folder / "bwrap"
        (place / "base").mkdir(parents=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(content.root), str(place / "base" / "tree")], check=True)
        made = cls(place)
        try:
            try:
                made.exec(made.create(), ["true"])
            except (OSError, EngineError) as error:
                raise Absent(f"bubblewrap does not run here: {error}") from error
            finally:
                made.forget()
            yield made
        finally:
            made.forget()

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

    def exec(self, box: str, command: list[str]) -> bytes:
        links = [
            part for name in _LINKS if Path("/", name).is_symlink() for part in ("--symlink", f"usr/{name}", f"/{name}")
        ]
        walls = [*_WALLS, *links, "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
        bound = ["--bind", str(self._folder / box), "/workspace", "--chdir", "/workspace"]
        done = subprocess.run(["bwrap", *walls, *bound, *command], capture_output=True, check=False)
        if done.returncode != 0:
            raise EngineError(f"{command[0]} gave {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout

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

    def memory(self, boxes: list[str]) -> int:
        """Nothing runs between two commands."""
        return residents.memory(boxes)

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
