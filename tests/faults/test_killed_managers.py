"""kill -9 of the manager at every durable step of a command: the next command ends what it left (E5, D14).

The steps are not listed here: `*:kill:N` counts every one that the command takes, so a new step is in the
matrix as soon as it exists. The command has the last word: when it outlives its N, all steps have had theirs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import Answer, House, listing

pytestmark = pytest.mark.timeout(900)

SCRIPT = "for t in $(ls -d */ 2>/dev/null | grep -vx data/); do echo 2 > $t/app.py; rm -r $t/data; mkdir $t/made; done"
ALONE = "echo 2 > app.py; rm -r data; mkdir made; echo x > made/x"
TARGETS = [("app",), ("app", "web", "etc")]


def proposed(house: House, targets: tuple[str, ...], *, env: dict[str, str] | None = None) -> Answer:
    named = [part for name in targets for part in ("--target", name)]
    script = ALONE if len(targets) == 1 else SCRIPT
    return house("run", "--json", *named, "--image", house.image, "--check", "true", "--", "sh", "-c", script, env=env)


def matrix(attempt: Callable[[dict[str, str]], Answer], check: Callable[[int], None]) -> int:
    """Kill `attempt` at its first, second … step, with `check` after each; how many steps there were."""
    for number in count(1):
        answer = attempt({"SANDBOX_FAULT": f"*:kill:{number}"})
        if answer.code != -signal.SIGKILL:
            answer.expect(0)
            return number - 1
        check(number)
    raise AssertionError


def production(house: House) -> dict[str, str]:
    return listing(house.root / "production")


def vouched(house: House, number: int) -> None:
    """The log still verifies; looked at after some steps only, since it is the same log for many."""
    if number % 5 == 0:
        house("audit", "verify").expect(0)


@pytest.mark.parametrize("targets", TARGETS, ids=["one", "three"])
def test_e5_a_killed_promotion_ends_committed_or_restored(house: House, targets: tuple[str, ...]) -> None:
    change: dict[str, Any] = proposed(house, targets).expect(0).json["change"]
    house.sign_off(change)
    before, saved = production(house), house.root / "saved"
    shutil.copytree(house.home, saved, symlinks=True)

    def again(env: dict[str, str]) -> Answer:
        shutil.rmtree(house.home)
        shutil.copytree(saved, house.home, symlinks=True)
        return house.promote(change, env=env)

    ends = set()

    def check(number: int) -> None:
        records = house("promotions", "--json").expect(0).json["promotions"]
        (ended,) = [record["status"] for record in records]
        ends.add(ended)
        assert ended in ("restored", "committed"), f"step {number}"
        if ended == "committed":
            assert production(house) != before
            house("restore", records[0]["promotion"]).expect(0)
        assert production(house) == before, f"step {number}"
        vouched(house, number)
        if number % 5 == 0:
            votes = house("review", change["id"], "--json").expect(0).json["votes"]
            assert [vote["person"] for vote in votes] == ["alice", "bob"], f"step {number}: a reported vote is lost"

    steps = matrix(again, check)
    assert steps >= 15 + 8 * (len(targets) - 1)
    assert ends == {"restored", "committed"}


def test_e5_a_killed_restore_is_finished_by_the_next_command(house: House) -> None:
    change: dict[str, Any] = proposed(house, ("app",)).expect(0).json["change"]
    house.sign_off(change)
    before, saved = production(house), house.root / "saved"
    shutil.copytree(house.home, saved, symlinks=True)

    def again(env: dict[str, str]) -> Answer:
        shutil.rmtree(house.home)
        shutil.copytree(saved, house.home, symlinks=True)
        done = house.promote(change).expect(0).json
        return house("restore", done["promotion"], "--json", env=env)

    def check(number: int) -> None:
        records = house("promotions", "--json").expect(0).json["promotions"]
        if production(house) != before:
            assert [record["status"] for record in records] == ["committed"], f"step {number}: not begun, or finished"
            house("restore", records[0]["promotion"]).expect(0)
        else:
            assert [record["status"] for record in records] == ["restored", "restored"], f"step {number}"
        assert production(house) == before
        vouched(house, number)

    assert matrix(again, check) >= 6


def test_e5_a_killed_run_leaves_nothing_but_a_note(house: House) -> None:
    before = production(house)

    def check(number: int) -> None:
        assert house("list", "--json").expect(0).json["sandboxes"] == [], f"step {number}"
        house("recover").expect(0)
        assert house("recover", "--json").expect(0).json["done"] == [], f"step {number}: recovered once is enough"
        assert not any((house.home / "scratch").iterdir())
        known = {change["id"] for change in house("changes", "--json").expect(0).json["changes"]}
        assert {path.name for path in (house.home / "changes").iterdir()} == known
        assert production(house) == before
        vouched(house, number)

    assert matrix(lambda env: proposed(house, ("app",), env=env), check) >= 15


def test_e5_a_killed_vote_counts_or_was_never_given(house: House) -> None:
    change = proposed(house, ("app",)).expect(0).json["change"]
    saved = house.root / "saved"
    shutil.copytree(house.home, saved, symlinks=True)
    arguments = ["--as", "alice", "--key", str(house.key("alice")), "--digest", change["digest"]]

    def again(env: dict[str, str]) -> Answer:
        shutil.rmtree(house.home)
        shutil.copytree(saved, house.home, symlinks=True)
        return house("approve", change["id"], "--json", *arguments, env=env)

    def check(number: int) -> None:
        votes = house("review", change["id"], "--json").expect(0).json["votes"]
        assert [vote["valid"] for vote in votes] in ([], [True]), f"step {number}"
        vouched(house, number)

    assert matrix(again, check) >= 1


@pytest.mark.parametrize("verb", ["create", "snapshot", "rollback", "fork", "destroy"])
def test_e5_a_killed_verb_leaves_sandboxes_that_work_or_none(house: House, verb: str) -> None:
    def attempt(env: dict[str, str]) -> Answer:
        if verb == "create":
            return house("create", "--json", "--target", "app", "--image", house.image, env=env)
        box = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json["sandbox"]
        taken = house("snapshot", box, "--json").expect(0).json["snapshot"]
        house("exec", box, "--", "rm", "-r", "data").expect(0)
        arguments = {
            "snapshot": ["snapshot", box],
            "rollback": ["rollback", box, taken],
            "fork": ["fork", taken],
            "destroy": ["destroy", box],
        }[verb]
        return house(*arguments, "--json", env=env)

    def check(number: int) -> None:
        house("recover").expect(0)
        left = house("list", "--json").expect(0).json["sandboxes"]
        assert len(left) <= (2 if verb == "fork" else 1), f"step {number}"
        for one in left:
            data = house("exec", one["sandbox"], "--", "test", "-e", "data")
            assert data.code in {"create": (0,), "rollback": (0, 1), "fork": (0, 1)}.get(verb, (1,)), f"step {number}"
            house("destroy", one["sandbox"]).expect(0)
        assert house("recover", "--json").expect(0).json["done"] == []

    assert matrix(attempt, check) >= 2


def test_a_second_manager_at_the_same_time_is_kept_out(house: House, tmp_path: Path) -> None:
    """The lease is on the target itself: another home on this machine is kept out, too."""
    target = house.root / "production" / "app"
    change = proposed(house, ("app",)).expect(0).json["change"]
    house.sign_off(change)

    handle = os.open(target, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert house.promote(change).expect(6).json["error"]["kind"] == "locked"
    finally:
        os.close(handle)
    house.promote(change).expect(0)
