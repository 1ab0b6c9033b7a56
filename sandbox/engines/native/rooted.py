"""Files in a sandbox, reached from outside without ever leaving it through a link.

Owns reading and writing by path below a sandbox's root. Must not know how the root came to be.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import PurePosixPath

from sandbox.engines.native.kernel import open_in_root
from sandbox.errors import InputError, NotFound


def read(root: int, path: str) -> bytes:
    """The content of a regular file. Raises NotFound where there is none, InputError for anything else."""
    try:
        # Without O_NONBLOCK, a FIFO that the agent put there would hold us for ever.
        handle = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _explained(error, path) from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError(f"{path!r} in the sandbox is not a regular file.")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def write(root: int, path: str, content: bytes, mode: int) -> None:
    """Create or replace a file of root's, with missing parents (0755)."""
    pure = PurePosixPath("/", path)
    if pure.name in ("", ".."):
        raise InputError(f"{path!r} does not name a file.")
    try:
        parent = _make_directories(root, pure.parent)
        try:
            _replace(parent, pure.name, content, mode)
        finally:
            os.close(parent)
    except OSError as error:
        raise _explained(error, path) from error


def is_directory(root: int, path: str) -> bool:
    """Whether a directory is there, links followed inside the sandbox."""
    try:
        os.close(open_in_root(root, path, os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        # /proc, /dev and /sys are other mounts, and directories.
        return error.errno == errno.EXDEV
    return True


def _replace(parent: int, name: str, content: bytes, mode: int) -> None:
    # A new file that takes the name at once: a link there is replaced, not followed, and no reader sees a half.
    fresh = f".sandbox-{secrets.token_hex(8)}"
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=parent)
        raise


def _make_directories(root: int, path: PurePosixPath) -> int:
    """A handle on the directory `path`, made where it is missing."""
    handle = os.dup(root)
    so_far = PurePosixPath("/")
    for name in path.parts[1:]:
        so_far /= name
        # Always from the root, since a link on the way may be absolute.
        try:
            following = open_in_root(root, str(so_far), os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=handle)
            following = open_in_root(root, str(so_far), os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(handle)
        handle = following
    return handle


def _explained(error: OSError, path: str) -> InputError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"There is no {path!r} in the sandbox.")
    if error.errno == errno.EXDEV:
        return InputError(f"{path!r} is not part of the sandbox's files.", "/proc, /sys and /dev are the kernel's.")
    return InputError(f"{path!r} in the sandbox: {error.strerror}.")
