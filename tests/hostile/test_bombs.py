"""An agent that fills what the host has: disk, files, processes, output. A limit says no, and the host goes on.

Memory and processors: `tests/contract/test_engine_kills.py`.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.flows.house import House

pytestmark = pytest.mark.timeout(120)

LIMITS = {"cpus": 2, "memory_mb": 256, "pids": 100, "disk_mb": 64, "files": 2000, "output_mb": 2, "timeout_s": 60}
FILES = "import os; os.mkdir('many')\nfor n in range(3000): open(f'many/{n}', 'w').close()"
SPARSE = "for n in range(200):\n with open(f'hole-{n}', 'w') as file: file.truncate(60 << 20)"
FORKS = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
BOMBS = {
    "disk": (["sh", "-c", "while head -c 9M /dev/zero > zeros-$((n += 1)); do :; done"], "wrote more than its 64 MiB"),
    "one huge file": (["sh", "-c", "exec head -c 100M /dev/zero > zeros"], "exit code 153"),
    "one huge hole": (["sh", "-c", "truncate -s 1T hole || exit 9"], "exit code 9"),
    "many holes": (["python3", "-c", SPARSE], "wrote more than its 64 MiB"),
    "many files": (["python3", "-c", FILES], "2000"),
    "output": (["yes"], "printed more than its 2 MiB"),
    "forks": (["timeout", "-s", "KILL", "3", "python3", "-c", FORKS], "exit code 137"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_t28_a_limit_ends_a_bomb_and_says_which(house: House, bomb: str) -> None:
    command, says = BOMBS[bomb]
    task: dict[str, Any] = {"targets": ["app"], "image": house.image, "command": command, "limits": LIMITS}
    house.write("tasks", "bomb", task)
    started = time.monotonic()
    answer = house("run", "bomb", "--json").expect(4).json
    assert answer["status"] == "rolled_back"
    assert says in answer["failure"]["reason"]
    assert time.monotonic() - started < 30
    assert house("list", "--json").expect(0).json["sandboxes"] == [], "the sandbox is gone, and the home works"
