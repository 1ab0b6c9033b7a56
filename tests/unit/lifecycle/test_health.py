"""What healthy means."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.lifecycle import health
from sandbox.spec import TargetSpec


def spec(**more: Any) -> TargetSpec:
    return TargetSpec(name="app", kind="directory", path="/srv/app", **more)


def test_no_health_checks_means_nothing_to_wait_for() -> None:
    started = time.monotonic()
    health.bake([spec(bake_s=60)])
    assert time.monotonic() - started < 1


def test_d3_a_check_that_gives_no_answer_is_a_failure() -> None:
    with pytest.raises(health.Unhealthy, match="no answer"):
        health.bake([spec(grace_s=0, health=[{"run": ["sleep", "60"], "timeout_s": 0.1}])])


def test_d3_a_check_that_does_not_exist_is_a_failure() -> None:
    with pytest.raises(health.Unhealthy, match="can't be run"):
        health.bake([spec(grace_s=0, health=[{"run": ["/no/such/program"]}])])


def test_a_service_may_take_its_grace_to_come_up(tmp_path: Path) -> None:
    script = f"n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) > {tmp_path}/n; test $n -ge 2"
    health.bake([spec(grace_s=30, health=[{"run": ["sh", "-c", script]}])])
    assert (tmp_path / "n").read_text() == "3\n"


def test_e7_a_failure_in_the_bake_is_found(tmp_path: Path) -> None:
    script = f"n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) > {tmp_path}/n; test $n -lt 3"
    with pytest.raises(health.Unhealthy, match="into its bake"):
        health.bake([spec(bake_s=60, health=[{"run": ["sh", "-c", script]}])])


def test_a_service_left_running_by_after_apply_does_not_hold_it_up(tmp_path: Path) -> None:
    started = time.monotonic()
    health.after_apply(spec(after_apply=[["sh", "-c", f"sleep 30 & echo $! > {tmp_path}/pid"]]))
    assert time.monotonic() - started < 10
    pid = int((tmp_path / "pid").read_text())
    import os
    import signal

    os.kill(pid, signal.SIGKILL)


def test_what_a_failing_command_said_last_is_told() -> None:
    with pytest.raises(health.Unhealthy, match="exit code 3: no such service"):
        health.after_apply(spec(after_apply=[["sh", "-c", "echo no such service >&2; exit 3"]]))
