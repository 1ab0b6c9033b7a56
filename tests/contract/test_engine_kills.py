"""How commands and sandboxes are ended: timeouts, cancels, limits, and death from outside."""

from __future__ import annotations

import threading
import time

import pytest

from sandbox.engines.base import KILLED, Engine
from sandbox.errors import EngineError, SandboxDied, SandboxError
from sandbox.spec import Limits
from tests import host
from tests.engines import Boxes

pytestmark = pytest.mark.timeout(240)

RUNAWAYS = r"""
import os, sys, time
def runaway(marker):
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setsid()
    for fd in range(3):
        os.close(fd)
    os.chdir("/")
    os.execve("/bin/sh", ["sh", "-c", "sleep 300; : " + marker], {"PATH": "/usr/bin:/bin"})
for number in range(3):
    if os.fork() == 0:
        runaway(sys.argv[1])
if os.fork() == 0:
    time.sleep(300)
print("started", flush=True)
time.sleep(300)
"""
"""Children of the command that leave its session and process group, drop its pipes and environment and are
orphaned: nothing ties them to it but that it started them."""


@pytest.mark.every_image
def test_a_timeout_kills_all_that_the_command_started(boxes: Boxes) -> None:
    box = boxes.create()
    marker = f"runaway-{box.id}"
    result = box.python(RUNAWAYS, marker, timeout_s=3)
    assert (result.exit_code, result.timed_out, result.cancelled) == (KILLED, True, False)
    assert result.stdout == b"started\n", "what came before the timeout is kept"
    assert 3 <= result.seconds < 15
    assert host.processes(marker) == []
    assert box.out("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").count(marker.encode()) == 0


def test_the_runaways_live_as_long_as_there_is_no_timeout(boxes: Boxes) -> None:
    """So that the test above can fail."""
    box = boxes.create()
    marker = f"runaway-{box.id}"
    ended = threading.Event()
    thread = threading.Thread(target=box.python, args=(RUNAWAYS, marker), kwargs={"cancel": ended, "timeout_s": 60})
    thread.start()
    try:
        host.wait_until(lambda: len(host.processes(f": {marker}")) == 3, "three runaways")
    finally:
        ended.set()
        thread.join(30)
    host.wait_until(lambda: host.processes(marker) == [], "no runaway after a cancel", timeout_s=5)


def test_a_timeout_leaves_what_earlier_commands_started(boxes: Boxes) -> None:
    box = boxes.create()
    marker = f"earlier-{box.id}"
    box.out(f"sh -c 'sleep 300; : {marker}' >/dev/null 2>&1 </dev/null &")
    before = host.processes(marker)
    assert before
    assert box.sh("sleep 300 & sleep 300", timeout_s=1).timed_out
    assert host.processes(marker) == before


def test_a_command_within_its_timeout_is_not_touched(boxes: Boxes) -> None:
    result = boxes.create().sh("sleep 0.2; exit 7", timeout_s=60)
    assert (result.exit_code, result.timed_out) == (7, False)


def test_a_command_that_ignores_signals_is_killed_too(boxes: Boxes) -> None:
    result = boxes.create().sh("trap '' TERM INT HUP QUIT; while :; do sleep 1; done", timeout_s=2)
    assert (result.exit_code, result.timed_out) == (KILLED, True)


def test_a_cancel_ends_the_command_within_a_fraction_of_a_second(boxes: Boxes) -> None:
    box = boxes.create()
    cancel = threading.Event()
    said: list[float] = []

    def cancel_it() -> None:
        said.append(time.monotonic())
        cancel.set()

    timer = threading.Timer(1.0, cancel_it)
    timer.start()
    result = box.sh("sleep 300 & sleep 300", cancel=cancel, timeout_s=60)
    took = time.monotonic() - said[0]
    timer.join()
    assert (result.exit_code, result.timed_out, result.cancelled) == (KILLED, False, True)
    assert took < 3
    assert box.out("echo alive") == b"alive\n"


def test_a_background_child_that_holds_the_output_open_does_not_hold_the_command(boxes: Boxes) -> None:
    started = time.monotonic()
    result = boxes.create().sh("sleep 60 & echo done", timeout_s=50)
    assert (result.exit_code, result.stdout, result.timed_out) == (0, b"done\n", False)
    assert time.monotonic() - started < 20


def test_the_sandbox_outlives_its_commands_and_keeps_their_background_processes(boxes: Boxes) -> None:
    box = boxes.create()
    box.out("(while :; do date +%s%N > /workspace/beat; sleep 0.05; done) >/dev/null 2>&1 </dev/null &")
    host.wait_until(lambda: box.sh("test -s beat").exit_code == 0, "the first beat")
    first = box.out("cat beat")
    host.wait_until(lambda: box.out("cat beat") not in (b"", first), "another beat")


@pytest.mark.every_image
def test_memory_is_limited_and_the_limit_is_named(boxes: Boxes) -> None:
    box = boxes.create(limits=Limits(cpus=2, memory_mb=64, pids=64))
    result = box.python("block = bytearray(512 << 20); print('got it', len(block))")
    assert result.exit_code == KILLED
    assert result.limit == "memory"
    assert b"got it" not in result.stdout
    assert not result.timed_out
    later = box.sh("echo alive; exit 5")
    assert (later.exit_code, later.stdout, later.limit) == (5, b"alive\n", None)


def test_memory_within_the_limit_is_given(boxes: Boxes) -> None:
    box = boxes.create(limits=Limits(cpus=2, memory_mb=256, pids=64))
    result = box.python("block = bytearray(128 << 20); block[::4096] = b'x' * len(block[::4096]); print('got it')")
    assert (result.exit_code, result.stdout, result.limit) == (0, b"got it\n", None)


def test_processes_are_limited(boxes: Boxes) -> None:
    box = boxes.create(limits=Limits(cpus=2, memory_mb=256, pids=40))
    result = box.python(
        """
import os, signal, time
children = []
try:
    while len(children) < 400:
        child = os.fork()
        if child == 0:
            time.sleep(100)
        children.append(child)
except BlockingIOError:
    print("refused after", len(children))
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""
    )
    words = result.stdout.split()
    assert words[:2] == [b"refused", b"after"], result
    assert 20 <= int(words[2]) < 40
    assert box.out("echo alive") == b"alive\n"


def test_a_fork_bomb_ends_at_its_timeout(boxes: Boxes) -> None:
    box = boxes.create(limits=Limits(cpus=1, memory_mb=256, pids=64))
    result = box.sh("bomb() { bomb | bomb & }; bomb; sleep 100", timeout_s=3)
    assert result.exit_code != 0
    assert result.seconds < 30
    assert box.out("echo alive", timeout_s=30) == b"alive\n"


FILLS = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
    except OSError:
        time.sleep(0.01)
"""


def test_a_sandbox_that_is_full_of_processes_says_so(boxes: Boxes) -> None:
    box = boxes.create(limits=Limits(cpus=1, memory_mb=256, pids=30))
    snapshot = box.snapshot()
    box.sh(f"python3 -c '{FILLS}' >/dev/null 2>&1 </dev/null & sleep 1")
    try:
        says = box.sh("true | true").stderr.decode()
    except EngineError as error:
        says = error.says
    assert "as many processes as its limit" in says or "Cannot fork" in says
    box.rollback(snapshot)
    assert box.out("echo alive") == b"alive\n"


def test_cpu_is_limited(boxes: Boxes) -> None:
    box = boxes.create(limits=Limits(cpus=0.5, memory_mb=256, pids=64))
    result = box.python(
        """
import os, time
start = time.monotonic()
for _ in range(2):
    if os.fork() == 0:
        while time.monotonic() < start + 3:
            pass
        os._exit(0)
os.wait(), os.wait()
used = os.times()
print((used.children_user + used.children_system) / (time.monotonic() - start))
"""
    )
    assert 0.1 < float(result.stdout) < 0.65, "processors used by two busy processes that may have half of one"


@pytest.mark.every_image
def test_a_container_killed_from_outside_is_an_error_that_says_so(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    marker = f"inside-{box.id}"
    box.out(f"sh -c 'sleep 300; : {marker}' >/dev/null 2>&1 </dev/null &")
    host.kill(host.init_of(host.running(marker)))
    host.wait_until(lambda: host.processes(marker) == [], "the container's processes are gone")
    with pytest.raises(SandboxDied) as died:
        box.sh("echo alive")
    assert box.id in died.value.says
    assert [instance.alive for instance in engine.instances() if instance.sandbox == box.id] == [False]
    engine.destroy(box.id)
    host.assert_gone(box.id)


def test_a_container_that_dies_under_a_running_command_is_an_error_too(boxes: Boxes) -> None:
    box = boxes.create()
    marker = f"inside-{box.id}"
    caught: list[SandboxError] = []

    def work() -> None:
        try:
            box.sh(f"sleep 300; : {marker}", timeout_s=60)
        except SandboxError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    host.wait_until(lambda: host.processes(marker) != [], "the command runs")
    host.kill(host.init_of(host.running(marker)))
    thread.join(30)
    assert not thread.is_alive()
    assert [type(error) for error in caught] == [SandboxDied]


def test_a_dead_sandbox_comes_back_by_a_rollback(boxes: Boxes) -> None:
    box = boxes.create()
    snapshot = box.snapshot()
    marker = f"inside-{box.id}"
    box.out(f"echo changed > README; sh -c 'sleep 300; : {marker}' >/dev/null 2>&1 </dev/null &")
    host.kill(host.init_of(host.running(marker)))
    host.wait_until(lambda: host.processes(marker) == [], "the container's processes are gone")
    box.rollback(snapshot)
    assert box.out("cat README") == b"one\ntwo\n"
