"""The clean room: checks and rehearsal on base plus change set, where the agent never was.

Owns evidence and how it is come by. Every check gets a fresh sandbox without network, made from the sealed
bytes; the rehearsal applies, restores and applies again on a copy of the base, with the code that promotes.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox import durable
from sandbox.engines.base import ExecRequest, ExecResult, OnOutput
from sandbox.errors import Conflict, SandboxError
from sandbox.faults import reached
from sandbox.lifecycle import bounds, counts, sessions
from sandbox.lifecycle.capturing import Captured
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.events import CheckFinished, CheckStarted, OnEvent, Output
from sandbox.lifecycle.sealing import Sealed, SealedTarget
from sandbox.records import Counts, Evidence, Rehearsal, SandboxRecord
from sandbox.spec import Check
from sandbox.targets.base import ApplyRequest, Target
from sandbox.trees.entry import Change, path_text
from sandbox.trees.patterns import Patterns

RESTORE_FLUSHES = 12
"""So often a restore makes something durable, in the journal or beside it."""


def rehearse(ctx: Context, sealed: Sealed) -> tuple[Rehearsal, ...]:
    """Apply, restore and apply again, for every target that changes."""
    return tuple(_rehearse_one(ctx, sealed, target) for target in sealed.targets if target.changes)


def _rehearse_one(ctx: Context, sealed: Sealed, part: SealedTarget) -> Rehearsal:
    try:
        with ctx.home.scratch(ctx.owner.name) as scratch:
            copy = ctx.target(part.spec.name).rehearsal(part.base, part.changes, scratch / "target")
            return _play(ctx, copy, sealed, part, [scratch / "first", scratch / "second"])
    except SandboxError as error:
        return Rehearsal(
            target=part.spec.name, applied=False, restored=False, reapplied=False, restore_seconds=0, says=error.says
        )


def _play(ctx: Context, copy: Target, sealed: Sealed, part: SealedTarget, points: Sequence[Path]) -> Rehearsal:
    def quiet(_: str) -> None:
        return None

    results: list[bool] = []
    restored, restore_seconds = False, 0.0
    real = ctx.target(part.spec.name)
    for number, point in enumerate(points):
        request = ApplyRequest(part.base, part.changes, sealed.blobs, point, sealed.id)
        copy.prepare(request, quiet)
        results.append(copy.apply(request, quiet) == part.delta.predicted)
        reached("rehearsal.applied")
        if number == 0:
            started = time.monotonic()
            copy.written_since(part.base, part.changes)
            outcome = copy.restore(request.point, quiet)
            rehearsed = time.monotonic() - started
            restore_seconds = round(rehearsed + real.reading_seconds(part.base.count) + _flushes_s(point.parent), 6)
            restored = outcome.clean and outcome.fingerprint == part.base.fingerprint
        copy.settle(request.point)
        reached("rehearsal.settled")
    return Rehearsal(
        target=part.spec.name,
        applied=results[0],
        restored=restored,
        reapplied=results[1],
        restore_seconds=restore_seconds,
    )


def _flushes_s(folder: Path) -> float:
    """What a restore takes to make its steps durable, which a rehearsal leaves out: one of them, and how many."""
    started = time.monotonic()
    durable.write(folder / "flushed", b"")
    return (time.monotonic() - started) * RESTORE_FLUSHES


def check(
    ctx: Context, sealed: Sealed, checks: Sequence[Check], like: SandboxRecord, on_event: OnEvent
) -> list[Evidence]:
    """Run the checks, each in a sandbox of its own with the image and limits of `like`; stops at a failure."""
    evidence: list[Evidence] = []
    for number, one in enumerate(checks, 1):
        on_event(CheckStarted(shlex.join(one.run)))
        found = _check_one(ctx, sealed, one, number, like, on_event)
        evidence.append(found)
        on_event(CheckFinished(found.check, found.exit_code, found.seconds, found.timed_out))
        if not found.passed:
            break
    return evidence


def _check_one(
    ctx: Context, sealed: Sealed, one: Check, number: int, like: SandboxRecord, on_event: OnEvent
) -> Evidence:
    try:
        captured = {
            part.spec.name: Captured(
                ctx.bases.derive(part.base, _without_pristine(part, one, len(sealed.targets)), sealed.blobs),
                part.identity,
            )
            for part in sealed.targets
        }
    except Conflict as error:
        raise Conflict(
            f"The check {shlex.join(one.run)!r} can't be given its pristine paths: {error.says}",
            "Widen the patterns of `pristine` so that they cover whole directories.",
        ) from error
    ran = _ran(ctx, captured, one, like, lambda stream, data: on_event(Output(stream, data)))
    counted, doubt = (None, "") if one.junit is None else _counted(ctx, sealed, one, like, ran)
    durable.write(sealed.directory / f"check-{number}.log", ran.printed)
    reached("check.kept")
    return Evidence(
        check=shlex.join(one.run),
        exit_code=ran.result.exit_code,
        seconds=round(ran.result.seconds, 6),
        output_sha256=hashlib.sha256(ran.printed).hexdigest(),
        timed_out=ran.result.timed_out,
        pristine=one.pristine,
        image_digest=ran.image_digest,
        counts=counted,
        doubt=doubt,
    )


class _Ran(NamedTuple):
    """What a check gave in a sandbox of its own, which is gone by now."""

    result: ExecResult
    printed: bytes
    report: bytes
    """Empty where there is none, or none is asked for."""
    image_digest: str


def _ran(ctx: Context, captured: dict[str, Captured], one: Check, like: SandboxRecord, on_output: OnOutput) -> _Ran:
    clean = sessions.create(ctx, captured, image=like.image, limits=like.limits, env=like.env, owned=True)
    output: list[bytes] = []

    def keep(stream: str, data: bytes) -> None:
        output.append(data)
        on_output(stream, data)

    def run(command: tuple[str, ...], on_output: OnOutput | None = None) -> ExecResult:
        request = ExecRequest(sandbox=clean.sandbox, command=command, timeout_s=one.timeout_s, on_output=on_output)
        return bounds.execute(ctx.engine_of(clean), request, clean.limits)

    try:
        if one.junit is not None:
            run(("rm", "-rf", "--", one.junit))  # what lies there came with the change, not from this run
        result = run(one.run, keep)
        report = b""
        if one.junit is not None:
            report = run(("head", "-c", str(counts.MAX_BYTES + 1), "--", one.junit)).stdout
    finally:
        sessions.destroy(ctx, clean.sandbox)
    return _Ran(result, b"".join(output), report, clean.image_digest)


def _counted(ctx: Context, sealed: Sealed, one: Check, like: SandboxRecord, ran: _Ran) -> tuple[Counts | None, str]:
    """The numbers of the report, held against those of the same check on the bare base, and what speaks against it."""
    try:
        now = counts.read(ran.report)
    except counts.UnreadableError as error:
        return None, str(error)
    bare = {part.spec.name: Captured(part.base, part.identity) for part in sealed.targets}
    try:
        base = counts.read(_ran(ctx, bare, one, like, lambda _stream, _data: None).report)
    except counts.UnreadableError:
        base = counts.Report()  # a base without tests, or none that run: then any test is more
    numbers = Counts(
        ran=now.ran.total(),
        skipped=now.skipped.total(),
        failed=now.failed,
        base_ran=base.ran.total(),
        base_skipped=base.skipped.total(),
    )
    return numbers, counts.against(now, base)


def _without_pristine(part: SealedTarget, one: Check, targets: int) -> tuple[Change, ...]:
    if not one.pristine:
        return part.changes
    prefix = b"" if targets == 1 else part.spec.name.encode() + b"/"
    return without(part.changes, Patterns(one.pristine), prefix)


def without(changes: Sequence[Change], pristine: Patterns, prefix: bytes = b"") -> tuple[Change, ...]:
    """The changes that leave every pristine path as it is in the base, the directories above it included."""

    def is_pristine(change: Change) -> bool:
        entry = change.before or change.after
        return pristine.match(prefix + change.path, entry is not None and entry.kind == "dir")

    needed: set[bytes] = set()
    for change in changes:
        if is_pristine(change) and change.before is not None:
            parts = change.path.split(b"/")
            needed.update(b"/".join(parts[:end]) for end in range(1, len(parts)))
    return tuple(
        change
        for change in changes
        if not is_pristine(change) and not (change.path in needed and not (change.after and change.after.kind == "dir"))
    )


def touched_pristine(changes: Sequence[Change], pristine: Patterns, prefix: bytes = b"") -> list[str]:
    """The pristine paths that the agent changed; a reviewer is told."""
    return [
        path_text(change.path)
        for change in changes
        if pristine.match(prefix + change.path, bool(change.after and change.after.kind == "dir"))
    ]
