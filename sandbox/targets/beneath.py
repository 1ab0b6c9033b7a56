"""Directory handles: how anything below a target's root is opened and renamed.

Owns the rule that no link is ever followed: a path is walked one component at a time, each opened relative to the
handle before it with O_NOFOLLOW, so whoever swaps a directory for a link meanwhile gets an error, not our
write. (`openat2` would do the same in one call, but refuses paths longer than PATH_MAX, which a tree may hold.)
Must not know what a change, an entry or a restore point is.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import durable
from sandbox.errors import InputError
from sandbox.trees.entry import ROOT, parent_of, path_text

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: a FIFO that somebody puts in a file's place must not make us wait."""

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What opening gives where a component is missing, is no directory, or is a link."""

FEW = durable.FEW
"""Up to so many files are flushed one by one; more of them with the whole file system."""

_NOREPLACE = 1
_EXCHANGE = 2


def open_directory(root: int, path: bytes) -> int:
    """A handle on the directory `path` below `root`; the caller closes it.

    Raises OSError with one of GONE where a component is not a real directory, InputError at a mount point.
    """
    handle = os.open(b".", DIRECTORY, dir_fd=root)
    try:
        device = os.fstat(handle).st_dev
        for name in () if path == ROOT else path.split(b"/"):
            if name in (b"", b".", b".."):
                raise InputError(f"{path_text(path)!r} is not a path inside the tree.", "This change can't be applied.")
            deeper = os.open(name, DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = deeper
        if os.fstat(handle).st_dev != device:
            raise InputError(
                f"{path_text(path)!r} lies on another file system, mounted inside the tree.",
                "Make the mounted directory a target of its own and ignore it here.",
            )
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def directory(root: int, path: bytes) -> Iterator[int]:
    """`open_directory`, closed at the end."""
    handle = open_directory(root, path)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A handle on a directory by its path, closed at the end."""
    handle = os.open(path, DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def parent(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """A handle on the directory that holds `path`, and the name in it; the root is `.` in itself."""
    with directory(root, parent_of(path)) as handle:
        yield handle, path.rpartition(b"/")[2]


def state(handle: int, name: bytes) -> os.stat_result | None:
    """What is at a name, itself and not what it points to; None where nothing is."""
    try:
        return os.stat(name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return None


@functools.cache
def _renameat2() -> Callable[..., int]:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError as error:
        raise InputError(
            "This system has no renameat2.", "Directory targets need Linux with glibc 2.28 or newer."
        ) from error
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return call


def _rename(source: int, name: bytes, target: int, new_name: bytes, flag: int) -> None:
    if _renameat2()(source, name, target, new_name, flag) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(name), None, os.fsdecode(new_name))


def move(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Rename, atomically, where nothing has the new name yet; FileExistsError otherwise."""
    _rename(source, name, target, new_name, _NOREPLACE)


def exchange(source: int, name: bytes, target: int, other: bytes) -> None:
    """Swap two names, atomically, whatever they are."""
    _rename(source, name, target, other, _EXCHANGE)


def can_exchange(handle: int) -> bool:
    """Whether the file system of this directory of ours can do both renames; tried, since nothing tells."""
    names = (b"probe-a", b"probe-b")
    for name in names:
        os.mkdir(name, 0o700, dir_fd=handle)
    try:
        exchange(handle, names[0], handle, names[1])
        move(handle, names[0], handle, b"probe-c")
        move(handle, b"probe-c", handle, names[0])
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            return False
        raise
    finally:
        for name in names:
            os.rmdir(name, dir_fd=handle)
    return True


def remove_tree(handle: int, name: bytes) -> None:
    """Remove a name and all that is below it; nothing to do where it is missing. Links are removed, not followed."""
    pending = [name]
    while pending:
        path = pending[-1]
        try:
            with parent(handle, path) as (above, last):
                found = state(above, last)
                if found is None:
                    pending.pop()
                elif not stat.S_ISDIR(found.st_mode):
                    os.unlink(last, dir_fd=above)
                    pending.pop()
                elif below := _names_to_remove(above, last, found):
                    pending.extend(path + b"/" + each for each in below)
                else:
                    os.rmdir(last, dir_fd=above)
                    pending.pop()
        except FileNotFoundError:
            pending.pop()


def _names_to_remove(above: int, name: bytes, found: os.stat_result) -> list[bytes]:
    if found.st_mode & stat.S_IRWXU != stat.S_IRWXU and os.geteuid() != 0:
        # Only root may empty a directory without permission for its owner; this tree is ours and private.
        os.chmod(name, stat.S_IRWXU, dir_fd=above)
    inner = os.open(name, DIRECTORY, dir_fd=above)
    try:
        return [os.fsencode(each) for each in os.listdir(inner)]
    finally:
        os.close(inner)
