"""The account of what was measured, as Markdown and plots.

    python -m bench.report [bench/results/FILE.json]

Owns what `bench/README.md` says: every number in it comes from that file, the newest where none is named. Verdicts
are made anew: after an edit of a reason or a goal this writes everything again, and says what is still wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import plot, quotes, results
from sandbox.bench import goals
from sandbox.bench.outcome import BenchRecord, Goal, Peer

HERE = Path(__file__).resolve().parent
STEPS = (
    "create",
    "create_warm",
    "exec",
    "exec_runtime",
    "snapshot_a",
    "snapshot_again",
    "snapshot_b",
    "rollback_a",
    "rollback_b",
    "fork",
    "fork_16",
    "diff_a",
    "diff_b",
    "destroy",
)


def write(path: Path, folder: Path = HERE) -> None:
    """Write README.md and the plots of a results file into a folder; for the published one, the quotes, too."""
    document = results.load(path)
    for name, text in account(document, path.name).items():
        (folder / name).write_text(text, encoding="utf-8")
    if folder == HERE:
        quotes.refresh(document)


def account(document: dict[str, Any], name: str) -> dict[str, str]:
    """All that is written from the results, by the name of its file."""
    runs = results.runs_of(document)
    written = {"README.md": "\n".join(_report(document, runs, name))}
    for title, run in runs.items():
        if run.peers and not run.only_verbs:
            says = f"{title}: medians, from {run.rounds} rounds; further left is faster"
            written[_plot_of(title)] = plot.dots(says, _by_step(run), "ms")
    if document["scale"]:
        written["growth.svg"] = plot.lines("How each operation grows: medians", _panels(document["scale"]))
    return written


def _plot_of(title: str) -> str:
    return f"{title.replace(' ', '-')}.svg"


def verdict(path: Path, say: Callable[[str], None]) -> int:
    """1 where a claim does not hold, a goal is missed without a reason, or a reason is not needed; each is said."""
    document = results.load(path)
    runs = results.runs_of(document)
    grown = [
        f"{one['operation']} along {one['axis']}: not {one['claim']}"
        for one in document["scale"]
        if one["holds"] is False
    ]
    found = [*grown, *goals.unexplained(runs), *goals.needless(runs)]
    for line in found:
        say(line)
    return 1 if found else 0


def _by_step(run: BenchRecord) -> dict[str, dict[str, float]]:
    tools = {"sandbox": run.operations, **{peer.name: peer.operations for peer in run.peers}}
    times = {tool: {one.name: one.median_ms for one in timings} for tool, timings in tools.items()}
    rows = {step: {tool: found[step] for tool, found in times.items() if step in found} for step in STEPS}
    return {step: row for step, row in rows.items() if row}


def _panels(curves: list[dict[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for curve in curves:
        if curve["unit"] != "ms":
            continue  # another axis
        points = list(zip(curve["sizes"], curve["medians"], strict=True))
        found.setdefault(curve["axis"], {})[curve["operation"]] = points
    return found


def _report(document: dict[str, Any], runs: dict[str, BenchRecord], name: str) -> Iterator[str]:
    first = next(iter(runs.values()))
    machine = first.machine
    yield "# What was measured\n"
    yield f"Written by `make bench` from [results/{name}](results/{name}); how, and what it means, is in"
    yield "[docs/performance.md](../docs/performance.md). All times are medians in milliseconds.\n"
    versions = ", ".join(f"{program} {version}" for program, version in sorted(machine.versions.items()))
    yield f"- begun {document['started_at']}, sandbox {document['version']}"
    yield f"- {machine.cores} cores of {machine.cpu}, {machine.memory_mb} MiB, Linux {machine.kernel},"
    yield f"  Python {machine.python}, {versions}"
    yield f"- {first.files} files, {first.bytes / 1e6:.0f} MB; rounds, after one that did not count: "
    yield "  " + ", ".join(f"{title} {run.rounds}" for title, run in runs.items()) + "\n"
    yield from _summary(runs)
    for title, run in runs.items():
        yield from _run(title, run)
    if document["scale"]:
        yield "## Growth\n"
        yield "![how each operation grows](growth.svg)\n"
        yield from _table(
            ("along", "operation", "slope", "at the end", "claimed", "", "ms"), _curves(document["scale"])
        )
    for one in document["not_measured"]:
        yield f"Not measured: {one['what']}: {one['why']}.\n"


def _summary(runs: dict[str, BenchRecord]) -> Iterator[str]:
    """How many goals of each run were met, and of what forbids the others."""
    rows = []
    for title, run in runs.items():
        judged = list(goals.judge(run))
        missed = [one for one in judged if one.met is False]
        forbidden = sum(one.forbidden for one in missed)
        unmeasured = sum(one.met is None for one in judged)
        met = len(judged) - len(missed) - unmeasured
        rows.append((title, *map(str, (len(judged), met, forbidden, len(missed) - forbidden, unmeasured))))
    yield from _table(("", "goals", "met", "forbidden by a floor", "missed, with the reason", "not measured"), rows)


def _run(title: str, run: BenchRecord) -> Iterator[str]:
    yield f"## {title}\n"
    if run.peers and not run.only_verbs:
        yield f"![each operation beside other tools]({_plot_of(title)})\n"
    if run.engine == "docker":
        yield "The tree is on a file system of its own; containers and snapshots are where the engine keeps its data.\n"
    tools = [peer.name for peer in run.peers]
    yield from _table(("", "sandbox", "p95", *tools), list(_steps(run)))
    notes = [note for peer in run.peers for note in _notes(peer)]
    yield from (f"- {note}" for note in notes)
    if notes:
        yield ""
    more = (*[one for one in run.operations if one.name not in STEPS], *run.commands)
    if more:
        yield from _table(("target and command line", "ms", "p95", ""), [_timing(one) for one in more])
    yield from _table(("floor of this machine", "ms", "p95", ""), [_timing(one) for one in run.floors])
    crowd = run.crowd
    if crowd.idle:
        yield f"{crowd.idle} idle sandboxes at once: {crowd.idle_memory_mib} MiB each, made in {crowd.fork_each_ms} ms"
        yield f"each, a command in one of them {crowd.exec_ms} ms, destroyed in {crowd.destroy_each_ms} ms each;"
        yield f"each added {crowd.idle_disk_kib} KiB to the file system.\n"
    if crowd.tasks:
        yield f"{crowd.tasks} tasks: {crowd.one_by_one_s} s one after the other, {crowd.at_once_s} s at once:"
        yield f"{crowd.throughput} times the throughput.\n"
    yield from _table(("goal", "wanted", "measured", "floor", ""), [_goal(one) for one in goals.judge(run)])
    yield from (f"Not measured: {one.what}: {one.why}.\n" for one in run.not_measured)


def _steps(run: BenchRecord) -> Iterator[tuple[str, ...]]:
    ours = {one.name: one for one in run.operations}
    for step in STEPS:
        if step in ours:
            beside = [_of_peer(peer, step) for peer in run.peers]
            yield (step, _number(ours[step].median_ms), _number(ours[step].p95_ms), *beside)
    held = [run.memory_mib, *(peer.memory_mib for peer in run.peers)]
    mine, *others = ("" if one is None else f"{one:.2f} MiB" for one in held)
    yield ("memory, idle", mine, "", *others)


def _of_peer(peer: Peer, step: str) -> str:
    if step in peer.lacks:
        return "–"  # noqa: RUF001 - a dash, as tables have it
    timing = next((one for one in peer.operations if one.name == step), None)
    failed = next((one.why for one in peer.failed if one.what == step), "")
    words = [_number(timing.median_ms)] if timing else []
    if failed:
        known = (word for word in ("raises", "wrong content") if failed.startswith(word))
        words.append(f"**{next(known, 'not possible')}**")
    return " ".join(words)


def _notes(peer: Peer) -> Iterator[str]:
    yield f"{peer.name}: {peer.says}"
    yield from (f"{peer.name}, {one.what}: `{one.why.replace('`', '')}`" for one in peer.failed)


def _timing(one: Any) -> tuple[str, ...]:
    return one.name, _number(one.median_ms), _number(one.p95_ms), one.says


def _goal(goal: Goal) -> tuple[str, ...]:
    floor = f"{goal.floor}: {_number(goal.floor_measured)}" if goal.floor_measured is not None else ""
    wanted = f"{'≥' if goal.at_least else '≤'} {goal.limit:g} {goal.unit}"
    measured = "" if goal.measured is None else _number(goal.measured)
    return f"{goal.what} ({goal.says})", wanted, measured, floor, goal.verdict.replace("NOT MET", "**not met**")


def _curves(curves: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    verdict = {True: "holds", False: "**does not hold**", None: ""}
    return [
        (
            one["axis"],
            one["operation"] if one["unit"] == "ms" else f"{one['operation']}, {one['unit']}",
            f"{one['slope']:.2f}",
            f"{one['last_slope']:.2f}",
            one["claim"],
            verdict[one["holds"]],
            ", ".join(f"{size}: {_number(took)}" for size, took in zip(one["sizes"], one["medians"], strict=True)),
        )
        for one in curves
    ]


def _number(amount: float) -> str:
    return f"{amount:.0f}" if amount >= 100 else f"{amount:.1f}" if amount >= 10 else f"{amount:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    yield ""


def main() -> int:
    """1 where something is still wrong; 2 where nothing was published."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else results.newest(HERE)
    if path is None:
        print("There are no results; `make bench` measures some.", file=sys.stderr)
        return 2
    write(path, path.resolve().parent.parent)
    return verdict(path, lambda line: print(line, file=sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
