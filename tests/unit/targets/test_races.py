"""Whoever writes to the target at the same time gets nothing outside of it touched, and loses nothing."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sandbox.errors import Drifted, SandboxError
from sandbox.targets.beneath import GONE, directory, exchange, opened, parent
from tests.trees import entries_below
from tests.unit.targets.worlds import World, put, world

LIMIT_S = 120.0
"""A race is run until it was won and lost often enough, however slow the machine; longer than this it is stuck."""


def before(root: Path) -> None:
    for name in ("one", "two"):
        put(root, f"dir/{name}", b"old")
    put(root, "dir/gone/x", b"old")


def after(root: Path) -> None:
    for name in ("one", "two", "three"):
        put(root, f"dir/{name}", b"new")
    (root / "dir/gone/x").unlink()
    (root / "dir/gone").rmdir()


def quiet(_: str) -> None:
    """Nobody listens."""


@contextmanager
def swapping(root: Path, outside: Path) -> Iterator[list[int]]:
    """A thread that replaces `dir` by a link to `outside` and back, as fast as it can."""
    stop, turns = threading.Event(), [0]
    (root / "trap").symlink_to(outside)

    def turn() -> None:
        handle = os.open(root, os.O_RDONLY)
        try:
            while not stop.is_set():
                os.rename("dir", "real", src_dir_fd=handle, dst_dir_fd=handle)
                os.rename("trap", "dir", src_dir_fd=handle, dst_dir_fd=handle)
                os.rename("dir", "trap", src_dir_fd=handle, dst_dir_fd=handle)
                os.rename("real", "dir", src_dir_fd=handle, dst_dir_fd=handle)
                turns[0] += 1
        finally:
            os.close(handle)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield turns
    finally:
        stop.set()
        thread.join()
        (root / "trap").unlink()


def outside_of(tmp_path: Path) -> Path:
    """A tree that looks just like what the link takes the place of."""
    outside = tmp_path / "outside"
    for name in ("one", "two", "gone/x"):
        put(outside, name, b"old")
    return outside


def test_t17_a_rename_below_a_directory_that_is_swapped_for_a_link_never_lands_outside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", outside_of(tmp_path)
    before(root)
    put(root, ".sandbox-prm/0", b"new")
    untouched = entries_below(outside)
    landed = 0
    errors: list[int | None] = []
    limit = time.monotonic() + LIMIT_S
    with opened(root) as handle, directory(handle, b".sandbox-prm") as staging, swapping(root, outside) as turns:
        while min(landed, len(errors), turns[0]) < 2000:
            assert time.monotonic() < limit
            try:
                with parent(handle, b"dir/one") as (above, name):
                    exchange(above, name, staging, b"0")
                landed += 1
            except OSError as error:
                errors.append(error.errno)
    assert set(errors) <= set(GONE)
    assert entries_below(outside) == untouched


def test_t17_a_promotion_while_a_directory_is_swapped_for_a_link_touches_nothing_outside(tmp_path: Path) -> None:
    it, outside = world(tmp_path, before, after), outside_of(tmp_path)
    untouched = entries_below(outside)
    target = it.target()
    refused = 0
    limit = time.monotonic() + LIMIT_S
    while refused < 20:
        assert time.monotonic() < limit
        target.prepare(it.request(), quiet)
        with swapping(it.root, outside):
            try:
                target.apply(it.request(), quiet)
            except SandboxError:
                refused += 1
            with suppress(SandboxError):
                target.restore(it.point, quiet)
        assert target.restore(it.point, quiet).clean
        assert it.now() == it.base.fingerprint
        assert entries_below(outside) == untouched
        target.settle(it.point)
        shutil.rmtree(it.point)


def promoted(scratch: Path, edit: Callable[[Path], object] = after) -> World:
    it = world(scratch, before, edit)
    it.target().prepare(it.request(), quiet)
    it.target().apply(it.request(), quiet)
    return it


class Away:
    """Listens to steps, and puts a link in the place of `dir` right before one of them, until right before another."""

    def __init__(self, root: Path, link_to: Path, first: int, last: int) -> None:
        self._directory, self._aside, self._link_to = root / "dir", root / "real", link_to
        self._first, self._last = first, last
        self._number = 0

    def __call__(self, _: str) -> None:
        if self._number == self._first:
            self._directory.rename(self._aside)
            self._directory.symlink_to(self._link_to)
        if self._number == self._last:
            self.end()
        self._number += 1

    def end(self) -> None:
        if self._aside.exists():
            self._directory.unlink()
            self._aside.rename(self._directory)


def test_f2_whenever_a_directory_is_away_during_a_restore_the_next_one_gives_the_base(tmp_path: Path) -> None:
    it, outside = promoted(tmp_path), outside_of(tmp_path)
    untouched = entries_below(outside)
    steps: list[str] = []
    assert it.target().restore(it.point, steps.append).clean
    assert steps == ["put_back"] * 4 + ["keep", "restored", "clean"]
    for first, last in itertools.combinations(range(len(steps) + 1), 2):
        shutil.rmtree(it.point)
        it.target().prepare(it.request(), quiet)
        it.target().apply(it.request(), quiet)
        away = Away(it.root, outside, first, last)
        raced = it.target().restore(it.point, away)
        away.end()
        assert not raced.clean or it.now() == it.base.fingerprint, (first, last)
        assert it.target().restore(it.point, quiet).clean, (first, last)
        assert it.now() == it.base.fingerprint
        assert not list(it.root.glob(".sandbox-*"))
    assert entries_below(outside) == untouched


def test_f2_an_added_file_that_is_away_with_its_directory_is_not_taken_for_removed(tmp_path: Path) -> None:
    it = promoted(tmp_path, lambda root: put(root, "dir/three", b"new"))
    (it.root / "dir").rename(tmp_path / "elsewhere")
    for _ in range(2):
        assert not it.target().restore(it.point, quiet).clean
    (tmp_path / "elsewhere").rename(it.root / "dir")
    assert it.target().restore(it.point, quiet).clean
    assert it.now() == it.base.fingerprint


def test_f1_a_restore_waits_for_a_directory_that_is_back_in_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = promoted(tmp_path)
    away = Away(it.root, tmp_path, first=0, last=1)
    monkeypatch.setattr(time, "sleep", lambda _: away.end())
    assert it.target().restore(it.point, away).clean
    assert it.now() == it.base.fingerprint


def test_f3_a_write_to_a_path_that_was_put_back_a_moment_ago_stays(tmp_path: Path) -> None:
    it = promoted(tmp_path)

    def on_step(step: str) -> None:
        if step == "keep":
            (it.root / "dir/one").write_bytes(b"theirs")

    assert not it.target().restore(it.point, on_step).clean
    result = it.target().restore(it.point, quiet)
    assert (result.clean, result.kept_aside, result.foreign) == (True, (), (b"dir/one",))
    assert (it.root / "dir/one").read_bytes() == b"theirs"


def test_e4_a_directory_that_is_removed_before_anything_in_it_is_changed_stays_removed(tmp_path: Path) -> None:
    it = world(tmp_path, before, after)
    it.target().prepare(it.request(), quiet)
    shutil.rmtree(it.root / "dir")
    theirs = it.now()
    with pytest.raises(Drifted):
        it.target().apply(it.request(), quiet)
    result = it.target().restore(it.point, quiet)
    assert (result.clean, result.kept_aside) == (True, ())
    assert set(result.foreign) == {b"dir", b"dir/one", b"dir/two", b"dir/gone", b"dir/gone/x"}
    assert it.now() == theirs


def test_e4_a_directory_that_is_away_when_a_change_is_made_durable_is_drift(tmp_path: Path) -> None:
    it = world(tmp_path, before, after)
    it.target().prepare(it.request(), quiet)
    steps: list[str] = []

    def on_step(step: str) -> None:
        steps.append(step)
        if step == "flush":
            (it.root / "dir").rename(it.root / "real")

    with pytest.raises(Drifted, match="'dir'"):
        it.target().apply(it.request(), on_step)
    assert steps[-1] == "flush"
    (it.root / "real").rename(it.root / "dir")
    assert it.target().restore(it.point, quiet).clean
    assert it.now() == it.base.fingerprint


def test_e4_a_write_in_the_instant_before_the_swap_is_found_and_stays(tmp_path: Path) -> None:
    """Somebody writes again and again while promotions come and go: each write is there at the end, or kept."""
    it = world(tmp_path, lambda root: put(root, "ledger", b"old"), lambda root: put(root, "ledger", b"new"))
    target = it.target()
    drifted = 0
    for number in range(60):
        target.prepare(it.request(), quiet)
        theirs = b"theirs %d" % number
        late = threading.Timer(0.0002 * (number % 20), (it.root / "ledger").write_bytes, [theirs])

        def on_step(step: str, late: threading.Timer = late, first: bool = number % 20 == 0) -> None:
            if step == "apply":
                late.start()
            elif step == "swap" and first:
                late.join()

        try:
            target.apply(it.request(), on_step)
        except SandboxError:
            drifted += 1
        late.join()
        result = target.restore(it.point, quiet)
        kept = [path.read_bytes() for _, path in result.kept_aside]
        assert theirs in (*kept, (it.root / "ledger").read_bytes())
        target.settle(it.point)
        shutil.rmtree(it.point)
        put(it.root, "ledger", b"old")
    assert drifted >= 3
