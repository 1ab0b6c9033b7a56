"""One walk serves all who asked before it began, and nobody who asked later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.errors import Conflict
from sandbox.lifecycle.walks import Walks
from sandbox.spec import TargetSpec
from sandbox.targets import open_target
from sandbox.trees.bases import BaseStore

SOON = 10.0
KEY = "one tree"


class Walker:
    """Captures that begin and end when they are told to; each gives its number."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.made = 0
        self.fails: list[BaseException] = []

    def __call__(self) -> int:
        self.made += 1
        number = self.made
        self.began.release()
        assert self.may_end.acquire(timeout=SOON)
        if self.fails:
            raise self.fails.pop()
        return number


def asked(pool: ThreadPoolExecutor, walks: Walks[int], walk: Callable[[], int], count: int) -> list[Future[int]]:
    """So many who ask, once all of them wait."""
    waiting = threading.Barrier(count + 1)

    def ask() -> int:
        waiting.wait(SOON)
        return walks.share(KEY, walk)

    futures = [pool.submit(ask) for _ in range(count)]
    waiting.wait(SOON)
    return futures


def test_who_asks_while_one_is_under_way_is_served_by_the_next_which_all_of_them_share() -> None:
    walks, walk = Walks[int](), Walker()
    with ThreadPoolExecutor(9) as pool:
        (first,) = asked(pool, walks, walk, 1)
        assert walk.began.acquire(timeout=SOON)
        later = asked(pool, walks, walk, 8)
        assert not walk.began.acquire(timeout=0.1)  # of one tree there is one walk at a time
        for _ in range(9):
            walk.may_end.release()
        assert first.result(SOON) == 1
        # All eight may have asked before the second began, or some after it: nobody is served by the first.
        found = [one.result(SOON) for one in later]
    assert min(found) == 2
    assert len(set(found)) == walk.made - 1 < 8


def test_what_is_asked_after_a_walk_began_is_never_answered_by_it() -> None:
    walks, walk = Walks[int](), Walker()
    with ThreadPoolExecutor(3) as pool:
        (first,) = asked(pool, walks, walk, 1)
        assert walk.began.acquire(timeout=SOON)
        (second,) = asked(pool, walks, walk, 1)
        walk.may_end.release()
        assert first.result(SOON) == 1
        assert walk.began.acquire(timeout=SOON)  # the second's own, which has begun now
        (third,) = asked(pool, walks, walk, 1)
        walk.may_end.release()
        walk.may_end.release()
        assert (second.result(SOON), third.result(SOON)) == (2, 3)


def test_what_is_wrong_with_the_tree_is_told_to_all_and_an_interrupt_only_to_whom_it_met() -> None:
    walks, walk = Walks[int](), Walker()
    with ThreadPoolExecutor(5) as pool:
        (first,) = asked(pool, walks, walk, 1)
        assert walk.began.acquire(timeout=SOON)
        walk.fails = [KeyboardInterrupt(), Conflict("It changes.")]
        walk.may_end.release()
        with pytest.raises(Conflict):
            first.result(SOON)
        (interrupted,) = asked(pool, walks, walk, 1)
        assert walk.began.acquire(timeout=SOON)
        (waits,) = asked(pool, walks, walk, 1)
        walk.may_end.release()
        walk.may_end.release()
        with pytest.raises(KeyboardInterrupt):
            interrupted.result(SOON)
        assert waits.result(SOON) == 3


def test_one_who_leads_and_is_interrupted_leaves_the_walk_to_those_who_waited_for_it() -> None:
    walks, walk = Walks[int](), Walker()
    joined = threading.Event()

    def interrupted() -> int:
        assert joined.wait(SOON)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        (blocking,) = asked(pool, walks, walk, 1)
        assert walk.began.acquire(timeout=SOON)
        leads = pool.submit(walks.share, KEY, interrupted)
        while KEY not in walks._to_begin:
            pass
        with ThreadPoolExecutor(1) as other:
            follows = other.submit(walks.share, KEY, walk)
            walk.may_end.release()
            assert blocking.result(SOON) == 1
            joined.set()
            walk.may_end.release()
            with pytest.raises(KeyboardInterrupt):
                leads.result(SOON)
            assert follows.result(SOON) == 2


def test_trees_are_walked_without_waiting_for_each_other() -> None:
    walks, walk = Walks[int](), Walker()
    with ThreadPoolExecutor(1) as pool:
        (first,) = asked(pool, walks, walk, 1)
        assert walk.began.acquire(timeout=SOON)
        assert walks.share("another tree", lambda: 7) == 7
        walk.may_end.release()
        assert first.result(SOON) == 1


def test_what_was_there_when_somebody_asked_is_in_what_they_get(tmp_path: Path) -> None:
    """Many at once on a real tree: each writes a file, asks, and must find it."""
    root = tmp_path / "target"
    root.mkdir()
    target = open_target(TargetSpec(name="t", kind="directory", path=str(root)))
    bases, walks, made = BaseStore(tmp_path / "bases"), Walks[object](), []

    def capture() -> object:
        made.append(1)
        base = target.capture(bases)
        time.sleep(0.01)  # as long as this, what is written now is not in it
        return base

    def one(number: int) -> bool:
        (root / f"of-{number}").write_text("there")
        base = walks.share(KEY, capture)
        return any(entry.path == b"of-%d" % number for entry in base.entries())  # type: ignore[attr-defined]

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(one, range(60)))
    assert len(made) < 60
