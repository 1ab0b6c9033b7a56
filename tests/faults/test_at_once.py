"""Several managers at once, in one home and in two, and a clock that was set back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.faults.acts import ONE, kept, production, run, signed
from tests.flows.house import Answer, House
from tests.host import traces_here

pytestmark = pytest.mark.timeout(300)

TOMORROW = """
import sys
from datetime import timedelta
from sandbox import clock
today = clock.now
clock.now = lambda: today() + timedelta(days=1)
from sandbox.cli import main
main(sys.argv[1:])
"""
"""The command, a day ahead: what it writes is in the future for all others."""


def at_once(*calls: Callable[[], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [one.result() for one in [pool.submit(call) for call in calls]]


def neighbour(house: House) -> House:
    """A second home for the same targets."""
    other = House(house.root / "neighbour", house.engine, house.image)
    shutil.copytree(house.config, other.config, dirs_exist_ok=True)
    shutil.copytree(house.root / "keys", other.root / "keys")
    return other


@pytest.mark.parametrize("homes", [1, 2])
def test_e2_of_two_promotions_to_one_target_at_once_one_is_applied(house: House, homes: int) -> None:
    houses = [house, house if homes == 1 else neighbour(house)]
    before = production(house)
    for _ in range(4):
        changes = [signed(*ONE)(one)["change"] for one in houses]
        answers = at_once(*(partial(one.promote, change) for one, change in zip(houses, changes, strict=True)))
        (winner,) = [number for number, answer in enumerate(answers) if answer.code == 0]
        answers[1 - winner].expect(6)
        assert production(house) != before
        (done,) = [record for record in kept(houses[winner], "promotion") if record["status"] == "committed"]
        houses[winner]("restore", done["promotion"]).expect(0)
        assert production(house) == before
    for one in houses:
        one("audit", "verify").expect(0)


@pytest.mark.parametrize("homes", [1, 2])
def test_tasks_at_once_do_not_meet(house: House, homes: int) -> None:
    houses = [house, house if homes == 1 else neighbour(house)] * 2
    before = production(house)
    words = ["--check", "test -e mine", "--", "sh", "-c"]
    tasks = [partial(run, one, ONE, *words, f"echo {number} > mine") for number, one in enumerate(houses)]
    answers = at_once(*tasks)
    digests = {answer.expect(0).json["change"]["digest"] for answer in answers}
    assert len(digests) == len(houses)
    assert production(house) == before
    for one in houses[:homes]:
        assert one("recover", "--json").expect(0).json["done"] == []
        one("audit", "verify").expect(0)
        assert traces_here(str(one.home), (one.home / "id").read_text()) == []


def test_t32_a_clock_that_was_set_back_promotes_nothing(house: House) -> None:
    change = signed(*ONE)(house)["change"]
    before = production(house)
    words = ["--home", str(house.home), "--config", str(house.config), "--engine", house.engine]
    words += ["create", "--target", "app", "--image", house.image]
    subprocess.run([sys.executable, "-c", TOMORROW, *words], check=True, stdout=subprocess.DEVNULL)
    answer = house.promote(change).expect(3).json
    assert answer["status"] == "refused"
    assert any("clock" in reason for reason in answer["reasons"]), answer["reasons"]
    assert production(house) == before
