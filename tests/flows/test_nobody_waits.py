"""While an engine works nobody holds a lock: others go on with everything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.journal.ledger import Ledger
from sandbox.manager import Manager
from sandbox.spec import Check, TaskSpec
from tests.flows.house import House

WITHIN_S = 10.0
"""Longer than any step takes; who waits for a lock that the engine's caller holds waits for ever."""


class Probing:
    """The real engine, where at each verb somebody else records a step, here and from another opening of the journal,
    and asks for the engine."""

    def __init__(self, engine: Any, manager: Manager, journal: Path) -> None:
        self._engine, self._manager, self._journal = engine, manager, journal
        self._context = manager.context
        self.probed: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if not callable(found):
            return found

        def probed(*arguments: Any) -> Any:
            other = threading.Thread(target=self._go_on, daemon=True)
            other.start()
            other.join(WITHIN_S)
            assert not other.is_alive(), f"a lock is held while the engine does {name}"
            self.probed.add(name)
            return found(*arguments)

        return probed

    def _go_on(self) -> None:
        self._context.ledger.note("somebody.went_on")
        with Ledger.open(self._journal, busy_s=WITHIN_S) as elsewhere:
            elsewhere.note("somebody.went_on")
        self._context.engine(self._context.default_engine())
        self._manager.sandboxes()


@pytest.fixture
def probing(house: House) -> Iterator[tuple[Manager, Probing]]:
    with Manager.open(house.home, house.config, house.engine) as manager:  # type: ignore[arg-type]
        context = manager.context
        engine = Probing(context.engine(house.engine), manager, house.home / "journal.db")
        manager.context = replace(context, engine=lambda _: engine)
        yield manager, engine


def test_others_go_on_while_an_engine_does_anything_at_all(house: House, probing: tuple[Manager, Probing]) -> None:
    manager, engine = probing
    fails = TaskSpec(name="fails", targets=("app",), command=("false",), image=house.image)
    assert manager.run(fails).status == "rolled_back"
    with manager.create("app", image=house.image) as box:
        box.write("/workspace/new", b"new\n")
        assert box.read("/workspace/new") == b"new\n"
        snapshot = box.snapshot()
        (fork,) = manager.fork(snapshot)
        assert manager.diff(fork.id).targets[0].added == 1
        fork.rollback(snapshot)
        fork.destroy()
        assert manager.propose(box.id, [Check(run=("test", "-e", "new"))]).status == "proposed"
    manager.recover()
    assert engine.probed >= {
        "image_digest", "create", "exec", "write", "read", "snapshot", "restore", "changes", "usage", "discard",
        "destroy", "sweep", "instances", "snapshots",
    }  # fmt: skip
