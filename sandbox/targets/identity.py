"""What a directory target really is, the handle on it, and the lease that keeps others out.

Owns the opening of a target's root. Must not change anything in it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import Drifted, InputError, Locked
from sandbox.targets.beneath import DIRECTORY


def identify(path: Path) -> str:
    """`directory:HOST:PATH:fs-ID:inode-N`: other on another machine, after a move, and after a deletion and
    re-creation under the same name. Raises InputError where there is no such directory."""
    with opened(path) as root:
        file_system = os.fstatvfs(root).f_fsid
        inode = os.fstat(root).st_ino
    real = os.fsencode(os.path.realpath(path)).decode("utf-8", "backslashreplace")
    return f"directory:{_machine()}:{real}:fs-{file_system:x}:inode-{inode}"


@contextmanager
def opened(path: Path, expected: tuple[int, int] | None = None) -> Iterator[int]:
    """A handle on the target's root. Raises InputError where it is not there or not itself a directory, Drifted
    where it is another one than `expected` (device and inode)."""
    root = _open(path)
    try:
        if expected is not None and of(root) != expected:
            raise Drifted(
                f"{path} is no longer the same directory: it was replaced meanwhile.",
                "Put the original directory back under this path, or propose the change again.",
            )
        yield root
    finally:
        os.close(root)


def of(root: int) -> tuple[int, int]:
    """Device and inode of an open root."""
    found = os.fstat(root)
    return found.st_dev, found.st_ino


@contextmanager
def lease(path: Path) -> Iterator[None]:
    """Hold the target's own lock, that of the kernel on its root directory: one holder per machine, whatever
    their home, and gone with its process. Raises Locked."""
    with opened(path) as root:
        try:
            fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(root)
            raise Locked(
                f"{path} is being promoted to by {holder or 'another process'}.", "Try again when that is done."
            ) from error
        with opened(path, of(root)):
            # Nobody replaced the directory between its opening and its locking.
            yield


def _open(path: Path) -> int:
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError as error:
        raise InputError(
            f"There is no directory {path}.", "Correct 'path' in the target's file, or make it."
        ) from error
    except OSError as error:
        raise InputError(f"{path} can't be reached: {error.strerror}.", "Run as a user who may enter it.") from error
    if stat.S_ISLNK(found.st_mode):
        raise InputError(f"{path} is a symbolic link.", f"Name what it points to as 'path': {os.path.realpath(path)}")
    if not stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path} is not a directory.", "Name the directory that holds it as 'path'.")
    try:
        return os.open(path, DIRECTORY)
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}.", "Run as a user who may read it.") from error


def _machine() -> str:
    """The machine's own id, which a change of its host name does not change."""
    for source in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            if found := Path(source).read_text("utf-8").strip():
                return found
        except (OSError, ValueError):
            continue
    return platform.node()


def _holder(root: int) -> str | None:
    """Who holds the lock, from the kernel's list of locks; None where it does not tell."""
    device, inode = of(root)
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    try:
        for line in Path("/proc/locks").read_text("utf-8").splitlines():
            fields = line.split()
            if "FLOCK" in fields and wanted in fields:
                pid = fields[fields.index(wanted) - 1]
                name = Path(f"/proc/{pid}/comm").read_text("utf-8", "backslashreplace").strip()
                return f"process {pid} ({name})"
    except (OSError, ValueError):
        pass
    return None
