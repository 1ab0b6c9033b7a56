"""The Docker Engine stopped in the middle: a clear error, real targets untouched, and nothing left once it is back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.acts import ONE, furnished, kept, production, run
from tests.faults.own_engine import IMAGE, OwnEngine
from tests.flows.house import Answer, House
from tests.host import wait_until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="runs a Docker Engine of its own, which needs root"),
]

SIGNALS = [signal.SIGKILL, signal.SIGTERM]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    engine = OwnEngine(tmp_path_factory.mktemp("docker"))
    yield engine
    engine.close()


@pytest.fixture
def house(engine: OwnEngine, swift: Path) -> House:
    house = furnished(swift, "docker", IMAGE)
    house.env["DOCKER_HOST"] = engine.address
    house("list").expect(0)
    return house


def stopped(engine: OwnEngine, number: signal.Signals, work: Callable[[], Answer], met: Callable[[], bool]) -> Answer:
    """What `work` gives when the engine gets a signal as soon as `met`."""
    with ThreadPoolExecutor(1) as pool:
        future: Future[Answer] = pool.submit(work)
        try:
            wait_until(lambda: met() or future.done(), "the work to be under way", timeout_s=60)
            assert not future.done(), future.result()
        finally:
            engine.stop(number)
        return future.result()


def well_again(house: House, engine: OwnEngine, before: dict[str, str]) -> None:
    """While it is away, commands say so; when it is back, one recover leaves nothing."""
    house("list", "--json").expect(0)
    error = run(house, ONE, "--", "true").expect(5).json["error"]
    assert error["kind"] == "engine_unavailable"
    assert error["hint"]
    engine.start()
    for one in kept(house, "sandbox"):
        if one["status"] == "ready" and not one["owner"]:
            house("destroy", one["sandbox"]).expect(0)
    house("recover").expect(0)
    assert house("recover", "--json").expect(0).json["done"] == []
    house("prune").expect(0)
    assert engine.left() == []
    assert production(house) == before
    house("audit", "verify").expect(0)
    assert run(house, ONE, "--", "touch", "new").expect(0).json["status"] == "proposed"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
def test_stopped_in_a_run(house: House, engine: OwnEngine, number: signal.Signals) -> None:
    before = production(house)
    up = lambda: any(b"up" in log.read_bytes().splitlines() for log in (house.home / "logs").glob("*"))  # noqa: E731
    answer = stopped(engine, number, lambda: run(house, ONE, "--", "sh", "-c", "echo up; sleep 60"), up)
    assert answer.expect(5).json["error"]["hint"]
    well_again(house, engine, before)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
def test_stopped_in_a_verification(house: House, engine: OwnEngine, number: signal.Signals) -> None:
    before = production(house)
    words = ("--check", "sleep 60", "--", "touch", "new")
    rooms = lambda: [one["status"] for one in kept(house, "sandbox")] == ["ready", "ready"]  # noqa: E731
    answer = stopped(engine, number, lambda: run(house, ONE, *words), rooms)
    assert answer.expect(5).json["error"]["hint"]
    assert kept(house, "change") == []
    well_again(house, engine, before)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
def test_stopped_in_a_snapshot(house: House, engine: OwnEngine, number: signal.Signals) -> None:
    before = production(house)
    box = house("create", "--json", "--target", "app", "--image", IMAGE).expect(0).json["sandbox"]
    house("exec", box, "--", "sh", "-c", "head -c 100000000 /dev/urandom > /tmp/big; echo whole > /tmp/is").expect(0)
    begun: list[bool] = []

    def met() -> bool:
        with engine.client() as client:
            begun.extend(item["State"] == "paused" for item in client.api.containers(all=True))
        return any(begun)

    answer = stopped(engine, number, lambda: house("snapshot", box, "--json"), met)
    if number == signal.SIGTERM and answer.code == 0:  # it ends what it has begun, if that takes a moment only
        taken = answer.json["snapshot"]
        assert [one["snapshot"] for one in kept(house, "snapshot")] == [taken]
        engine.start()
        house("rollback", box, taken).expect(0)
        house("exec", box, "--", "sh", "-c", 'read is < /tmp/is; test "$is" = whole && test -s /tmp/big').expect(0)
        engine.stop(signal.SIGKILL)
    else:
        assert answer.expect(5).json["error"]["hint"]
        assert kept(house, "snapshot") == []
    well_again(house, engine, before)
