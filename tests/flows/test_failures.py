"""What fails is rolled back, says why, and leaves the target as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.house import Answer, House, listing


@pytest.fixture
def target(house: House) -> Path:
    return house.root / "production" / "app"


def test_a_failing_command_is_rolled_back_and_nothing_is_proposed(house: House, target: Path) -> None:
    before = listing(target)
    answer = house.run("--attempts", "2", "--", "sh", "-c", "rm -rf /workspace/*; exit 3").expect(4).json
    assert answer["status"] == "rolled_back"
    assert answer["attempts"] == 2
    assert answer["change"] is None
    assert answer["failure"]["exit_code"] == 3
    assert listing(target) == before
    assert house("changes", "--json").expect(0).json["changes"] == []


def test_a_second_attempt_starts_from_the_base(house: House) -> None:
    script = "test ! -e left-over || exit 9; echo x > left-over; exit 1"
    assert house.run("--attempts", "3", "--", "sh", "-c", script).expect(4).json["failure"]["exit_code"] == 1


def test_a_timeout_ends_the_task(house: House) -> None:
    answer = house.run("--timeout", "1", "--", "sh", "-c", "sleep 100 & sleep 100").expect(4).json
    assert "timed out" in answer["failure"]["reason"]


def test_a_failed_check_ends_with_nothing_proposed(house: House) -> None:
    answer = house.run("--check", "exit 7", "--", "touch", "new").expect(4).json
    assert answer["failure"]["step"].startswith("check")
    assert answer["failure"]["exit_code"] == 7
    assert house("changes", "--json").json["changes"] == []


def test_a_tripwire_stops_the_agent(house: House, target: Path) -> None:
    for number in range(50):
        (target / f"file-{number}").write_text("x")
    house.write(
        "tasks", "wipe",
        {
            "targets": ["app"], "image": house.image, "max_deleted": 10,
            "command": ["sh", "-c", "rm -rf /workspace/*; sleep 60"],
        },
    )  # fmt: skip
    answer = house("run", "wipe", "--json").expect(4).json
    assert "tripwire" in answer["failure"]["reason"]
    assert len(listing(target)) >= 50


def test_d1_checks_run_on_the_tests_of_the_base(house: House, target: Path) -> None:
    (target / "tests").mkdir()
    (target / "tests" / "check.sh").write_text("grep -q one app.py\n")
    house.write(
        "tasks", "cheat",
        {
            "targets": ["app"], "image": house.image,
            "command": ["sh", "-c", "sed -i s/one/two/ app.py; echo 'exit 0' > tests/check.sh"],
            "checks": [{"run": ["sh", "tests/check.sh"], "pristine": ["tests/**"]}],
        },
    )  # fmt: skip
    assert house("run", "cheat", "--json").expect(4).json["failure"]["step"].startswith("check")


def test_steps_run_in_order_each_after_a_snapshot(house: House) -> None:
    house.write(
        "tasks", "steps",
        {
            "targets": ["app"], "image": house.image,
            "steps": [["sh", "-c", "echo 1 > steps.txt"], ["sh", "-c", "echo 2 >> steps.txt"]],
        },
    )  # fmt: skip
    change = house("run", "steps", "--json").expect(0).json["change"]
    assert [entry["path"] for entry in change["targets"][0]["entries"]] == ["steps.txt"]


@pytest.mark.parametrize(
    ("args", "code", "kind"),
    [
        (["run", "--target", "nowhere", "--", "true"], 2, "not_found"),
        (["create", "--target", "app", "--image", "no-such-image"], 2, "not_found"),
        (["exec", "sbx_unknown", "--", "true"], 2, "not_found"),
        (["promote", "chg_unknown"], 2, "not_found"),
        (["restore", "prm_unknown"], 2, "not_found"),
        (["rollback", "sbx_unknown", "snap_unknown"], 2, "not_found"),
    ],
)
def test_bad_input_gets_one_sentence_and_the_right_exit_code(
    house: House, args: list[str], code: int, kind: str
) -> None:
    cut = args.index("--") if "--" in args else len(args)
    answer = house(*args[:cut], "--json", *args[cut:]).expect(code)
    error = answer.json["error"]
    assert error["kind"] == kind
    assert error["says"]
    assert "Traceback" not in answer.stderr
    spoken = house(*args).expect(code)
    assert spoken.stdout == b""
    assert "Traceback" not in spoken.stderr


def test_malformed_yaml_names_file_and_line(house: House) -> None:
    path = house.config / "targets" / "broken.yaml"
    path.write_text("kind: directory\npath: [unclosed\n")
    answer = house("run", "--json", "--target", "broken", "--", "true").expect(2)
    assert f"{path}:" in answer.json["error"]["says"]


def test_an_engine_that_is_down_says_so(house: House) -> None:
    house.engine = "docker"
    env = {"DOCKER_HOST": f"unix://{house.root}/nobody.sock"}
    answer = house("create", "--json", "--target", "app", "--image", house.image, env=env).expect(5)
    assert answer.json["error"]["kind"] == "engine_unavailable"
    assert answer.json["error"]["hint"]


def test_an_engine_that_is_down_leaves_no_sandbox_to_clean_up(house: House) -> None:
    down = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    command = ("--engine", "docker", "run", "--json", "--target", "app", "--", "true")
    assert house(*command, env=down).expect(5).json["error"]["kind"] == "engine_unavailable"
    assert house("list", "--json", env=down).expect(0).stderr == ""


def test_targets_that_share_a_directory_are_refused(house: House, target: Path) -> None:
    def both(inner: Path, **spec: object) -> Answer:
        house.write("targets", "app", {"kind": "directory", "path": str(target), **spec})
        house.write("targets", "part", {"kind": "directory", "path": str(inner)})
        return house("create", "--json", "--target", "app", "--target", "part", "--image", house.image)

    assert "one directory" in both(target / ".." / "app").expect(2).json["error"]["says"]
    assert "lies within" in both(target / "data").expect(2).json["error"]["says"]
    both(target / "data", ignore=["data/"]).expect(0)
    assert "twice" in house("create", "--json", "--target", "app", "--target", "app").expect(2).json["error"]["says"]


@pytest.mark.parametrize("timeout", ["0", "-5", "nan"])
def test_a_timeout_must_be_more_than_nothing(house: House, timeout: str) -> None:
    error = house("exec", "sbx_1", "--json", "--timeout", timeout, "--", "true").expect(2).json["error"]
    assert error["says"].startswith("The timeout")
