"""Containers that were made before they were asked for: the same as others, never stale, and never left behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker.utils import kwargs_from_env

from sandbox.engines.docker_engine import DockerEngine
from sandbox.errors import InputError
from sandbox.spec import Limits
from tests import host
from tests.engines import Boxes

pytestmark = pytest.mark.timeout(240)

DIES = """
import os, signal, sys, time
from pathlib import Path
from sandbox.engines.base import CreateRequest
from sandbox.engines.docker_engine import DockerEngine
from sandbox.spec import Limits
home_id, scratch = sys.argv[1:]
engine = DockerEngine(home_id=home_id, scratch=Path(scratch), warm=1)
engine.create(CreateRequest("sbx_1", "base", (), Limits()))
while len(engine._warm) < 1:
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[DockerEngine]:
    engine = DockerEngine(home_id=f"warm{abs(hash(tmp_path))}", scratch=tmp_path / "scratch", warm=1)
    yield engine
    engine.close()
    assert host.traces(engine._names.home) == []


@pytest.fixture
def boxes(warm: DockerEngine, tmp_path: Path) -> Iterator[Boxes]:
    boxes = Boxes(warm, "base", tmp_path / "boxes")
    yield boxes
    boxes.close()


def idle(warm: DockerEngine) -> dict[str, str]:
    """The containers that wait, by their ids: their names."""
    with contextlib.closing(docker.APIClient(version="auto", **kwargs_from_env())) as api:
        found = api.containers(all=True, filters={"label": warm._names.of_home("sandbox")["label"]})
    return {item["Id"]: item["Names"][0] for item in found if "-warm_" in item["Names"][0]}


def ready(warm: DockerEngine) -> str:
    """The id of the one container that waits, once it is there."""
    host.wait_until(lambda: len(warm._warm) == 1, "a warm sandbox")
    (container,) = idle(warm)
    return container


def test_a_warm_container_becomes_the_next_sandbox_and_works_like_any(warm: DockerEngine, boxes: Boxes) -> None:
    tree = boxes.tree()
    boxes.create(tree)
    container = ready(warm)
    assert all(not one.sandbox.startswith("warm") for one in warm.instances())
    box = boxes.create(tree)
    assert warm._containers.find(box.id).id == container, "it is the one that was waiting"
    assert {one.sandbox for one in warm.instances() if one.alive} == set(boxes.made)
    assert box.out("cat README; echo changed > README; pwd") == b"one\ntwo\n/workspace\n"
    snapshot = box.snapshot()
    assert list(box.changes()) != []
    box.out("rm -rf /workspace/*")
    box.rollback(snapshot)
    assert box.out("cat README") == b"changed\n"


def test_another_kind_is_never_handed_out(warm: DockerEngine, boxes: Boxes) -> None:
    boxes.create()
    first = ready(warm)
    box = boxes.create(limits=Limits(cpus=1, memory_mb=100, pids=40))
    assert warm._containers.find(box.id).id != first
    host.wait_until(lambda: first not in idle(warm) and len(warm._warm) == 1, "one of the new kind, the old one gone")


def test_one_that_died_while_it_waited_is_not_handed_out(warm: DockerEngine, boxes: Boxes) -> None:
    boxes.create()
    first = ready(warm)
    with contextlib.closing(docker.APIClient(version="auto", **kwargs_from_env())) as api:
        api.kill(first)
    box = boxes.create()
    assert warm._containers.find(box.id).id != first
    assert box.out("echo fine") == b"fine\n"
    assert first not in idle(warm)


def test_an_id_that_is_taken_is_refused_and_nothing_stays(warm: DockerEngine, boxes: Boxes) -> None:
    box = boxes.create()
    container = ready(warm)
    request = warm._warm._wanted
    assert request is not None
    with pytest.raises(InputError, match="already"):
        warm.create(replace(request[1], sandbox=box.id))
    assert container not in idle(warm)
    assert box.out("echo alive") == b"alive\n"


def test_a_sweep_leaves_idle_ones_while_their_maker_lives_and_takes_them_when_it_died(
    warm: DockerEngine, boxes: Boxes, tmp_path: Path
) -> None:
    boxes.create()
    container = ready(warm)
    other = DockerEngine(home_id=warm._names.home, scratch=tmp_path / "scratch")
    try:
        assert other.sweep() == []
        done = subprocess.run(
            [sys.executable, "-c", DIES, warm._names.home, str(tmp_path / "scratch")],
            check=False,
            cwd=Path(__file__).parents[3],
        )
        assert done.returncode == -signal.SIGKILL
        assert len(idle(warm)) == 2
        assert len([line for line in other.sweep() if "waited" in line or "ended" in line]) == 1
        assert list(idle(warm)) == [container]
    finally:
        other.destroy("sbx_1")
        other.close()
