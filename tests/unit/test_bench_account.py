"""What `make bench` writes down: claims on growth are judged right, every number of the account is a measured one."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import claims, plot, report, scale
from sandbox.bench.outcome import BenchRecord
from tests.unit.test_bench import content, recorded

__all__ = ["content"]  # a fixture


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
        (claims.CHAIN, "snapshot", {5: 4.0, 25: 4.0, 100: 4.0, 200: 6.5}, False),
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
    assert titles == ["<us>", "them", "<us>: 4 ms", "them: 40 ms", "<us>: 400 ms"]
    x = [float(dot.attrib["cx"]) for dot in list(dots.iter(f"{space}circle"))[2:]]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1]), "ten times is one step on a logarithmic axis"
    lines = ET.fromstring(
        plot.lines("Growth", {"files": {"exec": [(10, 1.0), (100, 1.0)]}, "bytes": {"exec": [(1, 3.0)]}})
    )
    assert len(list(lines.iter(f"{space}polyline"))) == 2


def test_the_account_has_what_was_measured_and_what_was_not(content: object, tmp_path: Path) -> None:
    run: BenchRecord = recorded(content)  # type: ignore[arg-type]
    curve = {
        "axis": claims.ALIVE, "operation": "exec", "sizes": [1, 10], "medians_ms": [4.0, 41.5], "slope": 1.02,
        "last_slope": 1.02, "claim": "flat", "bound": 0.25, "holds": False,
    }  # fmt: skip
    document = {
        "date": "2026-01-31",
        "version": "9.9",
        "runs": {"native on xfs": run.document() | {"comparisons": []}},
        "scale": [curve],
        "not_measured": [{"what": "docker", "why": "no Docker Engine answers"}],
    }
    document["runs"]["native on xfs"].pop("schema")  # type: ignore[index]
    results = tmp_path / "2026-01-31.json"
    results.write_text(json.dumps(document))
    report.write(results, tmp_path)
    text = (tmp_path / "README.md").read_text()
    for expected in (
        "2026-01-31, sandbox 9.9",
        "| exec | 2.00 | 3.00 | 2.00 |",
        "| memory, idle | 1.25 MiB |  | 4.50 MiB |",
        "- other, rollback_b: `wrong content: as told`",
        "| exec (median) | ≤ 2 ms | 2.00 | met | enter 0.50 |",
        "| sandboxes alive | exec | 1.02 | 1.02 | flat | **does not hold** | 1: 4.00, 10: 41.5 |",
        "Not measured: docker: no Docker Engine answers.",
    ):
        assert expected in text
    assert {path.name for path in tmp_path.iterdir()} == {results.name, "README.md", "operations.svg", "scale.svg"}
