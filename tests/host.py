"""What this host shows of sandboxes from outside: processes, mounts, cgroups, containers, files.

Owns the tests' outside view: nothing here asks the product.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker


def processes(marker: str) -> list[int]:
    """The ids, on this host, of processes with the marker on their command line; of sandboxes on this host only."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and _is_contained(pid):
                found.append(pid)
    return found


def running(marker: str) -> int:
    """One of them, as soon as there is one: one that is just becoming another program has no command line."""
    found: list[int] = []
    wait_until(lambda: bool(found.extend(processes(marker)) or found), f"{marker} runs")
    return found[0]


def init_of(pid: int) -> int:
    """The first process of the container that `pid` runs in."""
    for other in _pids():
        with contextlib.suppress(OSError):
            if _namespace(other) == _namespace(pid) and _pid_inside(other) == 1:
                return other
    raise AssertionError(f"process {pid} has no init")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def traces(*words: str) -> list[str]:
    """One line for each mount, cgroup, process, container, image, volume and network that mentions a word."""
    return [line for line in _everything() if any(word in line for word in words)]


def assert_gone(*words: str) -> None:
    """Nothing that mentions one of the words is left, or soon: the kernel takes a while to clear away what ended."""
    wait_until(lambda: traces(*words) == [], f"nothing is left of {', '.join(words)}")


def traces_here(*words: str) -> list[str]:
    """As `traces`, of the mounts and cgroups that this process sees alone: quick."""
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    groups = [os.path.join(at, name) for at, names, _ in os.walk("/sys/fs/cgroup") for name in names]
    return [line for line in (*mounts, *groups) if any(word in line for word in words)]


def containers_of(*words: str) -> list[str]:
    """The ids of Docker containers whose description mentions a word."""
    return [line.split()[1] for line in _docker() if line.startswith("container") and any(w in line for w in words)]


def files_below(*roots: Path) -> list[str]:
    """Every path below these directories."""
    return sorted(os.path.join(at, name) for root in roots for at, d, f in os.walk(root) for name in d + f)


def _everything() -> Iterator[str]:
    yield from _mounts()
    for at, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (f"cgroup {os.path.join(at, name)}" for name in names)
    for pid in _pids():
        with contextlib.suppress(OSError):
            if pid != os.getpid():
                yield f"process {pid} {Path(f'/proc/{pid}/cmdline').read_bytes().decode('utf-8', 'replace')}"
    for netns in ("/run/netns", "/var/run/docker/netns"):
        with contextlib.suppress(OSError):
            yield from (f"network namespace {name}" for name in os.listdir(netns))
    yield from _docker()


def _mounts() -> Iterator[str]:
    """The mounts of every mount namespace that a process is in."""
    seen = set()
    for pid in _pids():
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace not in seen:
                with open(f"/proc/{pid}/mountinfo", errors="surrogateescape") as mounts:
                    lines = mounts.readlines()
                seen.add(namespace)
                yield from (f"mount {line.strip()}" for line in lines)


def _docker() -> Iterator[str]:
    """What the Docker Engine holds, where one answers."""
    if not _docker_listens():
        return
    with contextlib.closing(docker.from_env(timeout=60)) as client:
        api = client.api
        for item in api.containers(all=True):
            with contextlib.suppress(docker.errors.NotFound):  # another worker's, gone meanwhile
                yield f"container {item['Id']} {json.dumps(api.inspect_container(item['Id']))}"
        for item in api.images(all=True):
            yield f"image {item['Id']} {json.dumps(item)}"
        for item in api.volumes()["Volumes"] or ():
            yield f"volume {json.dumps(item)}"
        for item in api.networks():
            yield f"network {json.dumps(item)}"


def _docker_listens() -> bool:
    """Asked without the SDK, which leaves its socket open where nothing listens."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address.removeprefix("unix://")) == 0


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def _is_contained(pid: int) -> bool:
    return _namespace(pid) != os.readlink("/proc/self/ns/pid")


def _pid_inside(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[-1]) for line in status if line.startswith("NSpid:"))


def wait_until(met: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    """Wait for something that happens elsewhere."""
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, f"still not: {what}"
        time.sleep(0.05)
