"""Verbs that show what the product does: drill, bench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli.failures import BUG, DONE
from sandbox.cli.options import Json
from sandbox.cli.session import begin, print_lines, tell
from sandbox.cli.tables import pairs, size, table

if TYPE_CHECKING:
    from sandbox.bench.outcome import BenchRecord


def drill(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Without it: list the drills.")] = None,
    report: Annotated[str | None, typer.Option(metavar="FILE.html", help="Write a report with the timeline.")] = None,
    json: Json = False,
) -> int:
    """Play an incident, and measure what happens.

    On a small real production that it makes in a scratch folder and removes afterwards.
    """
    session = begin(ctx, json)
    from sandbox import drills

    if name is None:
        found = drills.names()
        document = {"schema": 1, "drills": [{"name": one, "says": says} for one, says in found.items()]}
        session.answer(document, table(("DRILL", "WHAT HAPPENS"), list(found.items()), "There is no drill."))
        return DONE

    def say(line: str) -> None:
        if json:
            tell(line)
        else:
            print_lines([line])

    path = Path(report) if report else None
    record = drills.run(name, engine=session.engine, report=path, say=say)
    session.answer(record.document(), [])
    return DONE if record.passed else BUG


def bench(
    ctx: typer.Context,
    against: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Other tools to measure beside it: docker-sdk, bwrap.")
    ] = None,
    files: Annotated[int, typer.Option(metavar="N", help="Files in the tree that is measured, 10 KiB each.")] = 2000,
    rounds: Annotated[int, typer.Option(metavar="N", help="How often everything is done and counted.")] = 5,
    json: Json = False,
) -> int:
    """Measure each operation on this machine.

    Beside the machine's own floors, and other tools.
    """
    session = begin(ctx, json)
    from sandbox import bench as benchmark

    found = benchmark.run(engine=session.engine, against=against, files=files, rounds=rounds, say=tell)
    session.answer(found.document(), measured(found))
    return DONE


def measured(found: BenchRecord) -> Iterator[str]:
    """The figures of a benchmark for a person, in milliseconds."""
    machine = found.machine
    yield from pairs(
        ("engine", f"{found.engine}, image {found.image}"),
        ("machine", f"{machine.cores} cores of {machine.cpu}, {machine.memory_mb} MiB, Linux {machine.kernel}"),
        ("files", f"{found.files}, {size(found.bytes)}, on {machine.filesystem}"),
        ("rounds", f"{found.rounds}, in {found.seconds:.0f} s"),
    )
    owners = [("SANDBOX", found.operations), ("FLOOR", found.floors)]
    for title, timings in [*owners, *((peer.name.upper(), peer.operations) for peer in found.peers)]:
        rows = [(one.name, f"{one.median_ms:.1f}", f"{one.p95_ms:.1f}", one.says) for one in timings]
        yield ""
        yield from table((title, "MEDIAN", "P95", "WHAT"), rows, "Nothing was measured.")
    if found.comparisons:
        compared = [
            (one.operation, one.peer, f"{one.ours_ms:.1f}", f"{one.theirs_ms:.1f}", f"{one.ratio:.2f}")
            for one in found.comparisons
        ]
        yield ""
        yield from table(("OPERATION", "BESIDE", "OURS", "THEIRS", "RATIO"), compared, "")
    yield from (f"Not measured: {one.what}: {one.why}." for one in found.not_measured)
