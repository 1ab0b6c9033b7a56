"""All that a decision rests on, as values that somebody else gathered.

Owns their shape. Must not judge them: `decide` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sandbox.records import Evidence, Hazard, Rehearsal, Request, VoteView
from sandbox.spec import PolicySpec


@dataclass(frozen=True, slots=True)
class Protected:
    """A rule of the policy that the change touches."""

    role: str
    path: str
    """One of the touched paths, for a person to read."""
    count: int
    """How many paths the rule matches."""


@dataclass(frozen=True, slots=True)
class PartView:
    """Somebody's part in the session that a change came from."""

    person: str
    verb: str
    """What it was: `run`, `create`, `exec`, …"""
    launched: bool
    """It is the launch itself."""
    key: str = ""
    """Fingerprint of the key that signed it, `SHA256:…`; empty where its name was only given."""
    says: str = ""
    """Why its signature does not count, where it has one."""
    part: str = ""
    """The record of it; empty where there is none besides the session's own."""


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One target of the change, as it is now."""

    name: str
    policy: PolicySpec | None
    """As the configuration has it now; None where there is none or it can't be read."""
    added: int
    modified: int
    deleted: int
    """Entries of the sealed change."""
    empties: bool
    """The base held something, and once the change is applied nothing but the root would be left."""
    protected: tuple[Protected, ...] = ()
    """The policy's protected rules that the changed paths match."""
    identity: str | None = None
    """What the target really is now; None: not looked at."""
    fingerprint: str | None = None
    """Of the target's state now; None: not looked at."""
    drifted: str = ""
    """Which of its paths are not as they were captured, in words."""
    settings: str | None = None
    """Salted digest of what else its file says about a promotion; None: nothing that concerns this change."""
    policy_says: str = ""
    """Why nothing can be done under its policy now: it was edited and the edit is not signed off. Empty: nothing."""
    files: bool = True
    """Its entries are files; else what is changed is the policy itself."""

    @property
    def changed(self) -> int:
        """Entries that differ, of any kind."""
        return self.added + self.modified + self.deleted


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision rests on."""

    request: Request
    request_digest: str
    """SHA-256 of the stored request's exact bytes, worked out now."""
    recorded_request_digest: str
    """The one that the journal recorded when the request was made."""
    change_digest: str
    """Of the sealed change set, worked out now from its bytes."""
    evidence_digest: str
    """Over `evidence`, `rehearsals` and `hazards`, worked out now."""
    status: str
    """Of the change: `open`, `rejected`, `promoting`, `promoted`, `restored` or `frozen`."""
    launcher: str
    """Who launched the task, from the session's own record."""
    targets: tuple[TargetFacts, ...]
    """In the request's order."""
    hazards: tuple[Hazard, ...]
    evidence: tuple[Evidence, ...]
    rehearsals: tuple[Rehearsal, ...]
    votes: tuple[VoteView, ...]
    """As judged now."""
    nonce_spent: bool
    version: str
    """Of this manager."""
    now: datetime
    last_entry_at: datetime | None = None
    """The latest time of any entry of the audit log."""
    parts: tuple[PartView, ...] = ()
    """Who launched and who took part, from the session's own records, as judged now."""
    participants: tuple[str, ...] = ()
    """Their names, but for the launcher's."""
    session_digest: str = ""
    """Over these records, worked out now."""
    stopped: str = ""
    """Why nothing may be promoted at all now, in the words of whoever stopped it; empty: go on."""
    audit_export: str | None = None
    """Where the log is vouched for before a promotion counts, as the configuration has it now."""
    applying: bool = False
    """The change is about to be applied: then a target that was not looked at speaks against it."""
