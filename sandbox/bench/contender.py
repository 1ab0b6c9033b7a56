"""The course that every tool runs: one sandbox from its making to its end, timed step by step and checked.

Owns the order of the steps and what must be true after each. Must not know a tool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sandbox.bench.content import Content, State, WrongContent, digest_with, named, same
from sandbox.bench.watch import Stopwatch

STEPS = {
    "create": "a sandbox with the tree in it, which the tool has seen before, to the end of its first command",
    "exec": "a command that does nothing (true)",
    "snapshot_a": "after each hundredth file was written anew",
    "snapshot_again": "once more, with nothing new",
    "diff_a": "which paths differ, each hundredth file having been written anew",
    "snapshot_b": "after rm -rf of the tree, then new small files, a tenth as many",
    "diff_b": "which paths differ, after rm -rf and the new files",
    "rollback_a": "from the state with new files to the one before",
    "rollback_b": "and on to the newer one",
    "fork": "a second sandbox from the first snapshot, to the end of its first command",
    "destroy": "that second sandbox",
    "fork_16": "sixteen sandboxes from the first snapshot, in one go",
}
MEMORY = "memory"
"""MiB of resident processes for each of the sixteen, or of the one where there can't be so many; not a time."""
EXECS = 10
MANY = 16

T = TypeVar("T")


class Contender(Protocol):
    """A tool as the course uses it. Handles are whatever names a sandbox or a snapshot to it."""

    name: str
    workspace: str
    """Where the tree is in a sandbox."""
    exact: bool
    """Whether its difference names what differs from the tree and nothing else."""
    lacks: frozenset[str]
    """Steps that it has no way to do."""

    def create(self) -> str: ...

    def exec(self, box: str, command: list[str]) -> bytes:
        """The output of a command; one that fails is an error."""

    def snapshot(self, box: str) -> str: ...

    def rollback(self, box: str, snapshot: str) -> str:
        """The sandbox in that state; perhaps another one."""

    def fork(self, snapshot: str, count: int) -> list[str]: ...

    def diff(self, box: str) -> frozenset[str]:
        """Files that are there and differ, relative to the tree."""

    def destroy(self, box: str) -> None: ...

    def memory(self, boxes: list[str]) -> int:
        """Bytes that the processes of these idle sandboxes hold on this machine, by `residents`."""


class Broken(Exception):
    """A tool can't go on in this round; why has been noted."""


class Course:
    """One round of one tool.

    A strict one raises WrongContent, and whatever the tool raises. Otherwise both are noted in place of a time: other
    tools fail in the middle and may go on.
    """

    def __init__(self, tool: Contender, content: Content, watch: Stopwatch, *, strict: bool) -> None:
        self.tool = tool
        self.content = content
        self.watch = watch
        self.strict = strict

    def run(self) -> str:
        """The sandbox at its end, with the first change in it where there are snapshots. Raises Broken."""
        box = self._ours("create", self._created)
        self._holds(box, self.content.base, "create")
        if "fork_16" in self.tool.lacks:
            self._weighed([box])
        for _ in range(EXECS):
            self._step("exec", lambda: self.tool.exec(box, ["true"]))
        if "snapshot_a" in self.tool.lacks:
            return box  # with nowhere to go from a change
        first = self._change(box, "a")
        self._step("snapshot_again", lambda: self.tool.snapshot(box))
        self._holds(box, self.content.a, "snapshot_again")
        second = self._change(box, "b")
        box = self._back(box, first, "rollback_a", self.content.a)
        box = self._back(box, second, "rollback_b", self.content.b)
        self._forks(first)
        if first is None:
            raise Broken
        box = self.tool.rollback(box, first)
        if self.strict:
            self._holds(box, self.content.a, "rollback")
        return box

    def end(self, box: str) -> None:
        """Destroy what `run` gave; timed where no fork was destroyed."""
        if "fork" in self.tool.lacks:
            self._step("destroy", lambda: self.tool.destroy(box))
        else:
            self.tool.destroy(box)

    def _created(self) -> str:
        box = self.tool.create()
        self.tool.exec(box, ["true"])
        return box

    def _change(self, box: str, which: str) -> str | None:
        """Make a change, then a timed snapshot and a timed difference of it; the snapshot."""
        state = self.content.a if which == "a" else self.content.b
        try:
            self.tool.exec(box, self.content.change(which, self.tool.workspace))
        except Exception as error:
            self._stumbled(f"snapshot_{which}", error)
            raise Broken from error
        snapshot = self._step(f"snapshot_{which}", lambda: self.tool.snapshot(box))
        self._holds(box, state, f"snapshot_{which}")
        found = self._step(f"diff_{which}", lambda: self.tool.diff(box))
        if found is not None:
            by = f"diff_{which} of {self.tool.name}"
            self._judged(f"diff_{which}", lambda: named(found, state, by, exactly=self.tool.exact))
        return snapshot

    def _back(self, box: str, snapshot: str | None, step: str, state: State) -> str:
        if snapshot is None:
            self.watch.failed(self.tool.name, step, "there is no snapshot to go to")
            return box
        box = self._ours(step, lambda: self.tool.rollback(box, snapshot))
        self._holds(box, state, step)
        return box

    def _forks(self, snapshot: str | None) -> None:
        if snapshot is None:
            return
        fork = self._step("fork", lambda: self._forked(snapshot))
        if fork is None:
            return
        self._holds(fork, self.content.a, "fork")
        self._step("destroy", lambda: self.tool.destroy(fork))
        if not self.watch.round:
            return  # sixteen more would warm up nothing that one has not
        many = self._step("fork_16", lambda: self.tool.fork(snapshot, MANY))
        if many is None:
            return
        for one in (many[0], many[-1]):  # a hash of all sixteen would be most of the round
            self._holds(one, self.content.a, "fork_16")
        self._weighed(many)
        for one in many:
            self.tool.destroy(one)

    def _weighed(self, boxes: list[str]) -> None:
        held = self.tool.memory(boxes)
        if held or not self.strict:  # ours has processes: where none are found, they were not looked for rightly
            self.watch.note(self.tool.name, MEMORY, held / (1 << 20) / len(boxes))

    def _forked(self, snapshot: str) -> str:
        (fork,) = self.tool.fork(snapshot, 1)
        self.tool.exec(fork, ["true"])
        return fork

    def _ours(self, step: str, action: Callable[[], T]) -> T:
        """A step that nothing can go on without."""
        done = self._step(step, action)
        if done is None:
            raise Broken
        return done

    def _step(self, step: str, action: Callable[[], T]) -> T | None:
        """A timed step; None where the tool lacks it or failed."""
        if step in self.tool.lacks:
            return None
        try:
            with self.watch.timed(self.tool.name, step):
                return action()
        except Exception as error:  # noqa: BLE001 - what another tool raises is its own; ours is raised again
            self._stumbled(step, error)
            return None

    def _stumbled(self, step: str, error: Exception) -> None:
        if self.strict:
            raise error
        text = str(error).strip().splitlines()
        self.watch.failed(self.tool.name, step, f"raises {type(error).__name__}: {text[0] if text else ''}"[:600])

    def _holds(self, box: str, state: State, after: str) -> None:
        def look() -> None:
            digest = digest_with(lambda command: self.tool.exec(box, command), self.tool.workspace)
            same(digest, state, f"{after} of {self.tool.name}")

        self._judged(after, look)

    def _judged(self, step: str, look: Callable[[], None]) -> None:
        try:
            look()
        except WrongContent as error:
            if self.strict:
                raise
            self.watch.failed(self.tool.name, step, f"wrong content: {error.says}")
        except Exception as error:  # noqa: BLE001 - as above
            self._stumbled(step, error)
