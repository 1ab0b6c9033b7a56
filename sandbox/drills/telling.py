"""Shows a drill while it happens and keeps what came of it.

Owns the lines that people see and the records behind them. Must not do or measure anything itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sandbox.drills.outcome import Act, Measure, Step
from sandbox.errors import SandboxError
from sandbox.lifecycle.events import ChangeSealed, CheckFinished, Event, FilesTouched, Note, Output, RolledBack
from sandbox.terminal import escape

LIVE_S = 1.0
"""The live count of changed and deleted files is shown at most this often."""


class OtherwiseThanTold(SandboxError):
    """A step of a drill did not come out as told, so that the rest would make no sense."""

    kind = "drill"


class Teller:
    """Tells a story act by act."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.zero = time.monotonic()
        self.acts: list[Act] = []
        self.rollbacks: list[float] = []
        """Seconds of each rollback that was announced."""
        self._steps: list[Step] = []
        self._measures: list[Measure] = []
        self._output = b""
        self._live_at = 0.0

    @property
    def failures(self) -> tuple[str, ...]:
        """Every step that did not come out as told."""
        steps = [step for act in self.acts for step in act.steps] + self._steps
        return tuple(f"{step.told}: {step.came}" for step in steps if not step.ok)

    @contextmanager
    def act(self, title: str) -> Iterator[None]:
        """One act; it is kept when the block ends, however that is."""
        number, started = len(self.acts) + 1, time.monotonic()
        self._steps, self._measures = [], []
        self._say("")
        self._say(f"Act {number}. {title}")
        try:
            yield
        except SandboxError as error:
            if not isinstance(error, OtherwiseThanTold):
                self.step("nothing breaks", str(error), ok=False)
            raise
        finally:
            self.acts.append(
                Act(
                    number=number,
                    title=title,
                    steps=tuple(self._steps),
                    measures=tuple(self._measures),
                    start_s=round(started - self.zero, 3),
                    seconds=round(time.monotonic() - started, 3),
                )
            )
            self._steps, self._measures = [], []

    def line(self, text: str) -> None:
        """Something that is worth knowing, and no more than that."""
        self._say(f"    {text}")

    def step(self, told: str, came: str, *, ok: bool) -> None:
        """Something that was told beforehand and what came of it; the story goes on either way."""
        self._steps.append(Step(told=told, came=came, ok=ok, at_s=round(time.monotonic() - self.zero, 3)))
        self._say(f"  {'ok ' if ok else 'NOT AS TOLD'} {told}: {escape(came)}")

    def must(self, told: str, came: str, *, ok: bool) -> None:
        """The same, where the story can't go on otherwise."""
        self.step(told, came, ok=ok)
        if not ok:
            raise OtherwiseThanTold(f"{told}: {came}")

    def measure(self, name: str, value: float, unit: str = "", says: str = "") -> None:
        """A figure of this act; whole numbers stay whole."""
        shown = value if isinstance(value, int) else round(value, 3)
        self._measures.append(Measure(name=name, value=shown, unit=unit, says=says))

    def event(self, event: Event) -> None:
        """What a run tells as it goes."""
        match event:
            case Output(_, data):
                *lines, self._output = (self._output + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"agent: "):
                        self.line(escape(line))
            case FilesTouched(changed, deleted):
                if time.monotonic() - self._live_at >= LIVE_S:
                    self._live_at = time.monotonic()
                    self.line(f"live: changed paths: {changed}, and {deleted} of the base's entries gone just now")
            case CheckFinished(check, exit_code, seconds):
                short = check if len(check) <= 60 else f"{check[:57]}..."
                self.line(f"clean room: {escape(short)} -> exit code {exit_code} in {seconds:.1f} s")
            case RolledBack(_, reason, seconds):
                self.rollbacks.append(seconds)
                short = reason if len(reason) <= 90 else f"...{reason[-87:]}"
                self.line(f"rolled back by itself in {seconds:.2f} s ({escape(short)})")
            case ChangeSealed(_, digest, added, modified, deleted):
                self.line(f"sealed {digest[:12]}: {added} added, {modified} modified, {deleted} deleted")
            case Note(says):
                self.line(escape(says))


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a plain table; the first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
