"""Room on the home's disk that a promotion sets aside for putting everything back: whoever fills the disk meanwhile
can't keep the journal from being written then.

Owns one file per promotion. Must not know what the room is used for.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from sandbox.errors import InputError

BYTES = 1 << 20
_NAME = "reserve"


def keep(folder: Path) -> None:
    """Set the room aside in a promotion's folder, making that where it is missing. Raises InputError where there is
    not enough."""
    folder.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(folder / _NAME, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(handle, 0, BYTES)
    except OSError as error:
        release(folder)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        room = os.statvfs(folder.parent)
        raise InputError(
            f"There is no room on the file system of {folder}: {BYTES:,} bytes are needed to be able to put everything"
            f" back, {room.f_bavail * room.f_frsize:,} are free.",
            "Nothing was changed. Make room there (`sandbox prune` may help) and try again.",
        ) from error
    finally:
        os.close(handle)


def release(folder: Path) -> None:
    """Give the room up, because it is needed now or not any more; can be repeated."""
    (folder / _NAME).unlink(missing_ok=True)
    with suppress(OSError):  # the folder of a taking back has nothing else
        folder.rmdir()
