"""Verbs about sandboxes as such: create, list, show, destroy, diff."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from sandbox.cli.options import Environment, Image, Json, Online, SandboxId, SignedBy, Targets
from sandbox.cli.running import variables
from sandbox.cli.session import begin
from sandbox.cli.tables import counts, deltas, moment, pairs, table
from sandbox.errors import InputError

if TYPE_CHECKING:
    from sandbox.records import RunRecord, SandboxRecord


def create(
    ctx: typer.Context,
    target: Targets = [],  # noqa: B006 - typer makes a new list for each call
    change: Annotated[
        str | None, typer.Option(metavar="CHANGE", help="The targets as this change makes them, to look at.")
    ] = None,
    image: Image = None,
    network: Online = "none",
    env: Environment = [],  # noqa: B006
    memory_mb: Annotated[int | None, typer.Option("--memory", metavar="MB", help="At least 16.")] = None,
    cpus: Annotated[float | None, typer.Option(metavar="N", help="As in 0.5.")] = None,
    pids: Annotated[int | None, typer.Option(metavar="N", help="How many processes at most.")] = None,
    disk_mb: Annotated[int | None, typer.Option(metavar="MIB", help="How much it may write.")] = None,
    key: SignedBy = None,
    json: Json = False,
) -> None:
    """Make a sandbox with a copy of each target.

    It is there to work in by hand, and stays until `destroy`.
    """
    session = begin(ctx, json)
    if not target and not change:
        raise InputError("A sandbox needs at least one target.", "Name one with --target; `sandbox target list`.")
    if network not in ("none", "full"):
        raise InputError(f"--network is none or full, not {network!r}.", "none cuts it off from everything.")
    from sandbox.spec import Limits

    given = {"memory_mb": memory_mb, "cpus": cpus, "pids": pids, "disk_mb": disk_mb}
    limits = Limits.model_validate({name: value for name, value in given.items() if value is not None})
    with session.manager() as manager:
        box = manager.create(
            targets=target,
            change=change,
            image=image,
            limits=limits,
            network="full" if network == "full" else "none",
            env=variables(env),
            key=key,
        )
    record = box.record
    placed = ", ".join(f"{base.target} in {base.path}" for base in record.bases)
    lines = [
        f"Created {record.sandbox} on {record.engine} from image {record.image}: {placed}.",
        f"Next: `sandbox exec {record.sandbox} -- CMD`, then `sandbox diff` or `sandbox propose`.",
    ]
    session.answer(record.document(), lines)


def list_all(ctx: typer.Context, json: Json = False) -> None:
    """List the sandboxes that are there."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.sandboxes()
    rows = [
        (
            one.sandbox,
            one.status,
            one.engine,
            one.image,
            " ".join(base.target for base in one.bases),
            one.launcher,
            moment(one.created_at),
        )
        for one in found
    ]
    header = ("SANDBOX", "STATUS", "ENGINE", "IMAGE", "TARGETS", "LAUNCHER", "CREATED")
    from sandbox.answers import SandboxList

    session.answer(SandboxList(sandboxes=found).document(), table(header, rows, "There is no sandbox."))


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A sandbox or a run.")],
    json: Json = False,
) -> None:
    """Show all that is known of a sandbox or a run."""
    session = begin(ctx, json)
    with session.manager() as manager:
        record = manager.show(name)
    from sandbox.records import RunRecord

    lines = _run(record) if isinstance(record, RunRecord) else _sandbox(record)
    session.answer(record.document(), lines)


def _sandbox(record: SandboxRecord) -> Iterator[str]:
    limits = record.limits
    yield from pairs(
        ("sandbox", record.sandbox),
        ("status", record.status),
        ("engine", record.engine),
        ("image", f"{record.image} ({record.image_digest[:12]})"),
        (
            "limits",
            f"CPUs: {limits.cpus:g}, {limits.memory_mb} MiB, {limits.pids} processes, {limits.disk_mb} MiB of disk",
        ),
        ("network", record.network),
        ("launcher", record.launcher),
        ("created", moment(record.created_at)),
        ("forked from", record.forked_from),
        ("snapshot", record.head),
    )
    for base in record.bases:
        yield from pairs(("target", f"{base.target} in {base.path}"), ("base", base.base))


def _run(record: RunRecord) -> Iterator[str]:
    failure = record.failure
    yield from pairs(
        ("run", record.run),
        ("status", record.status),
        ("sandbox", record.sandbox),
        ("attempts", record.attempts),
        ("failure", f"{failure.step}: {failure.reason}" if failure else None),
        ("change", f"{record.change.id}: {counts(record.change.targets)}" if record.change else None),
    )


def destroy(ctx: typer.Context, sandbox: SandboxId, json: Json = False) -> None:
    """End a sandbox and remove all of it.

    The real targets are not concerned.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        record = manager.destroy(sandbox)
    session.answer(record.document(), [f"Destroyed {sandbox} in {record.seconds:.2f} s."])


def diff(
    ctx: typer.Context,
    sandbox: SandboxId,
    since: Annotated[
        str | None, typer.Option("--from", metavar="SNAPSHOT", help="Compare with this instead of the bases.")
    ] = None,
    json: Json = False,
) -> None:
    """Show which paths differ in a sandbox now.

    From the captured bases, or from a snapshot.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        record = manager.diff(sandbox, since)
    session.answer(record.document(), deltas(record.targets))
