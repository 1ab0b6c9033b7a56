"""Keepers that wait for a sandbox: what starts from one is as any other, and none outlives its manager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.engines.native import NativeEngine, cgroups
from sandbox.engines.native.store import SandboxState, Store
from sandbox.spec import Limits
from tests import host
from tests.engines import Boxes
from tests.unit.native.test_keeper import probed

SMALL = Limits(cpus=1, memory_mb=64, pids=32, disk_mb=64)
LARGE = Limits(cpus=2, memory_mb=192, pids=96, disk_mb=128)
FILES = ("memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us")

DIES = """
import os, signal, sys, time
from pathlib import Path
from sandbox.engines.base import CreateRequest
from sandbox.engines.native import NativeEngine
from sandbox.spec import Limits
root, home_id = sys.argv[1:]
engine = NativeEngine(Path(root), home_id=home_id)
engine.create(CreateRequest("sbx_1", "host", (), Limits()))
assert engine._containers._spares._waiting
engine.destroy("sbx_1")
engine._backlog.wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


def waiting(engine: NativeEngine) -> list[str]:
    return [spare.name for spare in engine._containers._spares._waiting]


def state_of(home: Path, sandbox: str) -> SandboxState:
    return Store(home / "engines" / "native").sandbox(sandbox)


def limits_of(home: Path, container: str) -> list[int]:
    path = cgroups.path_of(home.name, container)
    found = [Path("/sys/fs/cgroup", *file.split("/")[:1], path.lstrip("/"), file.split("/")[1]) for file in FILES]
    return [int(file.read_text()) for file in found]


@pytest.mark.parametrize(("before", "after"), [(SMALL, LARGE), (LARGE, SMALL)])
def test_a_sandbox_from_a_keeper_that_waited_has_its_own_limits(
    boxes: Boxes, engine: NativeEngine, home: Path, before: Limits, after: Limits
) -> None:
    """The keeper was made with those of the sandbox before; what the sandbox sees is what one without it would see."""
    first = boxes.create(limits=before)
    names = waiting(engine)
    assert len(names) == 2
    second = boxes.create(limits=after)
    container = state_of(home, second.id).container
    assert container == names[0], "one that waited was taken"
    quota = int(after.cpus * 100_000)
    assert limits_of(home, container) == [after.memory_mb << 20, after.pids + 1, quota]
    shared = int(second.out("df -k /dev/shm | tail -1").split()[1])
    assert shared == min(64, after.memory_mb // 2) << 10
    assert second.out("ulimit -f").split() == [b"%d" % (after.disk_mb << 11)], "blocks of 512 bytes"
    engine.close()
    fresh = boxes.create(limits=after)
    assert waiting(engine)
    ours, theirs = probed(second), probed(fresh)
    assert {kind for kind in ours if ours[kind] != theirs[kind]} <= {"cgroups"}
    assert probed(first)["namespaces"] == ours["namespaces"]


def test_what_is_expected_starts_before_it_is_created_and_takes_what_it_then_is_asked_for(
    boxes: Boxes, engine: NativeEngine, home: Path
) -> None:
    engine.close()
    engine.expect(SMALL)
    engine.expect(SMALL)
    (name,) = waiting(engine)
    box = boxes.create(limits=LARGE)
    container = state_of(home, box.id).container
    assert container == name
    assert limits_of(home, container) == [LARGE.memory_mb << 20, LARGE.pids + 1, int(LARGE.cpus * 100_000)]


def test_what_is_at_the_places_of_the_kernels_files_does_not_matter(boxes: Boxes, engine: NativeEngine) -> None:
    """A fork of a sandbox in which all was deleted, from a keeper whose mounts were made without its files."""
    box = boxes.create()
    box.sh("rm -rf /* 2>/dev/null; true")
    assert waiting(engine)
    fork = boxes.fork(box.snapshot(), box)
    engine.write(fork.id, "/kept", b"alive\n")
    assert engine.read(fork.id, "/kept") == b"alive\n"


def test_one_that_died_waiting_is_passed_over(boxes: Boxes, engine: NativeEngine, home: Path) -> None:
    boxes.create()
    spare = engine._containers._spares._waiting[0]
    joined = Path("/sys/fs/cgroup/pids", cgroups.path_of(home.name, spare.name).lstrip("/"), "cgroup.procs")
    host.wait_until(lambda: joined.exists() and joined.read_text() != "", "it is in its limits")
    for pid in joined.read_text().split():
        host.kill(int(pid))
    host.wait_until(lambda: not spare.waits(), "its end is known")
    box = boxes.create()
    assert box.out("echo alive") == b"alive\n"
    assert state_of(home, box.id).container != spare.name
    assert host.traces(spare.name) == []


def test_none_is_left_of_a_killed_manager_and_those_of_a_living_one_stay(
    boxes: Boxes, engine: NativeEngine, home: Path
) -> None:
    box = boxes.create()
    names = waiting(engine)
    root = home / "engines" / "native"
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(root), home.name], check=False, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == -signal.SIGKILL
    own = [*names, state_of(home, box.id).container]
    assert [line for line in host.traces(home.name) if not _names(line, own)], "or nothing was left of it"
    assert NativeEngine(root, home_id=home.name).sweep() == [], "nobody's, so nothing to tell"
    assert [line for line in host.traces(home.name) if "kept-" in line and not _names(line, own)] == []
    assert waiting(engine) == names
    assert boxes.create().out("echo alive") == b"alive\n"
    assert host.traces(names[0]), "the next one took what waited"


def test_an_engine_that_is_closed_leaves_nothing(boxes: Boxes, engine: NativeEngine, home: Path) -> None:
    box = boxes.create()
    assert waiting(engine)
    engine.destroy(box.id)
    engine.close()
    assert host.traces(home.name) == []
    assert not os.path.exists(f"/sys/fs/cgroup/memory/{cgroups.PARENT}/{home.name}")


def test_an_engine_that_goes_on_after_it_was_closed_has_as_many_waiting_as_before(
    boxes: Boxes, engine: NativeEngine
) -> None:
    boxes.create()
    boxes.create()
    engine.close()
    assert waiting(engine) == []
    boxes.create()
    boxes.create()
    host.wait_until(lambda: len(waiting(engine)) == 2, "two wait")


def _names(line: str, names: list[str]) -> bool:
    return any(name in line for name in names) or not line.rpartition("/")[2].startswith(("kept-", "exec-", "sbx"))
