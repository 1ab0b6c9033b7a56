"""The manager's verbs about changes: read, voted on, promoted, taken back.

Owns the words. Must not do the work; the lifecycle does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sandbox import lifecycle
from sandbox.lifecycle import signoff
from sandbox.records import ChangeView, PromotionRecord

if TYPE_CHECKING:
    from sandbox.lifecycle.context import Context
    from sandbox.reviewing.review import Review


class Changes:
    """The manager's verbs about changes."""

    context: Context

    def change(self, change: str) -> ChangeView:
        """A change with its entries, votes and decision as they are now. Raises NotFound."""
        return signoff.views.view(self.context, lifecycle.promotion.stored_change(self.context, change))

    def changes(self) -> tuple[ChangeView, ...]:
        """Every change, oldest first, without its entries."""
        return signoff.views.all_changes(self.context)

    def review(self, change: str, *, full: bool = False) -> Review:
        """What a person needs to decide, in reading order; `full`: with no difference cut."""
        return signoff.reviews.show(self.context, lifecycle.promotion.stored_change(self.context, change), full=full)

    def approve(self, change: str, *, person: str, key: str | Path, digest: str | None = None) -> ChangeView:
        """Sign a change's request as one person. `digest`: what the person typed, held against the change's."""
        return self._vote(change, person, key, "approve", "", digest)

    def reject(self, change: str, *, person: str, key: str | Path, reason: str) -> ChangeView:
        """Sign against a change: one reject closes it."""
        return self._vote(change, person, key, "reject", reason, None)

    def _vote(
        self,
        change: str,
        person: str,
        key: str | Path,
        decision: Literal["approve", "reject"],
        reason: str,
        digest: str | None,
    ) -> ChangeView:
        stored = lifecycle.promotion.stored_change(self.context, change)
        if digest is not None:
            signoff.votes.same_digest(stored, digest)
        signoff.votes.vote(self.context, stored, person=person, key=Path(key), decision=decision, reason=reason)
        return self.change(change)

    def promote(self, change: str) -> PromotionRecord:
        """Apply a signed-off change; all targets come back by themselves if anything goes wrong."""
        return lifecycle.promotion.promote(self.context, change)

    def restore(self, promotion_id: str) -> PromotionRecord:
        """Take back a committed promotion, if nobody else wrote there since; try again with a frozen one."""
        record = lifecycle.restoring.promotion_record(self.context, promotion_id)
        if record.status == "frozen":
            return lifecycle.frozen.try_again(self.context, record)
        return lifecycle.restoring.take_back(self.context, promotion_id)

    def promotions(self) -> tuple[PromotionRecord, ...]:
        """Every promotion, refused ones too, oldest first."""
        return lifecycle.listing.promotions(self.context)
