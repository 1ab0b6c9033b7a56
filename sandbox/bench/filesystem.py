"""A file system of its own for what is measured, on a loop device, so that the machine's own does not decide.

Owns that it is unmounted and gone at the end. A root file system that is ext4 without a journal makes new files
after many deletions ten times slower, for minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from sandbox.errors import InputError, SandboxError
from sandbox.lifecycle.interrupts import deferred

Filesystem = Literal["xfs", "ext4", "btrfs", "here"]
KINDS: tuple[str, ...] = get_args(Filesystem)
SIZE = 24 << 30
"""Bytes; of a sparse file, which takes what is written."""
_MAKE = {
    "xfs": ("mkfs.xfs", "-q", "-m", "reflink=1"),
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
_PACKAGES = {"xfs": "xfsprogs", "ext4": "e2fsprogs", "btrfs": "btrfs-progs"}
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@contextmanager
def made(kind: str, folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """A folder on a fresh file system of that kind; on the one of `folder` where it can't be made, which is said.

    Raises InputError for an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"There is no file system {kind!r} to measure on.", f"Take one of: {', '.join(KINDS)}.")
    place = folder / "data"
    place.mkdir(mode=0o700)
    why = "" if kind == "here" else _lacking(kind) or _mount(kind, folder / "disk", place)
    if kind == "here" or why:
        if why:
            say(f"No {kind} of its own: {why}. Measuring on what {folder.parent} is on.")
        yield place
        return
    place.chmod(0o700)
    try:
        yield place
    finally:
        with deferred():
            _unmount(place)


def _lacking(kind: str) -> str:
    if os.geteuid() != 0:
        return "that takes root"
    if not shutil.which(_MAKE[kind][0], path=_PATH):
        return f"{_MAKE[kind][0]} is missing (Debian: {_PACKAGES[kind]})"
    return ""


def _mount(kind: str, disk: Path, place: Path) -> str:
    """Make and mount it; what went wrong, if anything."""
    with open(disk, "wb") as file:
        file.truncate(SIZE)
    for command in ((*_MAKE[kind], str(disk)), ("mount", "-o", "loop", str(disk), str(place))):
        program = shutil.which(command[0], path=_PATH)
        done = subprocess.run([program or command[0], *command[1:]], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            disk.unlink()
            return f"{command[0]}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    return ""


def _unmount(place: Path) -> None:
    for _ in range(50):
        done = subprocess.run(["umount", str(place)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.1)  # a container that has just ended holds it for a moment
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)
    raise SandboxError(
        f"The file system at {place} was still in use: {done.stderr.strip()}.", "Look at: fuser -vm, losetup -a."
    )
