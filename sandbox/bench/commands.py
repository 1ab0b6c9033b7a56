"""The command line as a person meets it: each command in a process of its own, from its start to its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sandbox.bench.content import WrongContent
from sandbox.bench.product import TARGET
from sandbox.bench.watch import Stopwatch

WHO = "the command line"
COMMANDS = {
    "help": "sandbox --help",
    "list": "sandbox list, of a home with a few records",
    "run_true": "sandbox run -- true on a target that did not change: sandbox, command, seal; nothing to propose",
}
TIMES = 3


def measure(folder: Path, engine: str, watch: Stopwatch) -> None:
    """Each a few times, in the home and with the configuration in `folder`. Raises WrongContent."""
    where = ["--home", str(folder / "home"), "--config", str(folder / "config"), "--engine", engine]
    for _ in range(TIMES if watch.round else 1):
        with watch.timed(WHO, "help"):
            _sandbox("--help")
        with watch.timed(WHO, "list"):
            _sandbox(*where, "list")
        with watch.timed(WHO, "run_true"):
            answer = _sandbox(*where, "run", "--json", "--target", TARGET, "--", "true")
        if (status := json.loads(answer)["status"]) != "empty":
            raise WrongContent(f"A run that changes nothing ended as {status}.")


def _sandbox(*arguments: str) -> str:
    command = [sys.executable, "-m", "sandbox", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise WrongContent(f"sandbox {arguments[-1]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
