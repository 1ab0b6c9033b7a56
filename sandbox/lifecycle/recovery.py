"""What a killed manager left half-done: promotions are put back, its sandboxes and scratch removed.

Owns the rule for whose work it is: a record names its owner, and an owner whose lock is free is dead. Runs
at every start, where it costs a few queries; `thorough` also asks the engines for what no record knows.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from sandbox import lifecycle
from sandbox.errors import Locked, SandboxError
from sandbox.lifecycle.context import CHANGE, PROMOTION, RUN, SANDBOX, Context
from sandbox.records import Failure, PromotionRecord, RunRecord, SandboxRecord, StoredChange


def recover(ctx: Context, *, thorough: bool = False) -> list[str]:
    """Finish what dead managers left; a line for each thing that was done, or that could not be."""
    done = [*_promotions(ctx), *_runs(ctx), *_sandboxes(ctx)]
    if thorough:
        done += _engines(ctx)
        done += [*ctx.bases.sweep(), *_scratch(ctx), *_caches(ctx)]
        done += [*_half_sealed(ctx), *_unknown_promotions(ctx)]
        ctx.owner.forget_dead()
    return done


def _promotions(ctx: Context) -> list[str]:
    lines: list[str] = []
    for status in ("promoting", "restoring"):
        for record in ctx.ledger.find(PROMOTION, PromotionRecord, status=status):
            if record.owner and ctx.owner.is_alive(record.owner):
                continue
            lines.append(_put_back(ctx, record))
    for change in ctx.ledger.find(CHANGE, StoredChange, status="promoting"):
        for record in ctx.ledger.find(PROMOTION, PromotionRecord, change=change.id):
            if record.status in ("committed", "restored", "frozen"):
                lifecycle.restoring.close_change(ctx, record)
    return lines


def _put_back(ctx: Context, record: PromotionRecord) -> str:
    try:
        with ExitStack() as leases:
            for part in sorted(record.targets, key=lambda part: part.name):
                leases.enter_context(ctx.target(part.name).lease())
            ended = lifecycle.restoring.put_back(
                ctx, record, reason="the manager ended in the middle of it", started=time.monotonic()
            )
    except Locked as error:
        return f"promotion {record.promotion}: not yet put back: {error.says}"
    except SandboxError as error:
        return f"promotion {record.promotion}: could not be put back: {error}"
    return f"promotion {record.promotion} of {record.change}: {ended.status}"


def _runs(ctx: Context) -> list[str]:
    lines: list[str] = []
    for run in ctx.ledger.find(RUN, RunRecord, status="running"):
        if run.owner and ctx.owner.is_alive(run.owner):
            continue
        lines.append(_end_run(ctx, run))
    return lines


def _end_run(ctx: Context, run: RunRecord) -> str:
    """A run whose change is in the journal has proposed it, even if it could not say so any more."""
    changes = ctx.ledger.find(CHANGE, StoredChange, run=run.run)
    if changes:
        update: dict[str, object] = {"status": "proposed", "change_id": changes[-1].id, "owner": None}
    else:
        failure = Failure(step="run", reason="the manager ended in the middle of it")
        update = {"status": "interrupted", "failure": failure, "owner": None}
    ended = run.model_copy(update=update)
    ctx.ledger.put(RUN, run.run, ended, event=f"run.{ended.status}", actor=ctx.launcher)
    return f"run {run.run}: {ended.status}" + ("" if changes else "; nothing proposed")


def _sandboxes(ctx: Context) -> list[str]:
    lines: list[str] = []
    for status in ("creating", "ready", "destroying"):
        for record in ctx.ledger.find(SANDBOX, SandboxRecord, status=status):
            if record.owner is None or ctx.owner.is_alive(record.owner):
                continue
            try:
                lifecycle.sessions.destroy(ctx, record.sandbox)
            except SandboxError as error:
                lines.append(f"sandbox {record.sandbox}: left over, not removed: {error}")
            else:
                lines.append(f"sandbox {record.sandbox}: left over, removed")
    return lines


def _engines(ctx: Context) -> list[str]:
    """What the engines hold and no record knows, or is recorded as gone."""
    lines: list[str] = []
    known = {record.sandbox: record for record in ctx.ledger.find(SANDBOX, SandboxRecord)}
    for name in {record.engine for record in known.values()} | {ctx.default_engine()}:
        try:
            engine = ctx.engine(name)
            lines += [f"{name}: {line}" for line in engine.sweep()]
            for instance in engine.instances():
                record = known.get(instance.sandbox)
                if record is None or record.status == "destroyed":
                    engine.destroy(instance.sandbox)
                    lines.append(f"{name}: sandbox {instance.sandbox} had no record, removed")
            lifecycle.sessions.discard_unreachable(ctx, name)
            lines += [f"{name}: {line}" for line in lifecycle.instants.discard_unknown(ctx, name)]
        except SandboxError as error:
            lines.append(f"{name}: could not be looked at: {error}")
    return lines


def _scratch(ctx: Context) -> list[str]:
    """Scratch of dead owners. Scratch is named by its owner, so a living one's is never touched."""
    lines: list[str] = []
    for path in sorted((ctx.home.root / "scratch").iterdir()):
        owner = path.name.partition(".")[0]
        if not ctx.owner.is_alive(owner):
            lines.append(f"scratch {path.name}: {_removed(path)}")
    return lines


def _caches(ctx: Context) -> list[str]:
    """Stat caches that died before they were whole."""
    from sandbox.trees import stat_cache  # here, because most starts have nothing to remove

    swept = stat_cache.sweep(ctx.home.cache)
    return [f"removed {swept} unfinished stat caches"] if swept else []


def _half_sealed(ctx: Context) -> list[str]:
    """Change sets that the journal does not know, of dead owners."""
    lines: list[str] = []
    known = {change.id for change in ctx.ledger.find(CHANGE, StoredChange)}
    for path in sorted((ctx.home.root / "changes").iterdir()):
        if path.name in known:
            continue
        owner = path / lifecycle.sealing.OWNER
        if not owner.exists() or not ctx.owner.is_alive(owner.read_text()):
            lines.append(f"half-sealed change {path.name}: {_removed(path)}")
    return lines


def _unknown_promotions(ctx: Context) -> list[str]:
    """Folders of promotions that died before they were recorded."""
    if ctx.owner.others_alive():
        return []  # what another process begins at this moment is in no record yet
    known = {record.promotion for record in ctx.ledger.find(PROMOTION, PromotionRecord)}
    found = sorted(path for path in (ctx.home.root / "promotions").iterdir() if path.name not in known)
    return [f"promotion {path.name} was never begun: {_removed(path)}" for path in found]


def _removed(path: Path) -> str:
    """Remove a directory; in words, what came of it."""
    from sandbox.trees.removal import remove_tree  # here, because most starts have nothing to remove

    try:
        remove_tree(path)
    except OSError as error:
        return f"could not be removed: {error.strerror}"
    return "removed"
