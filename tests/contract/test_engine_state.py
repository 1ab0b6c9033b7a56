"""Snapshots, rollbacks and forks: every state comes back exactly, and none touches another."""

from __future__ import annotations

import threading
import time

import pytest

from sandbox.clock import fresh_id
from sandbox.engines.base import Engine, RestoreRequest, SnapshotRequest
from sandbox.errors import NotFound
from sandbox.spec import Limits
from tests import host
from tests.engines import Box, Boxes

pytestmark = pytest.mark.timeout(240)

GIVEN = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Put there by a container's runtime; not files of the image."""
FIND = (
    r"find / -xdev \( -path /tmp -o -path /dev -o -path /run \) -prune -o -printf '%p %y %m %U:%G %l\n' | LC_ALL=C sort"
)


def whole(box: Box) -> tuple[object, ...]:
    """Every path of the sandbox with kind, mode and owner, and the content where it matters most."""
    contents = [box.entries(path, skip=GIVEN) for path in ("/workspace", "/usr/bin", "/etc")]
    return box.out(FIND).splitlines(), *contents


def test_rm_rf_of_everything_then_rollback_brings_every_file_back(boxes: Boxes) -> None:
    box = boxes.create()
    before = whole(box)
    assert all(len(part) > 5 for part in before)
    snapshot = box.snapshot()
    box.sh("rm -rf --no-preserve-root /", timeout_s=120)
    gone = box.run("/usr/bin/env", "true")
    assert gone.exit_code in (126, 127), "nothing is left that could run"
    box.rollback(snapshot)
    assert whole(box) == before
    assert box.out("echo alive; pwd") == b"alive\n/workspace\n"


@pytest.mark.every_image
def test_deleted_programs_and_settings_come_back(boxes: Boxes) -> None:
    box = boxes.create()
    places = ("/workspace", "/usr/bin", "/etc")
    before = [box.entries(path, skip=GIVEN) for path in places]
    snapshot = box.snapshot()
    box.sh("rm -rf /workspace /etc /usr/bin; mkdir -p /usr/bin; echo '#!/bin/true' > /usr/bin/python3")
    assert box.run("python3", "--version").stdout == b""
    box.rollback(snapshot)
    assert [box.entries(path, skip=GIVEN) for path in places] == before


def test_the_workspace_itself_can_be_deleted_and_made_again(boxes: Boxes) -> None:
    box = boxes.create()
    before = box.entries()
    snapshot = box.snapshot()
    box.out("cd / && rm -rf /workspace && test ! -e /workspace && mkdir /workspace && echo new > /workspace/new")
    assert box.out("ls -A /workspace") == b"new\n"
    box.rollback(snapshot)
    assert box.entries() == before


def test_a_sandbox_without_any_program_can_be_snapshotted_and_rolled_back(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    good = box.snapshot()
    box.sh("echo last words > /workspace/README; rm -rf --no-preserve-root /usr /bin /lib /lib64 /etc")
    bad = box.snapshot()
    assert engine.read(box.id, "/workspace/README") == b"last words\n"
    box.rollback(good)
    assert box.out("cat README") == b"one\ntwo\n"
    box.rollback(bad)
    assert engine.read(box.id, "/workspace/README") == b"last words\n"
    box.rollback(good)
    assert box.out("cat README") == b"one\ntwo\n"


def test_rollback_to_an_older_snapshot_and_on_to_a_newer_one(boxes: Boxes) -> None:
    box = boxes.create()
    states = {}
    for step in ("echo 1 > step", "rm -rf app; echo 2 > step", "mkdir app; echo 3 > app/main.py; echo 3 > step"):
        box.out(step)
        states[box.snapshot()] = box.entries()
    first, second, third = states
    for snapshot in (first, third, second, first, first, third):
        box.rollback(snapshot)
        assert box.entries() == states[snapshot]
    box.out("echo 4 > step")
    fourth = box.snapshot()
    box.rollback(second)
    box.rollback(fourth)
    assert box.out("cat step app/main.py") == b"4\n3\n"


def test_rollback_ends_the_processes_and_keeps_limits_and_environment(boxes: Boxes) -> None:
    box = boxes.create(env={"KEPT": "yes"}, limits=Limits(cpus=1, memory_mb=64, pids=64))
    snapshot = box.snapshot()
    marker = f"before-{box.id}"
    box.out(f"sh -c 'sleep 300; : {marker}' >/dev/null 2>&1 </dev/null &")
    box.rollback(snapshot)
    assert host.processes(marker) == []
    assert box.out("echo $KEPT") == b"yes\n"
    assert box.python("bytearray(512 << 20)").limit == "memory"


def test_a_snapshot_changes_nothing_in_the_sandbox_and_its_processes_go_on(boxes: Boxes) -> None:
    box = boxes.create()
    box.out("(while :; do echo x >> beat; sleep 0.02; done) >/dev/null 2>&1 </dev/null &")
    host.wait_until(lambda: box.sh("test -s beat").exit_code == 0, "the first beat")
    box.snapshot()
    size = len(box.out("cat beat"))
    host.wait_until(lambda: len(box.out("cat beat")) > size, "the process goes on")


@pytest.mark.every_image
def test_a_snapshot_is_one_instant_while_a_process_keeps_writing(boxes: Boxes) -> None:
    """The writer raises `first`, then `second`, in many files: at no instant do two neighbours differ by more."""
    box = boxes.create()
    box.out(
        """cat > /tmp/writer.py <<'END'
import os
files = [os.open(f"/workspace/f{number}", os.O_CREAT | os.O_WRONLY) for number in range(8)]
count = 0
while True:
    count += 1
    for file in files:
        os.pwrite(file, b"%012d" % count, 0)
END
python3 /tmp/writer.py >/dev/null 2>&1 </dev/null &"""
    )
    host.wait_until(lambda: box.sh("test -s /workspace/f7").exit_code == 0, "the writer writes")
    for _ in range(3):
        time.sleep(0.1)
        fork = boxes.fork(box.snapshot(), box)
        counts = [int(count) for count in fork.out("for n in 0 1 2 3 4 5 6 7; do cat f$n; echo; done").split()]
        assert len(counts) == 8
        assert counts[0] - counts[-1] in (0, 1), counts
        assert counts == sorted(counts, reverse=True), counts


def test_a_command_that_runs_during_a_snapshot_ends_as_if_nothing_had_been(boxes: Boxes) -> None:
    box = boxes.create()
    results = []
    thread = threading.Thread(
        target=lambda: results.append(box.sh("for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done; exit 9"))
    )
    thread.start()
    for _ in range(2):
        time.sleep(0.3)
        box.snapshot()
    thread.join(60)
    assert [(result.exit_code, result.stdout) for result in results] == [(9, b"1\n2\n3\n4\n5\n6\n")]


@pytest.mark.every_image
def test_forks_are_independent_of_each_other_and_of_their_origin(boxes: Boxes) -> None:
    box = boxes.create()
    box.out("echo shared > state")
    snapshot = box.snapshot()
    left, right = boxes.fork(snapshot, box), boxes.fork(snapshot, box)
    box.out("echo origin > state; rm -rf app")
    left.out("echo left > state; echo left > only-left")
    right.out("rm state; rm -rf /usr/share")
    assert [(b.id, b.sh("cat state").stdout) for b in (box, left, right)] == [
        (box.id, b"origin\n"),
        (left.id, b"left\n"),
        (right.id, b""),
    ]
    assert left.sh("test -e app/main.py && test -d /usr/share").exit_code == 0
    assert right.sh("test -e app/main.py && test ! -e only-left").exit_code == 0
    assert box.sh("test ! -e only-left && test -d /usr/share").exit_code == 0
    assert boxes.fork(snapshot, box).out("cat state app/main.py") == b"shared\nprint('report')\n"


@pytest.mark.every_image
def test_fork_of_a_fork_outlives_its_ancestors(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    box.out("echo one > generation; rm app/run.sh")
    first = box.snapshot()
    child = boxes.fork(first, box)
    child.out("echo two >> generation; rm -rf data; mkdir data; echo new > data/file")
    second = child.snapshot()
    engine.destroy(box.id)
    engine.destroy(child.id)
    engine.discard(first)
    grandchild = boxes.fork(second, box)
    grandchild.out("echo three >> generation")
    assert grandchild.out("cat generation; ls app data") == (
        b"one\ntwo\nthree\napp:\nmain.py\ntemplates\n\ndata:\nfile\n"
    )
    third = grandchild.snapshot()
    engine.discard(second)
    grandchild.out("rm -rf /workspace/*")
    grandchild.rollback(third)
    assert grandchild.out("tail -1 generation") == b"three\n"


def test_a_fork_has_the_limits_of_its_origin(boxes: Boxes) -> None:
    box = boxes.create(limits=Limits(cpus=1, memory_mb=64, pids=64))
    fork = boxes.fork(box.snapshot(), box)
    assert fork.python("bytearray(512 << 20)").limit == "memory"


def test_many_snapshots_in_a_row_each_hold_their_own_state(boxes: Boxes) -> None:
    box = boxes.create()
    snapshots = []
    for number in range(12):
        box.out(f"echo {number} > number; rm -f was-*; : > was-{number}")
        snapshots.append(box.snapshot())
    for number in (0, 11, 5):
        box.rollback(snapshots[number])
        assert box.out("cat number; echo was-*") == f"{number}\nwas-{number}\n".encode()


def test_snapshots_are_listed_until_they_are_discarded(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    kept, dropped = box.snapshot(), box.snapshot()
    assert {kept, dropped} <= set(engine.snapshots())
    engine.discard(dropped)
    engine.discard(dropped)
    assert kept in engine.snapshots()
    assert dropped not in engine.snapshots()
    with pytest.raises(NotFound):
        box.rollback(dropped)
    assert box.out("echo untouched") == b"untouched\n"


def test_discarding_a_snapshot_leaves_what_stands_on_it_whole(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    box.out("echo kept > state")
    snapshot = box.snapshot()
    box.rollback(snapshot)
    fork = boxes.fork(snapshot, box)
    engine.discard(snapshot)
    assert box.out("cat state README") == fork.out("cat state README") == b"kept\none\ntwo\n"


def test_unknown_snapshots_and_sandboxes_are_not_found(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    with pytest.raises(NotFound):
        box.rollback("snap_00000000000000000000")
    with pytest.raises(NotFound):
        engine.restore(RestoreRequest("snap_00000000000000000000", fresh_id("sbx")))
    with pytest.raises(NotFound):
        engine.snapshot(SnapshotRequest("sbx_00000000000000000000", fresh_id("snap")))
    engine.discard("snap_00000000000000000000")
    engine.destroy("sbx_00000000000000000000")
    assert box.out("echo untouched") == b"untouched\n"


def test_snapshots_among_commands_that_are_just_being_started_hold_nobody_up(boxes: Boxes) -> None:
    """Docker 20.10 hangs for good where a container is frozen while a command is on its way into it."""
    box = boxes.create()
    box.out("echo kept > state")
    over = threading.Event()
    codes: list[int] = []

    def work() -> None:
        while not over.is_set():
            codes.append(box.run("true", timeout_s=30).exit_code)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        snapshots = [box.snapshot() for _ in range(6)]
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert set(codes) == {0}
    box.out("rm state")
    box.rollback(snapshots[-1])
    assert box.out("cat state") == b"kept\n"
