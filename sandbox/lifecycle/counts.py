"""What a check's own report says of its tests, and whether that is as much as on the bare base (D2).

Owns the reading of JUnit XML and the comparison. Must not believe it: the report was written where the agent's code
ran, so it can only speak against a change, never for it; names in it are the agent's words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

MAX_BYTES = 16 << 20
"""More of a report is not read."""
_SHOWN = 3
_SHOWN_CHARACTERS = 120


class UnreadableError(Exception):
    """It is no report; the text says why."""


@dataclass(slots=True)
class Report:
    """Tests by their names, each as often as it is reported."""

    ran: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    """Expected failures among them: they prove nothing either."""
    failed: int = 0


def read(data: bytes) -> Report:
    """The report in these bytes. Raises UnreadableError for anything but plain JUnit XML."""
    if not data:
        raise UnreadableError("it wrote no report")
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"its report has more than {MAX_BYTES >> 20} MiB")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise UnreadableError(f"its report is no XML ({error})") from error
    return reader.report


def against(now: Report, base: Report) -> str:
    """Why a run is not as good as the base's; empty where it is."""
    if not now.ran:
        return "it ran no test"
    if now.failed:
        return f"{now.failed} of its tests failed, whatever its exit code says"
    lost = sorted((base.ran - now.ran).elements())
    if not lost:
        return ""
    named = ", ".join(name[:_SHOWN_CHARACTERS] for name in lost[:_SHOWN])
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    return f"{len(lost)} of the {base.ran.total()} tests that run on the base did not run: {named}{more}"


class _Reader:
    def __init__(self) -> None:
        self.report = Report()
        self._name = ""
        self._outcome = "ran"

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "testcase":
            self._name = f"{attributes.get('classname', '')}::{attributes.get('name', '')}"
            self._outcome = "ran"
        elif self._name and tag in ("skipped", "failure", "error"):
            self._outcome = tag

    def end(self, tag: str) -> None:
        if tag != "testcase":
            return
        (self.report.skipped if self._outcome == "skipped" else self.report.ran)[self._name] += 1
        self.report.failed += self._outcome in ("failure", "error")
        self._name = ""


def _refuse(*_: object) -> NoReturn:
    raise UnreadableError("its report declares a document type, which no test runner does")
