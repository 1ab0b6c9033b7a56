"""What the command line understands, says and ends with, as far as no sandbox is needed for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.cli import app
from sandbox.cli.running import shell_checks, variables
from sandbox.errors import InputError

VERBS = {
    "run", "create", "exec", "shell", "list", "show", "logs", "destroy", "snapshot", "snapshots", "rollback", "fork",
    "diff", "propose", "review", "approve", "reject", "promote", "restore", "promotions", "changes", "target", "policy",
    "audit", "recover", "prune", "doctor", "image", "drill", "bench",
}  # fmt: skip
LEAVES = [
    *([verb] for verb in sorted(VERBS - {"target", "policy", "audit", "image"})),
    ["target", "list"], ["target", "check"], ["policy", "check"], ["audit", "log"], ["audit", "verify"],
    ["image", "list"], ["image", "build"],
]  # fmt: skip


@pytest.fixture
def empty_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home and an empty configuration of the test's own."""
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SANDBOX_CONFIG", str(tmp_path / "configs"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("SANDBOX_DEBUG", raising=False)
    (tmp_path / "configs").mkdir()
    with (tmp_path / "no-terminal").open("x+") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield tmp_path


def call(*words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """The command as a user's shell calls it."""
    command = [sys.executable, "-m", "sandbox", *words]
    return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, env=os.environ | env)


def error_of(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    return document["error"]


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0
    commands = capsys.readouterr().out.split("Commands:")[1]
    named = {line.split()[0] for line in commands.splitlines() if line.startswith("  ") and line.strip()}
    assert named >= VERBS


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_verb_takes_json_and_lists_its_exit_codes(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "Exit codes: " in shown


BAD_INPUT = {
    "unknown verb": ["nope"],
    "unknown option": ["list", "--nope"],
    "json before the verb": ["--json", "list"],
    "unknown engine": ["--engine", "podman", "list"],
    "missing argument": ["rollback", "sbx_1"],
    "missing person": ["approve", "chg_1", "--key", "k", "--digest", "0" * 12],
    "missing reason": ["reject", "chg_1", "--as", "alice", "--key", "k"],
    "empty reason": ["reject", "chg_1", "--as", "alice", "--key", "k", "--reason", " "],
    "short digest": ["approve", "chg_1", "--as", "alice", "--key", "k", "--digest", "abc"],
    "digest that is none": ["approve", "chg_1", "--as", "alice", "--key", "k", "--digest", "x" * 12],
    "no digest in a script": ["approve", "chg_1", "--as", "alice", "--key", "k"],
    "no number": ["fork", "snap_1", "--count", "many"],
    "nothing to run": ["run"],
    "no target": ["run", "--", "true"],
    "no command": ["run", "--target", "t"],
    "empty command": ["exec", "sbx_1", "--"],
    "task and options": ["run", "fix", "--check", "true"],
    "task and command": ["run", "fix", "--", "true"],
    "no attempts": ["run", "--target", "t", "--attempts", "0", "--", "true"],
    "bad network": ["run", "--target", "t", "--network", "some", "--", "true"],
    "bad network by hand": ["create", "--target", "t", "--network", "some"],
    "bad memory": ["create", "--target", "t", "--memory", "1"],
    "bad target name": ["run", "--target", "../t", "--", "true"],
    "bad variable": ["run", "--target", "t", "--env", "X", "--", "true"],
    "no target by hand": ["create"],
    "command where none belongs": ["list", "--", "true"],
    "shell as json": ["shell", "sbx_1"],
    "unknown task": ["run", "nope"],
    "unknown target": ["target", "check", "nope"],
    "unknown policy": ["policy", "check", "nope"],
    "unknown sandbox": ["show", "sbx_nope"],
    "unknown change": ["review", "chg_nope"],
    "unknown promotion": ["restore", "prm_nope"],
    "unknown drill": ["drill", "nope"],
    "no configuration": ["--config", "nope", "target", "list"],
}


@pytest.mark.parametrize("words", BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_ends_with_2_one_sentence_and_a_cure(
    words: list[str], empty_house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = words.index("--") if "--" in words else len(words)
    assert app.run([*words[:at], "--json", *words[at:]]) == 2
    error = error_of(capsys)
    assert error["says"].endswith((".", "?"))
    assert error["hint"]
    assert error["kind"] in ("bad_input", "not_found", "bad_config")


def test_an_error_without_json_is_on_stderr_alone(empty_house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["show", "sbx_nope\x1b[2K"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("sandbox: ")
    assert "\x1b" not in shown.err
    assert "Traceback" not in shown.err


def test_a_malformed_file_is_named_with_its_line(empty_house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty_house / "configs/tasks").mkdir()
    (empty_house / "configs/tasks/fix.yaml").write_text("targets: [web]\ncomand: [sh]\n")
    assert app.run(["run", "fix", "--json"]) == 2
    error = error_of(capsys)
    assert "configs/tasks/fix.yaml:2: " in error["says"]
    assert "'command'" in error["hint"]


def test_an_empty_house_lists_nothing_and_ends_with_0(empty_house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, field in ((["list"], "sandboxes"), (["changes"], "changes"), (["promotions"], "promotions")):
        assert app.run([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"schema": 1, field: []}
        assert app.run(words) == 0
        assert capsys.readouterr().out.startswith("There is no ")


def test_the_command_itself_ends_as_run_says_and_says_nothing_else(empty_house: Path) -> None:
    answer = call("show", "sbx_nope", "--json")
    assert answer.returncode == 2
    assert json.loads(answer.stdout)["error"]["kind"] == "not_found"
    assert answer.stderr == b""


def test_a_bug_is_called_one_and_its_details_are_kept(
    empty_house: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a \x1b[2K surprise")

    monkeypatch.setattr("sandbox.manager.Manager.sandboxes", broken)
    monkeypatch.setattr("tempfile.tempdir", str(empty_house))
    assert app.run(["list", "--json"]) == 1
    error = error_of(capsys)
    assert (error["kind"], "RuntimeError" in error["says"]) == ("bug", True)
    kept = next(empty_house.glob("sandbox-bug-*.txt"))
    assert str(kept) in error["hint"]
    assert "Traceback" in kept.read_text()
    monkeypatch.setenv("SANDBOX_DEBUG", "1")
    assert app.run(["list"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "\x1b" not in shown


def test_an_interrupt_ends_with_130(
    empty_house: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sandbox.manager.Manager.sandboxes", interrupted)
    assert app.run(["list", "--json"]) == 130
    assert error_of(capsys)["kind"] == "interrupted"


def test_a_home_that_can_not_be_made_is_bad_input(empty_house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty_house / "file").write_text("")
    assert app.run(["--home", str(empty_house / "file/home"), "list", "--json"]) == 2
    assert "Not a directory" in error_of(capsys)["says"]


def test_a_reader_that_goes_away_is_no_error(empty_house: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        command = [sys.executable, "-m", "sandbox", "list"]
        answer = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, check=False)
    assert (answer.returncode, answer.stderr) == (0, b"")


def test_everything_after_the_dashes_is_the_command() -> None:
    assert app._split(["exec", "sbx_1", "--json", "--", "ls", "-la", "--", "--json"]) == (
        ["exec", "sbx_1", "--json"],
        ("ls", "-la", "--", "--json"),
    )
    assert app._split(["list"]) == (["list"], None)


def test_a_check_is_a_shell_line() -> None:
    assert [check.run for check in shell_checks(["test -f a && b"])] == [("sh", "-c", "test -f a && b")]


def test_variables_may_hold_equals_signs_and_nothing() -> None:
    assert variables(["A=b=c", "D="]) == {"A": "b=c", "D": ""}
    with pytest.raises(InputError, match="NAME=VALUE"):
        variables(["=x"])


def test_help_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from sandbox.cli import app; assert app.run(['--help']) == 0;"
        "heavy = {'pydantic', 'docker', 'rich', 'yaml', 'sqlite3', 'sandbox.manager'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True)


def test_i1_a_home_is_not_made_within_a_target(
    empty_house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_house / "production").mkdir()
    (empty_house / "configs/targets").mkdir()
    (empty_house / "configs/targets/broken.yaml").write_text("kind: [")
    (empty_house / "configs/targets/web.yaml").write_text(f"kind: directory\npath: {empty_house}/production\n")
    monkeypatch.setenv("SANDBOX_HOME", str(empty_house / "production/deep/home"))
    assert app.run(["list", "--json"]) == 2
    assert "contains the manager's home" in error_of(capsys)["says"]
    assert list((empty_house / "production").iterdir()) == []


def test_c11_a_target_whose_policy_can_not_be_read_says_so(
    empty_house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_house / "production").mkdir()
    (empty_house / "configs/targets").mkdir()
    file = empty_house / "configs/targets/web.yaml"
    file.write_text(f"kind: directory\npath: {empty_house}/production\npolicy: nope\n")
    assert app.run(["target", "check", "web", "--json"]) == 0
    assert "no policy 'nope'" in json.loads(capsys.readouterr().out)["policy_says"]
    assert app.run(["target", "check", "web"]) == 0
    assert "CAN'T BE READ" in capsys.readouterr().out
