"""Commands that work in a scratch folder of their own (drill, bench), run as a user would, and what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.host import traces

# The command itself, which besides names its home before that goes: containers and images are found by it.
COMMAND = """
import sys
from sandbox.cli import main
from sandbox.drills import stage

clear = stage._clear

def tell_and_clear(manager, say):
    print("home id", manager.context.home.id, file=sys.stderr, flush=True)
    clear(manager, say)

stage._clear = tell_and_clear
sys.exit(main())
"""


def play(engine: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`sandbox ARGUMENTS`, in a process of its own, with `folder` for its temporary files."""
    env = {name: value for name, value in os.environ.items() if name not in ("SANDBOX_HOME", "SANDBOX_CONFIG")}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--engine", engine, *arguments],
        env={**env, "TMPDIR": str(folder)},
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left(folder: Path, lines: list[str]) -> list[str]:
    """What there still is of it: files, processes, mounts, cgroups, containers, images."""
    homes = [line.split()[-1] for line in lines if line.startswith("home id ")]
    assert len(homes) == 1, lines
    return [*map(str, folder.iterdir()), *traces(str(folder), *homes)]
