"""A task from capture to proposal: run the steps, roll back on failure, try again, or propose.

Owns what counts as a failure (an exit code, a timeout, a limit, a tripwire, a check) and what follows from
it. The real targets are only read. Must not know who may promote.
"""

from __future__ import annotations

import math
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sandbox.clock import fresh_id
from sandbox.engines.base import ExecRequest, ExecResult
from sandbox.errors import OverLimit, in_words
from sandbox.governance import Part
from sandbox.lifecycle import bounds, capturing, parts, proposing, sessions
from sandbox.lifecycle.context import RUN, Context
from sandbox.lifecycle.differences import differences
from sandbox.lifecycle.events import (
    AttemptStarted,
    FilesTouched,
    Note,
    OnEvent,
    Output,
    RolledBack,
    StepFinished,
    StepStarted,
)
from sandbox.lifecycle.proposing import Outcome
from sandbox.records import Failure, RunRecord, SandboxRecord, StoredChange
from sandbox.spec import Check, Command, TaskSpec
from sandbox.trees.patterns import Patterns
from sandbox.watching.feed import Watched
from sandbox.watching.watch import Watch

TELL_EVERY_S = 2.0
"""Between two notes on the capture of one target."""


def run(
    ctx: Context, task: TaskSpec, on_event: OnEvent, *, keep: bool = False, key: Path | None = None
) -> tuple[RunRecord, StoredChange | None]:
    """Do a task in a sandbox of its own and propose what came of it; `keep` leaves the sandbox for a look.

    `key`: the launcher's SSH key, to sign that it is them. Raises Refused where a policy wants that or is edited.
    """
    parts.admit(ctx, task.targets, "run", signed=key is not None)
    sandbox = fresh_id("sbx")
    asked = parts.work(task.targets, task.limits, task.network, task.env)
    launch = parts.launched(ctx, sandbox, "run", asked, key, task.model_dump(mode="json"))
    parts.check_known(ctx, launch, task.targets)
    record = RunRecord(run=fresh_id("run"), sandbox="", status="running", attempts=0, owner=ctx.owner.name)
    ctx.ledger.put(RUN, record.run, record, event="run.started", actor=ctx.launcher, task=task.name)
    try:
        return _attempts(ctx, task, record, on_event, keep, (sandbox, launch))
    except BaseException as error:
        failed = Failure(step="run", reason=in_words(error))
        _end(ctx, record.run, status="interrupted", failure=failed)
        raise


def _attempts(
    ctx: Context,
    task: TaskSpec,
    record: RunRecord,
    on_event: OnEvent,
    keep: bool,
    launched: tuple[str, Part | None],
) -> tuple[RunRecord, StoredChange | None]:
    sessions.expect(ctx, task.limits)
    captured = capturing.capture(ctx, task.targets, _telling(on_event))
    sandbox, launch = launched
    box = sessions.create(
        ctx,
        captured,
        image=task.image,
        limits=task.limits,
        network=task.network,
        env=task.env,
        owned=True,
        sandbox=sandbox,
        launch=launch,
    )
    _update(ctx, record.run, "run.sandbox", sandbox=box.sandbox)
    with ExitStack() as cleanup:
        if keep:
            cleanup.callback(sessions.keep, ctx, box.sandbox)
        else:
            cleanup.callback(sessions.destroy, ctx, box.sandbox)
        start = sessions.snapshot(ctx, box.sandbox, "start").snapshot
        for attempt in range(1, task.attempts + 1):
            on_event(AttemptStarted(attempt, task.attempts))
            _update(ctx, record.run, "run.attempt", attempts=attempt)
            try:
                outcome = _attempt(ctx, task, record.run, box, start, on_event)
            except OverLimit as error:
                outcome = Outcome(failure=Failure(step="limits", reason=error.says))
            if outcome.failure is None:
                return _concluded(ctx, record.run, outcome), outcome.change
            undone = sessions.rollback(ctx, box.sandbox, start)
            on_event(RolledBack(start, f"{outcome.failure.step}: {outcome.failure.reason}", undone.seconds))
        return _end(ctx, record.run, status="rolled_back", failure=outcome.failure), None


def _telling(on_event: OnEvent) -> capturing.OnCapture:
    """Tells of a capture when it begins, and then only as often as a person wants to read."""
    told: dict[str, float] = {}

    def capturing(name: str, entries: int, _size: int) -> None:
        now = time.monotonic()
        if now - told.get(name, -math.inf) >= TELL_EVERY_S:
            on_event(Note(f"capturing {name}: {entries} entries so far" if name in told else f"capturing {name}"))
            told[name] = now

    return capturing


def _attempt(ctx: Context, task: TaskSpec, run_id: str, box: SandboxRecord, start: str, on_event: OnEvent) -> Outcome:
    """The steps, then the proposal. A failure is in the outcome; the caller rolls back."""
    for number, command in enumerate(task.work, 1):
        before = start if number == 1 else sessions.snapshot(ctx, box.sandbox, f"before step {number}").snapshot
        on_event(StepStarted(number, len(task.work), command, before))
        failure = _step(ctx, task, box, number, command, on_event)
        if failure:
            return Outcome(failure=failure)
    box = ctx.living(box.sandbox)
    return proposing.propose(ctx, box, run=run_id, asked=task.asked, checks=task.checks, on_event=on_event)


def _step(
    ctx: Context, task: TaskSpec, box: SandboxRecord, number: int, command: Command, on_event: OnEvent
) -> Failure | None:
    stop = threading.Event()
    with _watching(ctx, task, box, stop, on_event):
        result = sessions.execute(
            ctx,
            ExecRequest(
                sandbox=box.sandbox,
                command=command,
                timeout_s=task.limits.timeout_s,
                on_output=lambda stream, data: on_event(Output(stream, data)),
                cancel=stop,
            ),
        )
    tripped = _tripped(ctx, task, box, seen=result.cancelled)
    reason = tripped or _why_failed(result, task)
    on_event(StepFinished(number, result.exit_code, result.seconds, reason if tripped or result.timed_out else ""))
    if not reason:
        return None
    return Failure(step=f"step {number}: {shlex.join(command)}", reason=reason, exit_code=result.exit_code)


def _why_failed(result: ExecResult, task: TaskSpec) -> str:
    """Why a command's result counts as a failure; empty where it does not."""
    if result.timed_out:
        return f"timed out after {task.limits.timeout_s:g} s"
    if result.exit_code == 0:
        return ""
    if result.limit:
        return bounds.words(result.limit, task.limits)
    return f"exit code {result.exit_code}"


def _tripped(ctx: Context, task: TaskSpec, box: SandboxRecord, *, seen: bool) -> str:
    """Why the tripwire counts as hit, `seen` live or measured now; empty where it was not."""
    if task.max_deleted is None:
        return ""
    deleted = sum(
        change.op == "deleted" for placed in box.bases for change in differences(ctx, box, placed, origin=box.sandbox)
    )
    if deleted <= task.max_deleted and not seen:
        return ""
    return f"tripwire: {max(deleted, task.max_deleted + 1)} or more entries deleted, at most {task.max_deleted} allowed"


@contextmanager
def _watching(
    ctx: Context, task: TaskSpec, box: SandboxRecord, stop: threading.Event, on_event: OnEvent
) -> Iterator[None]:
    """Tell of files changed and deleted while the body runs, and set `stop` when the tripwire is hit."""
    root = ctx.engine_of(box).watch_root(box.sandbox)
    if root is None:
        if task.max_deleted is not None:
            on_event(Note("file events can't be seen from here: the tripwire is checked after each step"))
        yield
        return
    watched = [
        Watched(
            placed.path,
            [path for block in ctx.bases.get(placed.base).blocks() for path in block.paths],
            Patterns(ctx.target(placed.target).spec.ignore),
        )
        for placed in box.bases
    ]
    with Watch(
        root,
        watched,
        on_change=lambda changed, deleted: on_event(FilesTouched(changed, deleted)),
        max_deleted=task.max_deleted,
        on_trip=stop.set,
        on_note=lambda says: on_event(Note(says)),
    ):
        yield


def _update(ctx: Context, run_id: str, event: str, **update: object) -> RunRecord:
    record = ctx.ledger.get(RUN, run_id, RunRecord).model_copy(update=update)
    ctx.ledger.put(RUN, run_id, record, event=event, actor=ctx.launcher)
    return record


def _end(
    ctx: Context, run_id: str, *, status: str, failure: Failure | None = None, change_id: str | None = None
) -> RunRecord:
    return _update(ctx, run_id, f"run.{status}", status=status, failure=failure, change_id=change_id, owner=None)


def propose_by_hand(
    ctx: Context, box: SandboxRecord, checks: Sequence[Check], on_event: OnEvent, key: Path | None = None
) -> tuple[RunRecord, StoredChange | None]:
    """Propose what a sandbox differs in; it goes on as it is, whatever the checks say.

    Raises Refused where a policy wants signatures that are missing, or is edited.
    """
    targets = [base.target for base in box.bases]
    signed = key is not None or ctx.sat.get(box.sandbox, False)
    parts.admit(ctx, targets, "propose", signed=signed)
    parts.take_part(ctx, box, "propose", key=key, task=[check.model_dump(mode="json") for check in checks])
    parts.check_session(ctx, box)
    record = RunRecord(run=fresh_id("run"), sandbox=box.sandbox, status="running", attempts=1, owner=ctx.owner.name)
    ctx.ledger.put(RUN, record.run, record, event="run.started", actor=ctx.launcher, sandbox=box.sandbox)
    try:
        outcome = proposing.propose(ctx, box, run=record.run, asked="", checks=checks, on_event=on_event)
    except OverLimit as error:
        outcome = Outcome(failure=Failure(step="limits", reason=error.says))
    except BaseException as error:
        failed = Failure(step="propose", reason=in_words(error))
        _end(ctx, record.run, status="interrupted", failure=failed)
        raise
    if outcome.failure:
        return _end(ctx, record.run, status="rolled_back", failure=outcome.failure), None
    return _concluded(ctx, record.run, outcome), outcome.change


def _concluded(ctx: Context, run_id: str, outcome: Outcome) -> RunRecord:
    if outcome.change is None:
        return _end(ctx, run_id, status="empty")
    return _end(ctx, run_id, status="proposed", change_id=outcome.change.id)
