"""The drill `kiro`: an agent deletes and recreates a whole environment, on production and in a sandbox.

Owns the setting (two small productions, people, configuration) and the final account. The story is in `story`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sandbox.clock import now
from sandbox.drills import ledger, story
from sandbox.drills.outcome import DrillRecord
from sandbox.drills.prober import Prober
from sandbox.drills.production import Production
from sandbox.drills.report import Timeline, write_report
from sandbox.drills.stage import (
    LAUNCHER,
    make_keys,
    make_ready,
    managed,
    policy,
    scratch_folder,
    terminable,
    write_config,
)
from sandbox.drills.telling import OtherwiseThanTold, Teller, table
from sandbox.errors import SandboxError
from sandbox.wiring import EngineChoice

ACTS = (
    "The incident, for comparison: the agent has direct access",
    "The same agent in a sandbox",
    "Who may sign it off, and the promotion",
    "A bad change that passes its checks",
)


def run(*, engine: EngineChoice, report: Path | None, say: Callable[[str], None]) -> DrillRecord:
    """Play it from beginning to end; everything that it made is gone afterwards."""
    started_at, started = now(), time.monotonic()
    teller = Teller(say)
    say("Drill kiro: an agent that deletes and recreates its environment.")
    say(f"Two identical productions are probed ten times a second. The agent is a script. {LAUNCHER} launches it.")
    with ExitStack() as stack:
        stack.enter_context(terminable())
        folder = stack.enter_context(scratch_folder())
        scene = _set_up(stack, folder, engine, teller)
        try:
            _play(scene)
        except OtherwiseThanTold:
            say("  the rest would make no sense now")
        except SandboxError:
            if not teller.failures:
                raise
        timelines = (_timeline("production", scene.prober, teller), _timeline("throw-away", scene.incident, teller))
    missing = [
        f"act {number} was not played: {ACTS[number - 1]}" for number in range(len(teller.acts) + 1, len(ACTS) + 1)
    ]
    failures = (*teller.failures, *missing)
    record = DrillRecord(
        drill="kiro",
        engine=scene.engine,
        image=scene.image,
        passed=not failures,
        failures=failures,
        acts=tuple(teller.acts),
        started_at=started_at,
        seconds=round(time.monotonic() - started, 3),
    )
    for line in summary(record):
        say(line)
    if report is not None:
        write_report(report, record, timelines)
        say(f"The picture is in {report}.")
    return record


def _set_up(stack: ExitStack, folder: Path, engine: EngineChoice, teller: Teller) -> story.Scene:
    make_keys(folder / "keys")
    answers = ledger.answers()
    production = stack.enter_context(Production(folder / "production", folder / "run"))
    throwaway = stack.enter_context(Production(folder / "throw-away", folder / "run-throw-away"))
    config = folder / "config"
    write_config(config, "policies", story.POLICY, policy(folder / "keys"))
    write_config(
        config,
        "targets",
        story.TARGET,
        {
            "kind": "directory",
            "path": str(production.directory),
            "policy": story.POLICY,
            "ignore": ["__pycache__/"],
            "health": [{"run": list(production.health_command), "timeout_s": 5}],
            "grace_s": 1,
            "bake_s": 1,
            "after_apply": [list(production.reload_command)],
        },
    )
    manager = stack.enter_context(managed(folder, engine, teller.line))
    make_ready(manager, teller.line)
    prober = stack.enter_context(Prober(production.port, answers))
    incident = stack.enter_context(Prober(throwaway.port, answers))
    rows = sum(answer.rows for answer in answers.values())
    teller.line(f"production: {len(production.files())} paths, a ledger of {rows} rows, port {production.port}")
    return story.Scene(production, throwaway, prober, incident, manager, folder / "keys", teller)


def _play(scene: story.Scene) -> None:
    teller = scene.teller
    with teller.act(ACTS[0]):
        story.incident(scene)
    with teller.act(ACTS[1]):
        change = story.in_a_sandbox(scene)
    with teller.act(ACTS[2]):
        story.signed_off(scene, change)
    with teller.act(ACTS[3]):
        story.bad_change(scene)


def _timeline(name: str, prober: Prober, teller: Teller) -> Timeline:
    return Timeline(name, tuple(probe._replace(at=probe.at - teller.zero) for probe in prober.probes()))


def summary(record: DrillRecord) -> list[str]:
    """The final table and the verdict."""
    rows: list[tuple[str, ...]] = [("act", "what", "measured")]
    for act in record.acts:
        rows += [
            (f"{act.number}. {act.title.partition(':')[0]}" if not index else "", one.name, one.text)
            for index, one in enumerate(act.measures)
        ]
    told = sum(len(act.steps) for act in record.acts)
    verdict = (
        f"Everything came out as told ({told} of {told}), in {record.seconds:.1f} s on {record.engine}."
        if record.passed
        else f"NOT as told, in {record.seconds:.1f} s on {record.engine or 'no engine'}:"
    )
    return ["", *table(rows), "", verdict, *(f"  - {failure}" for failure in record.failures)]
