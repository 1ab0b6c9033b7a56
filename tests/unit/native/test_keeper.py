"""A keeper's sandbox is an OCI runtime's sandbox, and the agent gets no hold of its keeper."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sandbox.engines.native import NativeEngine, keepers
from sandbox.engines.native.store import SandboxState, Store
from sandbox.errors import EngineError, SandboxDied
from sandbox.spec import Limits
from tests import host
from tests.engines import Box, Boxes

PROBE = r"""
import fcntl, json, os, socket, struct
LIMITS = ("memory", "pids", "cpu", "devices")
def lines(path):
    with open(path) as file:
        return file.read().splitlines()
def status(pid):
    wanted = ("Umask", "Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp", "Spec", "SigBlk", "SigCgt", "CoreDump")
    return [one for one in lines(f"/proc/{pid}/status") if one.startswith(wanted)]
def mounts():
    found = []
    for line in lines("/proc/self/mountinfo"):
        left, right = line.split(" - ")
        place, options, kind = left.split()[4], left.split()[5], right.split()[0]
        found.append([place, kind, sorted(set(options.split(",")) - {"relatime"})])
    return sorted(found)
def devices():
    found = {}
    for at, directories, names in os.walk("/dev"):
        for name in (*directories, *names):
            path = os.path.join(at, name)
            state = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else None
            found[path] = [oct(state.st_mode), state.st_rdev, state.st_uid, state.st_gid, link]
    return found
def unreadable():
    return [p for p in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/sys/fs/cgroup")
            if os.path.isdir(p) and os.listdir(p) or os.path.isfile(p) and open(p, "rb").read(1)]
up = fcntl.ioctl(socket.socket(), 0x8913, struct.pack("16sH14x", b"lo", 0))
found = {
    "own": status("self"),
    "first": status(1),
    "limits": lines("/proc/self/limits"),
    "first limits": lines("/proc/1/limits"),
    "score": [lines(f"/proc/{pid}/oom_score_adj") for pid in ("self", 1)],
    "handles": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:4],
    "cwd": os.getcwd(),
    "root": os.readlink("/proc/self/root"),
    "environ": dict(os.environ),
    "leads": os.getsid(0) == os.getpid(),
    "mounts": mounts(),
    "devices": devices(),
    "host": socket.gethostname(),
    "lo": up.hex(),
    "unreadable": unreadable(),
    "cgroups": [line.split(":", 2)[2] for line in lines("/proc/self/cgroup") if line.split(":")[1] in LIMITS],
}
if os.getuid() == 0:
    names = sorted(os.listdir("/proc/1/ns"))
    inodes = [{name: os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in names} for pid in ("self", 1)]
    found["namespaces"] = sorted(inodes[0]), inodes[0] == inodes[1]
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def _keepers_can_be_had() -> None:
    assert keepers.usable(), (
        "this machine has cgroup v1 beside v2, libseccomp and Linux 5.14, or these tests say nothing"
    )


def state_of(home: Path, box: Box) -> SandboxState:
    return Store(home / "engines" / "native").sandbox(box.id)


def keeper_of(home: Path, box: Box) -> int:
    """The keeper's process: the parent of the sandbox's first one."""
    return int(Path(f"/proc/{state_of(home, box).pid}/stat").read_text().rpartition(")")[2].split()[1])


def probed(box: Box, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(box.out(f"python3 -c '{PROBE.replace(chr(39), '')}'", **options))
    return found


@pytest.mark.parametrize("user", [None, "1234:567", "daemon"])
def test_a_command_is_confined_as_by_a_runtime(
    boxes: Boxes, home: Path, monkeypatch: pytest.MonkeyPatch, user: str | None
) -> None:
    """Rights, limits, filters, namespaces, mounts, devices, handles, of a command and of the first process."""
    kept = boxes.create()
    monkeypatch.setenv("SANDBOX_RUNTIME", "runc")
    other = boxes.create()
    assert [state_of(home, box).runtime for box in (kept, other)] == ["keeper", "runc"]
    ours, theirs = probed(kept, user=user), probed(other, user=user)
    for place, _, options in ours["mounts"]:
        if place == "/":
            options.remove("nodev")  # ours alone: no device in a layer can be opened
    assert (ours.pop("score"), theirs.pop("score")) == ([["500"], ["0"]], [["0"], ["0"]]), "our commands go first"
    theirs["devices"].pop("/dev/core", None)  # where the host shows its /proc/kcore
    assert ours.keys() == theirs.keys()
    for kind in ours:
        assert ours[kind] == theirs[kind], kind
    assert ours["own"], "or nothing was compared"


def test_namespaces_are_none_of_the_hosts(boxes: Boxes, home: Path) -> None:
    pid = state_of(home, boxes.create()).pid
    kinds = ("pid", "ipc", "uts", "mnt", "net", "cgroup")
    shared = [kind for kind in kinds if os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")]
    assert shared == []


def test_no_handle_of_ours_reaches_a_command(boxes: Boxes) -> None:
    box = boxes.create()
    shown = box.out("ls -l /proc/self/fd | sed -n 's/.* -> //p'").decode().split()
    assert [name.partition(":")[0] for name in shown[:3]] == ["pipe"] * 3
    assert len(shown) == 4, "standard streams, and the directory that ls reads"


def test_a_command_can_not_be_looked_into_before_it_is_the_agents(boxes: Boxes) -> None:
    """Between the fork and the exec it is the host's Python: nothing of it can be opened (CVE-2019-5736)."""
    box = boxes.create()
    watch = r"""
import os, sys, time
seen, opened, end = set(), set(), time.monotonic() + 4
while time.monotonic() < end:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) in (1, os.getpid()):
            continue
        seen.add(pid)
        for name in ("exe", "cwd", "root", "fd/3", "fd/5", "fd/8"):
            try:
                opened.add(os.readlink(f"/proc/{pid}/{name}"))
            except OSError:
                continue
        for name in ("maps", "environ", "mem"):
            try:
                opened.update(open(f"/proc/{pid}/{name}").read(4000).split())
            except OSError:
                continue
words = ("python", "keeper", "cgroup", "SANDBOX", "socket:")
bad = sorted(text for text in opened if any(word in text for word in words))
open("/workspace/found", "w").write(f"{len(seen)} {bad}")
"""
    box.engine.write(box.id, "/tmp/watch.py", watch.encode())
    box.out("python3 /tmp/watch.py >/tmp/said 2>&1 </dev/null &")
    while box.sh("test -s /workspace/found").exit_code != 0:
        box.out("true")
    count, _, bad = box.out("cat /workspace/found").decode().partition(" ")
    assert int(count) > 20, "commands were seen"
    assert bad == "[]"


def test_the_agent_neither_sees_nor_signals_the_keeper(boxes: Boxes, home: Path) -> None:
    box = boxes.create()
    keeper = keeper_of(home, box)
    box.sh("kill -9 -1")
    assert Path(f"/proc/{keeper}").exists()
    assert box.out("echo alive") == b"alive\n"
    assert box.out("cat /proc/[0-9]*/stat | awk '$4 == 0 {print $1}' | sort -n | head -1") == b"1\n"


def test_a_sandbox_whose_keeper_is_killed_is_dead_and_rolls_back(boxes: Boxes, home: Path) -> None:
    box = boxes.create()
    snapshot = box.snapshot()
    host.kill(keeper_of(home, box))
    pid = state_of(home, box).pid
    host.wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the container went with its keeper")
    with pytest.raises(SandboxDied):
        box.out("true")
    box.rollback(snapshot)
    assert box.out("echo alive") == b"alive\n"


def test_nothing_of_a_keeper_is_left_when_its_container_ends(boxes: Boxes, home: Path, engine: NativeEngine) -> None:
    box = boxes.create()
    keeper, container = keeper_of(home, box), state_of(home, box).container
    assert host.traces(container)
    host.kill(state_of(home, box).pid)
    host.wait_until(lambda: not Path(f"/proc/{keeper}").exists(), "the keeper ended")
    engine.destroy(box.id)
    host.assert_gone(box.id, container)


def test_a_killed_nursery_is_replaced(boxes: Boxes, engine: NativeEngine) -> None:
    first = boxes.create()
    end = engine._containers._spares._nursery._end
    assert end is not None
    process = end.peek()[2][1]
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert boxes.create().out("echo second") == b"second\n"
    assert first.out("echo first") == b"first\n", "keepers go on without it"


def test_memory_that_nobody_gives_back_kills_commands_and_not_the_sandbox(boxes: Boxes) -> None:
    """Files in memory stay when whoever wrote them was killed; the rest is taken by a process that waits."""
    box = boxes.create(limits=Limits(cpus=1, memory_mb=40, pids=64))
    hog = """
import os, time
while True:
    if os.fork() == 0:
        block = b"x" * (4 << 20)
        time.sleep(100)
    time.sleep(0.05)
"""
    box.engine.write(box.id, "/tmp/hog.py", hog.encode())
    box.sh("dd if=/dev/zero of=/dev/shm/full bs=64k", timeout_s=60)
    taken = box.sh("python3 /tmp/hog.py & sleep 2; exec python3 -c 'x = bytearray(60 << 20)'", timeout_s=30)
    assert taken.limit == "memory"
    for _ in range(3):
        assert box.sh("echo alive", timeout_s=60).limit in (None, "memory")
    assert [one.alive for one in boxes.engine.instances() if one.sandbox == box.id] == [True]


def test_a_sandbox_full_of_processes_says_so(boxes: Boxes, home: Path) -> None:
    box = boxes.create(limits=Limits(cpus=1, memory_mb=128, pids=8))
    source = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(100)
    except BlockingIOError:
        open("/workspace/full", "w").close()
"""
    box.engine.write(box.id, "/tmp/fill.py", source.encode())
    box.out("exec python3 /tmp/fill.py >/dev/null 2>&1 </dev/null &")
    root = Path(f"/proc/{state_of(home, box).pid}/root")
    host.wait_until(lambda: (root / "workspace/full").exists(), "no process more can be had")
    with pytest.raises(EngineError, match="as many processes as its limit"):
        box.out("true")
