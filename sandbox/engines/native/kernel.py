"""The system calls that Python lacks: mounts, private mount namespaces, lookups that can't escape, clones.

Owns their calling conventions and turns failures into OSError. Must not know sandboxes or layers.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)

MS_REC = 0x4000
MS_PRIVATE = 1 << 18
_CLONE_NEWNS = 0x20000
_SYS_OPENAT2 = 437
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
_FICLONE = 0x40049409
_RENAME_TRIES = 1000


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def mount(source: str, target: str, kind: str, options: str = "", flags: int = 0) -> None:
    """mount(2). `options` must stay below a page, which is all that the kernel takes."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(result, target)


def in_private_mounts(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, with a mount namespace and a working directory of its own.

    What it mounts is seen by nobody else but the programs it starts, and is gone with the last of them:
    nothing can be left behind, not even by SIGKILL.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
            mount("none", "/", "none", flags=MS_REC | MS_PRIVATE)
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, in whose thread it belongs
            failure.append(error)

    thread = threading.Thread(target=body, name="private-mounts")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def open_in_root(root: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open `path` as if the directory handle `root` were `/`: neither `..` nor a link leaves it.

    Other mounts (the sandbox's /proc, /dev, /sys) are refused with EXDEV.
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    arguments = (ctypes.c_int(root), name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    for _ in range(_RENAME_TRIES):
        result = _libc.syscall(ctypes.c_long(_SYS_OPENAT2), *arguments)
        # The kernel can't tell whether `..` still leads where it did when anything anywhere was renamed meanwhile.
        if result >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
        time.sleep(0.001)
    return _checked(result, os.fsdecode(name))


def clone_file(source: int, target: int) -> bool:
    """Let `target` share the blocks of `source`; False where the file system can't."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
