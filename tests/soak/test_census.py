"""The soak's own instruments: a leak is found, and its absence too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.test_soak import GROWTH_MB_PER_HOUR

VERBS = """
import os, sys
from tests.soak.census import Held, growth_mb_per_hour
kept, samples = [], []
for number in range(3000):
    work = [os.urandom(1024) for _ in range(20)]
    kept += work[: int(sys.argv[1])]
    samples.append(Held.of("self", number / 0.8))  # a worker of the soak ends about 0.8 verbs a second
print(growth_mb_per_hour(samples))
"""


@pytest.mark.parametrize("kilobytes", [0, 8])
def test_what_every_verb_keeps_is_found(kilobytes: int) -> None:
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", VERBS, str(kilobytes)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert (float(done.stdout) > GROWTH_MB_PER_HOUR) == bool(kilobytes), done.stdout
