"""From within a sandbox, as root in it: every door to the host and to other sandboxes is tried, and is shut.

The walls that are stated one by one are in `tests/contract/test_engine_walls.py`.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.engines import Boxes, succeeded

pytestmark = [pytest.mark.timeout(120), pytest.mark.every_image]

PROBES = Path(__file__).parent / "probes"

OPEN_TO_ROOT = {
    "mounts a tmpfs", "binds the root", "opens a file system", "clones a mount", "takes away a mount", "pivots",
    "makes a user namespace", "makes a mount namespace", "makes a user namespace by clone",
    "makes a user namespace by clone3", "joins its own namespace", "restarts the machine", "adds swap",
    "sets the clock", "names the host", "makes a bpf map", "opens a performance counter", "opens a keyring",
    "adds a key", "reads the kernel's log", "accounts for processes", "makes a file handle", "opens by a file handle",
    "takes another process's file", "sends packets of its own making", "changes the network", "makes a block device",
    "makes a character device", "writes /proc/sys/kernel/core_pattern", "writes /proc/sys/vm/drop_caches",
    "writes to a control group", "sees the manager's home", "connects to an SSH agent",
    "connects to an abstract socket", "reaches a port of the host", "finds a process of the host",
    "signals a process of the host", "traces a process of the host", "reads the memory of a process of the host",
    "knows the manager's environment", "knows the SSH agent's address",
}  # fmt: skip
"""To root on a machine that hides nothing. What hangs on the kernel's configuration is not in this list."""


LEFT_TO_THE_ENGINE = {
    "native": set[str](),
    # Which system calls a container may make is the Docker Engine's own default filter: older ones let these pass.
    "docker": {"sets up an io ring", "talks to the hypervisor"},
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What this host has that nobody inside may find: all of it there, and answering, while the probes run."""
    token = secrets.token_hex(8)
    (tmp_path / f"secret-{token}").write_text("of the host")
    agent, abstract = tmp_path / "agent.sock", f"sandbox-test-{token}"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    monkeypatch.setenv("SANDBOX_TEST_SECRET", f"environment-{token}")
    with ExitStack() as stack:
        for address in (str(agent), "\0" + abstract):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(address)
            server.listen(64)
        port = stack.enter_context(socket.create_server(("", 0), backlog=64)).getsockname()[1]
        command = [sys.executable, "-c", "import sys; sys.stdin.read()", f"process-{token}"]
        running = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
        stack.callback(running.kill)
        docker = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        yield {
            "paths": {"the Docker socket": docker, "the manager's home": str(tmp_path), "this file": __file__},
            "sockets": {"the Docker Engine": docker, "an SSH agent": str(agent)},
            "abstract": {"an abstract socket": abstract},
            "addresses": {
                "a port of the host": ["127.0.0.1", port],
                "the metadata service": ["169.254.169.254", 80],
                "the Docker bridge": ["172.17.0.1", port],
                "a name server": ["1.1.1.1", 53],
            },
            "processes": {"a process of the host": f"process-{token}"},
            "pids": {"a process of the host": running.pid},
            "files": {"a file of the host": f"secret-{token}"},
            "words": {"the manager's environment": f"environment-{token}", "the SSH agent's address": str(agent)},
        }


def verdicts(output: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Which probes got in, and which did not run to an answer."""
    found = json.loads(output)
    assert len(found) > 90, "a corpus that shrinks is noticed"
    got_in = {name: why for name, (verdict, why) in found.items() if verdict == "got in"}
    broken = {name: why for name, (verdict, why) in found.items() if verdict == "broken"}
    return got_in, broken


def test_t2_t30_no_probe_gets_out_of_a_sandbox_and_ordinary_work_goes_on(boxes: Boxes, host: dict[str, Any]) -> None:
    neighbour, box = boxes.create(), boxes.create()
    mark = secrets.token_hex(8)
    neighbour.out(f"echo x > /tmp/neighbour-{mark}; (sleep 86400.{int(mark, 16)} >/dev/null 2>&1 &)")
    host["files"]["a file of another sandbox"] = f"neighbour-{mark}"
    host["processes"]["a process of another sandbox"] = f"86400.{int(mark, 16)}"
    for source in PROBES.glob("*.py"):
        box.engine.write(box.id, f"/tmp/probes/{source.name}", source.read_bytes())
    result = succeeded(box.run("python3", "/tmp/probes/every.py", stdin=json.dumps(host).encode(), timeout_s=60))
    got_in, broken = verdicts(result.stdout)
    assert broken == {}
    assert sorted(got_in.keys() - LEFT_TO_THE_ENGINE[box.engine.traits.name]) == ["ordinary work"], got_in


def test_where_there_are_no_walls_the_same_probes_get_in(host: dict[str, Any]) -> None:
    """The control: a probe that is denied everywhere would prove nothing of a sandbox."""
    command = ["unshare", "--mount", "--uts", "--ipc", "--cgroup", sys.executable, str(PROBES / "every.py")]
    done = subprocess.run(command, input=json.dumps(host).encode(), capture_output=True, check=True, timeout=60)
    got_in, broken = verdicts(done.stdout)
    assert broken == {}
    assert sorted(OPEN_TO_ROOT - got_in.keys()) == []
