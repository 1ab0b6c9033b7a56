"""What a run tells whoever watches it, as it happens.

Owns the words between the lifecycle and a live view. Must not decide anything: a watcher that misses an
event, or that there is none, changes nothing. Everything in an event is as it came: untrusted, not escaped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    number: int
    """From 1."""
    of: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    number: int
    """From 1."""
    of: int
    command: tuple[str, ...]
    snapshot: str
    """Taken right before, to roll back to."""


@dataclass(frozen=True, slots=True)
class StepFinished:
    number: int
    exit_code: int
    seconds: float
    reason: str = ""
    """Why it counts as failed, where the exit code does not say it: a timeout, a limit, a tripwire."""


@dataclass(frozen=True, slots=True)
class Output:
    """The next bytes that the agent or a check wrote."""

    stream: str
    """`stdout` or `stderr`."""
    data: bytes


@dataclass(frozen=True, slots=True)
class FilesTouched:
    """What the agent has done to its copies so far, from file events; the seal measures it exactly."""

    changed: int
    deleted: int


@dataclass(frozen=True, slots=True)
class CheckStarted:
    check: str


@dataclass(frozen=True, slots=True)
class CheckFinished:
    check: str
    exit_code: int
    seconds: float
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class RolledBack:
    snapshot: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ChangeSealed:
    change: str
    digest: str
    added: int
    modified: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Note:
    """Anything else that is worth a line: capturing a target, building an image, waiting for a lease."""

    says: str


Event = (
    AttemptStarted
    | StepStarted
    | StepFinished
    | Output
    | FilesTouched
    | CheckStarted
    | CheckFinished
    | RolledBack
    | ChangeSealed
    | Note
)

OnEvent = Callable[[Event], None]
"""Called from one thread at a time; must return soon."""


def one_at_a_time(on_event: OnEvent | None) -> OnEvent:
    """The same watcher, or none, safe to call from the thread that runs and from the one that watches files."""
    if on_event is None:
        return lambda _event: None
    lock = threading.Lock()

    def deliver(event: Event) -> None:
        with lock:
            on_event(event)

    return deliver
