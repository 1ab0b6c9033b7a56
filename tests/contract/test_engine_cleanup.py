"""Nothing stays behind, whatever happened; and sandboxes belong to a home, not to a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.clock import fresh_id
from sandbox.engines.base import CreateRequest, Engine, ExecRequest, Placement
from sandbox.errors import NotFound, SandboxError
from sandbox.trees.entry import Entry
from tests import host
from tests.engines import LIMITS, Box, Boxes, Registry, open_engine
from tests.trees import DirectoryTree

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(place: tuple[str, str], engine: Engine, registry: Registry) -> Path:
    return registry.homes[place[0]]


class BrokenTree(DirectoryTree):
    """A captured tree whose disk fails half-way."""

    def entries(self) -> Iterator[Entry]:
        for number, entry in enumerate(super().entries()):
            if number == 4:
                raise OSError(5, "Input/output error")
            yield entry


def words(box: Box) -> list[str]:
    """What names the sandbox on this host: its id and, on docker, its containers'."""
    return [box.id, *host.containers_of(box.id)]


def test_destroy_leaves_nothing(boxes: Boxes, engine: Engine, home: Path) -> None:
    first = boxes.create()  # makes what an engine keeps for all sandboxes, such as a file to lock
    engine.discard(first.snapshot())
    engine.destroy(first.id)
    engine.close()  # and lets go of what it keeps ready for the next, which has other names each time
    files, seen = host.files_below(home), host.traces(home.name)
    box = boxes.create()
    names = words(box)
    box.out("mkdir -p a/b; echo x > a/b/c; (sleep 300 >/dev/null 2>&1 </dev/null &) ; rm -rf app; chmod 000 a")
    snapshots = [box.snapshot(), box.snapshot()]
    fork = boxes.fork(snapshots[0], box)
    names += [*snapshots, *words(fork)]
    box.rollback(snapshots[0])
    names += words(box)
    kinds = {line.split()[0] for line in host.traces(*names)}
    assert "cgroup" in kinds, "or this test would not see what is left"
    assert "container" in kinds or host.files_below(home) != files
    engine.destroy(fork.id)
    engine.destroy(box.id)
    for snapshot in snapshots:
        engine.discard(snapshot)
    host.assert_gone(*names)
    engine.close()
    assert host.traces(home.name) == seen
    assert host.files_below(home) == files
    assert box.id not in [instance.sandbox for instance in engine.instances()]


def test_what_is_expected_and_never_comes_leaves_nothing(engine: Engine, home: Path) -> None:
    engine.close()
    files, seen = host.files_below(home), host.traces(home.name)
    engine.expect(LIMITS)
    engine.expect(LIMITS)
    engine.close()
    assert host.traces(home.name) == seen
    assert host.files_below(home) == files


@pytest.mark.every_image
def test_destroy_before_or_after_discard_and_twice(boxes: Boxes, engine: Engine, home: Path) -> None:
    engine.destroy(boxes.create().id)
    engine.close()  # it may keep for the next sandbox what the last one stood on
    files = host.files_below(home)
    box = boxes.create()
    snapshot = box.snapshot()
    engine.discard(snapshot)
    engine.destroy(box.id)
    engine.destroy(box.id)
    engine.discard(snapshot)
    host.assert_gone(box.id, snapshot)
    engine.close()
    assert host.files_below(home) == files
    with pytest.raises(NotFound):
        box.sh("true")


def test_destroy_of_a_busy_sandbox_ends_its_commands(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    marker = f"busy-{box.id}"
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(box.sh(f"sleep 300; : {marker}"))
        except SandboxError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    host.wait_until(lambda: host.processes(marker) != [], "the command runs")
    engine.destroy(box.id)
    thread.join(30)
    assert len(ended) == 1
    assert host.processes(marker) == []
    host.assert_gone(box.id)


@pytest.mark.every_image
def test_nothing_that_ran_in_a_sandbox_runs_once_it_was_rolled_back_or_destroyed(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    snapshot = box.snapshot()
    marker = f"busy-{box.id}"
    busy = f"for _ in 1 2 3 4 5 6 7 8; do (while :; do :; done; : {marker}) >/dev/null 2>&1 </dev/null & done"
    for end in (lambda: box.rollback(snapshot), lambda: engine.destroy(box.id)):
        box.out(busy)
        assert len(host.processes(marker)) >= 8
        end()
        assert host.processes(marker) == []


def test_a_create_that_fails_leaves_nothing(boxes: Boxes, engine: Engine, home: Path) -> None:
    engine.close()  # what others left to be removed is gone
    files, seen = host.files_below(home), host.traces(home.name)
    tree = boxes.tree()
    gone = BrokenTree("0" * 64, tree.root.parent / "vanished")
    for placement, image, error in (
        (Placement("/workspace", tree), "no-such-image", NotFound),
        (Placement("/workspace", gone), boxes.image, (SandboxError, OSError)),
    ):
        sandbox = fresh_id("sbx")
        with pytest.raises(error):  # type: ignore[arg-type]
            engine.create(CreateRequest(sandbox, image, (placement,), LIMITS))
        host.assert_gone(sandbox)
        with pytest.raises(NotFound):
            engine.exec(ExecRequest(sandbox, ("true",)))
    engine.close()
    assert host.traces(home.name) == seen
    assert host.files_below(home) == files


def test_an_image_that_does_not_exist_says_which(boxes: Boxes) -> None:
    with pytest.raises(NotFound) as missing:
        Boxes(boxes.engine, "no-such-image", boxes.scratch / "x").create()
    assert "no-such-image" in missing.value.says
    with pytest.raises(NotFound):
        boxes.engine.image_digest("no-such-image")


def test_an_id_that_is_taken_is_refused_and_its_sandbox_untouched(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    box.out("echo mine > mine")
    with pytest.raises(SandboxError):
        engine.create(CreateRequest(box.id, boxes.image, box.placements, LIMITS))
    assert box.out("cat mine") == b"mine\n"


def test_sweep_removes_nothing_that_is_in_use(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    box.out("echo kept > state")
    snapshot = box.snapshot()
    engine.sweep()
    assert box.out("cat state") == b"kept\n"
    box.rollback(snapshot)
    assert box.out("cat state") == b"kept\n"


def test_a_create_whose_process_was_killed_is_swept(
    place: tuple[str, str], boxes: Boxes, engine: Engine, home: Path
) -> None:
    """A process that dies at any moment of `create` leaves what `sweep` and `destroy` can find."""
    engine.close()  # what others left to be removed is gone
    files, seen = host.files_below(home), host.traces(home.name)
    for delay in ("0.05", "0.2", "0.5"):
        sandbox = fresh_id("sbx")
        tree = boxes.tree()
        source = f"""
import os, signal, threading
threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGKILL)).start()
engine.create(CreateRequest({sandbox!r}, {boxes.image!r},
    (Placement("/workspace", DirectoryTree({tree.id!r}, Path({str(tree.root)!r}))),), LIMITS))
"""
        elsewhere(place[0], home, source, check=False)
        engine.sweep()
        engine.destroy(sandbox)
        sweep_until_gone(engine, sandbox)
    engine.close()
    assert host.traces(home.name) == seen
    assert host.files_below(home) == files


def sweep_until_gone(engine: Engine, sandbox: str) -> None:
    """What a killed process had started may still be at work for a moment: the next sweep finds it."""

    def gone() -> bool:
        engine.sweep()
        return host.traces(sandbox) == []

    host.wait_until(gone, f"nothing of {sandbox} is left")


def test_what_exists_is_listed(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    listed = {instance.sandbox: instance for instance in engine.instances()}
    assert listed[box.id].alive
    assert listed[box.id].image == boxes.image
    assert boxes.image in {image.name for image in engine.images() if image.ready}
    digest = engine.image_digest(boxes.image)
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")
    assert all(finding.ok for finding in engine.doctor())


def test_another_process_uses_a_sandbox_that_was_made_here(place: tuple[str, str], boxes: Boxes, home: Path) -> None:
    box = boxes.create()
    box.out("echo from the first process > note")
    snapshot = box.snapshot()
    output = elsewhere(
        place[0],
        home,
        f"""
print(engine.exec(ExecRequest({box.id!r}, ("cat", "note"))).stdout.decode(), end="")
engine.write({box.id!r}, "/workspace/note", b"from the second process\\n")
engine.snapshot(SnapshotRequest({box.id!r}, "snap_of_the_other"))
print({{{snapshot!r}, "snap_of_the_other"}} <= set(engine.snapshots()))
""",
    )
    assert output == b"from the first process\nTrue\n"
    assert box.out("cat note") == b"from the second process\n"
    box.rollback(snapshot)
    box.rollback("snap_of_the_other")
    assert box.out("cat note") == b"from the second process\n"


def test_a_sandbox_outlives_the_process_that_made_it(
    place: tuple[str, str], boxes: Boxes, engine: Engine, home: Path
) -> None:
    tree = boxes.tree()
    sandbox = fresh_id("sbx")
    boxes.made.append(sandbox)
    elsewhere(
        place[0],
        home,
        f"""
tree = DirectoryTree({tree.id!r}, Path({str(tree.root)!r}))
engine.create(CreateRequest({sandbox!r}, {boxes.image!r}, (Placement("/workspace", tree),), LIMITS))
engine.exec(ExecRequest({sandbox!r}, ("sh", "-c",
    "(while :; do date +%s%N > beat; sleep 0.05; done) >/dev/null 2>&1 </dev/null &")))
""",
    )
    box = Box(engine, sandbox, (Placement("/workspace", tree),))
    host.wait_until(lambda: box.sh("test -s beat").exit_code == 0, "the first beat")
    first = box.out("cat beat")
    host.wait_until(lambda: box.out("cat beat") not in (b"", first), "its background process goes on")
    box.rollback(box.snapshot())
    assert box.out("ls app") == b"main.py\nrun.sh\ntemplates\n"


def test_creates_at_once_do_not_disturb_each_other(boxes: Boxes) -> None:
    tree = boxes.tree()
    made: list[Box] = []
    threads = [threading.Thread(target=lambda: made.append(boxes.create(tree))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len({box.id for box in made}) == 3
    for number, box in enumerate(made):
        box.out(f"echo {number} > number")
    assert [box.out("cat number").strip() for box in made] == [b"0", b"1", b"2"]


def test_a_closed_engine_holds_no_file_of_its_home(place: tuple[str, str], home: Path, tmp_path: Path) -> None:
    """A manager that goes on living, or a home on a file system that is to be unmounted."""

    def held() -> set[str]:
        fds = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        return {target for fd in fds if os.path.lexists(fd) and (target := os.readlink(fd)).startswith(str(home))}

    before, engine = held(), open_engine(place[0], home)
    boxes = Boxes(engine, place[1], tmp_path)
    boxes.create().out("true")
    boxes.close()
    engine.close()
    assert held() - before == set()


def elsewhere(engine: str, home: Path, source: str, *, check: bool = True) -> bytes:
    """The output of a Python program in a process of its own, with `engine` opened on the same home."""
    head = (
        "import sys; from pathlib import Path; from sandbox.engines.base import *; "
        "from tests.engines import LIMITS, open_engine; from tests.trees import DirectoryTree; "
        "engine = open_engine(sys.argv[1], Path(sys.argv[2]))\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", head + source, engine, str(home)]
    return subprocess.run(command, check=check, env=env, stdout=subprocess.PIPE, timeout=120).stdout
