"""How each operation grows: with files, bytes, the size of a change, snapshots in a chain, sandboxes that are alive.

    python -m bench.scale [--engine native] [--most-files 100000] [--small] [--out FILE.json]

Owns the measurement. It fails, with the figures, where one grows faster than `claims` has it. Everything lies on an
XFS of its own, as in `sandbox bench`; what each operation left is counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from bench.claims import ALIVE, BYTES, CHAIN, CHANGE, FILES, MEMORY, Curve, judged
from sandbox.bench import filesystem
from sandbox.bench.content import WrongContent
from sandbox.drills.stage import make_ready, managed, scratch_folder, terminable, write_config
from sandbox.manager import Manager
from sandbox.spec import Limits
from sandbox.wiring import EngineChoice

TARGET = "tree"
SMALL = Limits(memory_mb=128, pids=64)
NEW_FILES = """
mkdir -p /workspace/new; cd /workspace/new; n=0
while [ "$n" -lt "$1" ]; do echo "$2 $n" > "$2-$n"; n=$((n + 1)); done
"""
HUGE, SELDOM = 1_000_000, 2
"""Of so many files each is measured only so often: one capture takes seconds."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How far each axis goes."""

    files: tuple[int, ...]
    bytes: tuple[int, ...]
    changed: tuple[int, ...]
    chain: tuple[int, ...]
    alive: tuple[int, ...]
    times: int
    """How often each is measured."""


def whole(most_files: int) -> Sizes:
    """What is published."""
    files = tuple(size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most_files)
    return Sizes(files, (1 << 10, 16 << 10, 256 << 10), (1, 10, 100, 1_000), (1, 25, 100, 200), (1, 10, 50, 200), 5)


SHORT = Sizes((100, 1_000), (1 << 10, 64 << 10), (10, 100), (2, 10), (1, 4), 1)


class Scale:
    """Measures along one axis after another, each tree with a manager of its own."""

    def __init__(self, engine: EngineChoice, folder: Path, times: int, say: Callable[[str], None]) -> None:
        self._engine = engine
        self._folder = folder
        self._times = times
        self._say = say
        self._at = ("", 0)
        self._samples: dict[tuple[str, str], dict[int, list[float]]] = {}

    def measure(self, sizes: Sizes) -> list[Curve]:
        """Every axis. Raises WrongContent."""
        for files in sizes.files:
            self._trees(FILES, files, files, 1 << 10)
        for each in sizes.bytes:
            self._trees(BYTES, each, 200, each)
        with self._managed(1_000, 1 << 10) as manager:
            for changed in sizes.changed:
                self._repeated(CHANGE, changed, lambda changed=changed: self._verbs(manager, changed))  # type: ignore[misc]
        with self._managed(1_000, 1 << 10) as manager:
            self._chain(manager, sizes.chain)
        with self._managed(200, 1 << 10) as manager:
            self._crowd(manager, sizes.alive)
        return [
            judged(axis, operation, {size: round(median(samples), 3) for size, samples in by_size.items()})
            for (axis, operation), by_size in self._samples.items()
        ]

    def _timed(self, operation: str, action: Callable[[], T]) -> T:
        axis, size = self._at
        started = time.perf_counter_ns()
        done = action()
        took = (time.perf_counter_ns() - started) / 1e6
        self._samples.setdefault((axis, operation), {}).setdefault(size, []).append(took)
        return done

    def _repeated(self, axis: str, size: int, action: Callable[[], object]) -> None:
        times = min(self._times, SELDOM) if size >= HUGE else self._times
        self._say(f"{axis}: {size}")
        self._at = ("", 0)
        action()  # warms up
        self._samples = {key: samples for key, samples in self._samples.items() if key[0]}
        self._at = (axis, size)
        for _ in range(times):
            action()

    def _trees(self, axis: str, size: int, files: int, each: int) -> None:
        with self._managed(files, each) as manager:
            target, bases = manager.context.target(TARGET), manager.context.bases
            self._at = (axis, size)
            _forget_the_most_held()
            self._timed("capture_first", lambda: target.capture(bases))
            self._samples.setdefault((axis, MEMORY), {})[size] = [_most_held_mib()]
            time.sleep(0.1)
            target.capture(bases)  # reads once more what had just been written
            self._repeated(axis, size, lambda: self._timed("capture_again", lambda: target.capture(bases)))
            self._repeated(axis, size, lambda: self._verbs(manager, 100))

    def _verbs(self, manager: Manager, changed: int) -> None:
        """Each verb once, with so many files changed before the snapshot."""
        box = self._timed("create", lambda: _created(manager))
        self._timed("exec", lambda: _output(manager, box, "true"))
        _change(manager, box, changed, 0)
        snapshot = self._timed("snapshot", lambda: manager.snapshot(box)).snapshot
        self._timed("snapshot_again", lambda: manager.snapshot(box))
        self._comes_back(manager, box, snapshot, changed)
        manager.destroy(box)

    def _comes_back(self, manager: Manager, box: str, snapshot: str, changed: int) -> None:
        """What follows a snapshot, and whether what should be there is."""
        found = self._timed("diff", lambda: manager.diff(box))
        _same("files that differ", sum(one.kind == "file" for each in found.targets for one in each.entries), changed)
        _output(manager, box, "rm", "-rf", "/workspace/new")
        self._timed("rollback", lambda: manager.rollback(box, snapshot))
        _same("new files after the rollback", _new_files(manager, box), changed)
        (fork,) = self._timed("fork", lambda: manager.fork(snapshot))
        _same("new files in the fork", _new_files(manager, fork.id), changed)
        self._timed("destroy", lambda: manager.destroy(fork.id))

    def _chain(self, manager: Manager, lengths: Sequence[int]) -> None:
        """One sandbox that goes on: ten new files, a snapshot, and so forth."""
        box, length, last = manager.create(TARGET, limits=SMALL).id, 0, ""
        for wanted in lengths:
            self._say(f"{CHAIN}: {wanted}")
            self._at = (CHAIN, wanted)
            while length < wanted:
                _change(manager, box, 10, length)
                if wanted - length <= self._times:
                    last = self._timed("snapshot", lambda: manager.snapshot(box)).snapshot
                else:
                    last = manager.snapshot(box).snapshot
                length += 1
            for _ in range(self._times):
                self._timed("exec", lambda: _output(manager, box, "true"))
                self._comes_back(manager, box, last, length * 10)

    def _crowd(self, manager: Manager, counts: Sequence[int]) -> None:
        """All verbs, while so many others are there and idle."""
        snapshot = manager.snapshot(manager.create(TARGET, limits=SMALL).id).snapshot
        alive = 1
        for count in counts:
            if count > alive:
                manager.fork(snapshot, count - alive)
                alive = count
            self._repeated(ALIVE, count, lambda: self._verbs(manager, 10))
            _same("sandboxes alive", len(manager.sandboxes()), alive)

    @contextmanager
    def _managed(self, files: int, each: int) -> Iterator[Manager]:
        """A manager with a target of so many files of so many bytes; all of it is gone at the end."""
        folder = self._folder / "one"
        folder.mkdir()
        write_config(folder / "config", "targets", TARGET, {"kind": "directory", "path": str(folder / TARGET)})
        _tree(folder / TARGET, files, each)
        with managed(folder, self._engine, self._say) as manager:
            make_ready(manager, self._say)
            yield manager
        shutil.rmtree(folder)


def _forget_the_most_held() -> None:
    """From here on the kernel counts anew how much this process held at most."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _most_held_mib() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def _tree(root: Path, files: int, each: int) -> None:
    """Fifty files in a directory, a hundred directories in one above."""
    for number in range(files):
        path = root / f"d{number // 5000:03}" / f"d{number // 50:05}" / f"f{number:07}"
        if number % 50 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(number.to_bytes(8, "big") * (each // 8))


def _created(manager: Manager) -> str:
    box = manager.create(TARGET, limits=SMALL).id
    _output(manager, box, "true")
    return box


def _change(manager: Manager, box: str, files: int, number: int) -> None:
    _output(manager, box, "sh", "-c", NEW_FILES, "sh", str(files), str(number))


def _new_files(manager: Manager, box: str) -> int:
    return int(_output(manager, box, "sh", "-c", "ls /workspace/new | wc -l"))


def _output(manager: Manager, box: str, *command: str) -> bytes:
    done = manager.exec(box, command)
    if done.exit_code != 0:
        raise WrongContent(f"{command[0]} gave {done.exit_code}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def _same(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise WrongContent(f"There are {found} {what}, not {expected}.")


def measure(engine: EngineChoice, sizes: Sizes, say: Callable[[str], None]) -> list[Curve]:
    """All curves, measured on a file system of their own. Raises WrongContent."""
    with ExitStack() as stack:
        stack.enter_context(terminable())
        folder = stack.enter_context(filesystem.made("xfs", stack.enter_context(scratch_folder()), say))
        return Scale(engine, folder, sizes.times, say).measure(sizes)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all claims hold, else 1; a small run measures each once, which proves nothing."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale")
    parser.add_argument("--engine", default="native", choices=("native", "docker"))
    parser.add_argument("--most-files", type=int, default=100_000, help="1000000 takes a quarter of an hour more")
    parser.add_argument("--small", action="store_true", help="a few sizes once, to see that it runs")
    parser.add_argument("--out", type=Path, help="write the curves there as JSON")
    asked = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    curves = measure(asked.engine, SHORT if asked.small else whole(asked.most_files), say)
    if asked.out:
        asked.out.write_text(json.dumps([asdict(one) for one in curves], indent=1) + "\n", encoding="utf-8")
    for one in curves:
        verdict = {True: "holds", False: "DOES NOT HOLD", None: ""}[one.holds]
        print(f"{one.axis:40} {one.operation:16} {one.slope:6.2f}  {one.claim:8} {verdict}  {one.medians} {one.unit}")
    return 1 if any(one.holds is False for one in curves) and not asked.small else 0


if __name__ == "__main__":
    sys.exit(main())
