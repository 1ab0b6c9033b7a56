"""The manager's verbs about runs: a task done from its start to its proposal, and what is known of one.

Owns the words. Must not do the work; the lifecycle does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox import lifecycle
from sandbox.errors import NotFound
from sandbox.lifecycle import signoff
from sandbox.lifecycle.context import RUN
from sandbox.records import RunRecord, SandboxRecord, StoredChange
from sandbox.spec import Check, TaskSpec
from sandbox.verbs.keys import Key, path_of

if TYPE_CHECKING:
    from sandbox.lifecycle.context import Context
    from sandbox.lifecycle.events import OnEvent


class Runs:
    """The manager's verbs about runs."""

    context: Context

    def run(
        self, task: str | TaskSpec, *, on_event: OnEvent | None = None, keep: bool = False, key: Key = None
    ) -> RunRecord:
        """Do a task: capture, run, check, propose; on failure roll back, retry, end with nothing proposed."""
        spec = self.context.config.task(task) if isinstance(task, str) else task
        record, change = lifecycle.runs.run(
            self.context, spec, lifecycle.events.one_at_a_time(on_event), keep=keep, key=path_of(key)
        )
        return self._with_change(record, change)

    def propose(
        self,
        sandbox: str,
        checks: Sequence[Check | Sequence[str]] = (),
        *,
        on_event: OnEvent | None = None,
        key: Key = None,
    ) -> RunRecord:
        """Seal a sandbox's difference, verify it in the clean room and make a request of it."""
        record = self.context.living(sandbox)
        wanted = tuple(one if isinstance(one, Check) else Check(run=tuple(one)) for one in checks)
        ended, change = lifecycle.runs.propose_by_hand(
            self.context, record, wanted, lifecycle.events.one_at_a_time(on_event), path_of(key)
        )
        return self._with_change(ended, change)

    def show(self, name: str) -> SandboxRecord | RunRecord:
        """A sandbox or a run. Raises NotFound."""
        if not name.startswith("run_"):
            return self.context.sandbox(name).unsalted()
        record = self._run(name)
        if record.change_id is None:
            return record
        change = lifecycle.promotion.stored_change(self.context, record.change_id)
        return record.model_copy(update={"change": signoff.views.known(self.context, change)})

    def logs(self, name: str) -> bytes:
        """What the commands of a sandbox or a run printed. Raises NotFound."""
        record = self._run(name) if name.startswith("run_") else self.context.sandbox(name)
        path = self.context.home.log(record.sandbox)
        return path.read_bytes() if path.exists() else b""

    def _run(self, name: str) -> RunRecord:
        try:
            return self.context.ledger.get(RUN, name, RunRecord)
        except NotFound:
            raise NotFound(f"There is no run {name!r}.", "`sandbox audit log` has every run.") from None

    def _with_change(self, record: RunRecord, change: StoredChange | None) -> RunRecord:
        return record.model_copy(update={"change": signoff.views.view(self.context, change)}) if change else record
