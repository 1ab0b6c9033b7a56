"""Sealing: the net difference of a sandbox, its bytes copied out, under one digest.

Owns the layout of a sealed change set, which is self-contained: `seal.json`, `TARGET.changes` and `blobs/`.
The agent never reaches it: the bytes come from a snapshot, which is one instant and can't be written to.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import rfc8785

from sandbox import durable
from sandbox.clock import fresh_id
from sandbox.errors import Conflict
from sandbox.faults import reached
from sandbox.lifecycle import bounds, instants
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.differences import delta, differences
from sandbox.records import SandboxRecord, StoredChange, TargetDelta
from sandbox.spec import TargetSpec
from sandbox.trees.bases import StoredBase
from sandbox.trees.entry import Change
from sandbox.trees.removal import remove_tree
from sandbox.trees.sealed import SealedBlobs, SealWriter, changes_digest, read_changes, write_changes

SEAL = "seal.json"
OWNER = "owner"
"""Names the process that is sealing: if that dies before the journal knows the change, it is rubbish."""


@dataclass(frozen=True)
class SealedTarget:
    spec: TargetSpec
    identity: str
    base: StoredBase
    changes: tuple[Change, ...]
    delta: TargetDelta


@dataclass(frozen=True)
class Sealed:
    """A change set out of the agent's reach."""

    id: str
    digest: str
    directory: Path
    targets: tuple[SealedTarget, ...]

    @property
    def blobs(self) -> SealedBlobs:
        return SealedBlobs(self.directory)

    @property
    def deltas(self) -> tuple[TargetDelta, ...]:
        return tuple(target.delta for target in self.targets)

    @property
    def empty(self) -> bool:
        """Nothing differs from any base."""
        return not any(target.changes for target in self.targets)


def seal(ctx: Context, record: SandboxRecord) -> Sealed:
    """Copy the net difference of a sandbox out of it; the caller removes it if it is of no use."""
    change = fresh_id("chg")
    directory = ctx.home.change(change)
    directory.mkdir(mode=0o700)
    (directory / OWNER).write_text(ctx.owner.name)
    engine, instant = ctx.engine_of(record), fresh_id("snap")
    try:
        bounds.check(engine, record.sandbox, record.limits)
        with instants.taken(ctx, record, instant):
            try:
                return _copy_out(ctx, record, change, directory, instant)
            finally:
                engine.discard(instant)
    except BaseException:
        with suppress(OSError):  # `recover` finds what is left of it
            remove_tree(directory)
        raise


def _copy_out(ctx: Context, record: SandboxRecord, change: str, directory: Path, instant: str) -> Sealed:
    targets: list[SealedTarget] = []
    writer = SealWriter(directory)
    for placed in record.bases:
        spec, base = ctx.target(placed.target).spec, ctx.bases.get(placed.base)
        changes = differences(ctx, record, placed, origin=instant, sink=writer)
        write_changes(directory / f"{placed.target}.changes", changes)
        targets.append(SealedTarget(spec, placed.identity, base, changes, delta(spec, placed.identity, base, changes)))
    writer.finish([change for target in targets for change in target.changes])
    reached("seal.copied")
    seal_bytes = _seal_bytes([(target.delta, changes_digest(target.changes)) for target in targets])
    durable.write(directory / SEAL, seal_bytes)
    reached("seal.sealed")
    return Sealed(change, hashlib.sha256(seal_bytes).hexdigest(), directory, tuple(targets))


def _seal_bytes(targets: list[tuple[TargetDelta, str]]) -> bytes:
    """What the change's digest is the SHA-256 of: every byte of the change, through the digests of its parts."""
    return rfc8785.dumps(
        {
            "type": "sandbox-change/v1",
            "targets": [
                {
                    "name": delta.name,
                    "kind": delta.kind,
                    "identity": delta.identity,
                    "base": delta.base,
                    "predicted": delta.predicted,
                    "changes": changes,
                }
                for delta, changes in targets
            ],
        }
    )


def load(ctx: Context, stored: StoredChange) -> Sealed:
    """A sealed change set, read anew from its files and held against its digest. Raises Conflict if it differs."""
    directory = ctx.home.kept_change(stored.id)
    targets: list[SealedTarget] = []
    for kept in stored.targets:
        changes = read_changes(directory / f"{kept.name}.changes")
        base = ctx.bases.get(kept.base)
        spec = ctx.target(kept.name).spec
        # What is predicted was computed when it was sealed, and the digest below is over it.
        seen = delta(spec, kept.identity, base, changes, kept.predicted)
        targets.append(SealedTarget(spec, kept.identity, base, changes, seen))
    seal_bytes = _seal_bytes([(target.delta, changes_digest(target.changes)) for target in targets])
    digest = hashlib.sha256(seal_bytes).hexdigest()
    if digest != stored.digest or seal_bytes != (directory / SEAL).read_bytes():
        raise Conflict(
            f"The sealed change {stored.id} is not what was sealed: its digest is {digest[:12]}, not "
            f"{stored.digest[:12]}.",
            "Nothing was changed. Find out who wrote to the home directory; propose the change anew.",
        )
    return Sealed(stored.id, digest, directory, tuple(targets))
