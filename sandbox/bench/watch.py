"""The stopwatch: times of operations by who did them and in which round, and what did not come to a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._failures: dict[tuple[str, str], str] = {}
        self.round = 0
        """The rounds that count are numbered from 1; what is timed in round 0 warms up and is dropped."""

    @contextmanager
    def timed(self, who: str, what: str) -> Iterator[None]:
        """Time the block; one that fails gives no sample."""
        started = time.perf_counter_ns()
        yield
        self.note(who, what, (time.perf_counter_ns() - started) / 1e6)

    def note(self, who: str, what: str, amount: float) -> None:
        """Keep what was measured otherwise: milliseconds, or whatever `what` is counted in."""
        if self.round:
            self._samples.setdefault((who, what), []).append((self.round, amount))

    def failed(self, who: str, what: str, why: str) -> None:
        """Drop what this round gave for an operation that did not do what it is for; the first reason is kept."""
        self._failures.setdefault((who, what), why)
        kept = [one for one in self._samples.pop((who, what), []) if one[0] != self.round]
        if kept:
            self._samples[who, what] = kept

    def samples(self, who: str, what: str) -> list[float]:
        """What was measured, in the order in which it was; perhaps nothing."""
        return [amount for _, amount in self._samples.get((who, what), [])]

    def pairs(self, what: str, one: str, other: str) -> list[tuple[float, float]]:
        """The samples of two, pair by pair of the rounds in which both have as many."""
        ours, theirs = self._by_round(one, what), self._by_round(other, what)
        both = [(ours[number], theirs[number]) for number in ours if number in theirs]
        return [pair for left, right in both if len(left) == len(right) for pair in zip(left, right, strict=True)]

    def _by_round(self, who: str, what: str) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for number, amount in self._samples.get((who, what), []):
            found.setdefault(number, []).append(amount)
        return found

    def failures(self, who: str) -> dict[str, str]:
        """Why operations of one were not done, or not right, in at least one round."""
        return {what: why for (owner, what), why in self._failures.items() if owner == who}
