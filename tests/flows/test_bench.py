"""`sandbox bench` by its command on each engine: every operation is measured, and nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import claims
from sandbox.bench import apart, commands, contender, kernel_floor, machine, targets
from sandbox.bench.outcome import BenchRecord
from tests.engines import Registry
from tests.flows.scratch import left, play
from tests.host import traces

PEERS = {"native": "bwrap,runc", "docker": "docker-sdk"}
"""A test on native needs no Docker Engine."""
ASKED = {"native": ("--idle", "1", "--tasks", "1"), "docker": ("--idle", "0", "--tasks", "0", "--only-verbs")}
"""Captures, commands and tasks take the same way on both, and all of a minute on docker."""

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def test_every_operation_is_measured_beside_floors_and_peers(
    place: tuple[str, str], registry: Registry, folder: Path
) -> None:
    registry.engine(*place)  # the engine is there, its image built
    sizes = ["--files", "100", "--rounds", "1", *ASKED[place[0]], "--filesystem", "xfs"]
    options = [*sizes, "--against", PEERS[place[0]], "--json"]
    everything = "--only-verbs" not in sizes
    process = play(place[0], folder, "bench", *options)
    answer, told = process.communicate(timeout=280)
    assert process.returncode == 0, told
    document = json.loads(answer)
    assert document.pop("schema") == 1
    record = BenchRecord.model_validate(document)
    assert (record.engine, record.files, record.bytes, record.rounds) == (place[0], 100, 100 * 20_480, 1)
    more = [*(step for step in apart.STEPS if step in apart.BY_ENGINE[place[0]]), *targets.STEPS]
    assert [one.name for one in record.operations] == [*contender.STEPS, *(more if everything else ())]
    assert [one.name for one in record.commands] == (list(commands.COMMANDS) if everything else [])
    unmeasured = {name for one in record.not_measured for name in one.what.split(", ")}
    floors = [name for name in (*machine.FLOORS, *kernel_floor.FLOORS) if name not in unmeasured]
    assert [one.name for one in record.floors] == floors
    for timing in (*record.operations, *record.commands, *record.floors):
        assert 0 < timing.median_ms <= timing.p95_ms
    times = {one.name: len(one.samples_ms) for one in record.operations}
    assert (times["exec"], times["create"]) == (contender.EXECS, 1), "the round that warms up does not count"
    assert record.memory_mib
    assert (record.crowd.idle, record.crowd.tasks) == ((1, 1) if everything else (0, 0))
    assert record.crowd.idle_disk_kib is not None or not everything
    assert record.only_verbs is not everything
    assert all(goal.met is not None for goal in record.goals if goal.what in ("exec", "destroy", "diff of A"))
    assert record.machine.cores > 0
    assert (record.machine.filesystem, record.machine.below is None) == ("xfs", False)
    asked = set(PEERS[place[0]].split(","))
    measured = {peer.name for peer in record.peers}
    assert measured == asked
    assert ("sandbox-bench/" in told) == ("docker-sdk" in asked)
    for peer in record.peers:
        done = [step for step in contender.STEPS if step not in peer.lacks]
        assert (peer.failed, len(done)) == ((), 3 if peer.name == "runc" else len(contender.STEPS))
        assert [one.name for one in peer.operations] == done
        assert [one.operation for one in record.comparisons if one.peer == peer.name] == done
    assert left(folder, told.splitlines()) == []
    assert traces(*re.findall(r"sandbox-bench/\w+", told)) == []


def test_an_unknown_tool_is_bad_input(folder: Path) -> None:
    process = play("native", folder, "bench", "--against", "docker-sdk,nothing", "--json")
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "'nothing'" in json.loads(answer)["error"]["says"]
    assert list(folder.iterdir()) == []


def test_growth_is_measured_along_every_axis(folder: Path) -> None:
    """Each curve has all its sizes, and what each verb left was counted on the way."""
    out = folder.parent / "curves.json"
    env = os.environ | {"TMPDIR": str(folder)}
    command = [sys.executable, "-m", "bench.scale", "--small", "--out", str(out)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    curves = json.loads(out.read_text())
    assert {(one["axis"], one["operation"]) for one in curves} >= {
        (axis, operation)
        for axis, claimed in claims.CLAIMS.items()
        for operation in claimed
        if (axis, operation) not in {(claims.CHAIN, "create"), (claims.CHAIN, "snapshot_again")}
    }
    assert all(len(one["sizes"]) == 2 and min(one["medians"]) > 0 for one in curves)
    assert [*folder.iterdir(), *traces(str(folder))] == []
