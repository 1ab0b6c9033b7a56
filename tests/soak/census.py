"""What is left on this host, and what a process holds: counted from outside, never asked of the product."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.host import traces

UNFINISHED = (".cache-", ".incoming-", ".building-", ".removing-")
"""How the names of files begin that nobody has come to the end with."""


class Held(NamedTuple):
    """What a process holds at one moment."""

    at: float
    """Seconds since it began."""
    rss_mb: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int | str, at: float) -> Held:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return cls(
            at,
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            len(os.listdir(f"/proc/{pid}/fd")),
            len(os.listdir(f"/proc/{pid}/task")),
        )


def left_behind(home: Path, home_id: str) -> list[str]:
    """A line for each container, image, volume, mount, cgroup and process of a home, and each file of work in it."""
    found = traces(home_id, str(home))
    for name in ("scratch", "owners", "engines/native/sandboxes", "engines/native/snapshots", "engines/native/layers"):
        folder = home / name
        found += [f"file {entry}" for entry in folder.iterdir()] if folder.is_dir() else []
    known = {path.name for path in (home / "changes").iterdir() if (path / "request.json").exists()}
    found += [f"file {path}" for path in (home / "changes").iterdir() if path.name not in known]
    return found


def unfinished(home: Path, temporary: Path) -> list[str]:
    """What is left of work in the folder for temporary files, or in the home under the name of something unfinished; a
    report about a bug is meant to stay."""
    files = [path for path in temporary.iterdir() if not path.name.startswith("sandbox-bug-")]
    return [str(path) for path in (*files, *(path for name in UNFINISHED for path in home.rglob(f"{name}*")))]


def growth_mb_per_hour(samples: Sequence[Held]) -> float:
    """How fast the memory grew in the second half of the time, the first being warm-up: the median of the slopes of
    pairs that lie apart (Theil and Sen), which a few outliers do not move."""
    steady = [one for one in samples if one.at > samples[-1].at / 2]
    far = max(1, len(steady) // 3)
    pairs = zip(steady, steady[far:], strict=False)
    slopes = [(later.rss_mb - earlier.rss_mb) / (later.at - earlier.at) for earlier, later in pairs]
    return 3600 * statistics.median(slopes) if slopes else 0.0


def more(samples: Sequence[Held], field: str) -> int:
    """How many more of something the last third of the samples holds at the least than the middle third at the most."""
    third = len(samples) // 3
    middle = [getattr(one, field) for one in samples[third : 2 * third]]
    last = [getattr(one, field) for one in samples[2 * third :]]
    return min(last) - max(middle) if middle and last else 0
