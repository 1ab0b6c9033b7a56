"""A coarse guard on speed, in ratios: each step beside the same one by hand, in turn, on the machine as it is.

Seconds would say how busy the machine is. What is by hand is as busy: only the product's own part moves the ratio.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from sandbox.bench import course, filesystem
from sandbox.bench.contender import Contender
from sandbox.bench.content import Content, digest_with, same
from sandbox.bench.peers import enter
from sandbox.bench.product import WHO, Product
from sandbox.bench.watch import Stopwatch
from sandbox.drills.stage import make_ready, managed
from tests.engines import Registry

ROUNDS = 5
EXECS = 3
MOST = {
    "native": ("bwrap", {"create": 20, "exec": 8, "snapshot": 150, "rollback": 80, "destroy": 25}),
    "docker": ("docker-sdk", {"create": 6, "exec": 4, "snapshot": 14, "rollback": 4, "destroy": 5}),
}
"""By engine: the tool by hand, and how many times its time a step may take: some three times what was measured.
bubblewrap by hand keeps no record and forces nothing to disk: a snapshot of its own is one mount."""


def slower(watch: Stopwatch, peer: str, most: dict[str, int]) -> Iterator[str]:
    """A line for each step that takes more than it may, by the median of all pairs."""
    for step, limit in most.items():
        ratio = median(ours / theirs for ours, theirs in watch.pairs(step, WHO, peer))
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
    ("ours", "found"), [([2.0, 2.0, 90.0], []), ([2.0, 6.1, 90.0], ["exec: 3.05 times what by hand"])]
)
def test_the_guard_finds_what_is_slower_and_not_one_bad_moment(ours: list[float], found: list[str]) -> None:
    watch = Stopwatch()
    for watch.round, took in enumerate(ours, 1):
        watch.note(WHO, "exec", took)
        watch.note("by hand", "exec", 2.0)
    lines = list(slower(watch, "by hand", {"exec": 3}))
    assert [line.split(" takes")[0] for line in lines] == found
