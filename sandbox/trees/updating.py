"""One pass over a tree that is remembered: what became of it since, at the cost of a walk and of what changed.

Owns the pass: what the stat cache knows is neither read nor decoded; what differs is read, and put into a new cache,
which is a copy of the old one but for that. Who makes a base of it also gets a new manifest, made in the same way, and
the new contents on a shelf. Must not decide what is made of it.
"""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sandbox.errors import SandboxError
from sandbox.trees import manifest
from sandbox.trees.block import decoded
from sandbox.trees.entry import Change, Entry
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import digested, read_entry
from sandbox.trees.stat_cache import Known, Memory, Notes, Place
from sandbox.trees.stored import OnProgress
from sandbox.trees.walk import Walk
from sandbox.trees.writer import Filler

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TooMuch(SandboxError):
    """More changed than is worth to be told apart."""


@dataclass
class Shelf:
    """New contents, each in a file of a directory."""

    directory: Path
    names: dict[bytes, bytes] = field(default_factory=dict)
    """By the paths that they belong to."""
    _filler: Filler = field(default_factory=Filler)

    @classmethod
    def make(cls, directory: Path) -> Self:
        """An empty one, in a directory that is not there yet."""
        directory.mkdir(mode=0o700)
        return cls(directory)

    def take(self, path: bytes, fd: int, found: os.stat_result) -> tuple[bytes, int]:
        """See `scan.Take`."""
        self.drop(path)
        name = self.names[path] = b"%d" % len(self.names)
        with os.fdopen(os.open(self.directory / os.fsdecode(name), _NEW, mode=0o600), "r+b", buffering=0) as file:
            return self._filler.fill(file.fileno(), fd, found)

    def drop(self, path: bytes) -> None:
        """Forget the content of a path; where there is none, nothing."""
        if (name := self.names.pop(path, None)) is not None:
            (self.directory / os.fsdecode(name)).unlink()


@dataclass(frozen=True, slots=True)
class Updated:
    """What a pass found."""

    fingerprint: str
    changes: tuple[Change, ...]
    """From what was remembered, in depth-first order."""
    times: dict[bytes, int]
    """Modification times (ns) of what changed, and of the directories in which something did."""
    cache: Path | None
    """The new stat cache; None where the old one still says it all."""
    racy: bool
    """Something changed so shortly before the pass that it may have changed behind it without a trace."""


class Update:
    """One pass."""

    def __init__(self, source_fd: int, ignore: Patterns, known: Known) -> None:
        """`known` must remember a tree."""
        self._walk = Walk(source_fd, ignore)
        self._known = known
        self._start = self._done = known.place
        self._changes: list[Change] = []
        self._times: dict[bytes, int] = {}

    def run(
        self,
        directory: Path,
        *,
        shelf: Shelf | None = None,
        listed: manifest.Edited | None = None,
        most: float = math.inf,
        on_progress: OnProgress | None = None,
    ) -> Updated:
        """`directory` is where the new cache is put. The shelf takes new contents, `listed` the new manifest.

        Raises what `scan` raises, and TooMuch where more than `most` entries changed.
        """
        self._shelf, self._listed, self._most = shelf, listed, most
        with Notes(directory) as self._notes:
            entries, size = self._go()
            if on_progress is not None:
                on_progress(entries, size)
            if self._done == self._start:
                return Updated(str(self._known.fingerprint), (), self._times, None, False)
            self._keep(self._known.to_the_end())
            fingerprint = self._notes.finish()
            if listed is not None and listed.finish() != fingerprint:
                raise TooMuch("The manifest and the stat cache contradict each other.")
            return Updated(fingerprint, tuple(self._changes), self._times, self._notes.taken(), self._notes.racy)

    def _go(self) -> tuple[int, int]:
        """Walk; how many entries and bytes there are."""
        known, entries, size = self._known, 0, 0
        for path, found in self._walk:
            entries, size = entries + 1, size + found.st_size
            if known.is_next(path, found):
                continue
            memory = known.find(path, found)
            if known.gap is not None:
                self._gone(known.gap, known.before)
            if memory is None or not memory.current:
                self._look(path, found, memory)
        rest = known.place
        if (end := known.to_the_end()) != rest:
            self._gone(rest, end)
        return entries, size

    def _look(self, path: bytes, found: os.stat_result, memory: Memory | None) -> None:
        """Read what is new, or not as it was."""
        place = self._known.before
        read = read_entry(self._walk, path, found, self._shelf.take if self._shelf is not None else digested)
        if read is None:
            if memory is not None:
                self._gone(place, self._known.place)
            return
        entry, found = read
        canonical = entry.canonical()
        same = memory is not None and memory.canonical == canonical
        if same and self._shelf is not None:
            self._shelf.drop(path)
        if not same or stat.S_ISDIR(found.st_mode):
            self._times[path] = found.st_mtime_ns
        if same and stat.S_ISDIR(found.st_mode):
            return  # its times also change with what is ignored in it
        self._keep(place)
        self._notes.keep(found, canonical)
        if self._listed is not None:
            self._listed.add(canonical)
        self._done = self._known.place
        if not same:
            self._changed(path, decoded(memory.canonical) if memory else None, entry)

    def _gone(self, start: Place, stop: Place) -> None:
        self._keep(start)
        for canonical in self._known.between(start, stop):
            before = decoded(canonical)
            self._changed(before.path, before, None)
        self._done = stop

    def _changed(self, path: bytes, before: Entry | None, after: Entry | None) -> None:
        self._changes.append(Change(path, before, after))
        if len(self._changes) > self._most:
            raise TooMuch("More changed than is worth to be told apart.")

    def _keep(self, upto: Place) -> None:
        """Take over what is remembered, from where we are up to a place."""
        self._notes.copy(self._known, self._done, upto)
        if self._listed is not None:
            self._listed.copy(self._done.canonical, upto.canonical)
        self._done = upto
