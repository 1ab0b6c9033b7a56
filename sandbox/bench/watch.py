"""The stopwatch: times of operations by who did them, in the order in which they were taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    def __init__(self) -> None:
        self._samples: dict[str, dict[str, list[float]]] = {}
        self.counting = False
        """Off in the round that warms up; what is timed then is dropped."""

    @contextmanager
    def timed(self, who: str, what: str) -> Iterator[None]:
        """Time the block; one that fails gives no sample."""
        started = time.perf_counter_ns()
        yield
        took = (time.perf_counter_ns() - started) / 1e6
        if self.counting:
            self._samples.setdefault(who, {}).setdefault(what, []).append(took)

    def samples(self, who: str) -> dict[str, list[float]]:
        """Milliseconds of each operation, in the order in which they were first timed."""
        return self._samples.get(who, {})
