"""Runs of tasks and promotions: how far each came, and how it ended.

Owns the shape of these documents. Must not decide or do anything.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
from datetime import datetime
from typing import Literal

from sandbox.records.base import Record
from sandbox.records.changes import ChangeView


class Failure(Record):
    step: str
    reason: str
    exit_code: int | None = None


class RunRecord(Record):
    run: str
    sandbox: str
    status: Literal["running", "proposed", "empty", "rolled_back", "interrupted"]
    attempts: int
    change: ChangeView | None = None
    change_id: str | None = None
    """What the journal keeps of `change`, which is shown as it is now."""
    failure: Failure | None = None
    owner: str | None = None
    """The process that is at it; None once it has ended."""


class PromotedTarget(Record):
    name: str
    status: Literal["pending", "applying", "applied", "committed", "restored", "frozen", "untouched"]
    fingerprint: str | None = None
    kept_aside: tuple[str, ...] = ()
    """Where third-party writes were kept that a restore would have overwritten."""


class PromotionRecord(Record):
    promotion: str
    change: str
    kind: Literal["files", "policy"] = "files"
    """Of the change."""
    digest: str = ""
    status: Literal["promoting", "committed", "restoring", "restored", "frozen", "refused"]
    reasons: tuple[str, ...] = ()
    targets: tuple[PromotedTarget, ...] = ()
    started_at: datetime | None = None
    seconds: float = 0.0
    restore_seconds: float | None = None
    restores: str | None = None
    """The committed promotion that this one takes back."""
    manual_steps: tuple[str, ...] = ()
    """Where it is frozen: what a person has to do, exactly."""
    stale: bool = False
    """Refused because the world moved, not because policy says no."""
    owner: str | None = None
    """The process that is at it; None once it has ended."""
