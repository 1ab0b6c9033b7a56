"""The kernel's own price of a sandbox: `floor.c`, compiled where there is a C compiler and run as root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.bench.watch import Stopwatch

SOURCE = Path(__file__).with_name("floor.c")
FLOORS = {
    "namespaces": "namespaces, an overlay, pivot_root and a first command, in C, without limits or records",
    "enter": "setns into them and a command there, in C",
}
TIMES = 5


class KernelFloor:
    def __init__(self, program: Path, holder: str, folder: Path) -> None:
        self._program = program
        self._holder = holder
        self._folder = folder
        self._made = 0

    def measure(self, who: str, watch: Stopwatch) -> None:
        """Each a few times."""
        for _ in range(TIMES):
            self._made += 1
            scratch = self._folder / str(self._made)
            scratch.mkdir()
            with watch.timed(who, "namespaces"):
                _spawned(self._program, "create", "/", str(scratch))
            shutil.rmtree(scratch)
            with watch.timed(who, "enter"):
                _spawned(self._program, "enter", self._holder)


def _spawned(program: Path, *words: str) -> None:
    process = os.posix_spawn(program, [program.name, *words], {})
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status != 0:
        raise OSError(f"{words[0]} ended with {status}")


@contextmanager
def ready(folder: Path) -> Iterator[KernelFloor | str]:
    """It, or why it can't be had here."""
    compiler = shutil.which("cc")
    if os.geteuid() != 0 or not compiler:
        yield "it takes root" if compiler else "there is no C compiler (Debian: gcc)"
        return
    place = folder / "floor"
    place.mkdir()
    program = place / "floor"
    built = subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], capture_output=True, check=False)
    if built.returncode != 0:
        yield "it does not compile here"
        return
    with subprocess.Popen([program, "hold"], stdout=subprocess.PIPE, text=True) as holding:
        inside = (holding.stdout.readline() if holding.stdout else "").strip()
        try:
            yield KernelFloor(program, inside, place) if inside else "namespaces can't be made here"
        finally:
            if inside:
                os.kill(int(inside), signal.SIGKILL)  # its parent waits for it, and ends
