"""The verb that measures: bench. Owns how its figures look to a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli.failures import DONE
from sandbox.cli.options import Json
from sandbox.cli.session import begin, tell
from sandbox.cli.tables import pairs, size, table

if TYPE_CHECKING:
    from sandbox.bench.outcome import BenchRecord, Crowd, Goal, Peer


def bench(
    ctx: typer.Context,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Other tools to measure beside it, as in docker-sdk,bwrap,podman; an unknown one lists all.",
        ),
    ] = None,
    files: Annotated[int, typer.Option(metavar="N", help="Files in the tree that is measured, 20 KiB each.")] = 10_000,
    rounds: Annotated[int, typer.Option(metavar="N", help="How often everything is done and counted.")] = 7,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="After so long no round begins, but for the first three.")
    ] = None,
    idle: Annotated[int, typer.Option(metavar="N", help="Then, so many idle sandboxes at once.")] = 0,
    tasks: Annotated[int, typer.Option(metavar="N", help="Then, so many tasks one by one and at once.")] = 32,
    only_verbs: Annotated[
        bool, typer.Option("--only-verbs", help="Only sandboxes: no captures, promotions, commands, warm pool.")
    ] = False,
    filesystem: Annotated[
        str, typer.Option(metavar="KIND", help="To measure on: xfs, ext4, btrfs (made for it), or here.")
    ] = "xfs",
    json: Json = False,
) -> int:
    """Measure each operation on this machine.

    Beside the machine's own floors, other tools, and what is wanted.
    """
    session = begin(ctx, json)
    from sandbox import bench as benchmark

    found = benchmark.run(
        engine=session.engine,
        against=against,
        files=files,
        rounds=rounds,
        within_s=seconds,
        idle=idle,
        tasks=tasks,
        only_verbs=only_verbs,
        on=filesystem,
        say=tell,
    )
    session.answer(found.document(), measured(found))
    return DONE


def measured(found: BenchRecord) -> Iterator[str]:
    """The figures of a benchmark for a person, in milliseconds."""
    machine = found.machine
    disk = (
        f"{machine.filesystem} of its own (a loop device on {machine.below})" if machine.below else machine.filesystem
    )
    yield from pairs(
        ("engine", f"{found.engine}, image {found.image}"),
        ("machine", f"{machine.cores} cores of {machine.cpu}, {machine.memory_mb} MiB, Linux {machine.kernel}"),
        ("files", f"{found.files}, {size(found.bytes)}, on {disk}"),
        ("rounds", f"{found.rounds}, in {found.seconds:.0f} s"),
    )
    if found.engine == "docker":
        yield "Containers, images and snapshots lie where the Docker Engine keeps its data, not on that file system."
    owners = [("SANDBOX", found.operations), ("COMMAND LINE", found.commands), ("FLOOR", found.floors)]
    for title, timings in [*owners, *((peer.name.upper(), peer.operations) for peer in found.peers)]:
        rows = [(one.name, f"{one.median_ms:.1f}", f"{one.p95_ms:.1f}", one.says) for one in timings]
        yield ""
        yield from table((title, "MEDIAN", "P95", "WHAT"), rows, "Nothing was measured.")
    yield from _beside(found)
    yield from _crowd(found.crowd)
    yield ""
    yield from table(("GOAL", "WANTED", "MEASURED", "FLOOR", ""), [_goal(one) for one in found.goals], "No goals.")
    yield from (f"Not measured: {one.what}: {one.why}." for one in found.not_measured)


def _beside(found: BenchRecord) -> Iterator[str]:
    if found.comparisons:
        compared = [
            (one.operation, one.peer, f"{one.ours_ms:.1f}", f"{one.theirs_ms:.1f}", f"{one.ratio:.2f}")
            for one in found.comparisons
        ]
        yield ""
        yield from table(("OPERATION", "BESIDE", "OURS", "THEIRS", "RATIO"), compared, "")
    kept = [("sandbox", found.memory_mib), *((peer.name, peer.memory_mib) for peer in found.peers)]
    rows = [(name, f"{memory:.2f}") for name, memory in kept if memory is not None]
    yield ""
    yield from table(("MEMORY OF AN IDLE SANDBOX", "MIB"), rows, "Memory was not measured.")
    for peer in found.peers:
        yield from _failed(peer)


def _failed(peer: Peer) -> Iterator[str]:
    yield from (f"{peer.name}, {one.what}: {one.why}" for one in peer.failed)
    if peer.lacks:
        yield f"{peer.name} has no {', '.join(peer.lacks)}."


def _crowd(crowd: Crowd) -> Iterator[str]:
    if crowd.idle:
        made = f"made in {crowd.fork_each_ms:.1f} ms each, destroyed in {crowd.destroy_each_ms:.1f} ms each"
        yield f"{crowd.idle} idle sandboxes at once: {crowd.idle_memory_mib:.2f} MiB each, {made}."
        disk = "" if crowd.idle_disk_kib is None else f" Each added {crowd.idle_disk_kib:.0f} KiB to the file system."
        yield f"A command in one of them, while all are there: {crowd.exec_ms:.1f} ms.{disk}"
    if crowd.tasks:
        yield (
            f"{crowd.tasks} tasks: {crowd.one_by_one_s:.2f} s one after the other, {crowd.at_once_s:.2f} s at once: "
            f"{crowd.throughput:.2f} times the throughput."
        )


def _goal(goal: Goal) -> tuple[str, str, str, str, str]:
    floor = f"{goal.floor} {goal.floor_measured:.1f}" if goal.floor_measured is not None else ""
    wanted = f"{'≥' if goal.at_least else '≤'} {goal.limit:g} {goal.unit}".strip()
    value = "" if goal.measured is None else f"{goal.measured:.2f} {goal.unit}".strip()
    return f"{goal.what} ({goal.says})", wanted, value, floor, goal.verdict
