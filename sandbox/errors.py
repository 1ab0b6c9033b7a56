"""Every error that a user can meet, one exit code each.

    SandboxError                     1   a bug here, unless a subclass says better
    ├── InputError                   2   what was asked can't be done as asked
    │   ├── ConfigError              2   a file in --config is wrong (names file and line)
    │   ├── NotFound                 2   no such sandbox, snapshot, change, image, path …
    │   └── OverLimit                2   a sandbox holds more than its limits allow (a run fails with 4)
    ├── JournalError                 2   the journal can't be read or written; nothing was recorded
    ├── Refused                      3   policy says no
    ├── TaskFailed                   4   a command or a check failed; rolled back
    ├── EngineError                  5   the engine can't do its work
    │   ├── EngineUnavailable        5   it can't be reached or lacks a part
    │   └── SandboxDied              5   the container is gone under us
    ├── Conflict                     6   the world moved: stale or locked
    │   ├── Drifted                  6   the target is no longer the captured base
    │   └── Locked                   6   somebody else holds the lease
    ├── Restored                     7   a promotion failed and the target was put back
    ├── Frozen                       8   a restore failed: a person is needed
    └── Interrupted                130   Ctrl-C or SIGTERM

Owns what an error says and how it ends the process. A refusal that is part of an answer (a decision,
a promotion's outcome) is a record, not one of these; see `records`.
"""

from __future__ import annotations

from typing import ClassVar


class SandboxError(Exception):
    """Something went wrong. `says` is one sentence for a person, `hint` the cure (may be empty)."""

    kind: ClassVar[str] = "bug"
    exit_code: ClassVar[int] = 1

    def __init__(self, says: str, hint: str = "") -> None:
        super().__init__(says)
        self.says = says
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.says} {self.hint}".strip()


def in_words(error: BaseException) -> str:
    """What went wrong, in a sentence for a record's reasons."""
    if isinstance(error, SandboxError):
        return error.says
    return "It was interrupted." if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


class InputError(SandboxError):
    """What was asked can't be done as asked; nothing was changed."""

    kind = "bad_input"
    exit_code = 2


class ConfigError(InputError):
    """A configuration file is wrong; `says` starts with `FILE:LINE:` where the line is known."""

    kind = "bad_config"


class NotFound(InputError):
    """The named thing does not exist."""

    kind = "not_found"


class OverLimit(InputError):
    """A sandbox holds more than its limits allow; in a run, that is the agent's failure."""

    kind = "over_limit"


class JournalError(SandboxError):
    """The journal can't be read or written (full disk, damaged, read-only); nothing was recorded."""

    kind = "journal"
    exit_code = 2


class Refused(SandboxError):
    """Policy says no; nothing was changed."""

    kind = "refused"
    exit_code = 3


class TaskFailed(SandboxError):
    """The command or a check failed; the sandbox was rolled back and nothing is proposed."""

    kind = "failed"
    exit_code = 4


class EngineError(SandboxError):
    """The engine could not do its work. `transient` says whether trying again may help."""

    kind = "engine"
    exit_code = 5

    def __init__(self, says: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(says, hint)
        self.transient = transient


class EngineUnavailable(EngineError):
    """The engine can't be reached or lacks a part; `hint` says what to install or start."""

    kind = "engine_unavailable"


class SandboxDied(EngineError):
    """The sandbox's container is gone or dead: an error, unlike a command that fails."""

    kind = "sandbox_died"


class Conflict(SandboxError):
    """The world moved under the request; nothing was changed."""

    kind = "conflict"
    exit_code = 6


class Drifted(Conflict):
    """The target is no longer the captured base."""

    kind = "drifted"


class Locked(Conflict):
    """Somebody else holds the lease."""

    kind = "locked"


class Restored(SandboxError):
    """A promotion failed and the target was put back."""

    kind = "restored"
    exit_code = 7


class Frozen(SandboxError):
    """A restore failed. `hint` holds exact manual steps; nothing more is done automatically."""

    kind = "frozen"
    exit_code = 8


class Interrupted(SandboxError):
    """Stopped by the user; what was under way has been undone."""

    kind = "interrupted"
    exit_code = 130
