"""What a sandbox may take of the host that no kernel limit covers: its disk, its files, what its commands print.

Owns the measuring and the ending of what takes more. The kernel bounds memory, processes, CPUs and the size of one
file; all else is measured while a command runs, so it can be exceeded by what is written between two looks. What
goes on in the background is measured again with the next command, snapshot or seal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from sandbox.engines.base import Candidate, Engine, ExecRequest, ExecResult, Sink, Usage
from sandbox.errors import OverLimit, SandboxError
from sandbox.spec import Limits
from sandbox.trees.entry import path_text

_LOOK_S = 0.5
_COST = 10
"""A look that took long is followed by so many times as long without one."""
_RESERVE = 1 << 30
"""Bytes that stay free on the disk that sandboxes write to; half of what was free where that is less."""


def execute(engine: Engine, request: ExecRequest, limits: Limits) -> ExecResult:
    """Run a command; one that takes more than the limits allow is killed, and its result says which."""
    watch = _Watch(engine, request, limits)
    with watch:
        result = engine.exec(replace(request, on_output=watch.printed, cancel=watch.halt))
    if watch.exceeded is None or not result.cancelled:
        return result
    return replace(result, cancelled=False, limit=watch.exceeded)


def check(engine: Engine, sandbox: str, limits: Limits) -> None:
    """Raise OverLimit where the sandbox holds more than it may, so that nothing is copied of it."""
    found = engine.usage(sandbox)
    exceeded = _exceeded(found, limits)
    if exceeded:
        raise OverLimit(f"The sandbox {sandbox} {words(exceeded, limits)}.", "Delete something in it, or roll it back.")
    if found.free is not None and found.bytes > found.free:
        raise OverLimit(
            f"There is no room to copy the sandbox {sandbox}: it holds {found.bytes} bytes, and {found.free} are free.",
            f"Make room for {found.bytes - found.free} bytes more.",
        )


def words(limit: str, limits: Limits) -> str:
    """What a command or a sandbox did that met a limit, as the end of a sentence."""
    return {
        "memory": f"needed more than its {limits.memory_mb} MiB of memory",
        "disk": f"wrote more than its {limits.disk_mb} MiB, or than the disk has room for",
        "depth": "nested directories deeper than the engine can measure",
        "files": f"made more than its {limits.files} files",
        "output": f"printed more than its {limits.output_mb} MiB",
    }[limit]


def _exceeded(found: Usage, limits: Limits) -> str | None:
    if found.bytes > limits.disk_mb << 20:
        return "disk"
    return "files" if found.files is not None and found.files > limits.files else None


class Bounded:
    """A sink, and the candidates that go with it, of a difference that stays within the limits."""

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self._sink = sink
        self._limits = limits
        self._bytes = 0
        self._entries = 0

    def __call__(self, path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:
        """See Sink. Raises OverLimit."""
        return self._sink(path, self._counted(path, chunks))

    def candidates(self, found: Iterable[Candidate]) -> Iterator[Candidate]:
        """The same, to its end. Raises OverLimit."""
        for path, entry in found:
            self._entries += 1
            if self._entries > self._limits.files:
                raise self._over(path, f"more than {self._limits.files} paths")
            yield path, entry

    def _counted(self, path: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._bytes += len(chunk)
            if self._bytes > self._limits.disk_mb << 20:
                raise self._over(path, f"more than {self._limits.disk_mb} MiB")
            yield chunk

    def _over(self, path: bytes, what: str) -> OverLimit:
        return OverLimit(
            f"The difference has {what} (at {path_text(path)!r}).",
            "Delete something in the sandbox, or raise `limits` in the task.",
        )


class _Halt(threading.Event):
    """Set by us, or where the caller's own event is."""

    def __init__(self, asked: threading.Event | None) -> None:
        super().__init__()
        self._asked = asked

    def is_set(self) -> bool:
        return super().is_set() or (self._asked is not None and self._asked.is_set())


class _Watch:
    """Looks at a sandbox while a command runs in it."""

    def __init__(self, engine: Engine, request: ExecRequest, limits: Limits) -> None:
        self.exceeded: str | None = None
        self.halt = _Halt(request.cancel)
        self._engine, self._request, self._limits = engine, request, limits
        self._printed = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._least_free: int | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def printed(self, stream: str, data: bytes) -> None:
        """Takes the place of the request's `on_output`."""
        self._printed += len(data)
        if self._printed > self._limits.output_mb << 20:
            self._stop("output")
            return
        if self._request.on_output is not None:
            self._request.on_output(stream, data)

    def _look(self) -> None:
        pause = _LOOK_S
        while not self._over.wait(pause):
            started = time.monotonic()
            try:
                found = self._engine.usage(self._request.sandbox)
            except OverLimit:
                self._stop("depth")
                return
            except SandboxError:
                continue  # it ends, is rolled back or is dead: the command's own result says so
            exceeded = _exceeded(found, self._limits) or self._short(found)
            if exceeded:
                self._stop(exceeded)
                return
            pause = max(_LOOK_S, _COST * (time.monotonic() - started))

    def _short(self, found: Usage) -> str | None:
        """Whether the host's disk runs full, whoever fills it."""
        if found.free is None:
            return None
        if self._least_free is None:
            self._least_free = min(_RESERVE, found.free // 2)
        return "disk" if found.free < self._least_free else None

    def _stop(self, limit: str) -> None:
        self.exceeded = self.exceeded or limit
        self.halt.set()
