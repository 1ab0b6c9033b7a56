"""The store of bases: captured states of targets, one copy of each, shared by all sandboxes.

Owns `HOME/bases`: how a base gets there, how it is found and how it goes. A base is built under a temporary name
and renamed into place, so that it is there whole or not at all, and two processes that make the same one both
succeed. Must not write to a target, and never shares an inode with one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from sandbox import faults
from sandbox.errors import Conflict, InputError, NotFound, SandboxError
from sandbox.trees import building, layering, manifest
from sandbox.trees.building import Blobs, Built, Capture
from sandbox.trees.entry import Change
from sandbox.trees.patterns import Patterns
from sandbox.trees.removal import remove_tree
from sandbox.trees.scan import all_known
from sandbox.trees.stat_cache import Known, StatCache, read_cache
from sandbox.trees.stored import MANIFEST, Meta, OnProgress, StoredBase, boot_id, is_whole
from sandbox.trees.updating import Shelf, TooMuch, Update
from sandbox.trees.walk import Walk, has_local_clock, opened
from sandbox.trees.writer import privileged

__all__ = ["BaseStore", "Blobs", "OnProgress", "StoredBase"]

_BUILDING = ".building-"
_REMOVING = ".removing-"
_NAME = re.compile(r"([0-9a-f]{64})(\.\d+\.\d+)?")
_ATTEMPTS = 4
_BLOCK = 4096


class BaseStore:
    """Safe for several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        """`root` is `HOME/bases`; it is made when something is first put into it."""
        self._root = root

    def capture(self, source: Path, ignore: Patterns, *, key: str, on_progress: OnProgress | None = None) -> StoredBase:
        """The state of a directory, at one instant.

        After the copy a second walk finds every entry in the very state in which it was read, or the copy is
        brought up to date and checked again; so there was a moment between the two walks at which the whole
        directory was what the base says (as exactly as the file system's clock tells one write from the next).
        What the stat cache for `key`, the target's identity, knows is not read again; where nothing changed, the
        base that is there is returned after one walk.

        Raises InputError for a source that can't be read whole and where there is no room, Conflict for one that
        does not keep still.
        """
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache = StatCache.for_key(self._root / "caches", key)
        with opened(source) as fd, _room(self._root, lambda: _bytes_needed(fd, ignore)), ExitStack() as stack:
            known = stack.enter_context(cache.known())
            base = self._usable(known.fingerprint)
            if base is not None:
                work = stack.enter_context(self._workplace())
                try:
                    return self._updated(work, base, cache, (fd, ignore, known), on_progress)
                except (Conflict, TooMuch):
                    known.rewind()
            previous: Built | StoredBase | None = base
            trouble = Conflict("The directory changes faster than it can be read.", "Stop what writes to it.")
            for attempt in range(_ATTEMPTS):
                work = stack.enter_context(self._workplace())
                try:
                    built = Capture(work, previous, on_progress).run(fd, ignore, known)
                    fresh = stack.enter_context(read_cache(built.cache))
                    if _at_one_instant(fd, ignore, fresh, racy=built.racy):
                        cache.adopt(built.cache)
                        return self._place(built)
                    known, previous = fresh, built
                except Conflict as error:
                    trouble = error
                    known.rewind()
                time.sleep(0.02 * attempt)
            raise trouble

    def _updated(
        self,
        work: Path,
        base: StoredBase,
        cache: StatCache,
        target: tuple[int, Patterns, Known],
        on_progress: OnProgress | None,
    ) -> StoredBase:
        """What `base`, which the cache speaks of, has become. Raises TooMuch where a whole base is the better way, and
        Conflict where the target was not as it was read at one instant."""
        entries = Meta.read(base.directory).entries
        shelf = Shelf.make(work / "shelf")
        with manifest.Edited(base.directory / MANIFEST, work / MANIFEST) as listed:
            most = layering.most_changes(entries)
            found = Update(*target).run(work, shelf=shelf, listed=listed, most=most, on_progress=on_progress)
        if found.cache is None:
            return base
        with read_cache(found.cache) as fresh:
            if not _at_one_instant(*target[:2], fresh, racy=found.racy):
                raise Conflict("The directory changed while it was read.", "Stop what writes to it.")
        there = self._usable(found.fingerprint)
        if there is not None:
            cache.adopt(found.cache)
            return there
        built = building.update(work, base, found, shelf, entries)
        cache.adopt(found.cache)
        return self._place(built)

    def derive(self, base: StoredBase, changes: Sequence[Change], blobs: Blobs) -> StoredBase:
        """The base with the changes made to it: what a clean room starts from. Unchanged files are shared on disk.

        Raises Conflict where the changes do not fit the base, NotFound for a content that is missing,
        SandboxError for a damaged one, InputError where there is no room.
        """
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _room(self._root, lambda: _bytes_changed(changes)), self._workplace() as work:
            return self._place(building.derive(work, base, changes, blobs))

    def get(self, fingerprint: str) -> StoredBase:
        """A base that is there. Raises NotFound where there is none, or none that is of use any more."""
        if not _NAME.fullmatch(fingerprint):
            raise NotFound(f"{fingerprint!r} is no fingerprint of a base.")
        return self._load(self._root / fingerprint)

    def list(self) -> tuple[StoredBase, ...]:
        """Every base that is of use, by fingerprint."""
        if not self._root.is_dir():
            return ()
        names = sorted(name for name in os.listdir(self._root) if _NAME.fullmatch(name))
        bases = (self._usable(name) for name in names)
        return tuple(base for base in bases if base is not None)

    def remove(self, fingerprint: str) -> None:
        """Forget a base, in all its forms; an unknown one is ignored. No sandbox may stand on it any more. One that
        another base is a layer over stays."""
        if not self._root.is_dir():
            return
        with self._shared():
            carrying = {base.under for base in self.list()}
            for name in os.listdir(self._root):
                if (match := _NAME.fullmatch(name)) and match[1] == fingerprint and self._root / name not in carrying:
                    self._retire(self._root / name)

    def sweep(self) -> tuple[str, ...]:
        """Remove what crashed work left; a line for each thing. While somebody is building, nothing."""
        if not self._root.is_dir():
            return ()
        swept = []
        with self._lock() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return ()
            for path in sorted(self._root.iterdir()):
                if path.name.startswith((_BUILDING, _REMOVING)):
                    remove_tree(path)
                    swept.append(f"removed the unfinished base {path.name}")
        return tuple(swept)

    def _usable(self, name: str | None) -> StoredBase | None:
        if name is None:
            return None
        try:
            return self._load(self._root / name)
        except SandboxError:
            return None

    def _load(self, directory: Path) -> StoredBase:
        meta = Meta.read(directory)
        fingerprint = directory.name[:64]
        under = self._load(self._root / meta.under).directory if meta.under else None
        base = StoredBase(fingerprint, meta.owner, directory, under)
        if privileged() and not meta.complete:
            raise NotFound(f"The base {fingerprint[:12]} was captured without root and lacks owners.", _AGAIN)
        if meta.boot != boot_id():
            whole = is_whole(base) if under is None else layering.is_whole(base.layers[0], base.owner, base.layer())
            if not whole:
                raise NotFound(f"The base {fingerprint[:12]} was damaged when the machine went down.", _AGAIN)
            replace(meta, boot=boot_id()).write(directory)
        return base

    def _place(self, built: Built) -> StoredBase:
        """Put a built base in its place, or take the equal one that somebody put there meanwhile."""
        under = built.under.name if built.under is not None else ""
        Meta(built.owner, privileged(), boot_id(), built.entries, under).write(built.directory)
        final = self._root / _directory_name(built)
        faults.reached("base.built")
        while True:
            try:
                built.directory.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if (there := self._usable(final.name)) is not None:
                    return there
                self._retire(final)
                continue
            faults.reached("base.placed")
            return StoredBase(built.fingerprint, built.owner, final, built.under)

    def _retire(self, directory: Path) -> None:
        going = self._root / f"{_REMOVING}{secrets.token_hex(8)}"
        try:
            directory.rename(going)
        except FileNotFoundError:
            return
        remove_tree(going)

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        with self._shared():
            work = self._root / f"{_BUILDING}{secrets.token_hex(8)}"
            work.mkdir(mode=0o700)
            try:
                yield work
            finally:
                remove_tree(work)

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """While it is held, nobody sweeps."""
        with self._lock() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextmanager
    def _lock(self) -> Iterator[int]:
        fd = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)


_AGAIN = "Capture the target again."


def _at_one_instant(fd: int, ignore: Patterns, fresh: Known, *, racy: bool) -> bool:
    """Whether there was a moment at which the target was, as a whole, as a pass has read it.

    Where nothing that was read had changed just before, nor since, that is the moment at which the pass began, as far
    as the clock of the file system is the one that we go by. Else a second walk tells: the moment lies between.
    """
    return (not racy and has_local_clock(fd)) or all_known(fd, ignore, fresh, even_racy=True)


def _directory_name(built: Built) -> str:
    """The fingerprint; with the owner that root stands for where that is not the owner of the tree's root, which
    only an agent that gave its workspace away brings about."""
    plain = built.owner == built.root_owner
    return built.fingerprint if plain else f"{built.fingerprint}.{built.owner.uid}.{built.owner.gid}"


@contextmanager
def _room(root: Path, needed: Callable[[], int]) -> Iterator[None]:
    """Raises InputError where the disk is full, once everything half-made is gone."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(root).free
        raise InputError(
            f"There is no room for the base: it takes about {needed()} bytes, and {free} are free in {root}.",
            "Make room there, remove old sandboxes and run 'sandbox prune', or choose another --home.",
        ) from error


def _bytes_needed(fd: int, ignore: Patterns) -> int:
    return sum(_BLOCK + (found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else 0) for _, found in Walk(fd, ignore))


def _bytes_changed(changes: Sequence[Change]) -> int:
    return sum(_BLOCK + change.after.size for change in changes if change.after is not None)
