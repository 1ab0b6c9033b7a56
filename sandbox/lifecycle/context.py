"""What every part of the lifecycle works with, handed down by the manager.

Owns nothing but the bundle. The manager is the only place that knows which engines and kinds of target
there are; below it they are reached through `engine` and `target`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sandbox.errors import NotFound
from sandbox.lifecycle.walks import Walks
from sandbox.records import SandboxRecord, SnapshotRecord

if TYPE_CHECKING:
    from sandbox.config import Config
    from sandbox.engines.base import Engine
    from sandbox.journal.audit import Notary
    from sandbox.journal.ledger import Ledger
    from sandbox.lifecycle.home import Home, Owner
    from sandbox.targets.base import Target
    from sandbox.trees.bases import BaseStore, StoredBase

SANDBOX = "sandbox"
SNAPSHOT = "snapshot"
CHANGE = "change"
VOTE = "vote"
RUN = "run"
PROMOTION = "promotion"
PART = "part"
PIN = "pin"
EXPORT = "export"
"""Kinds of record in the journal."""


@dataclass(frozen=True)
class Context:
    home: Home
    owner: Owner
    ledger: Ledger
    notary: Notary
    config: Config
    launcher: str
    """Who asks: `--as`, SANDBOX_IDENTITY or the system user."""
    default_engine: Callable[[], str]
    """The name of the engine that new sandboxes use."""
    engine: Callable[[str], Engine]
    target: Callable[[str], Target]
    sat: dict[str, bool] = field(default_factory=dict)
    """The sandboxes that this process took part in so far, and whether it signed for that."""
    walks: Walks[StoredBase] = field(default_factory=Walks)
    """The captures of this process."""

    @cached_property
    def bases(self) -> BaseStore:
        """The captured bases of this home."""
        from sandbox.trees.bases import BaseStore  # here, because many commands touch no tree

        return BaseStore(self.home.root / "bases")

    def sandbox(self, sandbox: str) -> SandboxRecord:
        """The record of a sandbox, of a destroyed one too. Raises NotFound."""
        try:
            return self.ledger.get(SANDBOX, sandbox, SandboxRecord)
        except NotFound:
            raise NotFound(f"There is no sandbox {sandbox!r}.", "`sandbox list` shows those that exist.") from None

    def living(self, sandbox: str) -> SandboxRecord:
        """The record of a sandbox that can be used. Raises NotFound."""
        record = self.sandbox(sandbox)
        if record.status != "ready":
            raise NotFound(f"The sandbox {sandbox} is {record.status}.", "`sandbox list` shows those that exist.")
        return record

    def snapshot(self, snapshot: str) -> SnapshotRecord:
        """The record of a snapshot that can be used. Raises NotFound."""
        try:
            record = self.ledger.get(SNAPSHOT, snapshot, SnapshotRecord)
        except NotFound:
            raise NotFound(f"There is no snapshot {snapshot!r}.", "`sandbox snapshots ID` shows a sandbox's.") from None
        if record.status == "discarded":
            raise NotFound(f"The snapshot {snapshot} went with its sandbox {record.sandbox}.")
        return record

    def engine_of(self, record: SandboxRecord) -> Engine:
        """The engine that runs a sandbox."""
        return self.engine(record.engine)
