"""What happened, as frozen values; their JSON is the contract of the command line.

Owns the shape of every document that the product stores or prints. Must not decide or do anything.
`document()` gives the JSON form with its `"schema": 1`.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
import base64
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.spec import Limits, Network

SCHEMA = 1


class Record(BaseModel):
    """Base of all records: frozen, and nothing in it that its class does not name."""

    # Deferred: a command uses a few of the records, and building the validators of all is most of its start.
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", defer_build=True
    )

    def document(self) -> dict[str, Any]:
        """The JSON document of this record."""
        return {"schema": SCHEMA, **self.model_dump(mode="json")}


# --- sandboxes ---------------------------------------------------------------------------------------


class PlacedBase(Record):
    """A base of a target in a sandbox."""

    target: str
    base: str
    """Fingerprint, 64 hex digits."""
    path: str
    """Where it is in the sandbox."""
    identity: str
    """What the target really was when it was captured."""


class SandboxRecord(Record):
    sandbox: str
    engine: str
    image: str
    image_digest: str
    bases: tuple[PlacedBase, ...]
    limits: Limits
    network: Network
    env: dict[str, str] = {}
    launcher: str
    launch: str | None = None
    """The signed statement of who launched it; None: the launcher was only named."""
    created_at: datetime
    status: Literal["creating", "ready", "destroying", "destroyed"]
    owner: str | None = None
    """The process that destroys it when it ends (a task's sandbox); None: it stays until asked."""
    forked_from: str | None = None
    head: str | None = None
    """The snapshot that it was last taken to or rolled back to."""


class SnapshotRecord(Record):
    snapshot: str
    parent: str | None
    sandbox: str
    label: str | None = None
    created_at: datetime
    seconds: float
    status: Literal["kept", "discarded"] = "kept"

    @property
    def id(self) -> str:
        return self.snapshot


class ExecRecord(Record):
    """What a command in a sandbox gave."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    timed_out: bool = False
    limit: str | None = None

    def document(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"schema": SCHEMA, "exit_code": self.exit_code}
        for name in ("stdout", "stderr"):
            data: bytes = getattr(self, name)
            try:
                shown[name] = data.decode("utf-8")
            except UnicodeDecodeError:
                shown[f"{name}_base64"] = base64.b64encode(data).decode("ascii")
        return shown | {"seconds": self.seconds, "timed_out": self.timed_out, "limit": self.limit}


class RollbackRecord(Record):
    sandbox: str
    snapshot: str
    seconds: float


class ForkRecord(Record):
    snapshot: str
    sandboxes: tuple[str, ...]
    seconds: float


class DestroyRecord(Record):
    sandbox: str
    seconds: float


# --- change sets --------------------------------------------------------------------------------------


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


class VoteView(Record):
    """A vote as judged now."""

    person: str
    decision: Literal["approve", "reject"]
    valid: bool
    says: str = ""
    reason: str = ""
    at: datetime | None = None
    key: str = ""
    """Fingerprint of the key, `SHA256:…`."""


class Decision(Record):
    """May it be promoted now? Every reason that stands against it, or none."""

    allowed: bool
    reasons: tuple[str, ...]


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


# --- what people sign ---------------------------------------------------------------------------------


class RequestTarget(Record):
    name: str
    identity: str
    base: str
    predicted: str
    policy: str | None
    policy_digest: str | None
    """None: the target names no policy, so nobody can approve."""


class Request(Record):
    """The exact bytes that people sign are the canonical JSON of this."""

    type: Literal["sandbox-request/v1"] = "sandbox-request/v1"
    change: str
    digest: str
    targets: tuple[RequestTarget, ...]
    evidence: str
    """Digest over all evidence and rehearsals."""
    review: str
    """Digest of the review document as it was rendered."""
    launcher: str
    participants: tuple[str, ...] = ()
    """Who else took part in the session; they can't sign."""
    session: str = ""
    """Digest over the records of who launched and who took part."""
    nonce: str
    made_at: datetime
    expires_at: datetime
    version: str
    """Of the manager."""


class Vote(Record):
    """One person's signed approve or reject of one request, as stored: judged anew each time."""

    vote: str
    change: str
    request: str
    person: str
    decision: Literal["approve", "reject"]
    reason: str = ""
    signed_at: datetime
    message: bytes = Field(repr=False)
    """The exact bytes that were signed."""
    signature: str = Field(repr=False)
    """Armored SSHSIG."""


# --- runs and promotions ------------------------------------------------------------------------------


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
