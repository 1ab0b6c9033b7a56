"""What runtimes said, captured from crun 1.8 and runc 1.1, and what it has to mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.engines.native import verdicts
from sandbox.engines.native.runtime import read_log
from sandbox.errors import EngineUnavailable

CRUN = {
    "executable file `nosuch` not found in $PATH: No such file or directory": "not_found",
    "open executable: Operation not permitted": "not_executable",
    "chdir `/nope`: No such file or directory": "bad_cwd",
    "fail startup\nsetns(pid=7906, CLONE_NEWUSER): No such process": "died",
    "error opening file `/run/sbxt-crun/c1/status`: No such file or directory": "died",
}
RUNC_PREFIX = "exec failed: unable to start container process: "
RUNC = {
    RUNC_PREFIX + 'exec: "nosuch": executable file not found in $PATH': "not_found",
    RUNC_PREFIX + 'exec: "/etc": stat /etc: no such file or directory': "not_found",
    RUNC_PREFIX + 'exec: "/usr/share/doc": permission denied': "not_executable",
    RUNC_PREFIX + 'chdir to cwd ("/nope") set in config.json failed: no such file or directory': "bad_cwd",
    "exec failed: cannot exec in a stopped container": "died",
    "exec failed: container does not exist": "died",
}


@pytest.mark.parametrize(("says", "meaning"), [*CRUN.items(), *RUNC.items()])
def test_what_a_runtime_says_is_classified(says: str, meaning: str) -> None:
    assert verdicts.of_exec(says) == meaning


def test_what_no_runtime_is_known_to_say_is_a_broken_engine_never_a_result() -> None:
    assert verdicts.of_exec("") == "broken"
    assert verdicts.of_exec("something new went wrong") == "broken"


def test_a_start_that_fails_for_cgroups_names_the_cure() -> None:
    error = verdicts.start_failure("runc", "cannot set memory limit: cgroup: controller not available")
    assert isinstance(error, EngineUnavailable)
    assert "doctor" in error.hint


def test_a_dead_sandbox_is_named_with_the_way_back() -> None:
    error = verdicts.died("sbx_1")
    assert "sbx_1" in error.says
    assert "rollback" in error.hint


def test_only_errors_of_the_log_count(tmp_path: Path) -> None:
    lines = [
        {"level": "warning", "msg": "just so"},
        {"level": "error", "msg": "first"},
        {"level": "error", "msg": "2nd"},
    ]
    (tmp_path / "log").write_text("\n".join(json.dumps(line) for line in lines))
    assert read_log(str(tmp_path / "log")) == "first\n2nd"
    assert read_log(str(tmp_path / "missing")) == ""
