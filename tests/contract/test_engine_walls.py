"""What an agent must not reach: the network, the host's files, processes and devices, its own limits.

The doors of the kernel are tried one by one in `tests/hostile/test_walls.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.engines.base import Engine
from sandbox.errors import InputError
from tests.engines import Box, Boxes

pytestmark = [pytest.mark.timeout(120), pytest.mark.every_image]

FORBIDDEN = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_LINUX_IMMUTABLE": 9,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_BOOT": 22,
    "CAP_SYS_TIME": 25,
    "CAP_MKNOD": 27,
    "CAP_MAC_ADMIN": 33,
    "CAP_SYSLOG": 34,
    "CAP_BPF": 39,
    "CAP_CHECKPOINT_RESTORE": 40,
}
CONNECT = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        print("reached", place)
    except OSError:
        pass
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on which this host answers, on every address."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


def own_addresses() -> list[str]:
    """An address of this host that is not loopback, where it has one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # a route look-up; nothing is sent
        return [probe.getsockname()[0]]
    return []


def test_the_only_interface_is_the_sandboxes_own_loopback(box: Box) -> None:
    assert box.python("import socket; print(socket.if_nameindex())").stdout == b"[(1, 'lo')]\n"
    assert box.out("tail -n +2 /proc/net/route") == b""


def test_neither_the_hosts_loopback_nor_its_address_nor_metadata_is_reached(box: Box, listener: int) -> None:
    places = [f"127.0.0.1:{listener}", "169.254.169.254:80", f"172.17.0.1:{listener}"]
    places += [f"{address}:{listener}" for address in own_addresses()]
    assert socket.create_connection(("127.0.0.1", listener), timeout=3).close() is None, "the host itself reaches it"
    result = box.python(CONNECT, *places)
    assert (result.exit_code, result.stdout) == (0, b"")


def test_an_abstract_socket_of_the_host_is_not_reached(box: Box) -> None:
    name = f"\0sandbox-test-{os.getpid()}-{box.id}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        with socket.socket(socket.AF_UNIX) as here:
            here.connect(name)
        source = "import socket, sys; socket.socket(socket.AF_UNIX).connect('\\0' + sys.argv[1])"
        result = box.python(source, name[1:])
    assert result.exit_code != 0
    assert b"ConnectionRefusedError" in result.stderr


def test_names_do_not_resolve(box: Box) -> None:
    result = box.python("import socket; socket.getaddrinfo('example.org', 80)", timeout_s=60)
    assert b"gaierror" in result.stderr


def test_its_own_loopback_has_a_name_and_is_reached_by_it(boxes: Boxes) -> None:
    source = """if True:
        import socket
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = ("localhost", server.getsockname()[1])
            socket.create_connection(address, timeout=5).close()
            print(socket.gethostbyname("localhost"))
    """
    box = boxes.create()
    assert box.python(source).stdout == b"127.0.0.1\n"
    snapshot = box.snapshot()
    box.out(": > /etc/hosts")
    box.rollback(snapshot)
    assert box.python(source).stdout == b"127.0.0.1\n"


def test_two_sandboxes_do_not_reach_each_other(boxes: Boxes) -> None:
    serving, asking = boxes.create(), boxes.create()
    serve = "import socket, time; s = socket.create_server(('', 4321)); open('/workspace/up', 'w'); time.sleep(60)"
    serving.out(f'python3 -c "{serve}" >/dev/null 2>&1 </dev/null &')
    serving.out("for i in $(seq 100); do test -e up && exit; sleep 0.1; done; exit 1")
    assert serving.python(CONNECT, "127.0.0.1:4321").stdout == b"reached 127.0.0.1:4321\n"
    assert asking.python(CONNECT, "127.0.0.1:4321").stdout == b""


def test_no_capability_that_reaches_beyond_and_no_way_to_gain_one(box: Box) -> None:
    status = dict(line.split(":\t", 1) for line in box.out("cat /proc/self/status").decode().splitlines())
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        held = int(status[kind], 16)
        assert [name for name, bit in FORBIDDEN.items() if held >> bit & 1] == [], kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_limits_can_not_be_lifted_from_inside(box: Box) -> None:
    find = "find /sys/fs/cgroup -name '*.max' -o -name '*limit_in_bytes' -o -name 'cgroup.procs' 2>/dev/null"
    result = box.sh(f"for f in $({find}); do (echo 0 > $f) 2>/dev/null && echo lifted $f; done; true")
    assert result.stdout == b""


def test_only_harmless_devices_are_there(box: Box) -> None:
    find = "find /dev -mindepth 1 \\( -type b -o -type c \\) -printf '%f\\n' | sort -u"
    devices = set(box.out(find).decode().split())
    assert devices <= {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}, devices
    assert {"null", "zero", "urandom"} <= devices
    assert box.out("echo gone > /dev/null; head -c 3 /dev/zero | od -An -c") == b"  \\0  \\0  \\0\n"


def test_processes_of_the_host_are_not_seen(box: Box) -> None:
    own = f"/proc/{os.getpid()}/cmdline"
    mine = Path(own).read_bytes()
    seen = box.out("for p in /proc/[0-9]*; do cat $p/cmdline 2>/dev/null; echo; done")
    assert mine not in seen
    assert len(seen.splitlines()) < 60


def test_the_managers_environment_is_in_no_process(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_TEST_CANARY", "canary-of-the-manager")
    box = boxes.create()
    seen = box.out("cat /proc/[0-9]*/environ /proc/self/environ 2>/dev/null; true", env={"SEEN": "the command's own"})
    assert b"the command's own" in seen
    assert b"canary-of-the-manager" not in seen
    assert b"DOCKER_HOST" not in seen


def test_files_of_the_host_are_not_there(boxes: Boxes, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("of the host")
    box = boxes.create()
    for path in (tmp_path / "canary", tmp_path, Path(__file__)):
        assert box.run("test", "-e", str(path)).exit_code == 1, path
    assert box.out("find / -xdev -name '*.sock' -o -xdev -type s 2>/dev/null") == b"", "sockets of the host"
    for private in ("/home", "/root"):
        found = box.out(f"find {private} -type f 2>/dev/null; true").decode().split("\n")
        assert set(filter(None, found)) <= {"/root/.bashrc", "/root/.profile"}
    assert box.sh("ls /etc/ssh/*key /etc/ssl/private/* /var/lib/docker /var/run/docker.sock").stdout == b""
    assert box.sh("grep -c ':[$][0-9a-z]*[$]' /etc/shadow").stdout in (b"", b"0\n"), "password hashes"


def test_open_files_of_the_manager_are_not_inherited(boxes: Boxes, tmp_path: Path) -> None:
    with open(tmp_path / "canary", "w") as file:
        os.set_inheritable(file.fileno(), True)
        box = boxes.create()
        opened = box.python("import os; print(sorted(os.listdir('/proc/self/fd')))").stdout
        assert opened == b"['0', '1', '2', '3']\n"
        assert str(tmp_path).encode() not in box.out("ls -l /proc/[0-9]*/fd 2>/dev/null; true")


def test_the_network_is_there_when_asked_for(boxes: Boxes, engine: Engine) -> None:
    if "full" not in engine.traits.networks:
        with pytest.raises(InputError, match="network"):
            boxes.create(network="full")
        return
    box = boxes.create(network="full")
    assert len(box.out("tail -n +2 /proc/net/route").splitlines()) >= 1
