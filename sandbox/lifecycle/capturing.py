"""The targets as they are now, as bases.

Owns which targets may be captured together, and what is recorded of it. Must not know how a target is read.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sandbox.clock import now
from sandbox.errors import Conflict, InputError
from sandbox.records import CaptureRecord, PlacedBase
from sandbox.spec import TargetSpec
from sandbox.trees.bases import OnProgress, StoredBase
from sandbox.trees.patterns import Patterns

if TYPE_CHECKING:
    from sandbox.lifecycle.context import Context

WORKSPACE = "/workspace"
OnCapture = Callable[[str, int, int], None]
"""Called with a target's name, the entries and the bytes captured so far."""


class Captured(NamedTuple):
    """The base of a target, and what the target really was then."""

    base: StoredBase
    identity: str


def capture(ctx: Context, targets: Sequence[str], on_capture: OnCapture | None = None) -> dict[str, Captured]:
    """The base of each target, as it is now. Raises InputError for targets that share a directory."""
    _check_apart([ctx.target(name).spec for name in targets])
    # From now on a `prune` elsewhere sees that somebody is at work, and leaves bases that no record names yet.
    _ = ctx.owner.name
    captured: dict[str, Captured] = {}
    for name in targets:

        def progress(entries: int, size: int, name: str = name) -> None:
            if on_capture:
                on_capture(name, entries, size)

        identity, base = _now(ctx, name, progress)
        captured[name] = Captured(base, identity)
        ctx.ledger.note(
            "base.captured",
            actor=ctx.launcher,
            subject=name,
            flushed=False,
            base=base.fingerprint,
            identity=identity,
        )
    return captured


def recorded(captured: dict[str, Captured]) -> CaptureRecord:
    """What was captured, as a value that a caller may keep."""
    return CaptureRecord(bases=placed(captured), captured_at=now())


def recalled(ctx: Context, record: CaptureRecord) -> dict[str, Captured]:
    """The bases of an earlier capture, if they are still those of their targets.

    Raises NotFound where one is gone, Conflict where a target is not the same directory any more.
    """
    _ = ctx.owner.name
    captured = {}
    for base in record.bases:
        identity = ctx.target(base.target).identify()
        if identity != base.identity:
            raise Conflict(
                f"The target {base.target} is another directory than the one that was captured.",
                "Capture it again.",
            )
        captured[base.target] = Captured(ctx.bases.get(base.base), identity)
    return captured


def place(names: Sequence[str]) -> dict[str, str]:
    """Where each target's tree appears in a sandbox."""
    if len(names) == 1:
        return {names[0]: WORKSPACE}
    return {name: f"{WORKSPACE}/{name}" for name in names}


def placed(captured: dict[str, Captured]) -> tuple[PlacedBase, ...]:
    """The bases of a sandbox that is made of them."""
    paths = place(list(captured))
    return tuple(
        PlacedBase(target=name, base=base.fingerprint, path=paths[name], identity=identity)
        for name, (base, identity) in captured.items()
    )


def _check_apart(specs: Sequence[TargetSpec]) -> None:
    """Two promotions of one file would be one too many: its drift, its restore point, its lease."""
    for one, other in itertools.permutations(specs, 2):
        outer, inner = os.path.realpath(one.path), os.path.realpath(other.path)
        if one.name == other.name:
            raise InputError(f"The target {one.name} is named twice.", "Name each target once.")
        if outer == inner:
            raise InputError(f"The targets {one.name} and {other.name} are one directory.", "Name one of them.")
        within = os.path.relpath(inner, outer)
        if not within.startswith("..") and not Patterns(one.ignore).match(os.fsencode(within), is_dir=True):
            raise InputError(
                f"The target {other.name} lies within the target {one.name}.",
                f"Name one of them, or add {within!r} to what {one.name} ignores.",
            )


def _now(ctx: Context, name: str, progress: OnProgress) -> tuple[str, StoredBase]:
    target = ctx.target(name)
    identity = target.identify()
    progress(0, 0)
    base = ctx.walks.share((identity, target.spec.model_dump_json()), lambda: target.capture(ctx.bases, progress))
    return identity, base
