"""The course that every tool runs: one sandbox from its making to its end, timed step by step and checked.

Owns the order of the steps and what must be true after each. Must not know a tool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sandbox.bench.content import Content, State, digest_with, named, same
from sandbox.bench.watch import Stopwatch

STEPS = {
    "create": "a sandbox with the tree in it, to the end of its first command",
    "exec": "a command that does nothing (true)",
    "snapshot_a": "after every twentieth file was written anew",
    "snapshot_again": "once more, with nothing new",
    "diff_a": "which paths differ, every twentieth file having been written anew",
    "snapshot_b": "after rm -rf of the tree and half as many new small files",
    "diff_b": "which paths differ, after rm -rf and half as many new small files",
    "rollback_a": "from the state with new files to the one before",
    "rollback_b": "and on to the newer one",
    "fork": "a second sandbox from the first snapshot, to the end of its first command",
    "destroy": "that second sandbox",
}
EXECS = 5


class Contender(Protocol):
    """A tool as the course uses it. Handles are whatever names a sandbox or a snapshot to it."""

    name: str
    workspace: str
    """Where the tree is in a sandbox."""
    exact: bool
    """Whether its difference names what differs from the tree and nothing else."""

    def create(self) -> str: ...

    def exec(self, box: str, command: list[str]) -> bytes:
        """The output of a command; one that fails is an error."""

    def snapshot(self, box: str) -> str: ...

    def rollback(self, box: str, snapshot: str) -> str:
        """The sandbox in that state; perhaps another one."""

    def fork(self, snapshot: str) -> str: ...

    def diff(self, box: str) -> frozenset[str]:
        """Files that are there and differ, relative to the tree."""

    def destroy(self, box: str) -> None: ...


def run(tool: Contender, content: Content, watch: Stopwatch, finish: Callable[[str], None]) -> None:
    """One round. `finish` gets the sandbox at its end, with the first change in it, and destroys it.

    Raises WrongContent.
    """
    who = tool.name
    with watch.timed(who, "create"):
        box = tool.create()
        tool.exec(box, ["true"])
    _check(tool, box, content.base, "create")
    for _ in range(EXECS):
        with watch.timed(who, "exec"):
            tool.exec(box, ["true"])
    first = _change(tool, box, content, watch, "a")
    with watch.timed(who, "snapshot_again"):
        tool.snapshot(box)
    _check(tool, box, content.a, "snapshot_again")
    second = _change(tool, box, content, watch, "b")
    with watch.timed(who, "rollback_a"):
        box = tool.rollback(box, first)
    _check(tool, box, content.a, "rollback_a")
    with watch.timed(who, "rollback_b"):
        box = tool.rollback(box, second)
    _check(tool, box, content.b, "rollback_b")
    with watch.timed(who, "fork"):
        fork = tool.fork(first)
        tool.exec(fork, ["true"])
    _check(tool, fork, content.a, "fork")
    with watch.timed(who, "destroy"):
        tool.destroy(fork)
    box = tool.rollback(box, first)
    _check(tool, box, content.a, "rollback")
    finish(box)


def _change(tool: Contender, box: str, content: Content, watch: Stopwatch, which: str) -> str:
    """Make a change, then a timed snapshot and a timed difference of it; the snapshot."""
    state = content.a if which == "a" else content.b
    tool.exec(box, content.change(which, tool.workspace))
    _check(tool, box, state, f"change {which}")
    with watch.timed(tool.name, f"snapshot_{which}"):
        snapshot = tool.snapshot(box)
    _check(tool, box, state, f"snapshot_{which}")
    with watch.timed(tool.name, f"diff_{which}"):
        found = tool.diff(box)
    named(found, state, f"diff_{which} of {tool.name}", exactly=tool.exact)
    return snapshot


def _check(tool: Contender, box: str, state: State, after: str) -> None:
    digest = digest_with(lambda command: tool.exec(box, command), tool.workspace)
    same(digest, state, f"{after} of {tool.name}")
