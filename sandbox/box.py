"""A handle on one sandbox for the Python API: the manager's verbs without its id.

Owns nothing: two handles on one sandbox are the same sandbox. As a context manager it destroys it at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sandbox.errors import InputError, TaskFailed
from sandbox.records import ChangeView, ExecRecord, RollbackRecord, SandboxRecord, SnapshotRecord
from sandbox.spec import Check

if TYPE_CHECKING:
    from sandbox.answers import DiffRecord
    from sandbox.engines.base import OnOutput
    from sandbox.manager import Manager


@dataclass(frozen=True)
class Box:
    manager: Manager
    record: SandboxRecord

    @property
    def id(self) -> str:
        return self.record.sandbox

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.destroy()

    def exec(
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        stdin: bytes | None = None,
        timeout_s: float | None = None,
        on_output: OnOutput | None = None,
    ) -> ExecRecord:
        """Run a command to its end. One that fails, or does not exist (127), is a result.

        `timeout_s` kills it and all that it started. Raises SandboxDied, InputError for an unknown user.
        """
        return self.manager.exec(
            self.id,
            command,
            cwd=cwd,
            env=env,
            user=user,
            stdin=stdin,
            timeout_s=timeout_s,
            on_output=on_output,
        )

    def read(self, path: str) -> bytes:
        """The content of a file. Raises NotFound."""
        return self.manager.read(self.id, path)

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Create or replace a file, with missing parents."""
        self.manager.write(self.id, path, content, mode)

    def snapshot(self, label: str | None = None) -> SnapshotRecord:
        """Keep the whole file system as it is now; processes go on."""
        return self.manager.snapshot(self.id, label)

    def rollback(self, snapshot: str | SnapshotRecord) -> RollbackRecord:
        """Return to a snapshot; processes end."""
        return self.manager.rollback(self.id, snapshot)

    def diff(self, from_snapshot: str | SnapshotRecord | None = None) -> DiffRecord:
        """The changes so far."""
        return self.manager.diff(self.id, from_snapshot)

    def propose(self, checks: Sequence[Check | Sequence[str]] = (), *, key: str | Path | None = None) -> ChangeView:
        """Seal the changes, verify them in the clean room and make a request of them.

        Raises TaskFailed where a check fails, InputError where nothing has changed.
        """
        record = self.manager.propose(self.id, checks, key=key)
        if record.failure:
            raise TaskFailed(f"{record.failure.step}: {record.failure.reason}.", "Nothing is proposed.")
        if record.change is None:
            raise InputError(f"Nothing differs from the base in {self.id}.", "There is nothing to propose.")
        return record.change

    def destroy(self) -> None:
        """End it and leave nothing of it; can be repeated."""
        self.manager.destroy(self.id)
