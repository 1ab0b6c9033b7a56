"""Whoever writes to the target at the same time gets nothing outside of it touched, and loses nothing."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.targets.beneath import GONE, directory, exchange, opened, parent
from tests.trees import entries_below
from tests.unit.targets.worlds import put, world


def before(root: Path) -> None:
    for name in ("one", "two"):
        put(root, f"dir/{name}", b"old")
    put(root, "dir/gone/x", b"old")


def after(root: Path) -> None:
    for name in ("one", "two", "three"):
        put(root, f"dir/{name}", b"new")
    (root / "dir/gone/x").unlink()
    (root / "dir/gone").rmdir()


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
    landed, errors = 0, []
    deadline = time.monotonic() + 3
    with opened(root) as handle, directory(handle, b".sandbox-prm") as staging, swapping(root, outside) as turns:
        while time.monotonic() < deadline:
            try:
                with parent(handle, b"dir/one") as (above, name):
                    exchange(above, name, staging, b"0")
                landed += 1
            except OSError as error:
                errors.append(error.errno)
    assert min(landed, len(errors), turns[0]) > 100
    assert set(errors) <= set(GONE)
    assert entries_below(outside) == untouched


def test_t17_a_promotion_while_a_directory_is_swapped_for_a_link_touches_nothing_outside(tmp_path: Path) -> None:
    it, outside = world(tmp_path, before, after), outside_of(tmp_path)
    untouched = entries_below(outside)
    target = it.target()
    refused = 0
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        target.prepare(it.request(), lambda _: None)
        with swapping(it.root, outside):
            try:
                target.apply(it.request(), lambda _: None)
            except SandboxError:
                refused += 1
            with suppress(SandboxError):
                target.restore(it.point, lambda _: None)
        assert target.restore(it.point, lambda _: None).clean
        assert it.now() == it.base.fingerprint
        assert entries_below(outside) == untouched
        target.settle(it.point)
        shutil.rmtree(it.point)
    assert refused > 0


def test_e4_a_write_in_the_instant_before_the_swap_is_found_and_stays(tmp_path: Path) -> None:
    """Somebody writes again and again while promotions come and go: each write is there at the end, or kept."""
    it = world(tmp_path, lambda root: put(root, "ledger", b"old"), lambda root: put(root, "ledger", b"new"))
    target = it.target()
    drifted = 0
    for number in range(60):
        target.prepare(it.request(), lambda _: None)
        theirs = b"theirs %d" % number
        late = threading.Timer(0.0002 * (number % 20), (it.root / "ledger").write_bytes, [theirs])
        late.start()
        try:
            target.apply(it.request(), lambda _: None)
        except SandboxError:
            drifted += 1
        late.join()
        result = target.restore(it.point, lambda _: None)
        kept = [path.read_bytes() for _, path in result.kept_aside]
        assert theirs in (*kept, (it.root / "ledger").read_bytes())
        target.settle(it.point)
        shutil.rmtree(it.point)
        put(it.root, "ledger", b"old")
    assert drifted > 0
