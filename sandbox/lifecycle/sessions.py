"""Sandboxes from creation to destruction: create, exec, snapshot, rollback, fork, destroy.

Owns the records of sandboxes and snapshots and keeps them in step with the engine: intent is durable
before the engine acts, the result after. Must not know what a task or a promotion is.
"""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from sandbox.clock import fresh_id, now
from sandbox.engines.base import (
    CreateRequest,
    ExecRequest,
    ExecResult,
    Placement,
    RestoreRequest,
)
from sandbox.errors import InputError, SandboxError
from sandbox.faults import reached
from sandbox.governance import Part
from sandbox.lifecycle import bounds, instants, parts
from sandbox.lifecycle.capturing import Captured, placed
from sandbox.lifecycle.context import SANDBOX, SNAPSHOT, Context
from sandbox.records import (
    DestroyRecord,
    RollbackRecord,
    SandboxRecord,
    SnapshotRecord,
)
from sandbox.spec import Limits, Network

ALIVE = ("creating", "ready")
"""Statuses of sandboxes that are not destroyed, nor about to be."""

_AT_ONCE = 4
"""Forks that start at a time; more gain nothing where cores are few, and wait for each other where they are many."""


def expect(ctx: Context, limits: Limits) -> None:
    """Have the engine begin what takes a while, before the targets are looked at. What is wrong `create` says."""
    with suppress(SandboxError):
        ctx.engine(ctx.default_engine()).expect(limits)


def create(
    ctx: Context,
    captured: dict[str, Captured],
    *,
    image: str | None,
    limits: Limits,
    network: Network = "none",
    env: dict[str, str] | None = None,
    owned: bool = False,
    sandbox: str | None = None,
    launch: Part | None = None,
) -> SandboxRecord:
    """A running sandbox with a copy of each base. `owned`: it ends with this process. `launch` is the statement
    that was signed for `sandbox`, its id."""
    name = ctx.default_engine()
    engine = ctx.engine(name)
    image = image or engine.traits.default_image
    record = SandboxRecord(
        sandbox=sandbox or fresh_id("sbx"),
        engine=name,
        image=image,
        # Asked before anything is recorded: where no engine answers there is nothing to clean up later.
        image_digest=engine.image_digest(image),
        bases=placed(captured),
        limits=limits,
        network=network,
        env=env or {},
        salt=secrets.token_hex(16),
        launcher=ctx.launcher,
        launch=launch.part if launch else None,
        created_at=now(),
        status="creating",
        owner=ctx.owner.name,
    )
    if launch:
        parts.keep(ctx, launch)
    ctx.ledger.put(
        SANDBOX, record.sandbox, record, event="sandbox.creating", actor=ctx.launcher, flushed=False, image=image
    )
    _make(ctx, record, captured)
    record = _with(record, status="ready", owner=record.owner if owned else None)
    ctx.ledger.put(SANDBOX, record.sandbox, record, event="sandbox.created", actor=ctx.launcher, flushed=False)
    return record


def _make(ctx: Context, record: SandboxRecord, captured: dict[str, Captured]) -> None:
    engine = ctx.engine_of(record)
    try:
        engine.create(
            CreateRequest(
                sandbox=record.sandbox,
                image=record.image,
                placements=tuple(Placement(one.path, captured[one.target].base.tree) for one in record.bases),
                limits=record.limits,
                network=record.network,
                env=record.env,
            )
        )
        reached("engine.created")
    except BaseException:
        engine.destroy(record.sandbox)
        ctx.ledger.put(
            SANDBOX, record.sandbox, _with(record, status="destroyed"), event="sandbox.failed", actor=ctx.launcher
        )
        raise


def execute(ctx: Context, request: ExecRequest, *, key: Path | None = None) -> ExecResult:
    """Run a command in a sandbox; what it prints is kept in the sandbox's log as it comes."""
    record = ctx.living(request.sandbox)
    parts.take_part(ctx, record, "exec", key=key, task=list(request.command))
    with ctx.home.log(record.sandbox).open("ab") as log:
        shown = shlex.join(request.command)
        log.write(f"\n[{now():%Y-%m-%dT%H:%M:%SZ}] $ {shown}\n".encode("utf-8", "backslashreplace"))
        log.flush()

        def keep(stream: str, data: bytes) -> None:
            log.write(data)
            log.flush()
            if request.on_output:
                request.on_output(stream, data)

        result = bounds.execute(ctx.engine_of(record), replace(request, on_output=keep), record.limits)
        ended = "timed out" if result.timed_out else f"exit code {result.exit_code}"
        log.write(f"[{ended}, {result.seconds:.3f} s]\n".encode())
    return result


def snapshot(ctx: Context, sandbox: str, label: str | None = None) -> SnapshotRecord:
    """Keep the sandbox's whole file system as it is; its processes go on."""
    record = ctx.living(sandbox)
    started = time.monotonic()
    name = fresh_id("snap")
    bounds.check(ctx.engine_of(record), sandbox, record.limits)
    with instants.taken(ctx, record, name), ctx.ledger.together(flushed=False):
        taken = SnapshotRecord(
            snapshot=name,
            parent=record.head,
            sandbox=sandbox,
            label=label,
            created_at=now(),
            seconds=round(time.monotonic() - started, 6),
        )
        ctx.ledger.put(SNAPSHOT, name, taken, event="snapshot.taken", actor=ctx.launcher, sandbox=sandbox)
        ctx.ledger.put(SANDBOX, sandbox, _with(record, head=name), event="sandbox.moved", actor=ctx.launcher, head=name)
    return taken


def rollback(ctx: Context, sandbox: str, snapshot: str, key: Path | None = None) -> RollbackRecord:
    """Take the sandbox to a snapshot of its family; its processes end."""
    record = ctx.living(sandbox)
    taken = ctx.snapshot(snapshot)
    origin = ctx.sandbox(taken.sandbox)
    if (origin.engine, origin.bases) != (record.engine, record.bases):
        raise InputError(
            f"The snapshot {snapshot} belongs to another family of sandboxes than {sandbox}.",
            f"Start a sandbox from it instead: sandbox fork {snapshot}",
        )
    foreign = None if origin.sandbox == sandbox else origin.sandbox
    parts.take_part(ctx, record, "rollback", key=key, origin=foreign, task=snapshot)
    started = time.monotonic()
    ctx.ledger.note("sandbox.rolling_back", actor=ctx.launcher, subject=sandbox, flushed=False, snapshot=snapshot)
    ctx.engine_of(record).restore(RestoreRequest(snapshot, sandbox))
    reached("engine.rolled_back")
    ctx.ledger.put(
        SANDBOX,
        sandbox,
        _with(record, head=snapshot),
        event="sandbox.rolled_back",
        actor=ctx.launcher,
        flushed=False,
        snapshot=snapshot,
    )
    left = [head for head in _kept(ctx, {record.head} - {snapshot}) if head.sandbox != sandbox]
    if left:  # what it stood on until now was another's
        _discard_unreachable(ctx, left)
    return RollbackRecord(sandbox=sandbox, snapshot=snapshot, seconds=round(time.monotonic() - started, 6))


def fork(ctx: Context, snapshot: str, count: int = 1, key: Path | None = None) -> list[SandboxRecord]:
    """As many more sandboxes in the state of a snapshot; none of them stays if one fails."""
    taken = ctx.snapshot(snapshot)
    origin = ctx.sandbox(taken.sandbox)
    targets = [base.target for base in origin.bases]
    parts.admit(ctx, targets, "fork", signed=key is not None)
    records = []
    for _ in range(count):
        name = fresh_id("sbx")
        launch = parts.launched(ctx, name, "fork", parts.work_of(origin), key, snapshot)
        parts.check_known(ctx, launch, targets)
        record = _with(
            origin,
            sandbox=name,
            salt=secrets.token_hex(16),
            launcher=ctx.launcher,
            launch=launch.part if launch else None,
            created_at=now(),
            status="creating",
            owner=ctx.owner.name,
            forked_from=snapshot,
            head=snapshot,
        )
        if launch:
            parts.keep(ctx, launch)
        records.append(record)
    _record_all(ctx, records, "sandbox.forking", snapshot)
    with ExitStack() as undo:
        for record in records:
            undo.callback(destroy, ctx, record.sandbox)
        _start_all(ctx, records, snapshot)
        undo.pop_all()
    records = [_with(record, status="ready", owner=None) for record in records]
    _record_all(ctx, records, "sandbox.forked", snapshot)
    return records


def _record_all(ctx: Context, records: Sequence[SandboxRecord], event: str, snapshot: str) -> None:
    with ctx.ledger.together(flushed=False):
        for record in records:
            ctx.ledger.put(SANDBOX, record.sandbox, record, event=event, actor=ctx.launcher, snapshot=snapshot)


def _start_all(ctx: Context, records: Sequence[SandboxRecord], snapshot: str) -> None:
    """Start forks, several at a time where there are several: most of a start is waiting for the kernel."""

    def start(record: SandboxRecord) -> None:
        ctx.engine_of(record).restore(RestoreRequest(snapshot, record.sandbox))
        reached("engine.forked")

    if len(records) == 1:
        start(records[0])
        return
    pool = ThreadPoolExecutor(min(len(records), _AT_ONCE), "fork")
    try:
        for done in [pool.submit(start, record) for record in records]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def keep(ctx: Context, sandbox: str) -> None:
    """Let a sandbox outlive the process that owns it."""
    ctx.ledger.put(SANDBOX, sandbox, _with(ctx.living(sandbox), owner=None), event="sandbox.kept", actor=ctx.launcher)


def destroy(ctx: Context, sandbox: str) -> DestroyRecord:
    """End a sandbox and leave nothing of it; snapshots that living forks came from stay until those end."""
    record = ctx.sandbox(sandbox)
    started = time.monotonic()
    if record.status != "destroyed":
        doomed = _with(record, status="destroying", owner=ctx.owner.name)
        ctx.ledger.put(SANDBOX, sandbox, doomed, event="sandbox.destroying", actor=ctx.launcher, flushed=False)
        ctx.engine_of(record).destroy(sandbox)
        reached("engine.destroyed")
        ended = _with(record, status="destroyed", owner=None)
    else:
        ended = None
    ctx.sat.pop(sandbox, None)  # a manager may live for thousands of sandboxes
    own = ctx.ledger.find(SNAPSHOT, SnapshotRecord, sandbox=sandbox, status="kept")
    others = {record.head, record.forked_from} | {taken.parent for taken in own}
    _discard_unreachable(ctx, [*own, *_kept(ctx, others - {taken.snapshot for taken in own})], ended)
    return DestroyRecord(sandbox=sandbox, seconds=round(time.monotonic() - started, 6))


def discard_unreachable(ctx: Context, engine: str) -> None:
    """Discard every snapshot of an engine that no living sandbox made or came from."""
    kept = ctx.ledger.find(SNAPSHOT, SnapshotRecord, status="kept")
    _discard_unreachable(ctx, [taken for taken in kept if ctx.sandbox(taken.sandbox).engine == engine])


def _kept(ctx: Context, names: Iterable[str | None]) -> list[SnapshotRecord]:
    """The records of these snapshots, as far as there are any and they were not discarded."""
    found = [ctx.ledger.get(SNAPSHOT, name, SnapshotRecord) for name in names if name is not None]
    return [taken for taken in found if taken.status == "kept"]


def _discard_unreachable(ctx: Context, asked: Sequence[SnapshotRecord], ended: SandboxRecord | None = None) -> None:
    """Discard those of the snapshots that no living sandbox made or came from.

    `ended` is the record of a sandbox that went before them, stored in the same step.
    """
    made = {taken.sandbox for taken in asked}
    living = {name for name in made if ctx.sandbox(name).status in ALIVE}
    needed = ctx.ledger.values(SANDBOX, SandboxRecord, ("head", "forked_from"), status=ALIVE)
    doomed = [taken for taken in asked if taken.sandbox not in living and taken.snapshot not in needed]
    for taken in doomed:
        ctx.engine_of(ctx.sandbox(taken.sandbox)).discard(taken.snapshot)
        reached("engine.discarded")
    if ended is None and not doomed:
        return
    with ctx.ledger.together(flushed=False):
        if ended is not None:
            ctx.ledger.put(SANDBOX, ended.sandbox, ended, event="sandbox.destroyed", actor=ctx.launcher)
        for taken in doomed:
            gone = taken.model_copy(update={"status": "discarded"})
            ctx.ledger.put(SNAPSHOT, taken.snapshot, gone, event="snapshot.discarded", actor=ctx.launcher)


def _with(record: SandboxRecord, **update: object) -> SandboxRecord:
    return record.model_copy(update=update)
