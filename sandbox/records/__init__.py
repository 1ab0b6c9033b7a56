"""What happened, as frozen values; their JSON is the contract of the command line.

Owns the shape of every document that the product stores or prints, in a module for each matter. Must not decide or do
anything.
"""

from sandbox.records.base import Record
from sandbox.records.changes import (
    ChangeView,
    Counts,
    EntryChange,
    Evidence,
    Hazard,
    Rehearsal,
    StoredChange,
    TargetDelta,
)
from sandbox.records.runs import Failure, PromotedTarget, PromotionRecord, RunRecord
from sandbox.records.sandboxes import (
    CaptureRecord,
    DestroyRecord,
    ExecRecord,
    ForkRecord,
    PlacedBase,
    RollbackRecord,
    SandboxRecord,
    SnapshotRecord,
)
from sandbox.records.signoff import Decision, Request, RequestTarget, Vote, VoteView

__all__ = [
    "CaptureRecord",
    "ChangeView",
    "Counts",
    "Decision",
    "DestroyRecord",
    "EntryChange",
    "Evidence",
    "ExecRecord",
    "Failure",
    "ForkRecord",
    "Hazard",
    "PlacedBase",
    "PromotedTarget",
    "PromotionRecord",
    "Record",
    "Rehearsal",
    "Request",
    "RequestTarget",
    "RollbackRecord",
    "RunRecord",
    "SandboxRecord",
    "SnapshotRecord",
    "StoredChange",
    "TargetDelta",
    "Vote",
    "VoteView",
]
