"""What a sign-off rests on besides the votes: who took part in a session, and which policy governs a target.

Owns the shape of these records. What is stored is a claim: a signature is judged anew and a pin is held against
the log whenever one of them is used.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
from datetime import datetime
from typing import Literal

from pydantic import Field

from sandbox.records import Record
from sandbox.records.base import Salt


class LaunchStatement(Record):
    """What a person signs to launch, or to take part; the exact bytes are the canonical JSON of this."""

    type: Literal["sandbox-launch/v1"] = "sandbox-launch/v1"
    part: str
    """Fresh for every statement, so that none fits twice."""
    session: str
    """The sandbox; for a change of a policy, that change."""
    verb: str
    person: str
    home: str
    """The manager's home, by its id."""
    work: str
    """SHA-256 over what is asked for: targets, limits, network, environment, task; salted."""
    signed_at: datetime


class Part(Record):
    """Somebody's part in a session, signed by them or only under a name that was given."""

    part: str
    session: str
    verb: str
    person: str
    at: datetime
    origin: str | None = None
    """The sandbox whose state came in by it: where a rollback crossed over."""
    task: str = ""
    """Salted digest of the task, where there was one."""
    message: bytes = Field(default=b"", repr=False)
    """The exact bytes that were signed; empty where nothing was."""
    signature: str = Field(default="", repr=False)
    """Armored SSHSIG."""
    salt: Salt = ""


class PolicyPin(Record):
    """The policy that governs a target, until a promotion signed under it moves on to another."""

    target: str
    identity: str
    """What the target really is, so that it can't get another policy under another name."""
    paths: tuple[str, ...]
    """Where it is, and was before."""
    policy: str
    """Its name."""
    digest: str
    text: str
    """All of it, as canonical JSON."""
    since: datetime
    by: str
    """The change that brought it; `first` where it was accepted because there was none."""


class ExportBegun(Record):
    """A copy of the audit log that this home has written to."""

    path: str
    at: datetime
