"""The manager's verbs about sandboxes: worked in, snapshotted, rolled back, compared, destroyed.

Owns the words, and what is wrong with an order before anything is done. Must not do the work; the lifecycle does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox import lifecycle
from sandbox.errors import InputError
from sandbox.records import DestroyRecord, ExecRecord, RollbackRecord, SandboxRecord, SnapshotRecord
from sandbox.verbs.keys import Key, path_of

if TYPE_CHECKING:
    from sandbox.answers import DiffRecord
    from sandbox.engines.base import OnOutput
    from sandbox.lifecycle.context import Context


class Sandboxes:
    """The manager's verbs about sandboxes."""

    context: Context

    def sandboxes(self) -> tuple[SandboxRecord, ...]:
        """Those that have not been destroyed, oldest first."""
        return lifecycle.listing.sandboxes(self.context)

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
            key=path_of(key),
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
        lifecycle.parts.take_part(self.context, record, "shell", key=path_of(key), task=list(command))
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
        return lifecycle.sessions.rollback(self.context, sandbox, snapshot_id(snapshot), path_of(key))

    def diff(self, sandbox: str, from_snapshot: str | SnapshotRecord | None = None) -> DiffRecord:
        """What differs from the bases, or from a snapshot, now."""
        since = snapshot_id(from_snapshot) if from_snapshot else None
        return lifecycle.inquiries.diff(self.context, sandbox, since)

    def destroy(self, sandbox: str) -> DestroyRecord:
        """End a sandbox and leave nothing of it."""
        return lifecycle.sessions.destroy(self.context, sandbox)


def snapshot_id(snapshot: str | SnapshotRecord) -> str:
    """The id of a snapshot, however it is named."""
    return snapshot if isinstance(snapshot, str) else snapshot.snapshot
