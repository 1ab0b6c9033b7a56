"""The one door for the command line and the Python API.

Owns what is open as long as a manager is, and which home and configuration are meant. What people may ask for is in
`verbs`, but for what hands out a `Box`. Must not do the work itself; the lifecycle does.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox import lifecycle
from sandbox.box import Box
from sandbox.config import Config, check_new_home
from sandbox.errors import InputError, SandboxError
from sandbox.journal.audit import Notary
from sandbox.journal.ledger import Ledger
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.home import Home, Owner
from sandbox.records import CaptureRecord, SnapshotRecord
from sandbox.spec import Limits, Network
from sandbox.verbs.changes import Changes
from sandbox.verbs.keys import Key, path_of
from sandbox.verbs.runs import Runs
from sandbox.verbs.sandboxes import Sandboxes, snapshot_id
from sandbox.verbs.upkeep import Upkeep, audit_verify, home_path
from sandbox.wiring import EngineChoice, Wiring

__all__ = ["Box", "EngineChoice", "Manager", "audit_verify", "home_path"]


class Manager(Sandboxes, Runs, Changes, Upkeep):
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

        `warm`: as many sandboxes are kept ready for the next creates like the last one.

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

    def capture(self, target: str | None = None, *, targets: Sequence[str] = ()) -> CaptureRecord:
        """The state of each target as it is now, for `create(base=…)`; it is there as long as this manager is open."""
        names = _names(target, targets)
        if not names:
            raise InputError("A capture needs targets.", "Name at least one.")
        return lifecycle.capturing.recorded(lifecycle.capturing.capture(self.context, names))

    def create(
        self,
        target: str | None = None,
        image: str | None = None,
        *,
        targets: Sequence[str] = (),
        change: str | None = None,
        base: CaptureRecord | None = None,
        limits: Limits | None = None,
        network: Network = "none",
        env: dict[str, str] | None = None,
        key: Key = None,
    ) -> Box:
        """A sandbox with a copy of each target; as a context manager it is destroyed at the end.

        `change`: not as the targets are, but as this change makes them; for a look at one that failed.
        `base`: as the targets were when they were captured, without another look at them; for many of one state.
        `key`: the launcher's SSH key. Its signature covers all that this process does in the sandbox.
        """
        names = _names(target, targets)
        if bool(names) + bool(change) + bool(base) != 1:
            raise InputError("A sandbox needs targets, or a change.", "Give --target NAME, or --change CHANGE.")
        captured = lifecycle.quarantine.captured(self.context, change) if change else None
        if base:
            captured = lifecycle.capturing.recalled(self.context, base)
        names = names or tuple(captured or ())
        launch = lifecycle.parts.opening(self.context, names, limits or Limits(), network, env or {}, path_of(key))
        if captured is None:
            lifecycle.sessions.expect(self.context, limits or Limits())
            captured = lifecycle.capturing.capture(self.context, names)
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

    def fork(self, snapshot: str | SnapshotRecord, count: int = 1, *, key: Key = None) -> tuple[Box, ...]:
        """New sandboxes in the state of a snapshot; none of them stays if one fails."""
        if count < 1:
            raise InputError(f"--count is {count}: it must be 1 or more.")
        records = lifecycle.sessions.fork(self.context, snapshot_id(snapshot), count, path_of(key))
        return tuple(Box(self, record) for record in records)


def _names(target: str | None, targets: Sequence[str]) -> tuple[str, ...]:
    """Of all targets that were named, alone or among others."""
    return (*([target] if target else []), *targets)
