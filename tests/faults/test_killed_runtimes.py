"""What runs the containers killed under them: a shim of the Docker Engine, a keeper, what watches a command for an OCI
runtime. It is said, within seconds, the next command works, and nothing is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import host
from tests.conftest import engine_names
from tests.engines import Registry
from tests.faults.acts import ONE, furnished, kept, production, run
from tests.faults.own_engine import IMAGE, OwnEngine
from tests.faults.victims import created, ended_well, first_process, fresh_mark, holder, killed, watcher
from tests.flows.house import House

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="kills processes of an engine's own, which needs root"),
]

WAYS = {"keeper": "native", "runc": "native", "shim": "docker"}
"""What is killed, and the engine that it belongs to."""
KINDS = {"keeper": "sandbox_died", "runc": "engine", "shim": "sandbox_died"}
NOTICED_S = 30


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = engine_names(metafunc.config)
    metafunc.parametrize("way", [way for way, engine in WAYS.items() if engine in asked], scope="module")


@pytest.fixture(scope="module")
def own_engine(way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine | None]:
    """A Docker Engine of these tests' own: one whose shim was killed may be worth nothing any more."""
    engine = OwnEngine(tmp_path_factory.mktemp("docker")) if way == "shim" else None
    yield engine
    if engine is not None:
        engine.close()


@pytest.fixture
def house(way: str, own_engine: OwnEngine | None, registry: Registry, swift: Path) -> Iterator[House]:
    if own_engine is None:
        registry.engine("native", "host")
        house = furnished(swift, "native", "host")
        if way == "runc":
            house.env["SANDBOX_RUNTIME"] = "runc"
    else:
        house = furnished(swift, "docker", IMAGE)
        house.env["DOCKER_HOST"] = own_engine.address
    before = production(house)
    house("list").expect(0)
    yield house
    ended_well(house, before)
    house("prune").expect(0)
    assert own_engine is None or own_engine.left() == []
    assert host.traces((house.home / "id").read_text()) == []


@pytest.fixture
def mark() -> str:
    return fresh_mark()


@pytest.fixture
def victim(way: str, mark: str) -> Callable[[], list[int]]:
    return watcher(mark) if way == "runc" else holder(mark)


@pytest.fixture
def held_by(way: str, mark: str) -> Callable[[], list[int]]:
    """As `victim`, while no command is being run: of an OCI runtime nothing is there then; the first process dies."""
    return first_process(mark) if way == "runc" else holder(mark)


def test_in_an_exec_and_the_next_command_works(
    way: str, house: House, mark: str, victim: Callable[[], list[int]]
) -> None:
    box = created(house)
    taken = house("snapshot", box, "--json").expect(0).json["snapshot"]
    started = time.monotonic()
    answer = killed(mark, lambda: house("exec", box, "--json", "--", "sleep", mark), victim).expect(5)
    assert time.monotonic() - started < NOTICED_S
    assert answer.json["error"]["kind"] == KINDS[way]
    assert host.processes(mark) == [], "nothing of the command goes on"
    if way == "runc":
        house("exec", box, "--", "cat", "app.py").expect(0)
    else:
        house("exec", box, "--", "true").expect(5)
    house("rollback", box, taken).expect(0)
    house("exec", box, "--", "cat", "app.py").expect(0)


def test_in_a_verification(way: str, house: House, mark: str, victim: Callable[[], list[int]]) -> None:
    words = ("--check", f"sleep {mark}", "--", "touch", "new")
    answer = killed(mark, lambda: run(house, ONE, *words), victim).expect(5)
    assert answer.json["error"]["kind"] == KINDS[way]
    assert kept(house, "change") == []
    assert {one["status"] for one in kept(house, "sandbox")} == {"destroyed"}
    assert run(house, ONE, "--", "touch", "new").expect(0).json["status"] == "proposed"


def test_in_a_snapshot(house: House, mark: str, held_by: Callable[[], list[int]]) -> None:
    """Whether it was taken or not: it is said, and what was taken can be returned to."""
    box = created(house)
    first = house("snapshot", box, "--json").expect(0).json["snapshot"]
    house("exec", box, "--", "sh", "-c", f"head -c 60000000 /dev/urandom > /tmp/big; sleep {mark} >/dev/null 2>&1 &")
    answer = killed(mark, lambda: house("snapshot", box, "--json"), held_by)
    assert answer.code in (0, 5)
    for one in [first, *([answer.json["snapshot"]] if answer.code == 0 else [])]:
        house("rollback", box, one).expect(0)
        house("exec", box, "--", "cat", "app.py").expect(0)
