"""A coarse guard on speed, in ratios: each step beside the same one by hand, in turn, on the machine as it is.

Seconds would say how busy the machine is. What is by hand is as busy: only the product's own part moves the ratio.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox.bench import course, filesystem
from sandbox.bench.contender import Contender
from sandbox.bench.content import Content, digest_with, same
from sandbox.bench.peers import enter
from sandbox.bench.product import WHO, Product
from sandbox.bench.watch import Stopwatch
from sandbox.drills.stage import make_ready, managed
from tests.engines import Registry

ROUNDS = 4
EXECS = 3
MOST: dict[str, tuple[str, dict[str, float]]] = {
    "native": ("bwrap", {"create": 12, "exec": 2.2, "snapshot": 25, "rollback": 36, "destroy": 10}),
    "docker": ("docker-sdk", {"create": 4.5, "exec": 1.6, "snapshot": 5, "rollback": 1.6, "destroy": 4.5}),
}
"""By engine: the tool by hand, and how many times its time a step may take: some twice what was measured under load.
bubblewrap by hand keeps no record and forces nothing to disk: a snapshot of its own is one mount."""


def slower(watch: Stopwatch, peer: str, most: dict[str, float]) -> Iterator[str]:
    """A line for each step that takes more than it may, by the best of all rounds on either side.

    What else the machine does only ever adds to a time, so that the best is what each takes by itself.
    """
    for step, limit in most.items():
        ratio = min(watch.samples(WHO, step)) / min(watch.samples(peer, step))
        if ratio > limit:
            yield f"{step}: {ratio:.2f} times what {peer} takes, and at most {limit:g} is allowed"


def short_round(tool: Contender, content: Content, watch: Stopwatch) -> None:
    """The steps that an agent takes all the time; the content is looked at where it could be wrong."""
    with watch.timed(tool.name, "create"):
        box = tool.create()
        tool.exec(box, ["true"])
    for _ in range(EXECS):
        with watch.timed(tool.name, "exec"):
            tool.exec(box, ["true"])
    tool.exec(box, content.change("a", tool.workspace))
    with watch.timed(tool.name, "snapshot"):
        snapshot = tool.snapshot(box)
    tool.exec(box, content.change("b", tool.workspace))
    with watch.timed(tool.name, "rollback"):
        box = tool.rollback(box, snapshot)
    same(digest_with(lambda command: tool.exec(box, command), tool.workspace), content.a, f"rollback of {tool.name}")
    with watch.timed(tool.name, "destroy"):
        tool.destroy(box)


def test_no_step_is_clearly_slower_than_by_hand(place: tuple[str, str], registry: Registry, tmp_path: Path) -> None:
    registry.engine(*place)  # the engine is there, its image built
    name, most = MOST[place[0]]
    watch = Stopwatch()
    with ExitStack() as stack:
        folder = stack.enter_context(filesystem.made("xfs", tmp_path, print))
        content = course.set_up(folder, 100)
        manager = stack.enter_context(managed(folder, place[0], print))  # type: ignore[arg-type]
        make_ready(manager, print)
        peers, absent = enter(stack, name, folder, content, print)
        assert absent == ()
        for watch.round in range(ROUNDS + 1):
            for tool in (Product(manager), *peers):
                short_round(tool, content, watch)
            for peer in peers:
                peer.forget()
    assert list(slower(watch, name, most)) == []


@pytest.mark.parametrize(
    ("ours", "found"), [([90.0, 5.9, 90.0], []), ([6.2, 6.1, 90.0], ["exec: 3.05 times what by hand"])]
)
def test_the_guard_finds_what_is_slower_and_no_bad_moments(ours: list[float], found: list[str]) -> None:
    watch = Stopwatch()
    for watch.round, took in enumerate(ours, 1):
        watch.note(WHO, "exec", took)
        watch.note("by hand", "exec", 2.0)
    lines = list(slower(watch, "by hand", {"exec": 3}))
    assert [line.split(" takes")[0] for line in lines] == found
