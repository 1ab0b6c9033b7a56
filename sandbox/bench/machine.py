"""The machine as it is, and its floors: the least that such work costs here, whoever does it."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path

from sandbox.bench.outcome import Machine
from sandbox.bench.watch import Stopwatch

FLOORS = {
    "walk": "every entry of the tree looked at once (lstat)",
    "hash": "every file of the tree read and hashed (SHA-256)",
    "copy": "the tree copied by cp -a, with reflinks where the file system has them",
    "true": "a process started that does nothing (/bin/true)",
}
WHO = "the machine"
PROCESSES = 5


def measure(tree: Path, watch: Stopwatch) -> None:
    """Each floor once; the process a few times."""
    with watch.timed(WHO, "walk"):
        _walk(tree)
    with watch.timed(WHO, "hash"):
        for path in _walk(tree):
            with open(path, "rb") as file:
                hashlib.file_digest(file, "sha256")
    copy = tree.with_name("copy")
    try:
        with watch.timed(WHO, "copy"):
            subprocess.run(["cp", "-a", "--reflink=auto", str(tree), str(copy)], check=True)
    finally:
        subprocess.run(["rm", "-rf", str(copy)], check=True)
    for _ in range(PROCESSES):
        with watch.timed(WHO, "true"):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _walk(tree: Path) -> list[str]:
    """Paths of the files below, each entry having been looked at."""
    found: list[str] = []
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            os.lstat(os.path.join(folder, name))
        found += [os.path.join(folder, name) for name in files]
    return found


def describe(folder: Path) -> Machine:
    """What it is that was measured on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_field("/proc/cpuinfo", "model name") or platform.machine(),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        kernel=platform.release(),
        python=platform.python_version(),
        filesystem=filesystem_of(folder),
    )


def filesystem_of(folder: Path) -> str:
    """The type of the file system that a folder is on, as the kernel calls it."""
    longest, kind = -1, "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        place, _, rest = line.partition(" - ")
        where = Path(place.split()[4].replace("\\040", " "))
        if (folder == where or where in folder.parents) and len(where.parts) >= longest:
            longest, kind = len(where.parts), rest.split()[0]  # of several on one place, the last one is seen
    return kind


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
