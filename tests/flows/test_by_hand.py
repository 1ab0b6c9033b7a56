"""Sandboxes by hand: each command is a process of its own."""

from __future__ import annotations

import base64

import pytest

from tests.flows.house import House


@pytest.fixture
def box(house: House) -> str:
    made = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json
    assert made["engine"] == house.engine
    assert made["image"] == house.image
    return str(made["sandbox"])


def test_exec_passes_the_exit_code_and_both_streams_through(house: House, box: str) -> None:
    answer = house("exec", box, "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (answer.code, answer.stdout, answer.stderr) == (42, b"out\n", "err\n")
    told = house("exec", box, "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 42").expect(42).json
    assert (told["exit_code"], told["stdout"], told["stderr"], told["timed_out"]) == (42, "out\n", "err\n", False)


def test_output_that_is_not_utf8_comes_as_base64(house: House, box: str) -> None:
    told = house("exec", box, "--json", "--", "printf", r"\377\000").expect(0).json
    assert base64.b64decode(told["stdout_base64"]) == b"\xff\x00"
    assert told["stderr"] == ""


def test_snapshot_rollback_fork_diff_destroy(house: House, box: str) -> None:
    first = house("snapshot", box, "--label", "clean", "--json").expect(0).json
    house("exec", box, "--", "sh", "-c", "rm -rf /workspace /usr/share; echo x > /tmp/x").expect(0)
    (delta,) = house("diff", box, "--json").expect(0).json["targets"]
    assert delta["deleted"] >= 3
    back = house("rollback", box, first["snapshot"], "--json").expect(0).json
    assert (back["sandbox"], back["snapshot"]) == (box, first["snapshot"])
    assert house("exec", box, "--", "cat", "app.py").expect(0).stdout == b"print('one')\n"
    left, right = house("fork", first["snapshot"], "--count", "2", "--json").expect(0).json["sandboxes"]
    house("exec", left, "--", "sh", "-c", "echo left > side").expect(0)
    house("exec", right, "--", "test", "!", "-e", "side").expect(0)
    assert {one["sandbox"] for one in house("list", "--json").json["sandboxes"]} == {box, left, right}
    for one in (box, left, right):
        house("destroy", one, "--json").expect(0)
    assert house("list", "--json").json["sandboxes"] == []
    house("exec", box, "--", "true").expect(2)


def test_diff_from_a_snapshot_shows_what_came_after_it(house: House, box: str) -> None:
    house("exec", box, "--", "sh", "-c", "echo 1 > first").expect(0)
    taken = house("snapshot", box, "--json").expect(0).json["snapshot"]
    house("exec", box, "--", "sh", "-c", "echo 2 > second").expect(0)
    (since,) = house("diff", box, "--from", taken, "--json").expect(0).json["targets"]
    assert [entry["path"] for entry in since["entries"]] == ["second"]


def test_propose_by_hand_leads_to_a_promotion(house: House, box: str) -> None:
    house("exec", box, "--", "sh", "-c", "echo new > new.txt").expect(0)
    failed = house("propose", box, "--check", "false", "--json").expect(4).json
    assert (failed["status"], failed["change"]) == ("rolled_back", None)
    answer = house("propose", box, "--check", "test -f new.txt", "--json").expect(0).json
    assert answer["status"] == "proposed"
    house.sign_off(answer["change"])
    assert house.promote(answer["change"]).expect(0).json["status"] == "committed"
    assert (house.root / "production/app/new.txt").read_text() == "new\n"


def test_logs_keep_what_was_printed(house: House, box: str) -> None:
    house("exec", box, "--", "echo", "remember me").expect(0)
    assert b"remember me" in house("logs", box).expect(0).stdout
    assert house("show", box, "--json").expect(0).json["sandbox"] == box
