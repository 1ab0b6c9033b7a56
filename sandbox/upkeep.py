"""What the manager says of its house, and does to it: targets, policies, images, the log, what can go.

Owns a part of the manager's verbs, so that neither file is too long to read. Must not be used by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox import lifecycle
from sandbox.journal.ledger import AuditLog
from sandbox.spec import TargetSpec

if TYPE_CHECKING:
    from sandbox.answers import DoctorRecord, DoneRecord, ImageList, PolicyState, TargetState
    from sandbox.lifecycle.context import Context


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

    def audit_log(self, after: int = 0) -> AuditLog:
        """Every step that was taken, oldest first; `after` is the `seq` of the last one already known."""
        return AuditLog(entries=tuple(self.context.ledger.entries(after)))

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
        engine = self.context.engine(self.context.default_engine())
        engine.build_image(image, on_progress or (lambda _line: None))
