"""Work in a sandbox, and the process that is killed in the middle of it.

Owns how a sandbox's processes are found from outside: by a command that sleeps for a time that nobody else's does.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import host
from tests.faults.acts import kept, production
from tests.flows.house import Answer, House

PATIENCE_S = 60
"""What was killed under a command is noticed by then."""


def fresh_mark() -> str:
    """How long a command sleeps, which tells its processes from all others."""
    return f"{1000 + secrets.randbelow(9000)}.{secrets.randbelow(10**9)}"


def killed(mark: str, work: Callable[[], Answer], victim: Callable[[], list[int]]) -> Answer:
    """What `work` gives when the victim is killed as soon as there is one, its command running."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        host.wait_until(lambda: future.done() or bool(host.processes(mark) and victim()), "the command", timeout_s=60)
        assert not future.done(), future.result()
        for pid in victim():
            os.kill(pid, signal.SIGKILL)
        return future.result(PATIENCE_S)


def first_process(mark: str) -> Callable[[], list[int]]:
    """The first process of the sandbox."""
    return lambda: [host.init_of(pid) for pid in host.processes(mark)[:1]]


def holder(mark: str) -> Callable[[], list[int]]:
    """The process on the host that the sandbox's first one is a child of: the keeper, or the engine's shim."""
    return lambda: [_parent(host.init_of(pid)) for pid in host.processes(mark)[:1]]


def watcher(mark: str) -> Callable[[], list[int]]:
    """The process on the host that the command is a child of, where an OCI runtime started it."""
    return lambda: [_parent(pid) for pid in host.processes(mark)[:1]]


def created(house: House) -> str:
    """A sandbox."""
    made: str = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json["sandbox"]
    return made


def ended_well(house: House, before: dict[str, str]) -> None:
    """Real targets are as before; what is left of sandboxes ends when asked to, and then nothing is to recover."""
    assert production(house) == before
    for one in kept(house, "sandbox"):
        if one["status"] != "destroyed":
            house("destroy", one["sandbox"]).expect(0)
    assert house("recover", "--json").expect(0).json["done"] == []


def _parent(pid: int) -> int:
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    said = Path(f"/proc/{parent}/cmdline").read_bytes()
    assert any(word in said for word in (b"containerd-shim", b"python")), f"{parent} is nobody's keeper: {said!r}"
    return parent
