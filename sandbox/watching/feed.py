"""File events from every directory of a sandbox's targets, read by watchdog's inotify reader.

Owns which directories are watched, through deletion, recreation and moves. Must not count or judge: it says
which path was touched. watchdog's own recursive observer is not used: it walks new directories by path and so
can be led through links, out of the sandbox, by the agent who owns the tree. Here each directory is opened
through `presence` and watched by its handle.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sandbox.watching.presence import descend, directory

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, WatchDescriptor

DEEPEST = 64
"""Levels of directories that are watched; an agent can nest without end."""


class Ignore(Protocol):
    """Says which paths do not count; `trees.patterns.Patterns` is one."""

    def match(self, path: bytes, is_dir: bool = False) -> bool:
        """This path is ignored."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One target's copy in the sandbox."""

    path: str
    """Where it is in the sandbox, as `/workspace`."""
    base: Iterable[bytes]
    """The paths of its base, without the ignored ones."""
    ignore: Ignore | None = None

    @property
    def steps(self) -> list[str]:
        """The directories from the sandbox's root to it."""
        return [step for step in self.path.split("/") if step]


class Feed:
    """One inotify instance with a watch per directory of the watched trees."""

    def __init__(self, root: Path, watched: Sequence[Watched], touch: Callable[[int, bytes, bool], None]) -> None:
        # Not at the top: it needs inotify, and this module must load where there is none.
        from watchdog.observers.inotify_c import InotifyConstants, InotifyFD, Mask

        self._root, self._watched, self._touch = root, watched, touch
        self.limited = ""
        wanted = InotifyConstants.IN_MODIFY | InotifyConstants.IN_ATTRIB | InotifyConstants.IN_MOVE
        made = InotifyConstants.IN_CREATE | InotifyConstants.IN_DELETE
        self._mask = Mask(wanted | made | InotifyConstants.IN_ONLYDIR)
        self._budget = _watch_budget()
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._directories: dict[tuple[int, bytes], _Directory] = {}
        self._roots: dict[int, tuple[int, int]] = {}
        self._inotify: InotifyFD = InotifyFD()
        self._inotify.start()

    def close(self) -> None:
        """End it. Its thread is not waited for: the kernel takes some 15 ms to let go of the watches."""
        self._inotify.stop()

    def attach_missing(self) -> bool:
        """Watch every target's root directory that is not watched; whether all of them are then."""
        unwatched = [one for where, one in enumerate(self._watched) if not self._attach_root(where, one)]
        return not unwatched

    def _attach_root(self, where: int, one: Watched) -> bool:
        try:
            with descend(self._root, one.steps) as handle:
                state = os.fstat(handle)
                identity = (state.st_dev, state.st_ino)
                # A recreated directory may get the same inode number: the kernel's word that the watch is
                # gone counts as well.
                if self._roots.get(where) != identity or (where, b"") not in self._directories:
                    again = where in self._roots
                    self._roots[where] = identity
                    self.attach(where, b"", handle, count=again)
        except OSError:
            return False
        return (where, b"") in self._directories

    def appeared(self, where: int, path: bytes) -> None:
        """A directory was made, or moved to here: watch it and count what is in it already."""
        steps = [*self._watched[where].steps, *os.fsdecode(path).split("/")]
        try:
            with descend(self._root, steps) as handle:
                self.attach(where, path, handle, count=True)
        except OSError:
            return

    def attach(self, where: int, path: bytes, handle: int, *, count: bool) -> None:
        """Watch the directory behind `handle` and all below it; `count`: what is found there is a change."""
        ignore = self._watched[where].ignore
        if path.count(b"/") >= DEEPEST or (path and ignore is not None and ignore.match(path, True)):
            return
        if not self._add(where, path, handle):
            return
        with os.scandir(handle) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for name, is_dir in entries:
            below = path + b"/" + os.fsencode(name) if path else os.fsencode(name)
            if count:
                self._touch(where, below, is_dir)
            if is_dir:
                try:
                    with directory(name, handle) as inner:
                        self.attach(where, below, inner, count=count)
                except OSError:
                    continue

    def _add(self, where: int, path: bytes, handle: int) -> bool:
        with self._lock:
            self.detach(where, path)
            if len(self._directories) >= self._budget:
                self.limited = self.limited or f"it watches {self._budget} directories at most"
                return False
            watching = _Directory(self, where, path, next(self._ids))  # type: ignore[arg-type]
            try:
                # The handle's own link: the kernel follows it to the very directory that was opened.
                name = b"/proc/self/fd/%d" % handle
                watching.wd = self._inotify.add_callback(name, self._mask, watching, watching.id)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EMFILE, errno.ENOMEM):
                    self.limited = self.limited or str(error)
                return False
            self._directories[where, path] = watching
            return True

    def detach(self, where: int, path: bytes) -> None:
        """Forget the watch of `path`; a moved directory keeps its watch in the kernel otherwise."""
        with self._lock:
            old = self._directories.pop((where, path), None)
        if old is not None and old.wd is not None:
            self._inotify.remove_callbacks([(old.wd, old.id)])

    def moved_away(self, where: int, path: bytes) -> None:
        """Forget the watches of `path` and of all below it."""
        with self._lock:
            below = [key for key in self._directories if key[0] == where and (key[1] + b"/").startswith(path + b"/")]
        for key in below:
            self.detach(*key)

    def gone(self, directory: _Directory) -> None:
        """The kernel dropped the watch: its directory was deleted."""
        with self._lock:
            if self._directories.get((directory.where, directory.path)) is directory:
                del self._directories[directory.where, directory.path]

    def seen(self, directory: _Directory, event: InotifyEvent) -> None:
        """One event in `directory`."""
        if not event.name:
            return
        path = directory.path + b"/" + event.name if directory.path else event.name
        self._touch(directory.where, path, event.is_directory)
        if event.is_directory and event.is_moved_from:
            self.moved_away(directory.where, path)
        elif event.is_directory and (event.is_create or event.is_moved_to):
            self.appeared(directory.where, path)

    def lost(self) -> None:
        """The kernel's queue overflowed: watch everything anew at the next look."""
        self._roots.clear()
        self.limited = self.limited or "events came faster than they could be read"


class _Directory:
    """What watchdog calls for the events of one directory."""

    def __init__(self, feed: Feed, where: int, path: bytes, ident: CallbackId) -> None:
        self._feed, self.where, self.path, self.id = feed, where, path, ident
        self.wd: WatchDescriptor | None = None

    def on_event(self, event: InotifyEvent) -> None:
        self._feed.seen(self, event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002 - watchdog names it
        self._feed.gone(self)

    def on_queue_overflow(self) -> None:
        self._feed.lost()


def _watch_budget() -> int:
    """Half of what this user may watch: an agent must not use up what the host's own services need."""
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text(encoding="ascii")) // 2
    except (OSError, ValueError):
        return 4096
