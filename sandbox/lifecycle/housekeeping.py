"""The house: what is missing (`doctor`), what can go (`prune`), which images there are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sandbox.answers import Advice, DoctorRecord, DoneRecord, ImageList, ImageState
from sandbox.clock import now
from sandbox.errors import SandboxError
from sandbox.lifecycle import quarantine
from sandbox.lifecycle.context import CHANGE, PROMOTION, SANDBOX, Context
from sandbox.records import PromotionRecord, SandboxRecord, StoredChange
from sandbox.trees.bases import StoredBase
from sandbox.trees.patterns import Patterns
from sandbox.trees.removal import remove_tree
from sandbox.trees.walk import Walk, opened

ENGINES = ("docker", "native")


def doctor(ctx: Context) -> DoctorRecord:
    """What each part needs and whether it is there."""
    findings = [_program("ssh-keygen", "signing", "Install OpenSSH's client (Debian: openssh-client).")]
    for name in ENGINES:
        try:
            found = ctx.engine(name).doctor()
        except SandboxError as error:
            findings.append(Advice(part=name, ok=False, says=error.says, hint=error.hint))
            continue
        findings += [Advice(part=name, ok=one.ok, says=one.says, hint=one.hint) for one in found]
    return DoctorRecord(engine=_usable(ctx), findings=tuple(findings))


def _usable(ctx: Context) -> str | None:
    """The engine that new sandboxes would use, if it is all there."""
    try:
        name = ctx.default_engine()
        return name if all(one.ok for one in ctx.engine(name).doctor()) else None
    except SandboxError:
        return None


def _program(name: str, part: str, hint: str) -> Advice:
    path = shutil.which(name)
    return Advice(part=part, ok=path is not None, says=path or f"{name} is missing", hint="" if path else hint)


def images(ctx: Context) -> ImageList:
    """What `--image` accepts on the engine in use."""
    name = ctx.default_engine()
    found = ctx.engine(name).images()
    return ImageList(
        engine=name, images=tuple(ImageState(name=one.name, ready=one.ready, says=one.says) for one in found)
    )


def prune(ctx: Context) -> DoneRecord:
    """Remove what nothing needs: bases without a sandbox or a change, logs of destroyed sandboxes, and the
    change sets and restore points of changes that can neither be promoted nor taken back any more."""
    done: list[str] = []
    freed = 0
    _close_expired(ctx)
    for what, path in [*_closed(ctx), *_logs(ctx)]:
        freed += _size(path)
        remove_tree(path) if path.is_dir() else path.unlink()
        done.append(f"{what}: removed")
    for base in _unused_bases(ctx):
        freed += _size(base.directory)
        ctx.bases.remove(base.fingerprint)
        done.append(f"base {base.fingerprint[:12]}: removed")
    if done:
        ctx.ledger.note("home.pruned", actor=ctx.launcher, removed=len(done), freed_bytes=freed)
    return DoneRecord(done=tuple(done), freed_bytes=freed)


def _closed(ctx: Context) -> Iterator[tuple[str, Path]]:
    held = quarantine.held(ctx)
    for change in ctx.ledger.find(CHANGE, StoredChange):
        if _is_over(change) and change.id not in held and ctx.home.change(change.id).exists():
            yield f"change {change.id} ({change.status})", ctx.home.change(change.id)
    for record in ctx.ledger.find(PROMOTION, PromotionRecord):
        if record.status not in ("restored", "refused"):
            continue
        point = ctx.home.root / "promotions" / record.promotion
        # What a restore kept of somebody else's writes is theirs to look at, never ours to remove.
        if point.exists() and not any(part.kept_aside for part in record.targets):
            yield f"restore point of {record.promotion}", point


def _close_expired(ctx: Context) -> None:
    for change in ctx.ledger.find(CHANGE, StoredChange, status="open"):
        if change.expires_at < now():
            closed = change.model_copy(update={"status": "expired"})
            ctx.ledger.swap(CHANGE, change.id, change, closed, event="change.expired", actor=ctx.launcher)


def _is_over(change: StoredChange) -> bool:
    """It can neither be promoted nor taken back any more."""
    return change.status in ("rejected", "restored", "expired")


def _logs(ctx: Context) -> Iterator[tuple[str, Path]]:
    for record in ctx.ledger.find(SANDBOX, SandboxRecord, status="destroyed"):
        path = ctx.home.log(record.sandbox)
        if path.exists():
            yield f"log of {record.sandbox}", path


def _unused_bases(ctx: Context) -> list[StoredBase]:
    if ctx.owner.others_alive():
        return []  # what another process captured a moment ago is in no record yet
    living = [record for record in ctx.ledger.find(SANDBOX, SandboxRecord) if record.status != "destroyed"]
    used = {placed.base for record in living for placed in record.bases}
    held = quarantine.held(ctx)
    for change in ctx.ledger.find(CHANGE, StoredChange):
        if not _is_over(change) or change.id in held:
            used |= {delta.base for delta in change.targets}
    there = ctx.bases.list()
    used |= {base.under.name[:64] for base in there if base.under is not None and base.fingerprint in used}
    # Layers before what they lie over, which stays as long as one of them does.
    return sorted((base for base in there if base.fingerprint not in used), key=lambda base: base.under is None)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    with opened(path) as handle:
        return sum(found.st_size for _, found in Walk(handle, Patterns(())))
