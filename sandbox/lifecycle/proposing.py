"""From a sandbox to a change that people are asked about, or to nothing where nothing differs.

Owns when a difference is worth proposing. A failed check is a result (`Outcome.failure`), never a proposal.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sandbox.lifecycle import sealing
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.events import OnEvent
from sandbox.records import Failure, SandboxRecord, StoredChange
from sandbox.spec import Check
from sandbox.trees.removal import remove_tree


@dataclass(frozen=True)
class Outcome:
    """What became of a sandbox's difference: a change, nothing (both None), or why it is not proposed."""

    change: StoredChange | None = None
    failure: Failure | None = None


def propose(
    ctx: Context, record: SandboxRecord, *, run: str, asked: str, checks: Sequence[Check], on_event: OnEvent
) -> Outcome:
    """Seal the sandbox's difference, verify it away from the agent, and make a request of it."""
    sealed = sealing.seal(ctx, record)
    kept = False
    try:
        if sealed.empty:
            return Outcome()
        from sandbox.lifecycle.requesting import request  # here, because a run that changed nothing asks nobody

        outcome = request(ctx, record, sealed, run=run, asked=asked, checks=checks, on_event=on_event)
        kept = outcome.change is not None
        return outcome
    finally:
        if not kept:
            with suppress(OSError):  # `recover` finds what is left of it
                remove_tree(sealed.directory)
