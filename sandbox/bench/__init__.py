"""How long each operation takes on this machine, beside the machine's own floors and other tools.

Owns the figures that the product may claim: measured through the Python API on a real engine, in a scratch
folder on a file system of its own, with the content held against its hash after each step. Must not touch any home,
target or sandbox that it did not make.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.bench.outcome import BenchRecord
    from sandbox.wiring import EngineChoice

FILES = 10_000
ROUNDS = 7
TASKS = 32


def run(
    *,
    engine: EngineChoice = "auto",
    against: str | None = None,
    files: int = FILES,
    rounds: int = ROUNDS,
    within_s: float | None = None,
    idle: int = 0,
    tasks: int = TASKS,
    only_verbs: bool = False,
    on: str = "xfs",
    say: Callable[[str], None],
) -> BenchRecord:
    """Measure everything `rounds` times, in turn, after one round that does not count.

    `against` names other tools, separated by commas; `files` is how many there are in the tree, 20 KiB each;
    `within_s`: after so many seconds no round begins, but for the first three; `idle` and `tasks` are how many
    sandboxes and tasks there are at once at the end (0: leave that out); `only_verbs`: neither captures nor promotions
    nor commands; `on` is the file system that is made for it, or `here`.
    Raises InputError, EngineUnavailable, and WrongContent where an operation did not do what it is for.
    """
    from sandbox.bench import course, crowd

    size = crowd.Size(idle=idle, tasks=tasks)
    return course.run(
        engine=engine,
        against=against,
        files=files,
        rounds=rounds,
        within_s=within_s,
        size=size,
        only_verbs=only_verbs,
        on=on,
        say=say,
    )
