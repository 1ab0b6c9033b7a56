"""Copies of a sandbox's upper layer: exact, sparse where it is sparse, sharing what can be shared safely.

Owns how a layer is copied. The caller keeps the layer still meanwhile. A copy shares blocks by reflink where the file
system can. Where it can't, a file that has not changed since the previous copy becomes a hard link to *that
copy*, which nobody ever writes; never to the live layer, through which the agent would write to both.

A file counts as unchanged by inode, size and both times. Two cases in which times lie are left out: times so close to
the copy that a later write may get the same ones, and files that may be written through a shared mapping, which
moves the times only now and then (`mapped`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sandbox.engines.native.kernel import clone_file
from sandbox.engines.native.merged import MAX_DEPTH
from sandbox.engines.native.overlay import is_whiteout
from sandbox.errors import OverLimit

_RACY_NS = 25_000_000
"""More than two ticks of the slowest clock by which a kernel stamps files (100 a second)."""
_OF_THE_LIVE = ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.nlink", "trusted.overlay.uuid")
"""What overlayfs notes on a layer that is written to, about the very files in it; a layer below has no use for it."""
_SMALL = 1 << 16
_SPECIAL_BITS = 0o7000

Index = dict[str, list[int]]
"""Path in the layer → what told the source file's state when it was copied."""


@dataclass(slots=True)
class _Level:
    """A directory under way: handles on both sides, its path, its state, and the names still to do."""

    source: int
    target: int
    path: str
    state: os.stat_result
    names: list[str]

    def close(self) -> None:
        os.close(self.source)
        os.close(self.target)


class _Making(NamedTuple):
    """How what we make comes out by itself."""

    uid: int
    gid: int
    umask: int

    def owns(self, state: os.stat_result) -> bool:
        """Whether it has the right owner."""
        return state.st_uid == self.uid and state.st_gid == self.gid


class Cloner:
    """One copy of a layer, `previous` being an earlier copy of the same one, and `known` its index."""

    def __init__(self, previous: Path | None = None, known: Index | None = None, *, mapped: bool = False) -> None:
        self.index: Index = {}
        self._previous = previous
        self._known = known or {}
        self._mapped = mapped
        self._first_name: dict[int, str] = {}
        self._making = _Making(os.geteuid(), os.getegid(), _current_umask())

    def clone(self, source: Path, target: Path) -> None:
        """Make `target` a copy of `source`, and `index` what the next copy needs to know."""
        self._trusted_before = time.time_ns() - _RACY_NS
        self._previous_root = _open_directory(self._previous) if self._previous else None
        os.mkdir(target)
        self._target_root = _open_directory(target)
        levels = [_enter(_open_directory(source), _open_directory(target), "")]
        try:
            while levels:
                level = levels[-1]
                if level.names:
                    self._take(levels, level, level.names.pop())
                else:
                    _dress(level.source, level.target, level.state)
                    levels.pop().close()
        finally:
            for level in levels:
                level.close()
            os.close(self._target_root)
            if self._previous_root is not None:
                os.close(self._previous_root)

    def _take(self, levels: list[_Level], level: _Level, name: str) -> None:
        state = os.stat(name, dir_fd=level.source, follow_symlinks=False)
        path = f"{level.path}/{name}" if level.path else name
        if stat.S_ISDIR(state.st_mode):
            if len(levels) >= MAX_DEPTH:
                raise OverLimit(f"Directories are nested deeper than {MAX_DEPTH} levels in the sandbox.")
            os.mkdir(name, 0o700, dir_fd=level.target)
            levels.append(_enter(_open_at(level.source, name), _open_at(level.target, name), path))
        elif state.st_nlink > 1 and not is_whiteout(state):
            first = self._first_name.setdefault(state.st_ino, path)
            if first is path:
                self._take_file(level, name, path, state)
            else:
                os.link(first, name, src_dir_fd=self._target_root, dst_dir_fd=level.target)
        else:
            self._take_file(level, name, path, state)

    def _take_file(self, level: _Level, name: str, path: str, state: os.stat_result) -> None:
        if stat.S_ISREG(state.st_mode):
            seen = [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
            if not self._mapped and state.st_ctime_ns < self._trusted_before:
                self.index[path] = seen
            if self._previous_root is None or self._known.get(path) != seen or not self._link(path, level, name):
                _copy_regular(level, name, state, self._making)
            return
        if stat.S_ISLNK(state.st_mode):
            os.symlink(os.readlink(name, dir_fd=level.source), name, dir_fd=level.target)
        else:
            os.mknod(name, state.st_mode, state.st_rdev, dir_fd=level.target)
        if is_whiteout(state):
            return  # whose, and from when, is seen by nobody
        if not self._making.owns(state):
            os.chown(name, state.st_uid, state.st_gid, dir_fd=level.target, follow_symlinks=False)
        os.utime(name, ns=(state.st_atime_ns, state.st_mtime_ns), dir_fd=level.target, follow_symlinks=False)

    def _link(self, path: str, level: _Level, name: str) -> bool:
        """A hard link to the previous copy; False where the file system won't (too many links)."""
        try:
            os.link(path, name, src_dir_fd=self._previous_root, dst_dir_fd=level.target)
        except OSError:
            return False
        return True


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _open_at(directory: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)


def _enter(source: int, target: int, path: str) -> _Level:
    return _Level(source, target, path, os.fstat(source), os.listdir(source))


def _copy_regular(level: _Level, name: str, state: os.stat_result, making: _Making) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=level.source)
    try:
        mode = stat.S_IMODE(state.st_mode)
        # With the right mode from the start, a small file costs two calls less; layers are open to nobody else.
        plain = making.owns(state) and not mode & (making.umask | _SPECIAL_BITS)
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode if plain else 0o600, dir_fd=level.target)
        try:
            if state.st_size <= _SMALL and state.st_blocks * 512 >= state.st_size:
                # A reflink of what was just written waits for the disk to have it; so little is faster copied.
                data = os.read(source, _SMALL + 1)
                if os.write(target, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            elif not clone_file(source, target):
                _copy_data(source, target, state.st_size)
            if plain:
                _copy_attributes(source, target)
                os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
            else:
                _dress(source, target, state)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_data(source: int, target: int, size: int) -> None:
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(target, start, os.SEEK_SET)
        at = start
        while at < end:
            sent = os.sendfile(target, source, None, end - at)
            if sent == 0:  # shorter than it was: only possible when it was not kept still
                return
            at += sent


def _dress(source: int, target: int, state: os.stat_result) -> None:
    # The owner first: a change of owner clears setuid bits and file capabilities.
    os.chown(target, state.st_uid, state.st_gid)
    os.chmod(target, stat.S_IMODE(state.st_mode))
    _copy_attributes(source, target)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))


def _copy_attributes(source: int, target: int) -> None:
    for name in os.listxattr(source):
        if name not in _OF_THE_LIVE:
            os.setxattr(target, name, os.getxattr(source, name))


def _current_umask() -> int:
    """Read, not changed and changed back: other threads make files too."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next((int(line.split()[1], 8) for line in status if line.startswith("Umask:")), 0o777)


def shares_mappings(pids: Iterable[int]) -> bool:
    """Whether a process may write to a file through a shared mapping, unseen by the file's times."""
    for pid in pids:
        try:
            with open(f"/proc/{pid}/maps", "rb") as maps:
                lines = [line.split(maxsplit=5) for line in maps]
        except (FileNotFoundError, ProcessLookupError):
            continue
        # 0 as the inode: memory that is shared, but no file's.
        if any(line[1][1:2] == b"w" and line[1][3:4] == b"s" and line[4] != b"0" for line in lines):
            return True
    return False
