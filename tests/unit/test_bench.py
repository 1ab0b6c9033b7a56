"""The benchmark's own parts: figures are summed up right, and a wrong content is an error, never a number."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.bench import contender, residents
from sandbox.bench.content import Content, WrongContent, digest_of, make
from sandbox.bench.machine import FLOORS, WHO, describe, filesystem_of, measure
from sandbox.bench.outcome import Comparison, Timing
from sandbox.bench.peers import enter
from sandbox.bench.watch import Stopwatch


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    root = tmp_path_factory.mktemp("content") / "tree"
    root.mkdir()
    return make(root, 200)


class Copies:
    """A tool that keeps every sandbox and snapshot as a plain copy: right, until a test spoils one method."""

    name = "copies"
    workspace = "/workspace"
    exact = True
    lacks: frozenset[str] = frozenset()

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
        return self._copy(Path(snapshot))

    def fork(self, snapshot: str, count: int) -> list[str]:
        return [self._copy(Path(snapshot)) for _ in range(count)]

    def diff(self, box: str) -> frozenset[str]:
        base, now = self.content.root, Path(box)
        files = [path.relative_to(now) for path in now.rglob("*") if path.is_file()]
        same = {f for f in files if (base / f).exists() and (base / f).read_bytes() == (now / f).read_bytes()}
        return frozenset(str(file) for file in files if file not in same)

    def destroy(self, box: str) -> None:
        shutil.rmtree(box)

    def memory(self, boxes: list[str]) -> int:
        return (2 << 20) * len(boxes)


def test_a_round_times_every_step_in_order(content: Content, tmp_path: Path) -> None:
    tool, watch = Copies(tmp_path, content), Stopwatch()
    course = contender.Course(tool, content, watch, strict=True)
    assert digest_of(Path(course.run())) == content.a.digest
    assert not any(watch.samples("copies", step) for step in contender.STEPS), "a round that warms up does not count"
    watch.round = 1
    assert digest_of(Path(course.run())) == content.a.digest
    assert {step: len(watch.samples("copies", step)) for step in contender.STEPS} == {
        step: contender.EXECS if step == "exec" else 1 for step in contender.STEPS
    }
    assert watch.samples("copies", contender.MEMORY) == [2.0]
    assert watch.failures("copies") == {}


def _stays(tool: Copies) -> None:
    tool.rollback = lambda box, _snapshot: box  # type: ignore[method-assign]


def _goes_to_the_base(tool: Copies) -> None:
    tool.rollback = lambda _box, _snapshot: tool.create()  # type: ignore[method-assign]


def _forks_the_base(tool: Copies) -> None:
    tool.fork = lambda _snapshot, count: [tool.create() for _ in range(count)]  # type: ignore[method-assign]


def _starts_empty(tool: Copies) -> None:
    def create() -> str:
        (tool.folder / "empty").mkdir(exist_ok=True)
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
        (_goes_to_the_base, "After rollback_a"),
        (_forks_the_base, "After fork "),
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
        contender.Course(tool, content, Stopwatch(), strict=True).run()


@pytest.mark.parametrize(
    ("spoil", "steps"),
    [
        (_stays, {"rollback_a"}),
        (_forks_the_base, {"fork", "fork_16"}),
        (_misses_one, {"diff_a", "diff_b"}),
    ],
)
def test_another_tool_goes_on_after_a_wrong_content_and_has_no_time_for_it(
    spoil: Callable[[Copies], None], steps: set[str], content: Content, tmp_path: Path
) -> None:
    tool, watch = Copies(tmp_path, content), Stopwatch()
    watch.round = 1
    spoil(tool)
    contender.Course(tool, content, watch, strict=False).run()
    assert set(watch.failures("copies")) == steps
    assert all(why.startswith("wrong content: ") for why in watch.failures("copies").values())
    assert {step for step in contender.STEPS if not watch.samples("copies", step)} == steps


def test_another_tool_that_raises_says_what_and_what_needs_it_is_not_tried(content: Content, tmp_path: Path) -> None:
    def refuse(_box: str) -> str:
        raise OSError("no room\nnone at all")

    tool, watch = Copies(tmp_path, content), Stopwatch()
    watch.round = 1
    tool.snapshot = refuse  # type: ignore[method-assign]
    with pytest.raises(contender.Broken):
        contender.Course(tool, content, watch, strict=False).run()
    failures = watch.failures("copies")
    assert failures["snapshot_a"] == "raises OSError: no room"
    assert failures["rollback_a"] == "there is no snapshot to go to"
    assert watch.samples("copies", "diff_b"), "what needs no snapshot is measured"
    with pytest.raises(OSError, match="no room"):
        contender.Course(tool, content, watch, strict=True).run()


def test_what_a_tool_lacks_is_neither_tried_nor_a_failure(content: Content, tmp_path: Path) -> None:
    tool, watch = Copies(tmp_path, content), Stopwatch()
    watch.round = 1
    tool.lacks = frozenset({"fork", "fork_16", "diff_a", "diff_b"})
    course = contender.Course(tool, content, watch, strict=False)
    course.end(course.run())
    assert watch.failures("copies") == {}
    assert {step for step in contender.STEPS if not watch.samples("copies", step)} == tool.lacks
    assert watch.samples("copies", contender.MEMORY) == [2.0], "of the one that there is"


def test_a_tool_that_can_not_snapshot_is_measured_in_what_it_can(content: Content, tmp_path: Path) -> None:
    tool, watch = Copies(tmp_path, content), Stopwatch()
    watch.round = 1
    tool.lacks = frozenset(contender.STEPS) - {"create", "exec", "destroy"}
    course = contender.Course(tool, content, watch, strict=False)
    course.end(course.run())
    assert watch.failures("copies") == {}
    assert {step for step in contender.STEPS if watch.samples("copies", step)} == {"create", "exec", "destroy"}


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
    assert (len(content.a.paths), len(content.b.paths)) == (2, 20)
    assert any((content.root / path).parent.exists() for path in content.b.paths), "deleted and recreated"
    assert len({content.base.digest, content.a.digest, content.b.digest}) == 3
    assert [path.name for path in content.root.parent.iterdir()] == ["tree"], "nothing else stays"


def test_median_and_p95_of_samples() -> None:
    many = Timing.of("exec", "", [float(number) for number in range(100, 0, -1)])
    assert (many.median_ms, many.p95_ms, many.samples_ms[0]) == (50.5, 95.0, 100.0)
    few = Timing.of("exec", "", [3.0, 1.0, 2.0])
    assert (few.median_ms, few.p95_ms) == (2.0, 3.0)


def test_ratios_are_taken_pair_by_pair() -> None:
    """The medians alone would say 1: every pair says 2 or 0.5."""
    compared = Comparison.of("exec", "other", [(2.0, 1.0), (20.0, 10.0), (200.0, 400.0)])
    assert (compared.ratio, compared.pairs, compared.ours_ms, compared.theirs_ms) == (2.0, 3, 20.0, 10.0)


def test_a_round_in_which_one_of_two_failed_gives_no_pair() -> None:
    watch = Stopwatch()
    for watch.round in (1, 2, 3):
        watch.note("us", "exec", watch.round)
        watch.note("them", "exec", watch.round * 10)
        if watch.round == 2:
            watch.failed("them", "exec", "wrong content")
    assert watch.pairs("exec", "us", "them") == [(1, 10), (3, 30)]
    assert watch.samples("us", "exec") == [1, 2, 3]


def test_what_fails_gives_no_sample() -> None:
    watch = Stopwatch()
    watch.round = 1
    with pytest.raises(KeyError), watch.timed("us", "step"):
        raise KeyError
    assert watch.samples("us", "step") == []


def test_the_machine_is_described_and_its_floors_are_measured(content: Content) -> None:
    watch = Stopwatch()
    watch.round = 1
    measure(content.root, watch)
    assert all(watch.samples(WHO, floor) and min(watch.samples(WHO, floor)) > 0 for floor in FLOORS)
    assert [path.name for path in content.root.parent.iterdir()] == ["tree"], "nothing of it stays"
    machine = describe(content.root, content.root.parent)
    assert machine.below is None
    asked = ["findmnt", "-n", "-o", "FSTYPE", "-T", str(content.root)]
    assert machine.filesystem == subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    assert filesystem_of(Path("/proc/self")) == "proc"


def test_what_can_not_be_had_is_named(content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import ExitStack

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with ExitStack() as stack:
        ready, absent = enter(stack, "docker-sdk, bwrap, gvisor, swe-rex, try", tmp_path, content, print)
    assert ready == []
    assert [(one.what, one.why.split(" (")[0]) for one in absent] == [
        ("docker-sdk", "no Docker Engine answers"),
        ("bwrap", "bubblewrap is not installed"),
        ("gvisor", "runsc is not installed"),
        ("swe-rex", "its server is reached through a network into its container, and sandboxes here have none"),
        ("try", "binpash/try is neither in Debian nor on PyPI, and nothing is fetched from elsewhere"),
    ]


def test_memory_is_that_of_the_processes_that_are_meant() -> None:
    holds = "import sys, time; x = bytearray(32 << 20); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", holds, "mark-of-this-test"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        held = residents.memory(["mark-of-this-test"])
        below = residents.memory_below(os.getpid())
        process.kill()
    assert 32 << 20 <= held < 100 << 20
    assert below >= held * 0.9
    assert residents.memory(["mark-of-this-test"]) == 0
