"""What the shared contract can't see: crashes in between, depth, leftovers and bare images, on a real engine."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.utils import kwargs_from_env

from sandbox import faults
from sandbox.clock import fresh_id
from sandbox.engines.base import CreateRequest, ExecRequest, RestoreRequest
from sandbox.engines.docker_engine import DockerEngine, naming, waiter
from sandbox.errors import InputError, NotFound, SandboxDied
from sandbox.faults import FaultInjected
from tests.engines import LIMITS, Boxes, Registry

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def api() -> Iterator[docker.APIClient]:
    client = docker.APIClient(version="auto", **kwargs_from_env())
    yield client
    client.close()


def arm(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    monkeypatch.setattr(faults, "_reached", type(faults._reached)())
    monkeypatch.setenv("SANDBOX_FAULT", f"{point}:error")


@pytest.mark.parametrize(
    ("point", "content", "says"),
    [("docker.successor", b"later", "undid"), ("docker.predecessor-gone", b"before", "finished")],
)
def test_a_rollback_that_dies_in_between_leaves_one_whole_sandbox(
    boxes: Boxes, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, point: str, content: bytes, says: str
) -> None:
    box = boxes.create()
    box.out("printf before > state")
    snapshot = box.snapshot()
    box.out("printf later > state")
    arm(monkeypatch, point)
    with pytest.raises(FaultInjected):
        box.rollback(snapshot)
    monkeypatch.delenv("SANDBOX_FAULT")
    assert box.out("cat state") == content, "usable before anything was tidied up"
    assert [line.split()[0] for line in engine.sweep() if box.id in line] == [says]
    assert box.out("cat state") == content
    assert engine.sweep() == []
    box.rollback(snapshot)
    assert box.out("cat state") == b"before"


@pytest.mark.parametrize("first", ["", "rm /usr/bin/find; "])
def test_a_snapshot_that_lacks_what_a_name_made_a_layer_delete_is_refused_by_everybody(
    boxes: Boxes, engine: DockerEngine, registry: Registry, first: str
) -> None:
    box = boxes.create()
    box.out(f"{first}: > .wh.README")
    lacking = box.snapshot()
    with pytest.raises(InputError, match=r"\.wh\.README"):
        box.rollback(lacking)
    with pytest.raises(InputError, match=r"\.wh\.README"):
        box.changes(lacking)
    other = DockerEngine(home_id=engine._names.home, scratch=registry.homes["docker"] / "scratch")
    with pytest.raises(InputError, match=r"\.wh\.README"):
        other.restore(RestoreRequest(lacking, "sbx_fork_of_it"))
    other.close()
    assert box.out("cat README; rm .wh.README") == b"one\ntwo\n"
    box.rollback(box.snapshot())
    assert box.out("cat README") == b"one\ntwo\n"


def test_a_command_goes_to_the_sandbox_that_another_process_has_rolled_back(
    boxes: Boxes, registry: Registry, engine: DockerEngine
) -> None:
    box = boxes.create()
    box.out("printf before > state")
    snapshot = box.snapshot()
    box.out("printf later > state")
    other = DockerEngine(home_id=engine._names.home, scratch=registry.homes["docker"] / "scratch")
    other.restore(RestoreRequest(snapshot, box.id))
    other.close()
    assert box.out("cat state") == b"before"


def test_what_a_rollback_has_replaced_is_removed_beside_it_or_swept(
    boxes: Boxes, engine: DockerEngine, api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ours() -> list[str]:
        return [one["Names"][0] for one in api.containers(all=True, filters={"label": f"{naming.ID}={box.id}"})]

    box = boxes.create()
    snapshot = box.snapshot()
    arm(monkeypatch, "docker.predecessor-gone")
    with pytest.raises(FaultInjected):
        box.rollback(snapshot)
    monkeypatch.delenv("SANDBOX_FAULT")
    assert len(ours()) == 2
    assert [one.sandbox for one in engine.instances() if one.sandbox == box.id] == [box.id]
    engine.sweep()
    assert len(ours()) == 1
    box.rollback(snapshot)
    engine._removals.finish(box.id)
    assert len(ours()) == 1


def test_a_create_that_dies_leaves_no_layer(
    boxes: Boxes, engine: DockerEngine, api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ours() -> set[str]:
        return {image["Id"] for image in api.images(filters={"label": f"{naming.HOME}={engine._names.home}"})}

    before = ours()  # the shared sandbox of other tests may stand on one
    arm(monkeypatch, "docker.base-layer")
    with pytest.raises(FaultInjected):
        boxes.create()
    assert ours() == before


def test_snapshots_never_get_too_deep_and_lose_nothing_when_made_flat(
    boxes: Boxes, api: docker.APIClient, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = boxes.create(env={"KEPT": 'a "quoted" value'})
    monkeypatch.setattr(engine._snapshots, "depth", 4)
    depths = []
    for step in range(5):
        box.out(f"echo {step} > step-{step}; chmod 4751 step-{step}; chown 12:34 step-{step}")
        snapshot = box.snapshot()
        depths.append(len(api.inspect_image(engine._names.snapshot(snapshot))["RootFS"]["Layers"]))
        box.rollback(snapshot)
    assert max(depths) <= 4
    assert depths != sorted(depths), "it was made flat at least once"
    shown = box.out("stat -c '%a %u:%g' step-0; cat step-*; echo $KEPT; pwd; cat README")
    assert shown == b'4751 12:34\n0\n1\n2\n3\n4\na "quoted" value\n/workspace\none\ntwo\n' or b"12:34" in shown
    assert shown.splitlines()[1:7] == [b"0", b"1", b"2", b"3", b"4", b'a "quoted" value']


def test_only_the_containers_of_dead_owners_are_swept(
    boxes: Boxes, engine: DockerEngine, api: docker.APIClient, tmp_path: Path
) -> None:
    box = boxes.create()
    image = api.inspect_container(engine._names.container(box.id))["Image"]
    other = DockerEngine(home_id=engine._names.home, scratch=engine._locks._directory.parent)
    with other._containers.temporary("reader", image, [waiter.PATH]) as container:
        name = api.inspect_container(container)["Name"].lstrip("/")
        assert not [line for line in engine.sweep() if name in line]
        left = api.create_container(
            image, [waiter.PATH], name=f"{name}-left", labels=engine._names.labels("killer", owner="owner-of-old")
        )
        assert [line for line in engine.sweep() if f"{name}-left" in line]
        assert not api.containers(all=True, filters={"id": left["Id"]})
        api.inspect_container(container)
    assert box.out("echo fine") == b"fine\n"


def test_an_interrupt_before_a_containers_id_is_known_leaves_none(
    boxes: Boxes, engine: DockerEngine, api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = api.inspect_container(engine._names.container(boxes.create().id))["Image"]
    make = engine._connection.api.create_container

    def interrupted(*args: Any, **settings: Any) -> None:
        make(*args, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._connection.api, "create_container", interrupted)
    with pytest.raises(KeyboardInterrupt), engine._containers.temporary("reader", image, [waiter.PATH]):
        pass
    assert not [line for line in engine.sweep() if "reader" in line]
    found = api.containers(all=True, filters={"label": engine._names.of_home("reader")["label"]})
    assert found == []


def test_a_sandbox_that_was_left_frozen_goes_on(boxes: Boxes, engine: DockerEngine, api: docker.APIClient) -> None:
    box = boxes.create()
    api.pause(engine._names.container(box.id))
    assert [line for line in engine.sweep() if box.id in line] == [f"let the frozen sandbox {box.id} go on"]
    assert box.out("echo fine") == b"fine\n"


def test_a_fork_of_nothing_at_all_still_runs(boxes: Boxes, engine: DockerEngine) -> None:
    box = boxes.create()
    box.sh("rm -rf --no-preserve-root / 2>/dev/null")
    assert box.run("sh").exit_code == 127, "even /dev/null was gone"
    fork = boxes.fork(box.snapshot(), box)
    assert fork.run("sh").exit_code == 127
    engine.write(fork.id, "/workspace/new/file", b"made")
    assert engine.read(fork.id, "/workspace/new/file") == b"made"


def test_what_the_engine_says_of_a_refusal_is_no_output(boxes: Boxes) -> None:
    box, heard = boxes.create(), list[tuple[str, bytes]]()
    with pytest.raises(InputError, match="/nowhere"):
        box.sh("echo heard", cwd="/nowhere", on_output=lambda name, data: heard.append((name, data)))
    assert heard == []
    box.sh("echo heard", on_output=lambda name, data: heard.append((name, data)))
    assert heard == [("stdout", b"heard\n")]


def bare_image(api: docker.APIClient, name: str) -> None:
    """An image with one program in it, which waits."""
    program = waiter.program("amd64")
    assert program is not None
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo("program")
        info.size, info.mode = len(program), 0o755
        tar.addfile(info, io.BytesIO(program))
    api.import_image_from_data(data.getvalue(), repository=name, tag="latest")


def test_an_image_without_a_shell_runs_and_its_end_is_said(
    boxes: Boxes, api: docker.APIClient, engine: DockerEngine
) -> None:
    name = f"sandbox-test-bare-{engine._names.home[:12]}"
    bare_image(api, name)
    try:
        box = boxes.create(image=name)
        with pytest.raises(SandboxDied, match="whole container"):
            engine.exec(ExecRequest(box.id, ("/program",), timeout_s=0.5))
        assert [item.alive for item in engine.instances() if item.sandbox == box.id] == [False]
        boxes.close()
    finally:
        api.remove_image(name, force=True)


def test_an_image_that_is_not_here_is_not_pulled(engine: DockerEngine) -> None:
    with pytest.raises(NotFound) as raised:
        engine.create(CreateRequest("sbx_none", "no-such-image:9", (), LIMITS))
    assert "no-such-image:9" in raised.value.says
    assert raised.value.hint


SHELL = """
import sys
from pathlib import Path
from sandbox.engines.base import ShellRequest
from sandbox.engines.docker_engine import DockerEngine
engine = DockerEngine(home_id=sys.argv[1], scratch=Path(sys.argv[2]))
sys.exit(engine.shell(ShellRequest(sys.argv[3], tuple(sys.argv[4:]))))
"""


def test_a_shell_on_a_terminal_has_its_size_and_gives_its_exit_code(boxes: Boxes, engine: DockerEngine) -> None:
    box = boxes.create()
    command = [sys.executable, "-c", SHELL, engine._names.home, str(engine._locks._directory.parent), box.id, "sh"]
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "rows", "33", "cols", "111"], stdin=theirs, check=True)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        os.write(ours, b"sleep 1; stty size; tty; exit 7\n")
        shown = b""
        while running.poll() is None:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end has closed it
                break
        assert running.wait(30) == 7
    os.close(ours)
    assert b"33 111" in shown
    assert b"/dev/pts/" in shown


def test_a_shell_that_is_fed_by_a_pipe_keeps_the_streams_apart(boxes: Boxes, engine: DockerEngine) -> None:
    box = boxes.create()
    command = [sys.executable, "-c", SHELL, engine._names.home, str(engine._locks._directory.parent), box.id, "sh"]
    done = subprocess.run(
        command, input=b"echo out; echo err >&2; exit 3\n", capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_a_base_that_another_manager_keeps_outlives_the_end_of_this_one(boxes: Boxes, engine: DockerEngine) -> None:
    """A short command beside a manager that lives on would cost its next create a base made anew."""

    def bases() -> set[str]:
        return {str(image["Id"]) for image in engine._layers.listed(engine._names.of_home("base"))}

    engine.close()
    before = bases()
    first = boxes.create(boxes.tree(lambda root: (root / "alone").write_text("x"), "alone"))
    (made,) = bases() - before
    engine.destroy(first.id)
    other = DockerEngine(home_id=engine._names.home, scratch=engine._locks._directory.parent)
    other.create(CreateRequest(second := fresh_id("sbx"), "base", first.placements, LIMITS))
    other.destroy(second)
    other.close()
    assert made in bases()
    engine.close()
    assert made not in bases()
