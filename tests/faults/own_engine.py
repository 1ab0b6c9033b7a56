"""A Docker Engine of a test's own, which may be stopped and killed, with a tiny image of this machine's own programs.

Owns its life: data, socket and network namespace are apart from every other engine, and nothing of it stays.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path

import docker

PROGRAMS = ("sh", "sleep", "touch", "head", "test", "cat")
IMAGE = "tiny:latest"
START_S = 60


class OwnEngine:
    """One engine in a folder; `start` and `stop` it as often as you like, `close` it at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        with self.client() as client:
            client.api.import_image_from_data(_tiny(), repository="tiny", tag="latest", changes=["ENV PATH=/bin"])

    def client(self) -> contextlib.closing[docker.DockerClient]:
        return contextlib.closing(docker.DockerClient(base_url=self.address, timeout=30))

    def start(self) -> None:
        """Returns when it answers."""
        self._end_containerd()
        (self.folder / "docker.pid").unlink(missing_ok=True)
        command = ["unshare", "--net", "dockerd", "--host", self.address, "--pidfile", f"{self.folder}/docker.pid"]
        command += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            )  # fmt: skip
        until = time.monotonic() + START_S
        while not self._answers():
            said = (self.folder / "log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Asked without the SDK, which leaves its socket open where nothing listens."""
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(5)
            probe.connect(self.address.removeprefix("unix://"))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 OK" in probe.recv(64)
        return False

    def stop(self, number: signal.Signals) -> None:
        """Send it a signal, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)

    def left(self) -> list[str]:
        """What it holds besides its image."""
        with self.client() as client:
            containers = [f"container {item['Names']}" for item in client.api.containers(all=True)]
            images = [f"image {item['RepoTags']}" for item in client.api.images(all=True)]
        return [*containers, *(image for image in images if IMAGE not in image)]

    def close(self) -> None:
        """End it and all that it started."""
        if self._process is not None and self._process.poll() is None:
            self.stop(signal.SIGTERM)
        self._end_containerd()
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mounted in sorted((one for one in mounts if one.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mounted], check=False)

    def _end_containerd(self) -> None:
        """A killed engine takes it along, but its next one would take a dead one that nobody has buried for alive."""
        file = self.folder / "exec/containerd/containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)
        file.unlink(missing_ok=True)


def _tiny() -> bytes:
    """An image with a few programs and the libraries that they need."""
    needed = {f"/bin/{name}": f"/bin/{name}" for name in PROGRAMS}
    for program in PROGRAMS:
        listed = subprocess.run(["ldd", f"/bin/{program}"], capture_output=True, text=True, check=True).stdout
        needed |= {path: path for path in re.findall(r"(/\S+) \(0x", listed)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for place, source in sorted(needed.items()):
            archive.add(os.path.realpath(source), place.lstrip("/"))
        for name, mode in (("tmp", 0o1777), ("etc", 0o755), ("root", 0o700)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
    return buffer.getvalue()
