"""What commands answer with that is no record: lists, states as found now, what housekeeping did.

Owns their shape, which is JSON like that of the records. Nothing here is ever stored.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
from typing import Any

from sandbox.records import ChangeView, PromotionRecord, Record, SandboxRecord, SnapshotRecord, TargetDelta


class SandboxList(Record):
    sandboxes: tuple[SandboxRecord, ...]


class SnapshotList(Record):
    snapshots: tuple[SnapshotRecord, ...]


class DiffRecord(Record):
    sandbox: str
    since: str | None = None
    """The snapshot that it is compared with; None: the bases."""
    targets: tuple[TargetDelta, ...]


class ChangeList(Record):
    changes: tuple[ChangeView, ...]


class PromotionList(Record):
    promotions: tuple[PromotionRecord, ...]


class TargetState(Record):
    """A target as `target check` finds it."""

    name: str
    kind: str
    path: str
    policy: str | None
    policy_says: str = ""
    """Why the policy can't be read, where it can't."""
    identity: str
    entries: int
    bytes: int
    fingerprint: str
    healthy: bool | None
    """None where it has no health checks."""
    says: str = ""


class TargetList(Record):
    targets: tuple[dict[str, Any], ...]


class PolicyUse(Record):
    """One target that names a policy."""

    target: str
    in_force: bool
    """The policy governs it as it is written."""
    says: str


class PolicyState(Record):
    """A policy as `policy check` reads it."""

    name: str
    digest: str
    quorum: int
    people: tuple[str, ...]
    targets: tuple[PolicyUse, ...] = ()
    warnings: tuple[str, ...]


class Advice(Record):
    """One line of `doctor`."""

    part: str
    ok: bool
    says: str
    hint: str = ""


class DoctorRecord(Record):
    engine: str | None
    """What `--engine auto` takes here; None: there is none."""
    findings: tuple[Advice, ...]


class DoneRecord(Record):
    """What a housekeeping command did, a line for each thing."""

    done: tuple[str, ...]
    freed_bytes: int = 0
    frozen: tuple[PromotionRecord, ...] = ()
    """Promotions that wait for a person, with the steps."""


class ImageState(Record):
    name: str
    ready: bool
    says: str


class ImageList(Record):
    engine: str
    images: tuple[ImageState, ...]
