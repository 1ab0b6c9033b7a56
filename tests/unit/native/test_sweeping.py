"""What a killed manager leaves is removed, and nothing that lives or belongs to another home is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.clock import fresh_id
from sandbox.engines.base import CreateRequest, SnapshotRequest
from sandbox.engines.native import NativeEngine, cgroups
from sandbox.engines.native.store import Store
from sandbox.errors import InputError, NotFound
from tests import host
from tests.engines import LIMITS, Boxes, open_engine

CREATE = """
import os, signal, sys
from pathlib import Path
from sandbox.engines.base import CreateRequest
from sandbox.engines.native import NativeEngine, containers, nurseries, runtime, spares
from sandbox.spec import Limits
step, root, home_id, sandbox = sys.argv[1:]
def dying(original):
    def work(*args, **options):
        if step.startswith("before"):
            os.kill(os.getpid(), signal.SIGKILL)
        original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    return work
steps = {"mount": (containers.overlay, "mount_chain"), "run": (runtime.Runtime, "run"),
         "layers": (containers.overlay, "link_layers"), "fork": (nurseries.Nursery, "fork"),
         "keeper": (spares.Spare, "start"), "ordering": (spares.Spare, "claim")}
where, what = steps[step.split("-")[1]]
setattr(where, what, dying(getattr(where, what)))
NativeEngine(Path(root), home_id=home_id).create(CreateRequest(sandbox, "host", (), Limits()))
"""
"""A manager that is killed for good at a step of a create."""

SNAPSHOT = """
import os, signal, sys
from pathlib import Path
from sandbox.engines.base import SnapshotRequest
from sandbox.engines.native import NativeEngine, cloning
root, home_id, sandbox = sys.argv[1:]
original = cloning.Cloner.clone
def dying(self, source, target):
    original(self, source, target)
    os.kill(os.getpid(), signal.SIGKILL)
cloning.Cloner.clone = dying
NativeEngine(Path(root), home_id=home_id).snapshot(SnapshotRequest(sandbox, "snap_1"))
"""


def killed(program: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL


STEPS = {
    "runc": ("before-mount", "after-mount", "before-run", "after-run"),
    "keeper": ("before-fork", "after-fork", "before-layers", "after-ordering", "before-keeper", "after-keeper"),
}


@pytest.mark.parametrize("way", STEPS)
def test_nothing_is_left_of_a_killed_create_after_a_sweep(
    engine: NativeEngine, home: Path, boxes: Boxes, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("SANDBOX_RUNTIME", way)
    root = home / "engines" / "native"
    boxes.create()  # a healthy one beside it
    engine.close()  # what others left to be removed is gone
    healthy, files = engine.instances(), host.files_below(home)
    for step in STEPS[way]:
        sandbox = fresh_id("sbx")
        killed(CREATE, step, str(root), home.name, sandbox)
        assert sandbox in Store(root).sandbox_ids()
        assert any(sandbox in line for line in engine.sweep())
        host.assert_gone(sandbox)
        assert engine.instances() == healthy
        assert host.files_below(home) == files
    assert engine.sweep() == []


def test_a_sandbox_goes_on_after_a_killed_snapshot(engine: NativeEngine, home: Path, boxes: Boxes) -> None:
    box = boxes.create()
    box.out("echo kept > state")
    killed(SNAPSHOT, str(home / "engines" / "native"), home.name, box.id)
    assert any(box.id in line for line in engine.sweep())
    assert engine.snapshots() == []
    assert box.out("cat state", timeout_s=20) == b"kept\n"
    engine.snapshot(SnapshotRequest(box.id, "snap_1"))
    assert engine.snapshots() == ["snap_1"]


def test_a_sweep_leaves_what_others_are_making(engine: NativeEngine, home: Path) -> None:
    store = Store(home / "engines" / "native")
    with store.claiming("sbx_of_another"):
        layer = store.fresh_layer("sbx_of_another")
        layer.mkdir()
        assert engine.sweep() == []
        assert layer.exists()
    assert len(engine.sweep()) == 2
    assert not layer.exists()
    assert store.sandbox_ids() == []


def test_a_sweep_ends_containers_that_no_record_names(engine: NativeEngine, home: Path, boxes: Boxes) -> None:
    box = boxes.create()
    (home / "engines" / "native" / "sandboxes" / box.id / "record.json").unlink()
    assert engine.sweep() != []
    host.assert_gone(box.id)


def test_a_sweep_leaves_the_sandboxes_of_other_homes(engine: NativeEngine, boxes: Boxes, tmp_path: Path) -> None:
    box = boxes.create()
    other = tmp_path / fresh_id("other")
    other.mkdir()
    assert open_engine("native", other).sweep() == []
    assert box.out("echo alive") == b"alive\n"


def test_sandboxes_are_dead_after_a_restart_and_roll_back(boxes: Boxes, engine: NativeEngine, home: Path) -> None:
    """As after a restart: no process, no control group, nothing known to the runtime; the files are there."""
    box = boxes.create()
    box.out("echo kept > state")
    snapshot = box.snapshot()
    state = Store(home / "engines" / "native").sandbox(box.id)
    engine._containers.end(state)
    assert [instance.alive for instance in engine.instances()] == [False]
    assert engine.sweep() == []
    assert engine.watch_root(box.id) is None
    box.rollback(snapshot)
    assert box.out("cat state") == b"kept\n"


def test_a_record_cut_short_by_a_power_cut_is_no_sandbox_and_its_snapshots_serve(
    boxes: Boxes, engine: NativeEngine, home: Path
) -> None:
    box = boxes.create()
    box.out("echo kept > state")
    snapshot = box.snapshot()
    (home / "engines" / "native" / "sandboxes" / box.id / "record.json").write_text("")
    with pytest.raises(NotFound):
        box.out("true")
    assert any(box.id in line for line in engine.sweep())
    host.assert_gone(box.id)
    box.rollback(snapshot)
    assert box.out("cat state") == b"kept\n"


def test_a_process_of_the_same_number_is_not_the_sandbox(boxes: Boxes, engine: NativeEngine, home: Path) -> None:
    box = boxes.create()
    store = Store(home / "engines" / "native")
    state = store.sandbox(box.id)
    store.put_sandbox(state.model_copy(update={"pid": os.getpid()}))
    assert [instance.alive for instance in engine.instances()] == [False]
    store.put_sandbox(state)
    assert [instance.alive for instance in engine.instances()] == [True]


def test_a_control_group_kills_and_freezes_all_of_its_processes(home: Path) -> None:
    """Version 2 is tried wherever it is mounted, beside the version that limits use here."""
    group = cgroups.Group(f"/{cgroups.PARENT}/{home.name}")
    for directory in (group.tracking.parent, group.tracking):
        directory.mkdir(exist_ok=True)
    try:
        with subprocess.Popen(["sh", "-c", "sleep 100 & sleep 100 & wait"]) as process:
            (group.tracking / "cgroup.procs").write_text(str(process.pid))
            with group.frozen():
                assert process.pid in group.pids()
                time.sleep(0.05)
                assert process.poll() is None
            group.kill()
            assert process.wait(10) == -signal.SIGKILL
            assert group.pids() == []
    finally:
        group.remove()
        cgroups.remove_if_empty(home.name)
    assert not group.exists()


def test_create_twice_under_one_id_is_refused_and_leaves_the_first(boxes: Boxes, engine: NativeEngine) -> None:
    box = boxes.create()
    with pytest.raises(InputError, match="exists already"):
        engine.create(CreateRequest(box.id, "host", (), LIMITS))
    assert box.out("echo alive") == b"alive\n"
