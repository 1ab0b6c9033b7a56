"""Change sets: what differs, what is dangerous about it, and what the clean room gave.

Owns the shape of these documents. Must not decide or do anything.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
from datetime import datetime
from typing import Literal

from sandbox.records.base import Record, Salt
from sandbox.records.signoff import Decision, VoteView


class EntryChange(Record):
    """One path that differs, as shown to people and scripts."""

    path: str
    """UTF-8; other bytes as `\\xNN`, and then `path_base64` has the exact bytes."""
    path_base64: str | None = None
    op: Literal["added", "modified", "deleted"]
    kind: str
    """Of the state after; before, where it was deleted."""
    kind_before: str | None = None
    mode_before: str | None = None
    """Four octal digits, as `0644`."""
    mode_after: str | None = None
    owner_before: str | None = None
    """`uid:gid`."""
    owner_after: str | None = None
    sha256_before: str | None = None
    sha256_after: str | None = None
    bytes_before: int = 0
    bytes_after: int = 0
    link_before: str | None = None
    link_after: str | None = None


class TargetDelta(Record):
    """The sealed difference of one target."""

    name: str
    kind: str
    identity: str
    """What the target really is, beyond its name; see `targets`."""
    base: str
    predicted: str
    """Fingerprint of the target once the change is applied."""
    added: int
    modified: int
    deleted: int
    bytes: int
    """Bytes of added and modified files."""
    entries: tuple[EntryChange, ...]


class Hazard(Record):
    """Something that a reviewer must know before anything else."""

    kind: str
    path: str
    says: str
    blocks: bool = False
    """It can't be promoted at all, whoever signs."""
    target: str | None = None
    """Whose path it is, where a change has several targets."""

    @property
    def where(self) -> str:
        """The path, with its target where that has to be said."""
        return f"{self.target}: {self.path}" if self.target else self.path


class Counts(Record):
    """Tests that a check reported, on the change and on the bare base."""

    ran: int
    skipped: int
    failed: int
    base_ran: int
    base_skipped: int


class Evidence(Record):
    """What one check gave in the clean room."""

    check: str
    exit_code: int
    seconds: float
    output_sha256: str
    timed_out: bool = False
    pristine: tuple[str, ...] = ()
    image_digest: str = ""
    counts: Counts | None = None
    doubt: str = ""
    """Why its report does not bear out its exit code."""

    @property
    def failure(self) -> str:
        """Why it did not pass, in words; empty where it did."""
        return "timed out" if self.timed_out else f"exit code {self.exit_code}" if self.exit_code else self.doubt

    @property
    def passed(self) -> bool:
        return not self.failure


class Rehearsal(Record):
    """Apply, restore and apply again, on a copy of the base; all of it must hold."""

    target: str
    applied: bool
    restored: bool
    reapplied: bool
    restore_seconds: float
    says: str = ""

    @property
    def passed(self) -> bool:
        return self.applied and self.restored and self.reapplied


class StoredChange(Record):
    """A sealed change set as the journal keeps it; the entries are in its own files."""

    id: str
    digest: str
    status: Literal["open", "rejected", "expired", "promoting", "promoted", "restored", "frozen"]
    run: str
    sandbox: str
    launcher: str
    participants: tuple[str, ...] = ()
    """Who else took part in the session."""
    kind: Literal["files", "policy"] = "files"
    asked: str
    image_digest: str
    created_at: datetime
    expires_at: datetime
    request: str
    targets: tuple[TargetDelta, ...]
    """With `entries` left empty."""
    hazards: tuple[Hazard, ...]
    evidence: tuple[Evidence, ...]
    rehearsals: tuple[Rehearsal, ...]
    salt: Salt = ""


class ChangeView(Record):
    """A change as people and scripts see it."""

    id: str
    digest: str
    status: str
    """`open`, `rejected`, `expired`, `promoting`, `promoted`, `restored` or `frozen`."""
    run: str | None = None
    launcher: str = ""
    participants: tuple[str, ...] = ()
    """Who else took part: they can't sign, no more than the launcher."""
    kind: str = "files"
    """`policy`: it changes the policy of its targets, not their files."""
    asked: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    request: str = ""
    """SHA-256 of the request's exact bytes."""
    targets: tuple[TargetDelta, ...]
    hazards: tuple[Hazard, ...]
    evidence: tuple[Evidence, ...]
    rehearsals: tuple[Rehearsal, ...] = ()
    votes: tuple[VoteView, ...]
    decision: Decision
