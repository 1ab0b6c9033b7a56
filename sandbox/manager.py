"""The one door for the command line and the Python API.

Owns what people may ask for, in the words of the command line, and where home and configuration lie. Must not
do the work itself; the lifecycle does.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from sandbox import lifecycle
from sandbox.box import Box
from sandbox.config import Config, check_new_home
from sandbox.errors import InputError, NotFound, SandboxError
from sandbox.journal.audit import Notary
from sandbox.journal.ledger import Ledger
from sandbox.lifecycle import signoff
from sandbox.lifecycle.context import RUN, Context
from sandbox.lifecycle.home import Home, Owner
from sandbox.records import (
    ChangeView,
    DestroyRecord,
    ExecRecord,
    PromotionRecord,
    RollbackRecord,
    RunRecord,
    SandboxRecord,
    SnapshotRecord,
    StoredChange,
)
from sandbox.spec import Check, Limits, Network, TaskSpec
from sandbox.upkeep import Upkeep, audit_verify, home_path
from sandbox.wiring import EngineChoice, Wiring

if TYPE_CHECKING:
    from sandbox.answers import DiffRecord
    from sandbox.engines.base import OnOutput
    from sandbox.lifecycle.events import OnEvent
    from sandbox.reviewing.review import Review

__all__ = ["Box", "EngineChoice", "Manager", "audit_verify", "home_path"]

Key = str | Path | None
"""An SSH key to sign with, private or public with an agent; None: nothing is signed."""


class Manager(Upkeep):
    """Everything that `sandbox` can do. Use it as a context manager; safe in several threads."""

    def __init__(self, home: Home, config: Config, engine: EngineChoice, identity: str, warm: int = 0) -> None:
        self._home = home
        self._ledger = Ledger.open(home.journal)
        self._notary = Notary.open(home.keys)
        self._owner = Owner(home)
        self._wiring = wiring = Wiring(home, config, engine, warm)
        self.context = Context(
            home=home,
            owner=self._owner,
            ledger=self._ledger,
            notary=self._notary,
            config=config,
            launcher=identity,
            default_engine=wiring.default_engine,
            engine=wiring.engine,
            target=wiring.target,
        )
        try:
            self._signed = self._notary.check_start(self._ledger)
            if config.manager_file.exists():  # else there is nothing to load more for
                lifecycle.exports.check_start(self.context)
        except BaseException:
            self._ledger.close()
            raise

    @classmethod
    def open(
        cls,
        home: str | Path | None = None,
        config: str | Path | None = None,
        engine: EngineChoice = "auto",
        identity: str | None = None,
        *,
        warm: int = 0,
    ) -> Self:
        """Open a home, and first finish what a killed manager left half-done there.

        `warm`: as many sandboxes are kept ready for the next creates like the last one, where the engine is native.

        `home` is SANDBOX_HOME or the user data directory where it is None, `config` SANDBOX_CONFIG or `configs/`
        in the working directory, `identity` SANDBOX_IDENTITY or the system user.
        """
        files = Config(Path(config or os.environ.get("SANDBOX_CONFIG") or "configs").expanduser())
        who = identity or os.environ.get("SANDBOX_IDENTITY") or getpass.getuser()
        check_new_home(home_path(home), files)
        manager = cls(Home.open(home_path(home)), files, engine, who, warm)
        try:
            manager.recovered = tuple(lifecycle.recovery.recover(manager.context))
        except BaseException:
            manager.close()
            raise
        return manager

    unexported: str = ""
    """Why the exported audit log does not have the last entries, after `close`; the next promotion has to, first."""

    def close(self) -> None:
        """Give up what this process owns; sandboxes made by hand go on."""
        # Not compared with the start: a killed manager leaves entries that nobody vouches for yet.
        try:
            if self._ledger.edge().size != self._signed:
                self._notary.checkpoint(self._ledger)
                if self.context.config.manager_file.exists():
                    self.unexported = lifecycle.exports.late(self.context)
        finally:
            self._wiring.close()
            self._owner.release()
            self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            try:
                if isinstance(error, KeyboardInterrupt):
                    self._leave_nothing()
            finally:
                self.close()
        except SandboxError:
            if error is None:  # else what went wrong first says more than that its end could not be signed
                raise

    def _leave_nothing(self) -> None:
        """An interrupt may come between a step and what would undo it. So what this process owns is ended here as the
        next command would end what a killed one left."""
        if self._owner.holds_something:
            with lifecycle.interrupts.deferred():
                self._owner.release()
                lifecycle.recovery.recover(self.context, thorough=True)

    # --- sandboxes ------------------------------------------------------------------------------------

    def run(
        self, task: str | TaskSpec, *, on_event: OnEvent | None = None, keep: bool = False, key: Key = None
    ) -> RunRecord:
        """Do a task: capture, run, check, propose; on failure roll back, retry, end with nothing proposed."""
        spec = self.context.config.task(task) if isinstance(task, str) else task
        record, change = lifecycle.runs.run(
            self.context, spec, lifecycle.events.one_at_a_time(on_event), keep=keep, key=_path(key)
        )
        return self._with_change(record, change)

    def create(
        self,
        target: str | None = None,
        image: str | None = None,
        *,
        targets: Sequence[str] = (),
        limits: Limits | None = None,
        network: Network = "none",
        env: dict[str, str] | None = None,
        key: Key = None,
    ) -> Box:
        """A sandbox with a copy of each target; as a context manager it is destroyed at the end.

        `key`: the launcher's SSH key. Its signature covers all that this process does in the sandbox.
        """
        names = (*([target] if target else []), *targets)
        if not names:
            raise InputError("A sandbox needs at least one target.", "Name one with --target NAME.")
        launch = lifecycle.parts.opening(self.context, names, limits or Limits(), network, env or {}, _path(key))
        captured = lifecycle.sessions.capture(self.context, names)
        record = lifecycle.sessions.create(
            self.context,
            captured,
            image=image,
            limits=limits or Limits(),
            network=network,
            env=env,
            sandbox=launch.session if launch else None,
            launch=launch,
        )
        return Box(self, record)

    def box(self, sandbox: str) -> Box:
        """A handle on a sandbox that exists. Raises NotFound."""
        return Box(self, self.context.living(sandbox))

    def sandboxes(self) -> tuple[SandboxRecord, ...]:
        """Those that have not been destroyed, oldest first."""
        return lifecycle.listing.sandboxes(self.context)

    def show(self, name: str) -> SandboxRecord | RunRecord:
        """A sandbox or a run. Raises NotFound."""
        if not name.startswith("run_"):
            return self.context.sandbox(name)
        record = self._run(name)
        if record.change_id is None:
            return record
        change = lifecycle.promotion.stored_change(self.context, record.change_id)
        return record.model_copy(update={"change": signoff.views.known(self.context, change)})

    def logs(self, name: str) -> bytes:
        """What the commands of a sandbox or a run printed. Raises NotFound."""
        record = self._run(name) if name.startswith("run_") else self.context.sandbox(name)
        path = self._home.log(record.sandbox)
        return path.read_bytes() if path.exists() else b""

    def exec(
        self,
        sandbox: str,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        stdin: bytes | None = None,
        timeout_s: float | None = None,
        on_output: OnOutput | None = None,
        key: Key = None,
    ) -> ExecRecord:
        """Run a command in a sandbox. A command that fails is a result. `key`: to sign that one takes part."""
        if not command:
            raise InputError("There is no command to run.", "Give one after `--`.")
        if timeout_s is not None and not timeout_s > 0:
            raise InputError(f"The timeout is {timeout_s:g} seconds: it must be more than 0.", "Leave it out for none.")
        from sandbox.engines.base import ExecRequest  # here, because most commands need no engine

        result = lifecycle.sessions.execute(
            self.context,
            ExecRequest(
                sandbox=sandbox,
                command=tuple(command),
                cwd=cwd,
                env=env or {},
                user=user,
                stdin=stdin,
                timeout_s=timeout_s,
                on_output=on_output,
            ),
            key=_path(key),
        )
        return ExecRecord(
            exit_code=result.exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            seconds=round(result.seconds, 6),
            timed_out=result.timed_out,
            limit=result.limit,
        )

    def shell(self, sandbox: str, command: Sequence[str] = ("sh",), *, key: Key = None) -> int:
        """Join this terminal to a command in a sandbox; its exit code."""
        from sandbox.engines.base import ShellRequest  # here, because most commands need no engine

        record = self.context.living(sandbox)
        lifecycle.parts.take_part(self.context, record, "shell", key=_path(key), task=list(command))
        return self.context.engine_of(record).shell(ShellRequest(sandbox, tuple(command)))

    def read(self, sandbox: str, path: str) -> bytes:
        """A file of a sandbox."""
        return self.context.engine_of(self.context.living(sandbox)).read(sandbox, path)

    def write(self, sandbox: str, path: str, content: bytes, mode: int = 0o644) -> None:
        """Create or replace a file of a sandbox."""
        record = self.context.living(sandbox)
        lifecycle.parts.take_part(self.context, record, "write")
        self.context.engine_of(record).write(sandbox, path, content, mode)

    def snapshot(self, sandbox: str, label: str | None = None) -> SnapshotRecord:
        """Keep the sandbox's whole file system as it is now."""
        return lifecycle.sessions.snapshot(self.context, sandbox, label)

    def snapshots(self, sandbox: str) -> tuple[SnapshotRecord, ...]:
        """The snapshots that were taken of a sandbox, oldest first."""
        return lifecycle.listing.snapshots(self.context, sandbox)

    def rollback(self, sandbox: str, snapshot: str | SnapshotRecord, *, key: Key = None) -> RollbackRecord:
        """Take a sandbox to a snapshot; its processes end."""
        return lifecycle.sessions.rollback(self.context, sandbox, _snapshot_id(snapshot), _path(key))

    def fork(self, snapshot: str | SnapshotRecord, count: int = 1, *, key: Key = None) -> tuple[Box, ...]:
        """New sandboxes in the state of a snapshot; none of them stays if one fails."""
        if count < 1:
            raise InputError(f"--count is {count}: it must be 1 or more.")
        with ExitStack() as undo:
            boxes = []
            for _ in range(count):
                box = Box(self, lifecycle.sessions.fork(self.context, _snapshot_id(snapshot), _path(key)))
                undo.callback(box.destroy)
                boxes.append(box)
            undo.pop_all()
        return tuple(boxes)

    def diff(self, sandbox: str, from_snapshot: str | SnapshotRecord | None = None) -> DiffRecord:
        """What differs from the bases, or from a snapshot, now."""
        since = _snapshot_id(from_snapshot) if from_snapshot else None
        return lifecycle.inquiries.diff(self.context, sandbox, since)

    def destroy(self, sandbox: str) -> DestroyRecord:
        """End a sandbox and leave nothing of it."""
        return lifecycle.sessions.destroy(self.context, sandbox)

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
            self.context, record, wanted, lifecycle.events.one_at_a_time(on_event), _path(key)
        )
        return self._with_change(ended, change)

    # --- changes and promotions -----------------------------------------------------------------------

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

    def _run(self, name: str) -> RunRecord:
        try:
            return self.context.ledger.get(RUN, name, RunRecord)
        except NotFound:
            raise NotFound(f"There is no run {name!r}.", "`sandbox audit log` has every run.") from None

    def _with_change(self, record: RunRecord, change: StoredChange | None) -> RunRecord:
        return record.model_copy(update={"change": signoff.views.view(self.context, change)}) if change else record


def _path(key: Key) -> Path | None:
    return Path(key) if key else None


def _snapshot_id(snapshot: str | SnapshotRecord) -> str:
    return snapshot if isinstance(snapshot, str) else snapshot.snapshot
