"""The live view and the tripwire: counts are exact whatever order things happen in, and links lead nowhere."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.watching.feed import Watched
from sandbox.watching.watch import Watch

PATHS = [b".", b"app", b"app/a.py", b"app/deep", b"app/deep/b.py", b"top.txt", b"odd\n\xff"]


def _fill(workspace: Path) -> None:
    (workspace / "app/deep").mkdir(parents=True)
    for name in (b"app/a.py", b"app/deep/b.py", b"top.txt", b"odd\n\xff"):
        Path(os.fsdecode(os.path.join(os.fsencode(workspace), name))).write_bytes(b"as captured\n")


def _plain(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "root"
    _fill(root / "workspace")
    yield root


def _overlay(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting an overlay needs root")
    lower, upper, work, merged = (tmp_path / name for name in ("lower", "upper", "work", "merged"))
    for directory in (upper, work, merged):
        directory.mkdir()
    _fill(lower / "workspace")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
    try:
        yield merged
    finally:
        subprocess.run(["umount", merged], check=True)


@pytest.fixture(params=[_plain, _overlay], ids=["plain", "overlay"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    yield from request.param(tmp_path)


def _until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _by_agent(command: str, root: Path) -> None:
    subprocess.run(["sh", "-ec", command], cwd=root, check=True)


class _Seen:
    """What the callbacks were told."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []
        self.notes: list[str] = []
        self.trips = 0

    def changed(self, changed: int, deleted: int) -> None:
        self.counts.append((changed, deleted))

    def trip(self) -> None:
        self.trips += 1

    def watch(self, root: Path, max_deleted: int | None = None, ignore: object = None) -> Watch:
        watched = [Watched("/workspace", PATHS, ignore)]  # type: ignore[arg-type]
        return Watch(
            root,
            watched,
            on_change=self.changed,
            max_deleted=max_deleted,
            on_trip=self.trip,
            on_note=self.notes.append,
        )


@pytest.fixture
def seen() -> _Seen:
    return _Seen()


def test_deleted_entries_count_until_they_are_there_again(root: Path, seen: _Seen) -> None:
    with seen.watch(root) as watch:
        _by_agent("rm -rf workspace/app", root)
        assert _until(lambda: bool(seen.counts) and seen.counts[-1][1] == 4), seen.counts
        _by_agent("mkdir -p workspace/app/deep; echo x > workspace/app/a.py; echo x > workspace/app/deep/b.py", root)
        assert _until(lambda: seen.counts[-1][1] == 0), seen.counts
        assert watch.final().deleted == 0
    assert not seen.notes


def test_the_whole_target_deleted_and_recreated_is_watched_on(root: Path, seen: _Seen) -> None:
    with seen.watch(root) as watch:
        _by_agent("rm -rf workspace", root)
        assert _until(lambda: bool(seen.counts) and seen.counts[-1][1] == 6), seen.counts
        _by_agent("mkdir -p workspace/new", root)
        assert _until(lambda: seen.counts[-1][1] == 6 and (root / "workspace/new").is_dir())
        time.sleep(0.5)
        before = seen.counts[-1][0]
        _by_agent("echo x > workspace/new/file", root)
        assert _until(lambda: seen.counts[-1][0] > before), seen.counts
        assert watch.final().deleted == 6


def test_changed_counts_distinct_paths(root: Path, seen: _Seen) -> None:
    with seen.watch(root) as watch:
        for _ in range(5):
            _by_agent("echo more >> workspace/top.txt; echo more >> workspace/app/a.py", root)
        assert _until(lambda: bool(seen.counts) and seen.counts[-1] == (2, 0)), seen.counts
        assert watch.final() == (2, 0)


def test_a_moved_directory_is_watched_under_its_new_name(root: Path, seen: _Seen) -> None:
    with seen.watch(root):
        # A directory of a lower layer can't be renamed by rename(2) on every overlay, so one of our own.
        _by_agent("mkdir workspace/one; echo x > workspace/one/file; mv workspace/one workspace/two", root)
        # `one/file` may come and go before `one` is watched: counts are lower bounds then.
        assert _until(lambda: bool(seen.counts) and seen.counts[-1][0] >= 3), seen.counts
        time.sleep(1)
        before = seen.counts[-1][0]
        _by_agent("echo x > workspace/two/other", root)
        assert _until(lambda: seen.counts[-1][0] == before + 1), seen.counts


def test_the_tripwire_trips_once_and_soon(root: Path, seen: _Seen) -> None:
    tripped = threading.Event()
    watch = Watch(root, [Watched("/workspace", PATHS)], max_deleted=2, on_trip=tripped.set)
    with watch:
        _by_agent("rm -rf workspace/app", root)
        started = time.monotonic()
        assert tripped.wait(5)
        assert time.monotonic() - started < 3
    assert watch.tripped


def test_the_tripwire_stays_silent_at_its_limit(root: Path, seen: _Seen) -> None:
    with seen.watch(root, max_deleted=4) as watch:
        _by_agent("rm -rf workspace/app", root)
        assert watch.final().deleted == 4
    assert seen.trips == 0


def test_a_deletion_too_late_for_the_feed_trips_at_the_final_count(root: Path, seen: _Seen) -> None:
    with seen.watch(root, max_deleted=2) as watch:
        watch._close()
        _by_agent("rm -rf workspace/app", root)
        watch.final()
        watch.final()
    assert seen.trips == 1


def test_links_never_lead_out_of_the_sandbox(root: Path, seen: _Seen, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("a.py", "deep/b.py"):
        (outside / name).write_text("looks like the base\n")
    with seen.watch(root) as watch:
        _by_agent(f"rm -rf workspace/app; ln -s {outside} workspace/app", root)
        assert _until(lambda: bool(seen.counts) and seen.counts[-1][1] == 3), seen.counts
        time.sleep(0.5)
        before = seen.counts[-1]
        (outside / "deep/new").write_text("x")
        time.sleep(0.5)
        assert watch.final() == before
        shutil.rmtree(root / "workspace")
        (root / "workspace").symlink_to(outside)
        assert watch.final().deleted == 6


def test_ignored_paths_do_not_count_as_changed(root: Path, seen: _Seen) -> None:
    class Logs:
        def match(self, path: bytes, is_dir: bool = False) -> bool:
            return path == b"logs" or path.startswith(b"logs/")

    with seen.watch(root, ignore=Logs()) as watch:
        _by_agent("mkdir workspace/logs; echo x > workspace/logs/today; echo x > workspace/real", root)
        assert _until(lambda: bool(seen.counts))
        time.sleep(0.3)
        assert watch.final() == (1, 0)


def test_without_a_feed_deletions_are_still_counted_and_it_is_said_once(
    root: Path, seen: _Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.watching.feed._watch_budget", lambda: 1)
    with seen.watch(root, max_deleted=2) as watch:
        _by_agent("rm -rf workspace/app", root)
        assert _until(lambda: seen.trips == 1)
        assert watch.final().deleted == 4
    assert len(seen.notes) == 1
    assert "1 directories at most" in seen.notes[0]


def test_without_any_inotify_instance_the_tripwire_works_all_the_same(
    root: Path, seen: _Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> int:
        ctypes.set_errno(errno.EMFILE)
        return -1

    monkeypatch.setattr("watchdog.observers.inotify_c.inotify_init", none_left)
    with seen.watch(root, max_deleted=2):
        _by_agent("rm -rf workspace/app", root)
        assert _until(lambda: seen.trips == 1)
    assert len(seen.notes) == 1
    assert "instance limit" in seen.notes[0]


def test_a_root_that_cannot_be_seen_is_said_once_and_trips_nothing(tmp_path: Path, seen: _Seen) -> None:
    with seen.watch(tmp_path / "gone", max_deleted=0) as watch:
        assert watch.final() == (0, 0)
    assert seen.trips == 0
    assert len(seen.notes) == 1
