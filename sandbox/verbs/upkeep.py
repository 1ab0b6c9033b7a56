"""The manager's verbs about its house: targets, policies, images, the log, what can go.

Owns the words, and what works without a manager: where a home is, and whether its log holds. Must not do the work;
the lifecycle does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import lifecycle
from sandbox.journal.entries import AuditLog
from sandbox.spec import TargetSpec

if TYPE_CHECKING:
    from sandbox.answers import DoctorRecord, DoneRecord, ImageList, PolicyState, TargetState
    from sandbox.journal.verify import Verification
    from sandbox.lifecycle.context import Context
    from sandbox.records import ChangeView


class Upkeep:
    """The manager's verbs about its house."""

    context: Context
    recovered: tuple[str, ...] = ()
    """What opening found half-done and finished, a line for each."""

    def target_list(self) -> tuple[TargetSpec, ...]:
        """The configured targets."""
        self.context.config.must_exist()
        return tuple(self.context.config.target(name) for name in self.context.config.targets())

    def target_check(self, name: str) -> TargetState:
        """What a target really is now, and whether it is well."""
        return lifecycle.inquiries.target_state(self.context, name)

    def policy_check(self, name: str) -> PolicyState:
        """A policy as it is read, with what is unwise about it."""
        return lifecycle.inquiries.policy_state(self.context, name)

    def policy_propose(self, name: str, *, key: str | Path | None = None) -> ChangeView:
        """Make a change of what the configuration says of a policy and is not in force; see `policy_check`."""
        stored = lifecycle.policy_changes.propose(self.context, name, Path(key) if key else None)
        return lifecycle.signoff.views.view(self.context, stored)

    def audit_log(self, after: int = 0, *, change: str | None = None) -> AuditLog:
        """Every step that was taken, oldest first; `after` is the `seq` of the last one already known. `change`: only
        what is about this change: its session, votes, promotions."""
        entries = self.context.ledger.entries(after)
        return AuditLog(entries=tuple(lifecycle.audits.about(self.context, change, entries) if change else entries))

    def recover(self) -> DoneRecord:
        """Finish or put back what killed managers left, remove what no record knows, and see what people put back."""
        from sandbox.answers import DoneRecord  # here, because it is the only one who answers with it

        done = [*self.recovered, *lifecycle.recovery.recover(self.context, thorough=True)]
        by_hand, frozen = lifecycle.frozen.look(self.context)
        return DoneRecord(done=(*done, *by_hand), frozen=tuple(frozen))

    def prune(self) -> DoneRecord:
        """Remove bases, logs and closed change sets that nothing needs any more."""
        return lifecycle.housekeeping.prune(self.context)

    def doctor(self) -> DoctorRecord:
        """What each part needs and whether it is there."""
        return lifecycle.housekeeping.doctor(self.context)

    def images(self) -> ImageList:
        """What `--image` accepts on the engine in use."""
        return lifecycle.housekeeping.images(self.context)

    def build_image(self, image: str, on_progress: Callable[[str], None] | None = None) -> None:
        """Make a defined image ready."""
        name = self.context.default_engine()
        ledger, actor = self.context.ledger, self.context.launcher
        ledger.note("image.building", actor=actor, subject=image, engine=name)
        engine = self.context.engine(name)
        engine.build_image(image, on_progress or (lambda _line: None))
        ledger.note("image.built", actor=actor, subject=image, engine=name, digest=engine.image_digest(image))


def audit_verify(
    home: str | Path | None = None,
    *,
    log: str | Path | None = None,
    key: str | Path | None = None,
    checkpoint: str | Path | None = None,
) -> Verification:
    """Check the audit log of a home, or a copy of one; see `lifecycle.audits`. Opens nothing else of the home."""
    named = (Path(one) if one else None for one in (log, key, checkpoint))
    return lifecycle.audits.verify_log(home_path(home), **dict(zip(("log", "key", "checkpoint"), named, strict=True)))


def home_path(home: str | Path | None) -> Path:
    """The home that is meant: as given, SANDBOX_HOME, or the user data directory."""
    if named := home or os.environ.get("SANDBOX_HOME"):
        return Path(named).expanduser()
    import platformdirs  # here, because a home that is named needs none of it

    return platformdirs.user_data_path("sandbox")
