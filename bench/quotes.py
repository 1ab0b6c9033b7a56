"""The figures that documents quote, written into them from the results.

Owns what stands between the marks in the documents that it names. Nobody types a figure: what is measured anew is
quoted anew, and a test holds the documents against the newest results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import results
from sandbox.bench import goals
from sandbox.bench.outcome import BenchRecord, Peer

ROOT = Path(__file__).resolve().parents[1]
NATIVE, DOCKER = "native on xfs", "docker"
_STEPS = {
    "create": "create, first command",
    "exec": "command",
    "snapshot_a": "snapshot, 100th of the files changed",
    "snapshot_b": "snapshot, all deleted and some recreated",
    "rollback_a": "rollback to the first",
    "rollback_b": "rollback to the second",
    "fork": "fork, first command",
    "diff_a": "difference",
    "destroy": "destroy",
}
_MARKS = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->\n)", re.DOTALL)
_NONE = "Nothing was published yet.\n"


def quoted(text: str, figures: str) -> str:
    """A document with these figures between its marks. Raises ValueError where it has none."""
    found, times = _MARKS.subn(lambda marks: marks[1] + figures + marks[2], text)
    if times != 1:
        raise ValueError(f"There are {times} places for figures in it, not one.")
    return found


def unquoted(text: str) -> str:
    """What is left of a document without its figures."""
    return _MARKS.sub("", text)


def figures(document: dict[str, Any] | None) -> dict[str, str]:
    """By the path of each document, what it quotes of the results."""
    runs = results.runs_of(document) if document else {}
    if document is None or NATIVE not in runs:
        return {"README.md": _NONE, "docs/performance.md": _NONE}
    return {
        "README.md": "".join(f"{line}\n" for line in _table(document, runs)),
        "docs/performance.md": "".join(f"{line}\n" for line in _missed(document, runs)),
    }


def refresh(document: dict[str, Any]) -> None:
    """Write them into the documents."""
    for name, text in figures(document).items():
        path = ROOT / name
        path.write_text(quoted(path.read_text(encoding="utf-8"), text), encoding="utf-8")


def _machine(document: dict[str, Any], run: BenchRecord) -> str:
    machine = run.machine
    return f"{document['started_at'][:10]}, {machine.cores} cores of {machine.cpu}, Linux {machine.kernel}"


def _table(document: dict[str, Any], runs: dict[str, BenchRecord]) -> Iterator[str]:
    """Ours on both engines beside what is measured with each, for a first look."""
    native, docker = runs[NATIVE], runs.get(DOCKER)
    yield f"Medians in milliseconds, a tree of {native.files:,} files and {native.bytes / 1e6:.0f} MB"
    yield f"({_machine(document, native)}; all of it: [bench/README.md](bench/README.md)):"
    yield ""
    columns = [("native", _cells(native)), *((one.name, _cells(one)) for one in native.peers if not one.by_hand)]
    if docker:
        columns += [("docker", _cells(docker)), *((f"{one.name}, by hand", _cells(one)) for one in docker.peers)]
    yield f"| | {' | '.join(name for name, _ in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for step, says in _STEPS.items():
        yield f"| {says} | {' | '.join(cells.get(step, '–') for _, cells in columns)} |"  # noqa: RUF001 - a dash


def _cells(found: BenchRecord | Peer) -> dict[str, str]:
    """By step, its median; what failed in any round is no operation to rely on."""
    cells = {one.name: f"{one.median_ms:.3g}" for one in found.operations}
    return cells | {one.what: "fails" for one in (found.failed if isinstance(found, Peer) else ())}


def _missed(document: dict[str, Any], runs: dict[str, BenchRecord]) -> Iterator[str]:
    """Each goal that was not met, with its reason; where only verbs were measured, the account has them."""
    yield f"Measured {_machine(document, runs[NATIVE])}. Goals that were not met, and why:"
    yield ""
    for title, run in runs.items():
        for goal in goals.judge(run):
            if goal.met is False and not run.only_verbs:
                why = goal.verdict.removeprefix("NOT MET; ")
                yield f"- {title}, {goal.what}: {goal.measured:.3g} {goal.unit}, wanted {goal.limit:g}; {why}"
    yield ""
