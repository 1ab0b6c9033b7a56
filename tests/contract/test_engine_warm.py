"""Sandboxes that were made before they were asked for: the same as others, never stale, and never left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.clock import fresh_id
from sandbox.engines.docker_engine import DockerEngine
from sandbox.engines.native import NativeEngine
from sandbox.errors import InputError
from sandbox.spec import Limits
from tests import host
from tests.contract.waiting import IMAGES, LOOKS, Looks, ready
from tests.engines import Boxes, open_engine

pytestmark = pytest.mark.timeout(240)

DIES = """
import os, signal, sys, time
from pathlib import Path
from sandbox.engines.base import CreateRequest
from sandbox.spec import Limits
from tests.engines import open_engine
name, home, image = sys.argv[1:]
engine = open_engine(name, Path(home), warm=2)
engine.create(CreateRequest("sbx_1", image, (), Limits()))
while len(engine._warm) < 2:
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""

Warm = NativeEngine | DockerEngine


@pytest.fixture
def home(place: tuple[str, str], tmp_path: Path) -> Path:
    path = tmp_path / fresh_id(place[0])
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def engine(place: tuple[str, str], home: Path) -> Iterator[Warm]:
    """One that keeps a sandbox ready, in a home of the test's own."""
    engine = open_engine(place[0], home, warm=1)
    assert isinstance(engine, Warm)
    yield engine
    engine.close()
    assert host.traces(home.name) == []


@pytest.fixture
def boxes(place: tuple[str, str], engine: Warm, tmp_path: Path) -> Iterator[Boxes]:
    boxes = Boxes(engine, IMAGES[place[0]], tmp_path / "boxes")
    yield boxes
    boxes.close()


@pytest.fixture
def looks(place: tuple[str, str], home: Path) -> Looks:
    return LOOKS[place[0]](home)


def test_a_warm_sandbox_becomes_the_next_one_and_works_like_any(engine: Warm, boxes: Boxes, looks: Looks) -> None:
    tree = boxes.tree()
    boxes.create(tree)
    name = ready(engine, looks)
    assert {one.sandbox for one in engine.instances()} == set(boxes.made), "nobody sees the one that waits"
    process = looks.process(name)
    box = boxes.create(tree)
    assert looks.process(box.id) == process, "it is the one that was waiting"
    assert {one.sandbox for one in engine.instances() if one.alive} == set(boxes.made)
    assert box.out("cat README; echo changed > README; pwd") == b"one\ntwo\n/workspace\n"
    snapshot = box.snapshot()
    assert list(box.changes()) != []
    box.out("rm -rf /workspace/*")
    box.rollback(snapshot)
    assert box.out("cat README") == b"changed\n"


def test_another_kind_is_never_handed_out(engine: Warm, boxes: Boxes, looks: Looks) -> None:
    boxes.create()
    first = ready(engine, looks)
    process = looks.process(first)
    box = boxes.create(limits=Limits(cpus=1, memory_mb=100, pids=40))
    assert looks.process(box.id) != process
    host.wait_until(lambda: looks.idle() != [first] and len(engine._warm) == 1, "one of the new kind")
    assert first not in looks.idle(), "the old kind ended"


def test_one_that_died_while_it_waited_is_not_handed_out(engine: Warm, boxes: Boxes, looks: Looks) -> None:
    tree = boxes.tree()  # where it lies is part of what an engine goes by
    boxes.create(tree)
    first = ready(engine, looks)
    process = looks.process(first)
    looks.kill(first)
    box = boxes.create(tree)
    assert looks.process(box.id) != process
    assert box.out("echo fine") == b"fine\n"
    assert first not in looks.idle()


def test_an_id_that_is_taken_is_refused_and_nothing_stays(engine: Warm, boxes: Boxes, looks: Looks) -> None:
    box = boxes.create()
    first = ready(engine, looks)
    request = engine._warm._wanted
    assert request is not None
    with pytest.raises(InputError, match="already"):
        engine.create(replace(request[1], sandbox=box.id))
    assert first not in looks.idle()
    assert box.out("echo alive") == b"alive\n"


def test_a_sweep_leaves_idle_ones_while_their_maker_lives_and_takes_them_when_it_died(
    place: tuple[str, str], engine: Warm, home: Path, boxes: Boxes, looks: Looks
) -> None:
    boxes.create()
    first = ready(engine, looks)
    other = open_engine(place[0], home)
    try:
        assert other.sweep() == []
        done = subprocess.run(
            [sys.executable, "-c", DIES, place[0], str(home), IMAGES[place[0]]],
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == -signal.SIGKILL
        assert len(looks.idle()) == 3
        assert len(other.sweep()) == 2
        assert looks.idle() == [first]
        assert boxes.create().out("echo alive") == b"alive\n", "the one that stayed is whole"
    finally:
        other.destroy("sbx_1")
        other.close()
