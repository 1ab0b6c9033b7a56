"""Removing a tree that somebody hostile may have made: any depth, any names, links never followed.

Owns that one act. A tree is first renamed within its parent, so that what a crash leaves is seen as rubbish.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

GONE = ".gone-"
"""Starts the name of everything that is on its way out."""


def remove(path: Path) -> None:
    """Remove whatever is at `path`; nothing to do where there is nothing."""
    doomed = set_aside(path)
    if doomed is not None:
        finish(doomed)


def set_aside(path: Path) -> Path | None:
    """Free the name at once; what `finish` then has to remove, if anything."""
    doomed = path.with_name(f"{GONE}{secrets.token_hex(8)}")
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return None
    return doomed


def finish(doomed: Path) -> None:
    """Remove what was set aside; two may do so at once."""
    with suppress(FileNotFoundError):
        _empty(doomed)


def _empty(doomed: Path) -> None:
    if not doomed.is_dir() or doomed.is_symlink():
        doomed.unlink(missing_ok=True)
        return
    top = os.open(doomed, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        pending = _clear(top, top)
        while pending:
            name = pending.pop()
            with suppress(FileNotFoundError):
                directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                try:
                    pending += _clear(directory, top)
                finally:
                    os.close(directory)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(doomed)


def _clear(directory: int, top: int) -> list[bytes]:
    """Unlink the files of `directory` and move its full directories up to `top`: no depth is ever too deep."""
    moved: list[bytes] = []
    for name in os.listdir(directory):
        encoded = os.fsencode(name)
        try:
            os.unlink(encoded, dir_fd=directory)
        except FileNotFoundError:
            continue
        except IsADirectoryError:
            pass
        else:
            continue
        fresh = secrets.token_hex(16).encode()
        os.rename(encoded, fresh, src_dir_fd=directory, dst_dir_fd=top)
        moved.append(fresh)
    return moved
