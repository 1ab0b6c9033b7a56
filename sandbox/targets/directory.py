"""A directory as a target: the parts of `sandbox.targets` put together behind the protocol.

Owns when the real tree is read anew. How it is read, saved, swapped and put back is the parts' own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sandbox.errors import InputError, SandboxError
from sandbox.records import Hazard
from sandbox.spec import TargetSpec
from sandbox.targets import by_hand, identity, inspection, put_back, since, staging, swap
from sandbox.targets.base import ApplyRequest, Base, Drift, OnStep, Restoration, Target
from sandbox.targets.beneath import remove_tree, state
from sandbox.targets.flushing import DURABLE, THROWN_AWAY, Flushing
from sandbox.targets.rehearsing import rehearsal_of
from sandbox.targets.restore_point import APPLYING, RESTORED, SETTLED, RestorePoint, Saved
from sandbox.trees.bases import BaseStore, OnProgress, StoredBase
from sandbox.trees.changes import compare
from sandbox.trees.entry import Change, Entry, path_text
from sandbox.trees.manifest import HEADER
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import StatCache, scan
from sandbox.trees.updating import Update, Updated
from sandbox.trees.walk import Walk

SAMPLE = 500
"""So many entries tell how long a walk takes."""


class DirectoryTarget:
    """A real directory. Keeps nothing in memory but what its spec says."""

    def __init__(
        self,
        spec: TargetSpec,
        *,
        cache_dir: Path | None = None,
        captured: Path | None = None,
        flushing: Flushing = DURABLE,
    ) -> None:
        """`cache_dir`: where the stat cache lies; without one every file is read at every scan. `captured`: where the
        caches of captures lie, which know a target that was never scanned here. `flushing`: of what it is made to
        be, and of its restore points."""
        self.spec = spec
        self.path = Path(spec.path)
        self._ignore = Patterns(spec.ignore)
        self._cache_dir = cache_dir
        self._captured = captured
        self._flushing = flushing

    def identify(self) -> str:
        """`directory:HOST:PATH:fs-ID:inode-N`; see `identity`."""
        return identity.identify(self.path)

    def lease(self) -> AbstractContextManager[None]:
        """Hold the kernel's lock on the root directory; ends with the process at the latest."""
        return identity.lease(self.path)

    def capture(self, bases: BaseStore, on_progress: OnProgress | None = None) -> StoredBase:
        """The directory at one instant; what has not changed since the last capture is not read again."""
        return bases.capture(self.path, self._ignore, key=self.identify(), on_progress=on_progress)

    def check(self, base: Base) -> Drift:
        """Walk the real tree and compare it with `base`."""
        with identity.opened(self.path) as root:
            found, changes = self._compared(root, base.fingerprint, base.entries())
        return Drift(found, tuple(changes))

    def written_since(self, base: Base, changes: tuple[Change, ...]) -> list[bytes]:
        """See `since`."""
        with identity.opened(self.path) as root, _explained("read"):
            return since.written(root, self._ignore, base, changes)

    def reading_seconds(self, entries: int) -> float:
        """By a walk over some of it."""
        started, seen = time.perf_counter(), 0
        with identity.opened(self.path) as root, suppress(SandboxError):  # it may be written to: then so far
            for _ in islice(Walk(root, self._ignore), SAMPLE):
                seen += 1
        return (time.perf_counter() - started) / max(1, seen) * entries

    def inspect(self, base: Base, changes: tuple[Change, ...]) -> list[Hazard]:
        """See `inspection`."""
        with identity.opened(self.path) as root:
            return inspection.inspect(root, self._ignore, base, changes)

    def prepare(self, request: ApplyRequest, on_step: OnStep) -> None:
        """Steps: `save`, `validate`, `stage`. See `staging`."""
        with identity.opened(self.path) as root, _explained("prepared"):
            staging.prepare(root, self.path, request, on_step, self._flushing)

    def apply(self, request: ApplyRequest, on_step: OnStep) -> str:
        """Steps: `apply`, `swap` for each unit, `flush`. See `swap`."""
        point = self._point(request.point)
        saved = point.load()
        if saved is None or saved.tag != request.tag or point.has(APPLYING):
            raise InputError(f"{self.path} was not prepared for {request.tag}.", "Promote the change again.")
        with identity.opened(self.path, saved.root) as root, _explained("applied"):
            swap.apply(root, saved, point, on_step)
            return self._fingerprint(root)

    def restore(self, point: Path, on_step: OnStep) -> Restoration:
        """Steps: `put_back` for each unit, `keep`, `restored`, `clean`. See `put_back`.

        `clean` leaves out what somebody else changed before we did: that is in `foreign`, as it was found. A restore
        that is not clean has not ended: repeated once nobody interferes any more, it puts back what is missing.
        """
        place = self._point(point)
        saved = place.load()
        with identity.opened(self.path, saved.root if saved else None) as root, _explained("restored"):
            if saved is None:
                return Restoration(self._fingerprint(root), True, ())
            if not place.has(APPLYING) or place.has(RESTORED):
                on_step("clean")
                remove_tree(root, saved.staging)
                self._flushing.handle(root)
                return self._restoration(root, saved, place, put_back.left_before(place))
            run = put_back.PutBack(root, saved, place)
            run.run(on_step)
            result = self._restoration(root, saved, place, run.left, away=bool(run.away))
            if result.clean:
                run.finish(on_step)
            return result

    def standing(self, point: Path) -> Restoration:
        """See Target. The staging directory is what a restore, and a person who does it by hand, removes last."""
        place = self._point(point)
        saved = place.load()
        with identity.opened(self.path, saved.root if saved else None) as root, _explained("read"):
            if saved is None:
                return Restoration(self._fingerprint(root), True, ())
            found = self._restoration(root, saved, place, put_back.left_before(place))
            return replace(found, clean=found.clean and state(root, saved.staging) is None)

    def rehearsal(self, base: Base, changes: Sequence[Change], scratch: Path) -> Target:
        """A copy of what the changes concern, under `scratch`; see `rehearsing`."""
        tree = scratch / "target"
        spec = self.spec.model_copy(update={"path": str(tree)})
        return rehearsal_of(base, changes, tree, DirectoryTarget(spec, flushing=THROWN_AWAY))

    def settle(self, point: Path) -> None:
        """Remove the staging directory, and with it the originals of what was replaced; can be repeated."""
        place = self._point(point)
        saved = place.load()
        if saved is None:
            return
        with identity.opened(self.path, saved.root) as root, _explained("settled"):
            if place.has(APPLYING) and not place.has(SETTLED):
                place.mark(SETTLED)
            remove_tree(root, saved.staging)
            self._flushing.handle(root)

    def manual_steps(self, point: Path) -> tuple[str, ...]:
        """Shell commands that put every path back from the restore point, in order; empty where nothing changed."""
        place = self._point(point)
        saved = place.load()
        return by_hand.steps(self.path, place, saved) if saved is not None and place.has(APPLYING) else ()

    def _point(self, path: Path) -> RestorePoint:
        return RestorePoint(path, self._flushing)

    def _restoration(
        self, root: int, saved: Saved, point: RestorePoint, left: set[int], *, away: bool = False
    ) -> Restoration:
        """Read the target again; `left`: numbers of units that are not ours, `away`: some could not be looked at."""
        ours = {path for unit in saved.units if unit.number not in left for path in unit.paths}
        found, changes = self._compared(root, saved.base, point.base())
        differing = [change.path for change in changes]
        clean = not away and ours.isdisjoint(differing)
        kept = tuple(put_back.kept_aside(saved, point))
        return Restoration(found, clean, kept, tuple(path for path in differing if path not in ours))

    def _fingerprint(self, root: int) -> str:
        """Read all of the target that may have changed."""
        if (seen := self._since(root, None)) is not None:
            return seen.fingerprint
        found = _Fingerprint(self._scan(root))
        for _ in found:
            pass
        return found.hexdigest()

    def _compared(self, root: int, base: str, entries: Iterable[Entry]) -> tuple[str, Sequence[Change]]:
        """The same, and what differs from the base of this fingerprint with these entries."""
        if (seen := self._since(root, base)) is not None:
            return seen.fingerprint, seen.changes
        if (seen := self._since(root, None)) is not None and seen.fingerprint == base:
            return base, ()
        found = _Fingerprint(self._scan(root))
        changes = list(compare(entries, found))
        return found.hexdigest(), changes

    def _since(self, root: int, base: str | None) -> Updated | None:
        """What became of the target since it was as a cache remembers it, that of the base if one is given; None where
        no cache does."""
        if self._cache_dir is None:
            return None
        key = self.identify()
        for directory in filter(None, (self._cache_dir, self._captured)):
            with StatCache.for_key(directory, key).known() as known:
                if known.fingerprint is None or base not in (None, known.fingerprint):
                    continue
                self._cache_dir.mkdir(parents=True, exist_ok=True)
                seen = Update(root, self._ignore, known).run(self._cache_dir)
                if seen.cache is not None:
                    StatCache.for_key(self._cache_dir, key).adopt(seen.cache)
                return seen
        return None

    def _scan(self, root: int) -> Iterator[Entry]:
        cache = StatCache.for_key(self._cache_dir, self.identify()) if self._cache_dir is not None else None
        return scan(root, self._ignore, cache=cache)


class _Fingerprint:
    """Passes entries on and takes their fingerprint as they go by."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self._sha = hashlib.sha256(HEADER)

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self._sha.update(entry.canonical())
            yield entry

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


class _explained(AbstractContextManager[None]):  # noqa: N801 - reads as a verb
    """An OSError on the way becomes a sentence."""

    def __init__(self, done: str) -> None:
        self._done = done

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"The target could not be {self._done}: its file system or that of the home is full.",
                    "Make room on both and try again.",
                ) from error
            name = os.fsencode(error.filename) if isinstance(error.filename, str | bytes) else b""
            where = f" at {path_text(name)!r}" if name else ""
            raise SandboxError(
                f"The target could not be {self._done}: {error.strerror}{where}.", "Look at its file system and rights."
            ) from error
