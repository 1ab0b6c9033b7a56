"""Whether a change can be applied at all, asked before anything is written.

Owns the questions: room, permission, owners, kinds. Must not change anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sandbox.errors import InputError
from sandbox.targets.beneath import GONE, directory
from sandbox.targets.units import only_metadata
from sandbox.trees.entry import ROOT, Change, Entry, parent_of, path_text

WRITABLE_KINDS = ("file", "dir", "link")
_RESERVE = 1 << 20
_BLOCK = 4096


def check(root: int, path: Path, changes: Sequence[Change], point: Path) -> None:
    """Raises InputError, with the cure, where applying could only fail."""
    for change in changes:
        if change.after is not None and change.after.kind not in WRITABLE_KINDS:
            raise InputError(
                f"{path_text(change.path)!r} would become a {change.after.kind}, which is never promoted.",
                "Leave it out of the change.",
            )
        if change.path == ROOT and (change.before is None or change.after is None or change.after.kind != "dir"):
            raise InputError("The target's root itself can't be added, removed or replaced.", "Leave it as it is.")
    _room(root, path, changes, point)
    if os.fstatvfs(root).f_flag & os.ST_RDONLY:
        raise InputError(f"{path} is mounted read-only.", "Mount it writable.")
    if os.geteuid() != 0:
        _owners(changes)
        _permissions(root, changes)


def _size(entries: Sequence[Entry | None]) -> int:
    return sum((entry.size // _BLOCK + 1) * _BLOCK for entry in entries if entry is not None)


def _room(root: int, path: Path, changes: Sequence[Change], point: Path) -> None:
    swapped = [change for change in changes if not only_metadata(change)]
    staged, kept = _size([change.after for change in swapped]), _size([change.before for change in swapped])
    holder = next(each for each in (point, *point.parents) if each.exists())
    target_room, point_room = os.fstatvfs(root), os.statvfs(holder)
    if os.fstat(root).st_dev == os.stat(holder).st_dev:
        _enough(path, target_room, staged + kept, 2 * len(swapped))
    else:
        _enough(path, target_room, staged, len(swapped))
        _enough(point, point_room, kept, len(swapped))


def _enough(path: Path, room: os.statvfs_result, needed: int, files: int) -> None:
    free = room.f_bavail * room.f_frsize
    if free < needed + _RESERVE:
        raise InputError(
            f"There is no room for this on the file system of {path}: {needed + _RESERVE:,} bytes are needed, "
            f"{free:,} are free.",
            "Make room there and try again.",
        )
    if room.f_files and room.f_favail < files + 16:
        raise InputError(f"The file system of {path} has no room for {files} more files.", "Make room there.")


def _owners(changes: Sequence[Change]) -> None:
    """Only root may give files away."""
    user, groups = os.geteuid(), {os.getegid(), *os.getgroups()}
    for change in changes:
        for entry in (change.before, change.after):
            if entry is not None and (entry.uid != user or entry.gid not in groups):
                raise InputError(
                    f"{path_text(change.path)!r} belongs to {entry.uid}:{entry.gid}, which user {user} can't set.",
                    "Promote as root or as the owner of the target.",
                )


def _permissions(root: int, changes: Sequence[Change]) -> None:
    after = {change.path: change.after for change in changes}
    _writable(root, ROOT)
    for change in changes:
        for entry in (change.before, change.after):
            if (
                entry is not None
                and entry.kind == "dir"
                and not entry.mode & stat.S_IWUSR
                and not only_metadata(change)
            ):
                raise InputError(
                    f"Only root can put the read-only directory {path_text(change.path)!r} in place or remove it.",
                    "Promote as root.",
                )
        above = parent_of(change.path)
        new = after.get(above)
        if only_metadata(change) or (new is not None and new.mode & stat.S_IWUSR):
            continue
        _writable(root, above)


def _writable(root: int, path: bytes) -> None:
    try:
        with directory(root, path) as handle:
            allowed = os.access(b".", os.W_OK | os.X_OK, dir_fd=handle, effective_ids=True)
    except OSError as error:
        # It is no directory yet, or has drifted; then its own change, or the comparison, says so.
        allowed = error.errno in GONE
    if not allowed:
        raise InputError(
            f"User {os.geteuid()} may not write in {path_text(path)!r}.", "Promote as the owner of the target."
        )
