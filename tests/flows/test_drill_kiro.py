"""The drill `kiro`, whole, on each engine: every act comes out as told, and nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.drills.outcome import DrillRecord
from tests.engines import Registry
from tests.host import traces, wait_until

PLAY = """
import sys
from pathlib import Path
from sandbox.drills import run, stage

clear = stage._clear
def clear_and_tell(manager, say):
    print("home id", manager.context.home.id, flush=True)
    clear(manager, say)
stage._clear = clear_and_tell

record = run("kiro", engine=sys.argv[1], report=Path(sys.argv[2]), say=lambda line: print(line, flush=True))
print(record.model_dump_json())
"""


def _play(engine: str, folder: Path) -> subprocess.Popen[str]:
    """The drill in a process of its own, whose temporary folder is `folder`."""
    env = {name: value for name, value in os.environ.items() if name not in ("SANDBOX_HOME", "SANDBOX_CONFIG")}
    return subprocess.Popen(
        [sys.executable, "-c", PLAY, engine, str(folder.parent / "report.html")],
        env={**env, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def _left(folder: Path, lines: list[str]) -> list[str]:
    """What there still is of a drill: files, processes, mounts, cgroups, containers, images."""
    homes = [line.split()[-1] for line in lines if line.startswith("home id ")]
    assert len(homes) == 1, lines
    return [*map(str, folder.iterdir()), *traces(str(folder), *homes)]


def test_every_act_comes_out_as_told_and_nothing_stays(
    place: tuple[str, str], registry: Registry, folder: Path
) -> None:
    engine = place[0]
    registry.engine(*place)  # the engine is there, its image built
    process = _play(engine, folder)
    output, _ = process.communicate(timeout=240)
    lines = output.splitlines()
    assert process.returncode == 0, output
    record = DrillRecord.model_validate_json(lines[-1])
    assert record.failures == (), output
    assert record.passed
    assert record.engine == engine
    assert [act.number for act in record.acts] == [1, 2, 3, 4]
    incident, same, promoted, bad = record.acts
    assert incident.measure("ledger rows lost").value == 6000
    assert incident.measure("files lost").value == 13
    assert same.measure("probes failed").value == 0
    assert same.measure("paths in the change set").value == 1
    refusals = [step for step in promoted.steps if "refused" in step.told]
    assert len(refusals) == 4
    assert 0 < bad.measure("from failure to serving again").value < 15
    report = (folder.parent / "report.html").read_text(encoding="utf-8")
    assert "Everything came out as told" in report
    assert _left(folder, lines) == []


def test_an_interrupted_drill_cleans_up(place: tuple[str, str], registry: Registry, folder: Path) -> None:
    registry.engine(*place)
    lines: list[str] = []
    with _play(place[0], folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Act 2"):
                # A moment, so that there is a sandbox under way.
                time.sleep(1)
                process.send_signal(signal.SIGTERM)
        process.wait(120)
    assert process.returncode not in (0, -signal.SIGKILL)
    wait_until(lambda: _left(folder, lines) == [], "the interrupted drill to leave nothing")


def _command(engine: str, *args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", "--engine", engine, "drill", *args],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_command_prints_one_document(place: tuple[str, str], registry: Registry, folder: Path) -> None:
    registry.engine(*place)
    done = _command(place[0], "kiro", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["schema"] == 1
    assert document["passed"] is True
    assert "Act 4" in done.stderr
