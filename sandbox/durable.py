"""Files that are there after a power cut: written beside, flushed, renamed into place, directory flushed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

FEW = 16
"""Up to so many files are flushed one by one."""


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Create or replace `path` with `data`, all or nothing; durable when it returns."""
    fresh = path.with_name(f".{path.name}.new")
    handle = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(directory: Path, names: Sequence[str]) -> None:
    """Make the contents of files of one directory durable; of many with the whole file system, which is much faster but
    waits for what others write too."""
    if len(names) <= FEW:
        for name in names:
            sync_file(directory / name)
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file_system(handle)
    finally:
        os.close(handle)


def sync_file_system(handle: int) -> None:
    """Make all that was written to the file system of an open file durable, in one go."""
    import ctypes  # here, because most commands flush a file or two

    if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_all(handle: int, data: bytes) -> None:
    """Write all of it to an open file, however little the system takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
