"""The memory of the processes that sandboxes keep on this machine, read from outside of any tool."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path


def memory(marks: Iterable[str]) -> int:
    """Bytes of all processes whose command line or cgroup has one of the words; shared pages by their part (PSS)."""
    return sum(_proportional(process) for process in _marked([mark.encode() for mark in marks]))


def groups_over(names: Iterable[str], called: str) -> list[str]:
    """The names of control groups, called like `called`, in which there is a group with one of these names."""
    wanted = set(names)
    found = {at.parent.name for at in Path("/sys/fs/cgroup").glob(f"**/{called}/*") if at.name in wanted}
    return sorted(found)


def memory_below(parent: int) -> int:
    """Bytes of all processes that a process started, and those that they did (PSS); not its own."""
    children: dict[int, list[Path]] = {}
    for process in _processes():
        with suppress(OSError, ValueError):
            children.setdefault(_parent(process), []).append(process)
    found, waiting = 0, [parent]
    while waiting:
        for process in children.get(waiting.pop(), []):
            found += _proportional(process)
            waiting.append(int(process.name))
    return found


def _processes() -> Iterator[Path]:
    return (Path("/proc", name) for name in os.listdir("/proc") if name.isdigit())


def _marked(marks: list[bytes]) -> Iterator[Path]:
    for process in _processes():
        with suppress(OSError):  # it has ended
            said = (process / "cmdline").read_bytes() + (process / "cgroup").read_bytes()
            if any(mark in said for mark in marks):
                yield process


def _parent(process: Path) -> int:
    return int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])


def _proportional(process: Path) -> int:
    with suppress(OSError):
        for line in (process / "smaps_rollup").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
