"""Somebody takes their word back while a promotion is under way, at each of its steps: it wins up to the very end (B7).

The promoting process stops itself at a step, another one acts, and the first goes on.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import Conflict
from sandbox.manager import Manager
from sandbox.records import PromotionRecord
from sandbox.verbs.upkeep import audit_verify
from tests.engines import Registry
from tests.faults.acts import ENGINES, furnished, production, signed
from tests.flows.house import PEOPLE, House
from tests.processes import PATIENCE_S, WARM

pytestmark = [pytest.mark.one_engine, pytest.mark.timeout(120)]

TARGETS = ("app", "web")
WITHIN = ("nonce.recorded", "nonce.spent", "checkpoint.signed")
"""Steps within one transaction of the journal, or under the lock of the log's keys: whoever acts there waits."""
DECIDED, CLAIMED, OVER = "promotion.decided", "change.promoting", "promotion.committed"


@dataclass
class Drama:
    """A signed change of two targets, and a signed proposal that takes one of its signers out; over and over."""

    house: House
    change: dict[str, Any]
    leaver: dict[str, Any]
    before: dict[str, str]

    @classmethod
    def arranged(cls, house: House) -> Drama:
        change = signed(*TARGETS)(house)["change"]
        house.policy(people=cls.people(house, "alice", "carol"))
        leaver = house("policy", "propose", "production", "--json").expect(0).json
        house.sign_off(leaver, "bob", "carol")
        shutil.copytree(house.home, house.root / "saved", symlinks=True, ignore=lambda _, names: {ENGINES} & set(names))
        return cls(house, change, leaver, production(house))

    @staticmethod
    def people(house: House, *names: str) -> dict[str, Any]:
        return {name: {"keys": [house.public(name)], "roles": ["sre"]} for name in names}

    def manager(self) -> Manager:
        return Manager.open(self.house.home, self.house.config, self.house.engine, "dave")

    def reset(self) -> None:
        home, saved = self.house.home, self.house.root / "saved"
        for path in home.iterdir():
            if path.name != ENGINES:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(saved, home, symlinks=True, dirs_exist_ok=True)
        self.house.policy(people=self.people(self.house, *PEOPLE))
        (self.house.config / "manager.yaml").unlink(missing_ok=True)
        assert production(self.house) == self.before

    def promote(self, fault: str, meanwhile: Callable[[], None] = lambda: None, **env: str) -> PromotionRecord:
        """In a process of its own, which stops where `fault` says; then comes `meanwhile`, and it goes on."""
        here, there = WARM.Pipe()
        place = (str(self.house.home), str(self.house.config), self.house.engine)
        process = WARM.Process(target=_promote, args=(place, self.change["id"], {"SANDBOX_FAULT": fault, **env}, there))
        process.start()
        there.close()
        try:
            if fault.split(":")[1] == "stop":
                _await_stop(process.pid)
                try:
                    meanwhile()
                finally:
                    os.kill(process.pid, signal.SIGCONT)
            assert here.poll(PATIENCE_S)
            ended = here.recv()
        finally:
            process.join(PATIENCE_S)
            process.close()
        assert isinstance(ended, PromotionRecord), ended
        return ended

    def steps(self) -> list[str]:
        log = self.house.root / "steps"
        log.unlink(missing_ok=True)
        self.reset()
        done = self.promote("none:kill", SANDBOX_FAULT_LOG=str(log))
        self.take_back(done)
        return log.read_text().split()

    def take_back(self, done: PromotionRecord) -> None:
        assert done.status == "committed"
        with self.manager() as manager:
            assert manager.restore(done.promotion).status == "restored"


def _promote(place: tuple[str, str, str], change: str, env: dict[str, str], there: Connection) -> None:
    home, config, engine = place
    with Manager.open(home, config, engine, "dave") as manager:
        os.environ.update(env)
        try:
            there.send(manager.promote(change))
        except Exception as error:  # noqa: BLE001 (whatever it is: the test says so)
            there.send(repr(error))
        os.environ.pop("SANDBOX_FAULT")


def _await_stop(pid: int | None) -> None:
    ends = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < ends, "it never came to that step"
        time.sleep(0.002)


# --- what somebody else does ----------------------------------------------------------------------------


def reject(drama: Drama) -> None:
    with drama.manager() as manager:
        manager.reject(drama.change["id"], person="carol", key=drama.house.key("carol"), reason="not yet")


def leave(drama: Drama) -> None:
    """bob, who signed, is taken out by a promotion of the policy; so his vote is void."""
    drama.house.policy(people=drama.people(drama.house, "alice", "carol"))
    with drama.manager() as manager:
        assert manager.promote(drama.leaver["id"]).status == "committed"


def stop(drama: Drama) -> None:
    (drama.house.config / "manager.yaml").write_text("stop: an incident is under way\n")


WAYS = {
    "reject": (reject, "carol rejected it: not yet"),
    "leave": (leave, "its policy changed after the request was made"),
    "stop": (stop, "All promotions are stopped: an incident is under way"),
}


@pytest.fixture(scope="module")
def drama(place: tuple[str, str], registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Drama:
    engine, image = place
    registry.engine(engine, image)
    return Drama.arranged(furnished(tmp_path_factory.mktemp("meanwhile"), engine, image))


@pytest.mark.parametrize("way", WAYS)
def test_b7_whoever_takes_their_word_back_at_any_step_wins_until_it_is_committed(drama: Drama, way: str) -> None:
    act, says = WAYS[way]
    steps = drama.steps()
    assert steps.index(DECIDED) < steps.index(CLAIMED) < steps.index(OVER)
    for number, step in enumerate(steps, 1):
        if step in WITHIN or step == steps[number - 2]:
            continue
        drama.reset()
        late: list[Conflict] = []

        def meanwhile(late: list[Conflict] = late) -> None:
            try:
                act(drama)
            except Conflict as error:
                late.append(error)

        ended = drama.promote(f"*:stop:{number}", meanwhile)
        where = f"{way} at {number}, {step}: {ended}"
        if number > steps.index(OVER):
            assert ended.status == "committed", where
            assert way != "reject" or "is promoted" in late[0].says, where
            drama.house.policy(people=drama.people(drama.house, *PEOPLE))
            drama.take_back(ended)
            continue
        assert not late, where
        assert ended.status == ("restored" if number > steps.index(CLAIMED) else "refused"), where
        assert says in ended.reasons[0], where
        assert production(drama.house) == drama.before, where
        # Nor is there a start in the log that the log itself speaks against.
        assert audit_verify(drama.house.home).findings == (), where
