"""The drill `kiro`, whole, by its command on each engine: every act comes out as told, and nothing of it stays."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from sandbox.drills.outcome import DrillRecord
from tests.engines import Registry
from tests.flows.scratch import left, play
from tests.host import wait_until

COMMAND = ("drill", "kiro", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The temporary folder of the drill."""
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def test_every_act_comes_out_as_told_and_nothing_stays(
    place: tuple[str, str], registry: Registry, folder: Path
) -> None:
    registry.engine(*place)  # the engine is there, its image built
    process = play(place[0], folder, *COMMAND, "--report", str(folder.parent / "report.html"))
    answer, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    document = json.loads(answer)
    assert document.pop("schema") == 1
    record = DrillRecord.model_validate(document)
    assert record.passed, told
    assert record.failures == ()
    assert record.engine == place[0]
    assert [act.number for act in record.acts] == [1, 2, 3, 4]
    incident, same, promoted, bad = record.acts
    assert incident.measure("ledger rows lost").value == 6000
    assert incident.measure("files lost").value == 13
    assert same.measure("probes failed").value == 0
    assert same.measure("paths in the change set").value == 1
    assert len([step for step in promoted.steps if "refused" in step.told]) == 4
    assert 0 < bad.measure("from failure to serving again").value < 15
    for title in ("Act 1.", "Act 2.", "Act 3.", "Act 4."):
        assert title in told, "each step is shown as it happens"
    report = (folder.parent / "report.html").read_text(encoding="utf-8")
    assert "Everything came out as told" in report
    assert left(folder, told.splitlines()) == []


def test_an_interrupted_drill_cleans_up(place: tuple[str, str], registry: Registry, folder: Path) -> None:
    registry.engine(*place)
    lines: list[str] = []
    with play(place[0], folder, *COMMAND, "--report", str(folder.parent / "report.html")) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if line.startswith("Act 2"):
                # A moment, so that there is a sandbox under way.
                time.sleep(1)
                process.send_signal(signal.SIGTERM)
        process.wait(120)
    assert process.returncode == 130, lines
    wait_until(lambda: left(folder, lines) == [], "the interrupted drill to leave nothing")
