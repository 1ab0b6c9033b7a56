"""One worker of the soak: a manager that lives long and does what agents and people do, in random order.

Owns its sandboxes while it lives. Conflicts with other workers are part of the work; anything else that goes wrong
is written down and fails the soak.
"""

from __future__ import annotations

import contextlib
import gc
import random
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sandbox.box import Box
from sandbox.errors import Conflict
from sandbox.manager import Manager
from sandbox.records import ChangeView
from sandbox.spec import Limits
from tests.soak.account import Account
from tests.soak.census import Held

LIMITS = Limits(cpus=2, memory_mb=256, pids=128)


class Orders(NamedTuple):
    """What a worker is told."""

    home: str
    config: str
    engine: str
    keys: str
    """Folder with a key for each person."""
    account: str
    until: float
    """`time.monotonic()` of this machine when it stops."""
    seed: int
    identity: str
    """Who launches: what a killed worker of the same name has left is ended first."""


def work(orders: Orders) -> None:
    """Work until it is time to stop; leave no sandbox that is still at hand."""
    worker = Worker(orders)
    try:
        with worker.manager:
            worker.go_on()
    except BaseException:
        worker.account.write("trouble", says=traceback.format_exc())
        raise


class Worker:
    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.dice = random.Random(orders.seed)
        self.account = Account(Path(orders.account))
        self.manager = Manager.open(orders.home, orders.config, orders.engine, identity=orders.identity)  # type: ignore[arg-type]
        self.boxes: list[Box] = []
        self.began = time.monotonic()

    def go_on(self) -> None:
        verbs = [self.create, self.use, self.use, self.turn_back, self.fork, self.end, self.change_something]
        self.clear_up()
        while time.monotonic() < self.orders.until:
            verb = self.dice.choice(verbs)
            started = time.monotonic()
            with contextlib.suppress(Conflict):  # somebody else was faster: that is how it should be
                verb()
            self.account.write("done", verb=verb.__name__, seconds=round(time.monotonic() - started, 3))
            gc.collect()
            held = Held.of("self", time.monotonic() - self.began)
            self.account.write("held", pid=Path("/proc/self").resolve().name, held=held)
            self.account.write("log", size=self.manager.context.ledger.edge().size)
        while self.boxes:
            self.end()

    def clear_up(self) -> None:
        """As people do after a crash. Otherwise hundreds of sandboxes would be alive at the end, and memory, which
        grows with their number, could not be judged."""
        for left in self.manager.sandboxes():
            if left.launcher == self.orders.identity:
                self.manager.destroy(left.sandbox)

    # --- what agents do ----------------------------------------------------------------------------------

    def create(self) -> Box:
        if len(self.boxes) > 1:
            self.end()
        box = self.manager.create(target=self.dice.choice(["app", "web"]), image="base", limits=LIMITS)
        self.boxes.append(box)
        return box

    def use(self) -> None:
        box = self._any()
        ended = box.exec(["sh", "-c", "echo $$ >> notes; rm -rf data; mkdir data; cat notes"])
        assert ended.exit_code == 0, ended
        assert ended.stdout.endswith(b"\n"), ended
        box.write("/workspace/written", b"by hand")
        assert box.read("/workspace/written") == b"by hand"

    def turn_back(self) -> None:
        """To a snapshot, whatever was deleted and made since: exactly what was there is there again."""
        box, mark = self._any(), f"{self.dice.random()}"
        assert box.exec(["sh", "-c", f"echo {mark} > mark; mkdir -p d; touch d/one"]).exit_code == 0
        taken = box.snapshot()
        assert box.exec(["sh", "-c", "rm -rf mark d; mkdir d; touch d/two"]).exit_code == 0
        box.rollback(taken)
        seen = box.exec(["sh", "-c", "cat mark; ls d"]).stdout.decode()
        assert seen == f"{mark}\none\n", seen

    def fork(self) -> None:
        box = self._any()
        assert box.exec(["sh", "-c", "echo both > same"]).exit_code == 0
        for other in self.manager.fork(box.snapshot(), count=2):
            assert other.exec(["cat", "same"]).stdout == b"both\n"
            other.destroy()

    def end(self) -> None:
        if self.boxes:
            self.boxes.pop(self.dice.randrange(len(self.boxes))).destroy()

    def _any(self) -> Box:
        return self.dice.choice(self.boxes) if self.boxes else self.create()

    # --- what people do ----------------------------------------------------------------------------------

    def change_something(self) -> None:
        """One new file, all the way to production; now and then taken back."""
        with self._fresh() as box:
            name = f"f{self.dice.getrandbits(64):x}"
            assert box.exec(["sh", "-c", f"echo {name} > {name}"]).exit_code == 0
            change = box.propose(checks=[["test", "-s", name]])
        self.account.write("change", id=change.id)
        self._sign(change)
        ended = self.manager.promote(change.id)
        self.account.write("promotion", id=ended.promotion, status=ended.status)
        assert ended.status == "committed" or (ended.status == "refused" and ended.stale), ended
        if ended.status == "committed" and self.dice.random() < 0.4:
            back = self.manager.restore(ended.promotion)
            assert back.status == "restored", back
            self.account.write("promotion", id=back.promotion, status=back.status)

    def _sign(self, change: ChangeView) -> None:
        for person in self.dice.sample(["alice", "bob", "carol"], 2):
            self.manager.approve(
                change.id, person=person, key=Path(self.orders.keys, f"{person}-1"), digest=change.digest[:12]
            )
            self.account.write("vote", id=f"{change.id} {person}")

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[Box]:
        with self.manager.create(target=self.dice.choice(["app", "web"]), image="base", limits=LIMITS) as box:
            yield box
