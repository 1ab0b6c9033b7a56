"""Asks a running service for a report ten times a second, all along, and judges every answer.

Owns what counts as served: status 200 and the right sums, within its time. Must not change anything. What
it measures is what a user of the service would have met: a healthy process with wrong numbers is down too.
"""

from __future__ import annotations

import http.client
import itertools
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sandbox.drills.ledger import Answer

INTERVAL_S = 0.1
TIMEOUT_S = 5.0
"""A slow answer is not a failed one: how slow it was is measured."""
_SHOWN = re.compile(rb'data-cents="(\d+)" data-rows="(\d+)"')


class Probe(NamedTuple):
    """One question and what came of it."""

    at: float
    """When it was asked, as `time.monotonic` counts."""
    latency_s: float
    ok: bool
    what: str
    """The status, and why it is not ok."""


class Outage(NamedTuple):
    """From the first failed probe to the next good one."""

    start: float
    end: float | None
    """None: it was still down at the last probe."""
    failed: int


class Prober:
    """Probes `127.0.0.1:port` from a thread of its own while the block runs."""

    def __init__(self, port: int, answers: Mapping[str, Answer]) -> None:
        self._port, self._answers = port, dict(answers)
        self._probes: list[Probe] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def probes(self, since: float = 0.0, until: float = float("inf")) -> list[Probe]:
        """Those asked in that stretch of time."""
        return [probe for probe in list(self._probes) if since <= probe.at < until]

    def settle(self, count: int = 3) -> None:
        """Wait until so many more probes have been answered, so that what was just done shows in them."""
        wanted = len(self._probes) + count
        end = time.monotonic() + (count + 1) * (TIMEOUT_S + INTERVAL_S)
        while len(self._probes) < wanted and time.monotonic() < end:
            time.sleep(INTERVAL_S / 4)

    def _run(self) -> None:
        months = itertools.cycle(self._answers)
        due = time.monotonic()
        while not self._stop.is_set():
            self._probes.append(self.ask(next(months)))
            # A slow answer does not make the next ones come in a rush.
            due = max(due + INTERVAL_S, time.monotonic())
            self._stop.wait(due - time.monotonic())

    def ask(self, month: str) -> Probe:
        """One probe, now."""
        at = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", f"/report?month={month}")
            answer = connection.getresponse()
            ok, what = judge(answer.status, answer.read(), self._answers[month])
        except (OSError, http.client.HTTPException) as error:
            ok, what = False, f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return Probe(at, time.monotonic() - at, ok, what)


def judge(status: int, body: bytes, right: Answer) -> tuple[bool, str]:
    """Whether a report is right, to the cent (cut off or rounded), and what it was."""
    if status != 200:
        return False, f"{status} {body[:80].decode('utf-8', 'backslashreplace')}"
    shown = _SHOWN.search(body)
    if shown is None:
        return False, "200 without a total"
    cents, rows = int(shown[1]), int(shown[2])
    if rows != right.rows or cents not in (right.cut, right.rounded):
        return False, f"200 but wrong: {cents} cents from {rows} entries"
    return True, "200 rounded" if cents == right.rounded != right.cut else "200"


def outages(probes: Sequence[Probe]) -> Iterator[Outage]:
    """The stretches without a right answer, in order."""
    start: float | None = None
    failed = 0
    for probe in probes:
        if not probe.ok:
            start = probe.at if start is None else start
            failed += 1
        elif start is not None:
            yield Outage(start, probe.at, failed)
            start, failed = None, 0
    if start is not None:
        yield Outage(start, None, failed)


def down_s(probes: Sequence[Probe]) -> float:
    """Seconds in outages; one that has not ended counts up to the last probe."""
    return sum(((outage.end or probes[-1].at) - outage.start for outage in outages(probes)), 0.0)
