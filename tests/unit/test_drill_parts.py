"""The parts of the drills on their own: a real service, its prober, the scripted agent, the report."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.drills import ledger, names, run
from sandbox.drills.outcome import Act, DrillRecord, Measure, Step
from sandbox.drills.prober import Probe, Prober, down_s, judge, outages
from sandbox.drills.production import Production
from sandbox.drills.report import Timeline, render, timeline_svg, write_report
from sandbox.drills.stage import make_keys, policy, scratch_folder
from sandbox.drills.story import SCRIPT, agent_command
from sandbox.drills.telling import OtherwiseThanTold, Teller, table
from sandbox.errors import NotFound
from sandbox.lifecycle.events import Output
from sandbox.spec import PolicySpec


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Production]:
    with Production(tmp_path / "production", tmp_path / "run") as production:
        yield production


@pytest.fixture
def prober(production: Production) -> Iterator[Prober]:
    with Prober(production.port, ledger.answers()) as prober:
        yield prober


def _running(marker: Path) -> list[str]:
    """Process ids with the path on their command line."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and os.fsencode(marker) in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def _agent(*arguments: str) -> None:
    subprocess.run(agent_command(sys.executable, *arguments), check=True, capture_output=True)


def _reload(production: Production) -> int:
    return subprocess.run(production.reload_command, check=False).returncode


def test_every_month_is_served_right_to_the_cent(production: Production, prober: Prober) -> None:
    for month in ledger.MONTHS:
        assert prober.ask(month).what == "200"


def test_a_wrong_total_is_a_failed_probe() -> None:
    right = ledger.Answer(rows=500, cut=100, rounded=101)
    assert judge(200, b'data-cents="100" data-rows="500"', right) == (True, "200")
    assert judge(200, b'data-cents="101" data-rows="500"', right) == (True, "200 rounded")
    assert not judge(200, b'data-cents="102" data-rows="500"', right)[0]
    assert not judge(200, b'data-cents="100" data-rows="499"', right)[0]
    assert not judge(200, b"nothing", right)[0]
    assert not judge(503, b'data-cents="100" data-rows="500"', right)[0]


def test_rounding_shows_in_some_month() -> None:
    assert any(answer.cut != answer.rounded for answer in ledger.answers().values())


def test_a_reload_drops_no_request(production: Production, prober: Prober) -> None:
    prober.settle()
    assert _reload(production) == 0
    assert _reload(production) == 0
    prober.settle()
    assert [probe.what for probe in prober.probes() if not probe.ok] == []


def test_a_worker_that_does_not_start_leaves_the_old_one_serving(production: Production, prober: Prober) -> None:
    with (production.directory / "totals.py").open("a") as file:
        file.write("\nthis is no python\n")
    assert _reload(production) == 1
    prober.settle()
    assert all(probe.ok for probe in prober.probes())


def test_a_service_that_stops_is_an_outage_without_end(production: Production, prober: Prober) -> None:
    prober.settle()
    production.stop()
    prober.settle()
    stretches = list(outages(prober.probes()))
    assert len(stretches) == 1
    assert stretches[0].end is None
    assert down_s(prober.probes()) > 0


def test_leaving_ends_every_process(tmp_path: Path) -> None:
    with Production(tmp_path / "production", tmp_path / "run") as production:
        assert _running(production.run)
    assert not _running(production.run)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", production.port))


def test_a_service_ends_with_whoever_started_it(tmp_path: Path) -> None:
    source = (
        "import sys, time; from pathlib import Path; from sandbox.drills.production import Production\n"
        "production = Production(Path(sys.argv[1]), Path(sys.argv[2])); production.build(); production.start()\n"
        "print('up', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", source, str(tmp_path / "production"), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        os.kill(owner.pid, signal.SIGKILL)
    supervisor = int((tmp_path / "run/pid").read_text())
    end = time.monotonic() + 10
    while time.monotonic() < end and Path(f"/proc/{supervisor}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{supervisor}").exists()


def test_the_agent_that_keeps_all_changes_one_line(production: Production) -> None:
    before = production.files()
    _agent("recreate", str(production.directory), "all")
    after = production.files()
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == {"totals.py"}


def test_the_agent_that_keeps_code_loses_ledger_and_statements(production: Production, prober: Prober) -> None:
    before = production.files()
    _agent("recreate", str(production.directory), "code")
    assert ledger.count(production.ledger) == 0
    lost = before.keys() - production.files().keys()
    assert {path.partition("/")[0] for path in lost} == {"statements"}
    prober.settle()
    assert not prober.probes()[-1].ok


def test_the_bad_change_passes_where_it_was_made_and_fails_elsewhere(production: Production, tmp_path: Path) -> None:
    _agent("relocate", str(production.directory))
    suite = [sys.executable, "-B", "-m", "unittest", "discover", "-s", "tests", "-q"]
    assert subprocess.run(suite, cwd=production.directory, capture_output=True, check=False).returncode == 0
    production.directory.rename(tmp_path / "elsewhere")
    assert subprocess.run(suite, cwd=tmp_path / "elsewhere", capture_output=True, check=False).returncode != 0


def test_the_agent_says_that_it_is_a_script() -> None:
    assert "It is no model" in SCRIPT.read_text()


def test_the_policy_of_a_drill_counts_two_keys_as_one_person(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    spec = PolicySpec(name="production", **policy(tmp_path / "keys"))
    assert len(spec.people["alice"].keys) == 2
    assert spec.quorum == 2


def test_the_scratch_folder_goes_when_the_block_fails() -> None:
    made: list[Path] = []

    def fail() -> None:
        with scratch_folder() as folder:
            made.append(folder)
            (folder / "deep").mkdir()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not made[0].exists()


def test_a_step_that_is_not_as_told_is_a_failure_and_ends_the_act() -> None:
    lines: list[str] = []
    teller = Teller(lines.append)

    def play() -> None:
        with teller.act("first"):
            teller.step("grass is green", "green", ok=True)
            teller.must("water runs uphill", "down\x1b[2K", ok=False)

    with pytest.raises(OtherwiseThanTold):
        play()
    assert teller.failures == ("water runs uphill: down\x1b[2K",)
    assert len(teller.acts) == 1
    assert "\x1b" not in "".join(lines)


def test_what_the_agent_prints_is_shown_escaped_line_by_line() -> None:
    lines: list[str] = []
    teller = Teller(lines.append)
    for piece in (b"agent: one\nag", b"ent: two\x1b[2J\nother\n"):
        teller.event(Output("stdout", piece))
    assert lines == ["    agent: one", "    agent: two\\x1b[2J"]


def test_a_table_lines_up() -> None:
    assert table([("a", "what"), ("long", "x")]) == ["a     what", "----  ----", "long  x"]


def _record() -> DrillRecord:
    step = Step(told="it <holds>", came="& it did", ok=True, at_s=1.5)
    failed = Step(told="the other", came="didn't", ok=False, at_s=2)
    measure = Measure(name="down", value=1.25, unit="s")
    act = Act(number=1, title="One <thing>", steps=(step, failed), measures=(measure,), start_s=0.5, seconds=3.0)
    return DrillRecord(
        drill="kiro",
        engine="native",
        image="host",
        passed=False,
        failures=("the other: didn't",),
        acts=(act,),
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        seconds=4.0,
    )


def _timeline() -> Timeline:
    good = [Probe(0.1 * number, 0.01, True, "200") for number in range(10)]
    bad = [Probe(1 + 0.1 * number, 0.01, False, "503 <gone>") for number in range(5)]
    return Timeline("production", (*good, *bad, Probe(1.5, 0.01, True, "200")))


def test_the_picture_has_a_mark_for_every_probe_and_says_how_long_it_was_down() -> None:
    svg = ET.fromstring(timeline_svg(_record(), [_timeline()]))
    marks = [mark.get("class") for mark in svg.iter("rect") if mark.get("width") == "1.6"]
    assert (marks.count("good"), marks.count("bad")) == (11, 5)
    assert "down 0.5 s" in [text.text for text in svg.iter("text")]


def test_the_report_is_self_contained_and_escaped(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, _record(), [_timeline()])
    page = path.read_text(encoding="utf-8")
    assert page == render(_record(), [_timeline()])
    assert "it &lt;holds&gt;" in page
    assert "<gone>" not in page
    assert "Not everything came out as told" in page
    assert not any(word in page for word in ("http://", "https://", "<script", "<link", "<img", "@import", "url("))


def test_the_report_of_a_drill_that_never_began_can_be_drawn() -> None:
    empty = _record().model_copy(update={"acts": ()})
    assert "<svg" in render(empty, [Timeline("production", ())])


def test_a_record_gives_its_figures_by_name() -> None:
    assert _record().acts[0].measure("down").text == "1.25 s"
    with pytest.raises(KeyError):
        _record().acts[0].measure("up")


def test_an_unknown_drill_is_named_with_those_that_exist() -> None:
    with pytest.raises(NotFound, match="kiro"):
        run("nothing", say=lambda _line: None)
    assert "kiro" in names()


def test_a_drill_that_is_not_as_told_ends_with_a_failure_code() -> None:
    source = (
        "import sys; from sandbox import drills; from sandbox.cli import main\n"
        "from sandbox.drills.outcome import DrillRecord\n"
        "record = DrillRecord.model_validate_json(sys.stdin.read())\n"
        "drills.run = lambda name, **_: record\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, "drill", "kiro", "--json"],
        input=_record().model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["failures"] == ["the other: didn't"]
