"""Real engines for tests, each in a home of its own, and sandboxes made on them.

Owns how a test gets an engine and a sandbox. An engine that can't be had is a failure, never a skip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sandbox.clock import fresh_id
from sandbox.engines.base import (
    Candidate,
    ChangesRequest,
    CreateRequest,
    Engine,
    ExecRequest,
    ExecResult,
    Placement,
    RestoreRequest,
    SnapshotRequest,
    Tree,
)
from sandbox.spec import Limits
from sandbox.trees.entry import Entry
from tests.host import traces
from tests.trees import PRINT, READER, Hashing, entries_printed, fresh, plain_tree, tree_of

ENGINES = ("native", "docker")
LIMITS = Limits(cpus=2, memory_mb=256, pids=128)
PYTHON = "python3"
T = TypeVar("T")


def open_engine(name: str, home: Path, *, warm: int = 0) -> Engine:
    """The engine as a manager with this home would open it, with so many kept ready. Fails where it can't be had."""
    home_id = home.name
    if name == "native":
        from sandbox.engines.native import NativeEngine

        engine: Engine = NativeEngine(home / "engines" / "native", home_id=home_id, warm=warm)
    elif name == "docker":
        from sandbox.engines.docker_engine import DockerEngine

        engine = DockerEngine(home_id=home_id, scratch=home / "scratch", warm=warm)
        engine._onlooker.least_entries = (
            0  # a sandbox is looked at, a snapshot read as an archive: both by the contract
        )
    else:
        raise pytest.UsageError(f"--engines: {name!r} is not one of {', '.join(ENGINES)}")
    missing = [f"{finding.says} {finding.hint}" for finding in engine.doctor() if not finding.ok]
    if missing:
        pytest.fail(f"the {name} engine can't be had: {'; '.join(missing)}", pytrace=False)
    return engine


class Box:
    """One sandbox under test: the requests, spelled shortly."""

    def __init__(self, engine: Engine, sandbox: str, placements: tuple[Placement, ...]) -> None:
        self.engine = engine
        self.id = sandbox
        self.placements = placements

    def run(self, *command: str, **options: Any) -> ExecResult:
        return self.engine.exec(ExecRequest(self.id, command, **({"timeout_s": 120.0} | options)))

    def sh(self, script: str, **options: Any) -> ExecResult:
        return self.run("sh", "-c", script, **options)

    def python(self, source: str, *arguments: str, **options: Any) -> ExecResult:
        return self.run(PYTHON, "-c", source, *arguments, **options)

    def out(self, script: str, **options: Any) -> bytes:
        """The output of a shell line that must succeed."""
        return succeeded(self.sh(script, **options)).stdout

    def entries(self, path: str = "/workspace", skip: tuple[str, ...] = ()) -> list[Entry]:
        """Every entry below `path`, read by a program inside."""
        return entries_printed(succeeded(self.python(READER + PRINT, path, *skip)).stdout)

    def snapshot(self) -> str:
        snapshot = fresh_id("snap")
        self.engine.snapshot(SnapshotRequest(self.id, snapshot))
        return snapshot

    def rollback(self, snapshot: str) -> None:
        self.engine.restore(RestoreRequest(snapshot, self.id))

    def changes(self, origin: str | None = None, index: int = 0) -> dict[bytes, Entry | None]:
        """The candidates by path; what went through the sink is what the entries say."""
        sink = Hashing()
        request = ChangesRequest(origin or self.id, self.placements[index], sink)
        return checked(list(self.engine.changes(request)), sink)


def succeeded(result: ExecResult) -> ExecResult:
    assert (result.exit_code, result.stderr) == (0, b""), result
    return result


def checked(candidates: list[Candidate], sink: Hashing) -> dict[bytes, Entry | None]:
    """Each path once, every file read through the sink."""
    found = dict(candidates)
    assert len(found) == len(candidates), "a path came twice"
    files = {path for path, entry in candidates if entry is not None and entry.kind == "file"}
    assert files == set(sink.taken)
    return found


class Boxes:
    """Makes sandboxes on one engine and destroys them, and the snapshots, at the end."""

    def __init__(self, engine: Engine, image: str, scratch: Path) -> None:
        self.engine = engine
        self.image = image
        self.scratch = scratch
        self.made: list[str] = []
        self.known_snapshots = set(engine.snapshots())

    def tree(self, make: Callable[[Path], None] = plain_tree, name: str = "one") -> Tree:
        root = fresh(self.scratch / name / "tree")
        make(root)
        return tree_of(root)

    def create(self, *trees: Tree, **options: Any) -> Box:
        """A sandbox with these trees (the plain one by default), destroyed at the end of the test."""
        given = trees or (self.tree(),)
        paths = ["/workspace"] if len(given) == 1 else [f"/workspace/t{number}" for number in range(len(given))]
        placements = tuple(Placement(path, tree) for path, tree in zip(paths, given, strict=True))
        sandbox = fresh_id("sbx")
        self.made.append(sandbox)
        request = {"image": self.image, "limits": LIMITS} | options
        self.engine.create(CreateRequest(sandbox=sandbox, placements=placements, **request))
        return Box(self.engine, sandbox, placements)

    def fork(self, snapshot: str, box: Box) -> Box:
        sandbox = fresh_id("sbx")
        self.made.append(sandbox)
        self.engine.restore(RestoreRequest(snapshot, sandbox))
        return Box(self.engine, sandbox, box.placements)

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # one that fails does not keep the others
            for snapshot in set(self.engine.snapshots()) - self.known_snapshots:
                stack.callback(self.engine.discard, snapshot)
            for sandbox in self.made:
                stack.callback(self.engine.destroy, sandbox)


class Registry:
    """The engines of one test session, opened when first asked for, and one shared sandbox on each."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.homes: dict[str, Path] = {}
        self.engines: dict[str, Engine] = {}
        self.shared: dict[tuple[str, str], tuple[Boxes, Box]] = {}
        self.kept: dict[Hashable, Any] = {}

    def engine(self, name: str, image: str) -> Engine:
        if name not in self.engines:
            home = self.scratch / fresh_id(name)  # a name that nothing else on this host mentions
            home.mkdir(mode=0o700)
            self.engines[name] = open_engine(name, home)
            self.homes[name] = home
        self.engines[name].build_image(image, print)
        return self.engines[name]

    def box(self, name: str, image: str) -> Box:
        """One sandbox for all tests that leave it as they found it."""
        if (name, image) not in self.shared:
            boxes = Boxes(self.engine(name, image), image, self.scratch / f"shared-{name}-{image}")
            self.shared[name, image] = boxes, boxes.create()
        return self.shared[name, image][1]

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once in a session."""
        if key not in self.kept:
            self.kept[key] = make()
        made: T = self.kept[key]
        return made

    def close(self) -> list[str]:
        """End everything; a line for each thing that is left afterwards."""
        left = []
        for boxes, _ in self.shared.values():
            boxes.close()
        for name, engine in self.engines.items():
            left += [f"{name}: sandbox {instance.sandbox}" for instance in engine.instances()]
            left += [f"{name}: snapshot {snapshot}" for snapshot in engine.snapshots()]
            engine.close()
            left += [f"{name}: {line}" for line in traces(self.homes[name].name)]
        return left
