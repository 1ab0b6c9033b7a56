"""Sandboxes and their snapshots, and what each thing done with one gave.

Owns the shape of these documents. Must not decide or do anything.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
import base64
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from sandbox.records.base import SCHEMA, Record, Salt
from sandbox.spec import Limits, Network


class PlacedBase(Record):
    """A base of a target in a sandbox."""

    target: str
    base: str
    """Fingerprint, 64 hex digits."""
    path: str
    """Where it is in the sandbox."""
    identity: str
    """What the target really was when it was captured."""


class CaptureRecord(Record):
    """The state of targets at a moment: as many sandboxes as one likes start from it, and none of them waits for
    another look at the targets. A promotion finds what changed there since, whenever the base is from."""

    bases: tuple[PlacedBase, ...]
    captured_at: datetime


class SandboxRecord(Record):
    sandbox: str
    engine: str
    image: str
    image_digest: str
    bases: tuple[PlacedBase, ...]
    limits: Limits
    network: Network
    env: dict[str, str] = Field(default_factory=dict)
    salt: Salt = ""
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

    def unsalted(self) -> Self:
        """To be shown."""
        return self.model_copy(update={"salt": ""})


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
