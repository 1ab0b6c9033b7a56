"""What `make bench` writes down: claims on growth are judged right, every number of the account is a measured one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import claims, plot, quotes, report, results, scale
from sandbox.bench import reasons
from sandbox.bench.content import Content
from sandbox.bench.outcome import Timing
from tests.unit.test_bench import content
from tests.unit.test_bench_goals import recorded

__all__ = ["content"]  # a fixture
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("times", "slope", "last"),
    [({1: 5.0, 10: 5.0, 100: 5.0}, 0, 0), ({1: 5.0, 10: 50.0, 100: 500.0}, 1, 1), ({10: 1.0, 100: 100.0}, 2, 2)],
)
def test_the_slope_is_the_exponent(times: dict[int, float], slope: float, last: float) -> None:
    found = claims.judged(claims.ALIVE, "exec", times)
    assert (found.slope, found.last_slope) == (pytest.approx(slope), pytest.approx(last))


@pytest.mark.parametrize(
    ("axis", "operation", "times", "holds"),
    [
        (claims.FILES, "rollback", {1_000: 8.0, 10_000: 9.0, 100_000: 8.5, 1_000_000: 9.5}, True),
        (claims.FILES, "rollback", {1_000: 8.0, 10_000: 16.0, 100_000: 32.0}, False),
        (claims.FILES, "capture_again", {1_000: 2.0, 10_000: 20.0, 100_000: 205.0}, True),
        (claims.FILES, "capture_again", {1_000: 2.0, 10_000: 40.0, 100_000: 800.0}, False),
        (claims.CHAIN, "rollback", {5: 4.0, 25: 4.0, 100: 4.0, 200: 6.5}, False),
        (claims.CHANGE, "snapshot", {1: 4.0, 10: 4.2, 100: 6.0, 1_000: 31.0}, True),
    ],
)
def test_a_claim_holds_or_it_does_not(axis: str, operation: str, times: dict[int, float], holds: bool) -> None:
    """What is flat for long and rises at the end is not flat."""
    assert claims.judged(axis, operation, times).holds is holds


def test_what_nothing_is_claimed_of_is_not_judged() -> None:
    assert claims.judged(claims.ALIVE, "capture_again", {1: 1.0, 10: 100.0}).holds is None


def test_every_axis_has_sizes_enough_for_a_slope() -> None:
    for sizes in (scale.SHORT, scale.whole(10_000), scale.whole(1_000_000)):
        for axis in (sizes.files, sizes.bytes, sizes.changed, sizes.chain, sizes.alive):
            assert len(axis) > 1
            assert list(axis) == sorted(set(axis))
    assert max(scale.whole(1_000_000).files) == 1_000_000
    assert max(scale.whole(10_000).chain) == 200


def test_plots_are_whole_and_what_they_name_is_escaped() -> None:
    dots = ET.fromstring(plot.dots("A & B", {"exec": {"<us>": 4.0, "them": 40.0}, "fork": {"<us>": 400.0}}, "ms"))
    space = "{http://www.w3.org/2000/svg}"
    titles = [title.text for title in dots.iter(f"{space}title")]
    assert titles == ["<us>", "them", "them: 40 ms", "<us>: 4 ms", "<us>: 400 ms"]
    x = [float(dot.attrib["cx"]) for dot in list(dots.iter(f"{space}circle"))[2:]]
    assert x[0] - x[1] == pytest.approx(x[2] - x[0]), "ten times is one step on a logarithmic axis"
    lines = ET.fromstring(
        plot.lines("Growth", {"files": {"exec": [(10, 1.0), (100, 1.0)]}, "bytes": {"exec": [(1, 3.0)]}})
    )
    assert len(list(lines.iter(f"{space}polyline"))) == 2


CURVE = {
    "axis": claims.ALIVE, "operation": "exec", "sizes": [1, 10], "medians": [4.0, 41.5], "slope": 1.016,
    "last_slope": 1.016, "claim": "flat", "bound": 0.25, "holds": False, "unit": "ms",
}  # fmt: skip


def measured(content: Content, **fields: Any) -> dict[str, Any]:
    """A document of results as `make bench` writes it."""
    run = recorded(content, comparisons=(), **fields).document()
    del run["schema"], run["goals"]
    missing = [{"what": "docker", "why": "no Docker Engine answers"}]
    began = {"started_at": "2026-01-31T10:00Z", "version": "9.9"}
    return {**began, "runs": {"native on xfs": run}, "scale": [CURVE], "not_measured": missing}


def test_the_account_has_what_was_measured_and_what_was_not(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "results" / "2026-01-31-2-cores.json"
    path.parent.mkdir()
    results.write(path, measured(content))
    report.write(path, tmp_path)
    text = (tmp_path / "README.md").read_text()
    for expected in (
        "begun 2026-01-31T10:00Z, sandbox 9.9",
        "| exec | 2.00 | 3.00 | 2.00 |",
        "| memory, idle | 1.25 MiB |  | 4.50 MiB |",
        "- other, rollback_b: `wrong content: as told`",
        "| exec (median) | ≤ 2 ms | 2.00 | enter: 0.50 | met |",
        "| sandboxes alive | exec | 1.02 | 1.02 | flat | **does not hold** | 1: 4.00, 10: 41.5 |",
        "Not measured: docker: no Docker Engine answers.",
    ):
        assert expected in text
    assert {path.name for path in tmp_path.iterdir()} == {"results", "README.md", "native-on-xfs.svg", "growth.svg"}


def test_what_is_wrong_with_the_results_is_said(
    content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasons, "WHY", {("native", "memory of an idle sandbox"): "of nothing"})
    path = tmp_path / "results.json"
    results.write(path, measured(content, operations=(Timing.of("exec", "", [2.1]),)))
    said: list[str] = []
    assert report.verdict(path, said.append) == 1
    assert said[0] == "exec along sandboxes alive: not flat"
    assert said[1].startswith("native on xfs: exec: 2.1, wanted 2.0 ms")
    assert said[-1].startswith("native: memory of an idle sandbox: a reason is given")


def test_curves_are_held_against_the_claims_of_today(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    before = {**CURVE, "claim": "linear", "bound": 1.15, "holds": True}
    path.write_text(json.dumps({**measured(content), "scale": [before]}), encoding="utf-8")
    assert results.load(path)["scale"] == [CURVE]


def test_a_part_takes_the_place_of_the_same_part_before(content: Content, tmp_path: Path) -> None:
    _, document = results.begin(tmp_path, keep=True)
    run = measured(content)["runs"]["native on xfs"]
    results.add(document, "docker", {"why": "no Docker Engine answers"})
    results.add(document, "docker", {"run": run})
    results.add(document, "native on ext4", {"why": "the run was ended before it"})
    results.add(document, "growth", {"scale": [CURVE]})
    results.add(document, "docker", {"why": "it broke down"})
    results.add(document, "native on btrfs", {"why": "mkfs.btrfs: no room in '/tmp/sandbox-x/disk'"})
    assert (list(document["runs"]), document["scale"]) == (["docker"], [CURVE])
    assert [one["why"] for one in document["not_measured"]] == [
        "the run was ended before it",
        "mkfs.btrfs: no room in '...'",
    ]


def test_the_newest_results_are_those_that_began_last(tmp_path: Path) -> None:
    assert results.newest(tmp_path) is None
    for name, began in (("b", "2026-01-31T10:00Z"), ("a", "2026-01-31T11:00Z")):
        path, document = results.begin(tmp_path, keep=False)
        results.write(path.with_name(f"{name}.json"), document | {"started_at": began})
    newest = results.newest(tmp_path)
    assert newest is not None
    assert newest.name == "a.json"
    assert not list(newest.parent.glob("*.part"))


def test_a_document_is_quoted_into_between_its_marks_alone() -> None:
    text = "one 3 ms\n<!-- figures -->\nold 4 ms\n<!-- end of figures -->\ntwo\n"
    found = quotes.quoted(text, "new 5 ms\n")
    assert found == "one 3 ms\n<!-- figures -->\nnew 5 ms\n<!-- end of figures -->\ntwo\n"
    assert quotes.unquoted(found) == "one 3 ms\ntwo\n"
    with pytest.raises(ValueError, match="0 places"):
        quotes.quoted("no marks\n", "new\n")


def test_what_is_quoted_is_in_the_results(content: Content) -> None:
    found = quotes.figures(measured(content, operations=(Timing.of("exec", "", [2.14]),)))
    assert "| command | 2.14 | 2 |" in found["README.md"]
    assert "native on xfs, exec: 2.14 ms, wanted 2; " in found["docs/performance.md"]


def test_a_run_that_is_ended_early_keeps_what_it_has(tmp_path: Path) -> None:
    """The first part is cut short: the command under it cleans up, and what is not there is named."""
    command = [sys.executable, "-m", "bench", "--folder", str(tmp_path), "--only", "native on xfs,docker"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*command, "--files", "100", "--against", "bwrap"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        while "== 1 of 2: native on xfs" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
        said = process.stderr.read()
    assert process.returncode == 130, said
    (path,) = (tmp_path / "results").iterdir()
    assert [one["what"] for one in results.load(path)["not_measured"]] == ["native on xfs", "docker"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["results"], "nothing of the scratch folder stays"
