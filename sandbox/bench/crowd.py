"""Many sandboxes at once: how many can be idle and what each holds, and what is gained by tasks in parallel.

Owns that each sandbox and each task is looked at: a crowd in which one is wrong gives no figures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sandbox.bench.content import Content, WrongContent, digest_with, same
from sandbox.bench.outcome import Crowd
from sandbox.bench.product import TARGET, Product
from sandbox.manager import Manager
from sandbox.spec import Limits, TaskSpec

LOOKED_AT = 10
"""Of the idle ones, a command runs in so many of them, spread evenly."""
TASK_ROUNDS = 3
"""At most."""
WORK = 'i=0; while [ "$i" -lt 20000 ]; do i=$((i + 1)); done; echo "$1" > "result-$1"'
"""Shell: some tens of milliseconds of one core, then a file."""
SMALL = Limits(memory_mb=64, pids=32)


@dataclass(frozen=True, slots=True)
class Size:
    idle: int = 0
    tasks: int = 0


def measure(manager: Manager, content: Content, size: Size, rounds: int, say: Callable[[str], None]) -> Crowd:
    """As many idle sandboxes and tasks as `size` says. Raises WrongContent."""
    found: dict[str, Any] = {}
    if size.idle:
        say(f"{size.idle} idle sandboxes at once.")
        found |= _idle(manager, content, size.idle)
    if size.tasks:
        times = min(rounds, TASK_ROUNDS)
        say(f"{size.tasks} tasks, one after the other and at once, {times} times.")
        found |= _tasks(manager, size.tasks, times, say)
    return Crowd(**{"idle": 0, "tasks": 0} | found)


def _idle(manager: Manager, content: Content, count: int) -> dict[str, Any]:
    tool = Product(manager)
    elsewhere = manager.context.default_engine() == "docker"
    with manager.create(TARGET, limits=SMALL) as first:
        snapshot = tool.snapshot(first.id)
        held = _held(content.root)
        started = time.perf_counter()
        boxes = tool.fork(snapshot, count)
        forked = time.perf_counter() - started
        try:
            memory = tool.memory(boxes)
            disk = _held(content.root) - held
            looked_at = boxes[:: max(1, count // LOOKED_AT)]
            times = [_exec_time(tool, box) for box in looked_at]
            for box in (boxes[0], boxes[-1]):
                _holds(tool, box, content)
        finally:
            started = time.perf_counter()
            for box in boxes:
                tool.destroy(box)
            destroyed = time.perf_counter() - started
    return {
        "idle": count,
        "idle_memory_mib": round(memory / (1 << 20) / count, 3),
        # An engine with a daemon keeps its sandboxes elsewhere.
        "idle_disk_kib": None if elsewhere else round(disk / 1024 / count, 3),
        "fork_each_ms": round(forked * 1e3 / count, 3),
        "exec_ms": round(median(times), 3),
        "destroy_each_ms": round(destroyed * 1e3 / count, 3),
    }


def _held(folder: Path) -> int:
    """Bytes that the file system of a folder holds, of whatever is in it, once all of it is written."""
    os.sync()
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def _exec_time(tool: Product, box: str) -> float:
    started = time.perf_counter_ns()
    tool.exec(box, ["true"])
    return (time.perf_counter_ns() - started) / 1e6


def _holds(tool: Product, box: str, content: Content) -> None:
    same(digest_with(lambda command: tool.exec(box, command), tool.workspace), content.base, "idle")


def _tasks(manager: Manager, count: int, times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both ways in turn, after one task that warms up; pair by pair."""
    _task(manager, 0)
    pairs = []
    for number in range(times):
        started = time.perf_counter()
        for one in range(count):
            _task(manager, one)
        one_by_one = time.perf_counter() - started
        started = time.perf_counter()
        with ThreadPoolExecutor(count) as pool:
            for done in [pool.submit(_task, manager, one) for one in range(count)]:
                done.result()
        at_once = time.perf_counter() - started
        pairs.append((one_by_one, at_once))
        say(f"  {number + 1}: {one_by_one:.1f} s and {at_once:.1f} s")
    return {
        "tasks": count,
        "one_by_one_s": round(median(one for one, _ in pairs), 3),
        "at_once_s": round(median(other for _, other in pairs), 3),
        "throughput": round(median(one / other for one, other in pairs), 3),
    }


def _task(manager: Manager, number: int) -> None:
    """One run, whose proposal must be the one file that it wrote."""
    command = ("sh", "-c", WORK, "sh", str(number))
    task = TaskSpec(name="bench-task", targets=(TARGET,), command=command, limits=SMALL)
    record = manager.run(task)
    paths = [entry.path for delta in record.change.targets for entry in delta.entries] if record.change else []
    if paths != [f"result-{number}"]:
        raise WrongContent(f"A task that writes result-{number} ended as {record.status}, with {paths[:3]}.")
