"""Ctrl-C at any step, and at any moment: exit code 130 or how it really ended, and nothing is left (F1)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.faults.acts import ACTS, ONE, Stage, kept, production, script, signed
from tests.flows.house import Answer, House

pytestmark = pytest.mark.timeout(600)

INTERRUPTED = 130
AT_EVERY_STEP = [
    "run",
    "approve",
    "promote",
    "promote, not well",
    "restore",
    "create",
    "snapshot",
    "rollback",
    "fork",
    "destroy",
    "prune",
]
MOMENTS = 8


@pytest.mark.parametrize("name", AT_EVERY_STEP)
def test_f1_interrupted_at_any_step_nothing_is_left(house: House, name: str) -> None:
    stage = Stage(house, act := ACTS[name])
    for number, step in enumerate(stage.steps(), 1):
        answer = stage.play(f"*:interrupt:{number}")
        try:
            assert answer.code in (INTERRUPTED, act.code)
            assert house("recover", "--json").expect(0).json["done"] == [], "it cleaned up by itself"
            stage.settle()
        except AssertionError as error:
            raise AssertionError(f"interrupted at step {number}, {step}: {error}\n{answer}") from error
    stage.vouch()


def test_f1_interrupted_at_any_moment_nothing_is_left(house: House) -> None:
    """Steps are where a test looks for trouble; moments are where users press the keys."""
    chance = random.Random(20261123)
    before = production(house)
    change = signed(*ONE)(house)["change"]
    box = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json["sandbox"]
    attempts: list[tuple[float, Callable[[float], Answer]]] = [
        (1.2, lambda at: house(*_run(house), interrupt_after_s=at)),
        (0.5, lambda at: house("exec", box, "--", "sh", "-c", "touch data/x; sleep 3", interrupt_after_s=at)),
        (0.2, lambda at: house("snapshot", box, "--json", interrupt_after_s=at)),
    ]
    for longest, attempt in attempts:
        for _ in range(MOMENTS):
            answer = attempt(chance.uniform(0.01, longest))
            assert answer.code in (0, INTERRUPTED), answer
            assert house("recover", "--json").expect(0).json["done"] == []
            assert production(house) == before
    house("exec", box, "--", "sh", "-c", "! pgrep sleep").expect(0)
    house("destroy", box).expect(0)
    for _ in range(MOMENTS):
        answer = house("promote", change["id"], "--json", interrupt_after_s=chance.uniform(0.01, 0.6))
        assert answer.code in (0, INTERRUPTED), answer
        assert house("recover", "--json").expect(0).json["done"] == []
        for record in kept(house, "promotion"):
            if record["status"] == "committed":
                assert production(house) != before
                house("restore", record["promotion"]).expect(0)
        assert production(house) == before
        if any(one["id"] == change["id"] and one["status"] != "open" for one in kept(house, "change")):
            change = signed(*ONE)(house)["change"]


def _run(house: House) -> list[str]:
    return [
        "run",
        "--json",
        "--target",
        "app",
        "--image",
        house.image,
        "--check",
        "true",
        "--",
        "sh",
        "-c",
        script(ONE),
    ]
