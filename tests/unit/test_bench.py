"""The benchmark's own parts: figures are summed up right, and a wrong content is an error, never a number."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.bench import contender
from sandbox.bench.content import Content, WrongContent, digest_of, make
from sandbox.bench.machine import WHO, describe, filesystem_of, measure
from sandbox.bench.outcome import BenchRecord, Comparison, NotMeasured, Peer, Timing
from sandbox.bench.peers import enter
from sandbox.bench.watch import Stopwatch
from sandbox.cli.drills import measured


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    root = tmp_path_factory.mktemp("content") / "tree"
    root.mkdir()
    return make(root, 120)


class Copies:
    """A tool that keeps every sandbox and snapshot as a plain copy: right, until a test spoils one method."""

    name = "copies"
    workspace = "/workspace"
    exact = True

    def __init__(self, folder: Path, content: Content) -> None:
        self.folder, self.content, self.made = folder, content, 0

    def _copy(self, tree: Path) -> str:
        self.made += 1
        subprocess.run(["cp", "-a", str(tree), str(self.folder / str(self.made))], check=True)
        return str(self.folder / str(self.made))

    def create(self) -> str:
        return self._copy(self.content.root)

    def exec(self, box: str, command: list[str]) -> bytes:
        here = [box if part == self.workspace else part for part in command]
        return subprocess.run(here, check=True, capture_output=True).stdout

    def snapshot(self, box: str) -> str:
        return self._copy(Path(box))

    def rollback(self, box: str, snapshot: str) -> str:
        self.destroy(box)
        return self.fork(snapshot)

    def fork(self, snapshot: str) -> str:
        return self._copy(Path(snapshot))

    def diff(self, box: str) -> frozenset[str]:
        base, now = self.content.root, Path(box)
        files = [path.relative_to(now) for path in now.rglob("*") if path.is_file()]
        same = {f for f in files if (base / f).exists() and (base / f).read_bytes() == (now / f).read_bytes()}
        return frozenset(str(file) for file in files if file not in same)

    def destroy(self, box: str) -> None:
        shutil.rmtree(box)


def test_a_round_times_every_step_in_order(content: Content, tmp_path: Path) -> None:
    tool, watch, ended = Copies(tmp_path, content), Stopwatch(), []
    contender.run(tool, content, watch, ended.append)
    assert watch.samples("copies") == {}, "a round that warms up does not count"
    watch.counting = True
    contender.run(tool, content, watch, ended.append)
    assert set(watch.samples("copies")) == set(contender.STEPS)
    assert len(watch.samples("copies")["exec"]) == contender.EXECS
    assert [digest_of(Path(box)) for box in ended] == [content.a.digest] * 2


def _stays(tool: Copies) -> None:
    tool.rollback = lambda box, _snapshot: box  # type: ignore[method-assign]


def _forks_the_base(tool: Copies) -> None:
    tool.fork = lambda _snapshot: tool.create()  # type: ignore[method-assign]


def _starts_empty(tool: Copies) -> None:
    def create() -> str:
        (tool.folder / "empty").mkdir()
        return str(tool.folder / "empty")

    tool.create = create  # type: ignore[method-assign]


def _loses_by_snapshot(tool: Copies) -> None:
    right = tool.snapshot

    def snapshot(box: str) -> str:
        taken = right(box)
        (Path(box) / "d000/f00003").unlink()
        return taken

    tool.snapshot = snapshot  # type: ignore[method-assign]


def _misses_one(tool: Copies) -> None:
    right = tool.diff
    tool.diff = lambda box: frozenset(sorted(right(box))[1:])  # type: ignore[method-assign]


def _names_one_more(tool: Copies) -> None:
    right = tool.diff
    tool.diff = lambda box: right(box) | {"d000/f00003"}  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_stays, "After rollback_a"),
        (_forks_the_base, "After rollback_a"),
        (_starts_empty, "After create"),
        (_loses_by_snapshot, "After snapshot_a"),
        (_misses_one, "misses 1 files"),
        (_names_one_more, "names 1 others"),
    ],
)
def test_a_wrong_content_is_an_error_and_no_number(
    spoil: Callable[[Copies], None], says: str, content: Content, tmp_path: Path
) -> None:
    tool = Copies(tmp_path, content)
    spoil(tool)
    with pytest.raises(WrongContent, match=says):
        contender.run(tool, content, Stopwatch(), tool.destroy)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: (tree / "d000/f00000").write_bytes(b"other"),
        lambda tree: (tree / "d000/f00000").unlink(),
        lambda tree: (tree / "d000/f00000").chmod(0o600),
        lambda tree: (tree / "d000/f00000").rename(tree / "d000/f"),
        lambda tree: (tree / "d000/more").write_bytes(b""),
        lambda tree: (tree / "empty").mkdir(),
        lambda tree: (tree / "d001").chmod(0o700),
    ],
    ids=["content", "gone", "mode", "name", "more", "directory", "directory's mode"],
)
def test_the_digest_sees_it(spoil: Callable[[Path], object], content: Content, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(content.root, tree)
    assert digest_of(tree) == content.base.digest
    spoil(tree)
    assert digest_of(tree) != content.base.digest


def test_the_two_changes_are_what_they_are_said_to_be(content: Content) -> None:
    assert content.bytes == sum(path.stat().st_size for path in content.root.rglob("f*"))
    assert (len(content.a.paths), len(content.b.paths)) == (6, 60)
    assert len({content.base.digest, content.a.digest, content.b.digest}) == 3
    assert [path.name for path in content.root.parent.iterdir()] == ["tree"], "nothing else stays"


def test_median_and_p95_of_samples() -> None:
    many = Timing.of("exec", "", [float(number) for number in range(100, 0, -1)])
    assert (many.median_ms, many.p95_ms, many.samples_ms[0]) == (50.5, 95.0, 100.0)
    few = Timing.of("exec", "", [3.0, 1.0, 2.0])
    assert (few.median_ms, few.p95_ms) == (2.0, 3.0)


def test_ratios_are_taken_pair_by_pair() -> None:
    """The medians alone would say 1: every pair says 2 or 0.5."""
    compared = Comparison.of("exec", "other", [2.0, 20.0, 200.0], [1.0, 10.0, 400.0])
    assert (compared.ratio, compared.pairs, compared.ours_ms, compared.theirs_ms) == (2.0, 3, 20.0, 10.0)
    with pytest.raises(ValueError, match="shorter"):
        Comparison.of("exec", "other", [1.0, 2.0], [1.0])


def test_what_fails_gives_no_sample() -> None:
    watch = Stopwatch()
    watch.counting = True
    with pytest.raises(KeyError), watch.timed("us", "step"):
        raise KeyError
    assert watch.samples("us") == {}


def test_the_machine_is_described_and_its_floors_are_measured(content: Content) -> None:
    watch = Stopwatch()
    watch.counting = True
    measure(content.root, watch)
    floors = watch.samples(WHO)
    assert all(sample > 0 for samples in floors.values() for sample in samples)
    assert floors["hash"] > floors["walk"]
    assert not content.root.with_name("copy").exists()
    machine = describe(content.root)
    asked = ["findmnt", "-n", "-o", "FSTYPE", "-T", str(content.root)]
    assert machine.filesystem == subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    assert filesystem_of(Path("/proc/self")) == "proc"


def test_what_can_not_be_had_is_named(content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import ExitStack

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with ExitStack() as stack:
        ready, absent = enter(stack, "docker-sdk, bwrap", tmp_path, content, print)
    assert ready == []
    assert [(one.what, one.why.split(" (")[0]) for one in absent] == [
        ("docker-sdk", "no Docker Engine answers"),
        ("bwrap", "bubblewrap is not installed"),
    ]


def test_the_figures_are_shown_to_a_person(content: Content) -> None:
    timing = Timing.of("exec", "a command", [1.0, 3.0])
    record = BenchRecord(
        engine="native",
        image="host",
        machine=describe(content.root),
        files=120,
        bytes=content.bytes,
        rounds=2,
        operations=(timing,),
        floors=(Timing.of("walk", "all of it", [0.5]),),
        peers=(Peer(name="other", says="by hand", operations=(timing,)),),
        comparisons=(Comparison.of("exec", "other", [1.0, 3.0], [2.0, 3.0]),),
        not_measured=(NotMeasured(what="bwrap", why="bubblewrap is not installed"),),
        started_at=datetime.now(UTC),
        seconds=1.0,
    )
    shown = "\n".join(measured(record))
    for expected in ("native, image host", "exec     2.0", "walk   0.5", "OTHER", "0.75", "Not measured: bwrap: bubb"):
        assert expected in shown
