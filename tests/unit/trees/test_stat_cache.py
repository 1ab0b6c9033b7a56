"""The stat cache saves reading, and is never wrong."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from sandbox.trees import manifest, stat_cache
from sandbox.trees.entry import Entry
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import StatCache, scan, unchanged
from tests.unit.trees.test_scan import Reader

NOTHING = Patterns([])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    for name in ("a", "b", "d/a", "d/b"):
        (root / name).write_text(name)
    (root / "link").symlink_to("a")
    os.setxattr(root / "a", "user.x", b"1")
    return root


@pytest.fixture
def cache(tmp_path: Path) -> StatCache:
    return StatCache.for_key(tmp_path / "caches", "a target")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as written long ago, without the wait."""
    monkeypatch.setattr(stat_cache, "RACY_NS", -60_000_000_000)


def read_paths(root: Path, cache: StatCache, ignore: Patterns = NOTHING) -> list[bytes]:
    """Scan; the files that were read. What was found is what a scan without a cache finds."""
    reader = Reader()
    found = list(scan(root, ignore, cache=cache, sink=reader))
    assert found == list(scan(root, ignore))
    return reader.paths


def cached_bytes(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "caches").iterdir()
    return path


@pytest.mark.usefixtures("settled")
def test_an_unchanged_tree_is_not_read_again(tree: Path, cache: StatCache) -> None:
    assert unchanged(tree, NOTHING, cache) is None
    assert read_paths(tree, cache) == [b"a", b"b", b"d/a", b"d/b"]
    assert read_paths(tree, cache) == []
    assert unchanged(tree, NOTHING, cache) == manifest.fingerprint(scan(tree, NOTHING))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    ("act", "read"),
    [
        (lambda root: (root / "b").write_text("other"), [b"b"]),
        (lambda root: (root / "b").chmod(0o600), [b"b"]),
        (lambda root: os.setxattr(root / "b", "user.y", b""), [b"b"]),
        (lambda root: (root / "0").write_text("new"), [b"0"]),
        (lambda root: (root / "d" / "z").write_text("new"), [b"d/z"]),
        (lambda root: (root / "d" / "a").unlink(), []),
        (lambda root: (root / "a").rename(root / "z"), [b"z"]),
        (lambda root: (root / "d").rename(root / "0d"), [b"0d/a", b"0d/b"]),
        (lambda root: (root / "d").chmod(0o700), []),
        (lambda root: os.setxattr(root / "d", "user.y", b""), []),
    ],
)
def test_exactly_what_changed_is_read_again(tree: Path, cache: StatCache, act: object, read: list[bytes]) -> None:
    read_paths(tree, cache)
    assert callable(act)
    act(tree)
    assert unchanged(tree, NOTHING, cache) is None
    assert read_paths(tree, cache) == read
    assert read_paths(tree, cache) == []


@pytest.mark.usefixtures("settled")
def test_a_change_of_equal_size_with_the_old_time_put_back_is_found(tree: Path, cache: StatCache) -> None:
    read_paths(tree, cache)
    before = (tree / "a").stat()
    (tree / "a").write_text("A")
    os.utime(tree / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert unchanged(tree, NOTHING, cache) is None
    assert read_paths(tree, cache) == [b"a"]


@pytest.mark.usefixtures("settled")
def test_a_file_put_back_from_a_backup_is_found(tree: Path, cache: StatCache) -> None:
    read_paths(tree, cache)
    before = (tree / "a").stat()
    (tree / "backup").write_text("A")
    os.utime(tree / "backup", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tree / "backup").rename(tree / "a")
    assert read_paths(tree, cache) == [b"a"]


def test_a_file_written_just_before_the_scan_is_read_again(tree: Path, cache: StatCache) -> None:
    read_paths(tree, cache)
    assert unchanged(tree, NOTHING, cache) is None
    assert read_paths(tree, cache) == [b"a", b"b", b"d/a", b"d/b"]


def test_after_the_clock_went_back_files_of_the_future_are_read_again(
    tree: Path, cache: StatCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    yesterday = time.time_ns() - 86_400 * 10**9
    monkeypatch.setattr(stat_cache, "RACY_NS", 0)
    monkeypatch.setattr(stat_cache.time, "time_ns", lambda: yesterday)
    read_paths(tree, cache)
    assert len(read_paths(tree, cache)) == 4


@pytest.mark.usefixtures("settled")
def test_a_damaged_cache_is_ignored(tree: Path, cache: StatCache, tmp_path: Path) -> None:
    read_paths(tree, cache)
    path = cached_bytes(tmp_path)
    stored = path.read_bytes()
    damages: Iterable[bytes] = [
        *(stored[:at] + bytes([stored[at] ^ 255]) + stored[at + 1 :] for at in range(0, len(stored), 97)),
        b"",
        stored[:50],
        stored[:-1],
        stored + b"x",
    ]
    for damage in damages:
        path.write_bytes(damage)
        assert unchanged(tree, NOTHING, cache) is None
        assert len(read_paths(tree, cache)) == 4


@pytest.mark.usefixtures("settled")
def test_the_cache_never_holds_more_than_the_tree(tree: Path, cache: StatCache, tmp_path: Path) -> None:
    read_paths(tree, cache)
    small = cached_bytes(tmp_path).stat().st_size
    for number in range(100):
        (tree / f"{number}").touch()
    read_paths(tree, cache)
    for number in range(100):
        (tree / f"{number}").unlink()
    read_paths(tree, cache)
    assert cached_bytes(tmp_path).stat().st_size == small


@pytest.mark.usefixtures("settled")
def test_a_scan_that_is_given_up_leaves_the_cache_as_it_was(tree: Path, cache: StatCache, tmp_path: Path) -> None:
    read_paths(tree, cache)
    before = cached_bytes(tmp_path).read_bytes()
    (tree / "a").write_text("other")
    begun = scan(tree, NOTHING, cache=cache)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert cached_bytes(tmp_path).read_bytes() == before


@pytest.mark.usefixtures("settled")
def test_other_patterns_do_not_get_the_old_answer(tree: Path, cache: StatCache) -> None:
    read_paths(tree, cache)
    assert unchanged(tree, Patterns(["d"]), cache) is None
    assert read_paths(tree, cache, Patterns(["d"])) == []
    assert unchanged(tree, NOTHING, cache) is None


@pytest.mark.usefixtures("settled")
def test_churn_in_what_is_ignored_does_not_count(tree: Path, cache: StatCache) -> None:
    ignore = Patterns(["*.pid"])
    read_paths(tree, cache, ignore)
    (tree / "d" / "x.pid").touch()
    assert unchanged(tree, ignore, cache) == manifest.fingerprint(scan(tree, ignore))


def _resident(path: Path) -> int:
    """Kilobytes of a mapped file that are in this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    mapped = (line for line in lines if line.endswith(f" {path}"))
    return sum(int(next(line for line in lines if line.startswith("Rss:")).split()[1]) for _ in mapped)


def test_a_walk_takes_the_same_memory_however_much_is_remembered(tmp_path: Path, cache: StatCache) -> None:
    found, entries = tmp_path.stat(), 60_000
    paths = [b"%06d" % number for number in range(entries)]
    with cache.notes() as notes:
        for path in paths:
            notes.keep(found, Entry(path, "link", 0o777, 0, 0, content=b"t" * 100).canonical())
        notes.finish()
    most = 0
    with cache.known() as known:
        start = known.place
        for number, path in enumerate(paths):
            assert known.is_next(path, found) or known.find(path, found)
            if number % 5000 == 0:
                most = max(most, _resident(cached_bytes(tmp_path)))
        for pieces in (known.records(start, known.place), itertools.islice(known.between(start), 0, None, 5000)):
            for _ in pieces:
                most = max(most, _resident(cached_bytes(tmp_path)))
    assert cached_bytes(tmp_path).stat().st_size > 10 << 20
    assert 0 < most < 5 << 10


def test_what_a_killed_scan_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    left, young = tmp_path / ".cache-left", tmp_path / ".cache-young"
    for path in (left, young, tmp_path / "whole"):
        path.write_bytes(b"x")
    with stat_cache.Notes(tmp_path) as notes:
        long_ago = time.time() - 3600
        for path in (left, notes.path, tmp_path / "whole"):
            os.utime(path, (long_ago, long_ago))
        assert stat_cache.sweep(tmp_path) == 1
        assert {path.name for path in tmp_path.iterdir()} == {young.name, notes.path.name, "whole"}
    assert stat_cache.sweep(tmp_path / "nothing") == 0
