"""Sandboxes that were made before they were asked for: the same as others, never stale, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.engines.native import NativeEngine
from sandbox.engines.native.store import Store
from sandbox.errors import InputError
from sandbox.spec import Limits
from tests import host
from tests.engines import Boxes

DIES = """
import os, signal, sys, time
from pathlib import Path
from sandbox.engines.base import CreateRequest
from sandbox.engines.native import NativeEngine
from sandbox.spec import Limits
root, home_id = sys.argv[1:]
engine = NativeEngine(Path(root), home_id=home_id, warm=2)
engine.create(CreateRequest("sbx_1", "host", (), Limits()))
while len(engine._warm) < 2:
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def warm(home: Path) -> Iterator[NativeEngine]:
    engine = NativeEngine(home / "engines" / "native", home_id=home.name, warm=1)
    yield engine
    engine.close()
    assert host.traces(home.name) == []


@pytest.fixture
def boxes(warm: NativeEngine, tmp_path: Path) -> Iterator[Boxes]:
    boxes = Boxes(warm, "host", tmp_path / "boxes")
    yield boxes
    boxes.close()


def idle(home: Path) -> list[str]:
    return [name for name in Store(home / "engines" / "native").sandbox_ids() if name.startswith("warm_")]


def ready(warm: NativeEngine, home: Path) -> str:
    """The id of the one idle sandbox, once it is there."""
    host.wait_until(lambda: len(warm._warm) == 1, "a warm sandbox")
    (name,) = idle(home)
    return name


def test_a_warm_sandbox_becomes_the_next_one_and_works_like_any(warm: NativeEngine, home: Path, boxes: Boxes) -> None:
    tree = boxes.tree()
    boxes.create(tree)
    name = ready(warm, home)
    assert name not in {instance.sandbox for instance in warm.instances()}
    pid = Store(warm._store.root).sandbox(name).pid
    box = boxes.create(tree)
    assert warm._store.sandbox(box.id).pid == pid, "it is the one that was waiting"
    assert box.out("cat README; echo changed > README; pwd") == b"one\ntwo\n/workspace\n"
    snapshot = box.snapshot()
    assert list(box.changes()) != []
    box.out("rm -rf /workspace/*")
    box.rollback(snapshot)
    assert box.out("cat README") == b"changed\n"


def test_another_kind_is_never_handed_out(warm: NativeEngine, home: Path, boxes: Boxes) -> None:
    boxes.create()
    first = ready(warm, home)
    pid = Store(warm._store.root).sandbox(first).pid
    box = boxes.create(limits=Limits(cpus=1, memory_mb=100, pids=40))
    assert warm._store.sandbox(box.id).pid != pid
    host.wait_until(lambda: idle(home) != [first] and len(warm._warm) == 1, "one of the new kind")
    assert first not in idle(home), "the old kind ended"


def test_an_id_that_is_taken_is_refused_and_nothing_stays(warm: NativeEngine, home: Path, boxes: Boxes) -> None:
    box = boxes.create()
    ready(warm, home)
    request = warm._warm._wanted
    assert request is not None
    with pytest.raises(InputError, match="exists already"):
        warm.create(replace(request[1], sandbox=box.id))
    assert box.out("echo alive") == b"alive\n"


def test_a_sweep_leaves_idle_ones_while_their_maker_lives_and_takes_them_when_it_died(
    warm: NativeEngine, home: Path, boxes: Boxes
) -> None:
    boxes.create()
    name = ready(warm, home)
    other = NativeEngine(home / "engines" / "native", home_id=home.name)
    assert other.sweep() == []
    assert idle(home) == [name]
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(home / "engines" / "native"), home.name],
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == -signal.SIGKILL
    assert len(idle(home)) == 3
    assert len(other.sweep()) == 2
    assert idle(home) == [name]
    assert os.path.exists(f"/proc/{Store(other._store.root).sandbox(name).pid}")
    warm.destroy("sbx_1")
