"""The live view of what an agent is changing, and the tripwire against mass deletion.

Owns when to look again. File events (`feed`) are hints: they say which
paths were touched and that it is time to look. How many base entries are deleted is always counted from the
tree itself (`presence`), so a lost event, a full queue or an exhausted inotify limit costs speed, never truth.
Must not stop anything itself: it calls `on_trip`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from sandbox.watching.feed import Feed, Watched
from sandbox.watching.presence import Names, descend, directory, missing, names_of, total

PACE_S = 0.2
"""At most one look at the tree, and one report, in this time."""
IDLE_S = 1.0
"""It looks this often when nothing happens."""
DUTY = 4
"""After a look that took N seconds the next one waits at least this many times N."""


class Counts(NamedTuple):
    changed: int
    """Distinct paths touched so far; a lower bound where events were lost."""
    deleted: int
    """Base entries that are not there now; exact when it was counted. A target's root is not counted."""


class Watch:
    """Watches a sandbox from the host while the block runs.

    `root` is the sandbox's root as the host sees it. `on_change(changed, deleted)` is called from another
    thread when one of the numbers moved, at most five times a second. `on_trip()` is called once, as soon as
    more than `max_deleted` base entries are seen to be gone at one time. `on_note(text)` is called once where
    the live view is limited on this machine. None of them may raise.
    """

    def __init__(
        self,
        root: Path,
        watched: Sequence[Watched],
        *,
        on_change: Callable[[int, int], None] = lambda _changed, _deleted: None,
        max_deleted: int | None = None,
        on_trip: Callable[[], None] = lambda: None,
        on_note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._root = root
        self._watched = tuple(watched)
        self._names: tuple[Names, ...] = tuple(names_of(one.base) for one in watched)
        self._on_change, self._on_trip, self._on_note = on_change, on_trip, on_note
        self._max_deleted = max_deleted
        self._touched: set[tuple[int, bytes]] = set()
        self._reported = Counts(0, 0)
        self._feed: Feed | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._noted = False
        self._thread = threading.Thread(target=self._look_on, name="watch", daemon=True)
        self.tripped = False

    def __enter__(self) -> Watch:
        try:
            self._feed = Feed(self._root, self._watched, self._touch)
            self._feed.attach_missing()
        except (OSError, ImportError) as error:
            self._note(f"no live view of changes ({error})")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The last events came after the last look: tell what they amount to.
        self.final()

    def final(self) -> Counts:
        """End the feed and count once more, exactly; trips where that is due. Can be called in the block."""
        self._close()
        return self._look()

    def _close(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def _touch(self, where: int, path: bytes, is_dir: bool) -> None:
        ignore = self._watched[where].ignore
        if ignore is not None and ignore.match(path, is_dir):
            return
        with self._lock:
            self._touched.add((where, path))
        self._wake.set()

    def _look_on(self) -> None:
        attached = True
        while not self._stopping.is_set():
            # It looks without an event too: a feed can be blind without knowing it, and what happens to a
            # target's root directory itself is nobody's event.
            self._wake.wait(timeout=IDLE_S if attached else PACE_S)
            self._wake.clear()
            started = time.monotonic()
            if self._feed is not None:
                attached = self._feed.attach_missing()
                if self._feed.limited:
                    self._note(f"the live view is incomplete ({self._feed.limited}); what counts is not")
            self._look()
            self._stopping.wait(max(PACE_S, DUTY * (time.monotonic() - started)))

    def _look(self) -> Counts:
        deleted = self._deleted_now()
        with self._lock:
            counts = Counts(len(self._touched), deleted)
        if self._max_deleted is not None and counts.deleted > self._max_deleted and not self.tripped:
            self.tripped = True
            self._on_trip()
        if counts != self._reported:
            self._reported = counts
            self._on_change(*counts)
        return counts

    def _deleted_now(self) -> int:
        """Counted from the tree; what was reported last where the sandbox's root can't be read any more."""
        deleted = 0
        try:
            with directory(self._root):
                for one, names in zip(self._watched, self._names, strict=True):
                    deleted += _deleted_of(self._root, one, names)
        except OSError as error:
            self._note(f"the sandbox can't be seen from here ({error})")
            return self._reported.deleted
        return deleted

    def _note(self, text: str) -> None:
        if not self._noted:
            self._noted = True
            self._on_note(text)


def _deleted_of(root: Path, one: Watched, names: Names) -> int:
    try:
        with descend(root, one.steps) as handle:
            return missing(handle, names)
    except OSError:
        return total(names)
