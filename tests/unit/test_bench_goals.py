"""What a run says to its goals, and how its figures look to a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox.bench import goals, reasons
from sandbox.bench.content import Content
from sandbox.bench.machine import describe
from sandbox.bench.outcome import BenchRecord, Comparison, Crowd, NotMeasured, Peer, Timing
from sandbox.cli.benchmark import measured
from tests.unit.test_bench import content

__all__ = ["content"]  # a fixture


def recorded(content: Content, **fields: Any) -> BenchRecord:
    timing = Timing.of("exec", "a command", [1.0, 3.0])
    failed = (NotMeasured(what="rollback_b", why="wrong content: as told"),)
    peer = Peer(
        name="other",
        says="by hand",
        by_hand=False,
        operations=(timing,),
        failed=failed,
        lacks=("fork",),
        memory_mib=4.5,
    )
    record = BenchRecord(
        engine="native",
        image="host",
        machine=describe(content.root, content.root.parent).model_copy(update={"filesystem": "xfs"}),
        files=200,
        bytes=content.bytes,
        rounds=2,
        operations=(timing,),
        memory_mib=1.25,
        commands=(Timing.of("help", "sandbox --help", [99.0]),),
        floors=(Timing.of("enter", "setns", [0.5]),),
        peers=(peer,),
        comparisons=(Comparison.of("create", "other", [(1.0, 2.0), (3.0, 3.0)]),),
        crowd=Crowd(idle=0, tasks=32, one_by_one_s=2.0, at_once_s=1.0, throughput=2.0),
        goals=(),
        not_measured=(NotMeasured(what="bwrap", why="bubblewrap is not installed"),),
        started_at=datetime.now(UTC),
        seconds=1.0,
    ).model_copy(update=fields)
    return record.model_copy(update={"goals": tuple(goals.judge(record))})


def test_a_goal_is_met_by_what_was_measured_or_it_is_not(content: Content) -> None:
    verdicts = {goal.what: goal for goal in recorded(content).goals}
    execs = verdicts["exec"]
    assert (execs.measured, execs.limit, execs.met, execs.floor, execs.floor_measured) == (2.0, 2, True, "enter", 0.5)
    assert execs.verdict == "met"
    assert verdicts["32 tasks at once"].met is True
    assert verdicts["memory of an idle sandbox"].met is True
    assert verdicts["create beside the fastest tool"].measured == 0.75
    assert verdicts["create beside the fastest tool"].met is False
    assert verdicts["destroy"].met is None, "what was not measured is neither met nor missed"
    slow = recorded(content, operations=(Timing.of("exec", "", [2.001]),), memory_mib=3.01)
    verdicts = {goal.what: goal for goal in slow.goals}
    assert (verdicts["exec"].met, verdicts["memory of an idle sandbox"].met) == (False, False)


def test_a_goal_is_forbidden_by_a_floor_alone_or_needs_a_reason(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasons, "WHY", {})
    slow = (Timing.of("exec", "", [4.0]), Timing.of("destroy", "", [9.0]))
    floors = (Timing.of("enter", "", [2.5]), Timing.of("fsync", "", [0.4]))
    runs = {"here": recorded(content, operations=slow, floors=floors, comparisons=())}
    verdicts = {goal.what: goal for goal in goals.judge(runs["here"])}
    assert verdicts["exec"].verdict == "NOT MET; the floor, enter, is 2.5"
    assert (verdicts["destroy"].forbidden, verdicts["destroy"].verdict) == (False, "NOT MET")
    assert [line.split(",")[0] for line in goals.unexplained(runs)] == ["here: destroy: 9.0"]
    monkeypatch.setattr(
        reasons, "WHY", {("native", "destroy"): "of this and that", ("native", "memory of an idle sandbox"): "-"}
    )
    verdicts = {goal.what: goal for goal in goals.judge(runs["here"])}
    assert verdicts["destroy"].verdict == "NOT MET; of this and that"
    assert [*goals.unexplained(runs)] == []
    assert [line.split(": a")[0] for line in goals.needless(runs)] == ["native: memory of an idle sandbox"]
    met = {"here": recorded(content, operations=(Timing.of("destroy", "", [1.0]),))}
    assert len([*goals.needless(met)]) == 2, "a reason is of no use any more when the goal is met"


def test_only_what_was_asked_for_is_judged(content: Content) -> None:
    verbs = {goal.what for goal in recorded(content, only_verbs=True).goals}
    assert "exec" in verbs
    assert not verbs & {"sandbox list", "32 tasks at once", "restore of A"}


def test_a_tool_made_by_hand_is_not_the_fastest_tool(content: Content) -> None:
    record = recorded(content)
    by_hand = record.peers[0].model_copy(update={"by_hand": True})
    verdicts = {goal.what: goal for goal in goals.judge(record.model_copy(update={"peers": (by_hand,)}))}
    assert verdicts["create beside the fastest tool"].met is None


@pytest.mark.parametrize(("filesystem", "limit"), [("xfs", 4), ("btrfs", 4), ("ext4", 8)])
def test_a_snapshot_may_take_longer_where_files_share_no_blocks(content: Content, filesystem: str, limit: int) -> None:
    record = recorded(content)
    machine = record.machine.model_copy(update={"filesystem": filesystem})
    found = [one for one in goals.judge(record.model_copy(update={"machine": machine})) if "change A" in one.what]
    assert [one.limit for one in found] == [limit]


def test_the_figures_are_shown_to_a_person(content: Content) -> None:
    shown = "\n".join(measured(recorded(content)))
    for expected in (
        "native, image host",
        "exec     2.0",
        "help          99.0",
        "enter  0.5 ",
        "OTHER",
        "0.75",
        "Not measured: bwrap: bubb",
        "other, rollback_b: wrong content: as told",
        "other has no fork.",
        "sandbox                    1.25",
        "32 tasks: 2.00 s one after the other, 1.00 s at once: 2.00 times the throughput.",
    ):
        assert expected in shown
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert "NOT MET" in lines["create beside the fastest tool (times of it; needs others by --against)"]
    assert " met" in lines["exec (median)"]
