"""The machine as it is, and its floors: the least that such work costs here, whoever does it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from sandbox.bench.outcome import Machine
from sandbox.bench.watch import Stopwatch

FLOORS = {
    "walk": "every entry of the tree looked at once: lstat by find, a program in C",
    "walk_python": "the same by os.walk and os.lstat",
    "hash": "every file of the tree read and hashed (SHA-256)",
    "copy": "the tree copied by cp -a --reflink=auto",
    "copy_bytes": "the tree copied by cp -a, byte by byte",
    "true": "a process started that does nothing (/bin/true)",
    "python": "Python started without site, to do nothing",
    "fsync": "4 KiB added to a file and made durable (fdatasync)",
}
WHO = "the machine"
OFTEN = 5
"""How often the short ones are measured in a round."""


def measure(tree: Path, watch: Stopwatch) -> None:
    """Each floor once; the short ones a few times."""
    with watch.timed(WHO, "walk"):
        subprocess.run(["find", str(tree), "-newermt", "2100-01-01"], check=True, stdout=subprocess.DEVNULL)
    with watch.timed(WHO, "walk_python"):
        _walk(tree)
    with watch.timed(WHO, "hash"):
        for path in _walk(tree):
            with open(path, "rb") as file:
                hashlib.file_digest(file, "sha256")
    for floor, how in (("copy", "auto"), ("copy_bytes", "never")):
        copy = tree.with_name("copy")
        try:
            with watch.timed(WHO, floor):
                subprocess.run(["cp", "-a", f"--reflink={how}", str(tree), str(copy)], check=True)
        finally:
            subprocess.run(["rm", "-rf", str(copy)], check=True)
    for _ in range(OFTEN):
        with watch.timed(WHO, "true"):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        with watch.timed(WHO, "python"):
            subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    _durable(tree.with_name("durable"), watch)


def _durable(file: Path, watch: Stopwatch) -> None:
    try:
        with open(file, "wb", buffering=0) as log:
            for _ in range(OFTEN):
                with watch.timed(WHO, "fsync"):
                    log.write(b"x" * 4096)
                    os.fdatasync(log.fileno())
    finally:
        file.unlink(missing_ok=True)


def _walk(tree: Path) -> list[str]:
    """Paths of the files below, each entry having been looked at."""
    found: list[str] = []
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            os.lstat(os.path.join(folder, name))
        found += [os.path.join(folder, name) for name in files]
    return found


def describe(folder: Path, below: Path) -> Machine:
    """What it is that was measured on: in `folder`, whose file system is a loop device on the one of `below`, or it."""
    own, under = filesystem_of(folder), filesystem_of(below)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_field("/proc/cpuinfo", "model name") or platform.machine(),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        kernel=platform.release(),
        python=platform.python_version(),
        filesystem=own,
        below=under if os.stat(folder).st_dev != os.stat(below).st_dev else None,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    """What the programs that matter here say of themselves."""
    asked = {"crun": "--version", "runc": "--version", "bwrap": "--version", "podman": "--version"}
    found = {}
    for program, how in asked.items():
        if shutil.which(program):
            with suppress(OSError, subprocess.SubprocessError):
                said = subprocess.run([program, how], capture_output=True, text=True, check=True, timeout=20).stdout
                found[program] = said.split("\n", 1)[0].split()[-1]
    return found


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
