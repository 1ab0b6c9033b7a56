"""What is published of the benchmark is what the newest results give, explains itself, and tells nothing of a host."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from bench import quotes, report, results
from sandbox.bench import goals, reasons

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
FULL = ("native on xfs", "docker")
"""Runs in which every goal of their engine has a figure."""
FIGURE = re.compile(r"\d(?:\.\d+)? ?(?:ms|us|MiB|times|\u00d7)(?!\w)")
LOCAL = re.compile(r"(?<![\w.)])/(?:root|home|tmp|var|mnt|srv|opt|work|run)/\w")


@pytest.fixture(scope="module")
def newest() -> dict[str, Any] | None:
    """What was published last, if anything: the rest is held against it."""
    path = results.newest(BENCH)
    return results.load(path) | {"name": path.name} if path else None


def test_the_account_and_the_plots_are_exactly_what_the_newest_results_give(newest: dict[str, Any] | None) -> None:
    """Otherwise: python -m bench.report"""
    expected = report.account(newest, newest["name"]) if newest else {}
    published = {path.name: path.read_text("utf-8") for path in BENCH.iterdir() if path.suffix in (".md", ".svg")}
    assert sorted(published) == sorted(expected)
    assert [name for name in expected if published[name] != expected[name]] == []


@pytest.mark.parametrize("name", ["README.md", "docs/performance.md"])
def test_documents_quote_the_newest_results_and_no_other_figure(name: str, newest: dict[str, Any] | None) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert quotes.quoted(text, quotes.figures(newest)[name]) == text, "otherwise: python -m bench.report"
    assert FIGURE.findall(quotes.unquoted(text)) == []


def test_nothing_published_names_a_host_or_a_path_of_one() -> None:
    names = [path for path in BENCH.rglob("*") if path.suffix in (".md", ".svg", ".json")]
    host = socket.gethostname()
    told = [
        f"{path.name}: {found.group()}"
        for path in names
        for found in re.finditer(rf"{LOCAL.pattern}|\b{re.escape(host)}\b", path.read_text("utf-8"))
        if len(host) > 3 or found.group() != host  # a name like `vm` is in many words of a kernel's version
    ]
    assert told == []


def test_a_goal_that_was_not_met_says_why_and_no_reason_outlives_its_use(newest: dict[str, Any] | None) -> None:
    runs = results.runs_of(newest) if newest else {}
    assert [*goals.unexplained(runs)] == []
    assert [*goals.needless(runs)] == [] or not runs
    judged = {title: [*goals.judge(run)] for title, run in runs.items()}
    unmeasured = [f"{title}: {goal.what}" for title in FULL for goal in judged.get(title, ()) if goal.met is None]
    assert unmeasured == []
    above = [
        f"{title}: {goal.what}: {goal.floor}"
        for title, found in judged.items()
        for goal in found
        if goal.measured is not None and goal.floor_measured is not None and goal.floor_measured > goal.measured
    ]
    assert above == [], "what is below its floor has no floor there"


def test_a_reason_is_of_a_goal_and_names_the_decision_that_has_the_measurement() -> None:
    known = {(engine, one.what) for engine, kinds in goals.WANTED.items() for kind in kinds for one in kind}
    assert set(reasons.WHY) <= known
    decisions = {path.name[:4] for path in (ROOT / "docs/decisions").glob("[0-9]*.md")}
    named = {key: set(re.findall(r"decision (\d{4})", why)) for key, why in reasons.WHY.items()}
    assert {key: found for key, found in named.items() if not found or not found <= decisions} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [("takes 12.5 ms", 1), ("1.15 \u00d7 the SDK", 1), ("3 MiB each", 1), ("10,000 files of 20 KiB", 0)],
)
def test_a_figure_is_seen(text: str, found: int) -> None:
    assert len(FIGURE.findall(text)) == found
