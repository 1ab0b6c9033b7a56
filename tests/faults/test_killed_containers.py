"""The container killed from outside: an error that says so, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import host
from tests.engines import Registry
from tests.faults.acts import ONE, furnished, kept, production, run
from tests.faults.victims import created, ended_well, first_process, fresh_mark, killed
from tests.flows.house import House

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def house(place: tuple[str, str], registry: Registry, swift: Path) -> Iterator[House]:
    engine, image = place
    image = {"native": "host"}.get(engine, image)
    registry.engine(engine, image)
    house = furnished(swift, engine, image)
    before = production(house)
    house("list").expect(0)
    yield house
    ended_well(house, before)
    assert host.traces((house.home / "id").read_text()) == []


@pytest.fixture
def mark() -> str:
    return fresh_mark()


def test_in_a_run(house: House, mark: str) -> None:
    answer = killed(mark, lambda: run(house, ONE, "--", "sleep", mark), first_process(mark)).expect(5)
    assert answer.json["error"]["kind"] == "sandbox_died"
    assert {one["status"] for one in kept(house, "sandbox")} == {"destroyed"}
    assert [one["status"] for one in kept(house, "run")] == ["interrupted"]


def test_in_a_verification(house: House, mark: str) -> None:
    words = ("--check", f"sleep {mark}", "--", "touch", "new")
    answer = killed(mark, lambda: run(house, ONE, *words), first_process(mark)).expect(5)
    assert answer.json["error"]["kind"] == "sandbox_died"
    assert kept(house, "change") == []
    assert {one["status"] for one in kept(house, "sandbox")} == {"destroyed"}


def test_in_an_exec_and_a_rollback_brings_it_back(house: House, mark: str) -> None:
    box = created(house)
    taken = house("snapshot", box, "--json").expect(0).json["snapshot"]
    answer = killed(mark, lambda: house("exec", box, "--json", "--", "sleep", mark), first_process(mark)).expect(5)
    error = answer.json["error"]
    assert error["kind"] == "sandbox_died"
    assert box in error["says"]
    house("rollback", box, taken).expect(0)
    house("exec", box, "--", "cat", "app.py").expect(0)


def test_in_a_snapshot(house: House, mark: str) -> None:
    """Whether it was taken or not: it is said, and what was taken can be returned to."""
    box = created(house)
    first = house("snapshot", box, "--json").expect(0).json["snapshot"]
    house("exec", box, "--", "sh", "-c", f"head -c 60000000 /dev/urandom > /tmp/big; sleep {mark} >/dev/null 2>&1 &")
    answer = killed(mark, lambda: house("snapshot", box, "--json"), first_process(mark))
    assert answer.code in (0, 5)
    if answer.code == 5:
        assert len(kept(house, "snapshot")) == 1
    house("exec", box, "--", "true").expect(5)
    for one in [first, *([answer.json["snapshot"]] if answer.code == 0 else [])]:
        house("rollback", box, one).expect(0)
        house("exec", box, "--", "cat", "app.py").expect(0)
