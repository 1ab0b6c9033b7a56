"""What every target promises, whatever its kind; each kind brings a `Stage` that shows it from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from sandbox.bench.filesystem import made
from sandbox.bench.machine import filesystem_of
from sandbox.errors import Drifted, InputError, Locked
from sandbox.targets import open_target
from sandbox.targets.base import ApplyRequest, Target
from sandbox.trees.bases import BaseStore
from sandbox.trees.changes import predict
from sandbox.trees.manifest import fingerprint
from tests.unit.targets.worlds import World, change_everything, everything, world


class Stage(Protocol):
    """One real system with a base and a change, and hands of somebody else on it."""

    @property
    def target(self) -> Target: ...

    def request(self, tag: str = "prm_1") -> ApplyRequest: ...

    def now(self) -> str:
        """The fingerprint of the real system, read without the product's reader."""

    def write_on_changed_path(self, content: bytes) -> bytes:
        """Somebody else writes where the change does; the path."""

    def write_elsewhere(self, content: bytes) -> bytes:
        """Somebody else writes where the change does not; the path."""

    def replace(self) -> None:
        """Somebody else deletes and recreates the whole system with equal content."""

    def remove(self) -> None: ...


class DirectoryStage:
    def __init__(self, tmp_path: Path) -> None:
        self.world: World = world(tmp_path, everything, change_everything)

    @property
    def target(self) -> Target:
        return open_target(self.world.target().spec, self.world.scratch / "cache")

    def request(self, tag: str = "prm_1") -> ApplyRequest:
        return replace(self.world.request(tag), point=self.world.scratch / f"point-{tag}")

    def now(self) -> str:
        return self.world.now()

    def write_on_changed_path(self, content: bytes) -> bytes:
        (self.world.root / "edit/text").write_bytes(content)
        return b"edit/text"

    def write_elsewhere(self, content: bytes) -> bytes:
        (self.world.root / "keep/theirs").write_bytes(content)
        return b"keep/theirs"

    def replace(self) -> None:
        old = self.world.root.with_name("old")
        self.world.root.rename(old)
        subprocess.run(["cp", "-a", str(old), str(self.world.root)], check=True)

    def remove(self) -> None:
        self.world.root.rename(self.world.root.with_name("moved away"))


STAGES: dict[str, Callable[[Path], Stage]] = {"directory": DirectoryStage, "directory on XFS": DirectoryStage}


@pytest.fixture(scope="module")
def reflinks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on XFS, where files can share their blocks: other code copies there."""
    told: list[str] = []
    with made("xfs", tmp_path_factory.mktemp("xfs"), told.append) as folder:
        assert (filesystem_of(folder), told) == ("xfs", [])
        yield folder


@pytest.fixture(params=sorted(STAGES))
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    if request.param.endswith("XFS"):
        if os.geteuid() != 0:
            pytest.skip("it takes root to mount a file system")
        tmp_path = Path(tempfile.mkdtemp(dir=request.getfixturevalue("reflinks")))
    return STAGES[request.param](tmp_path)


def quiet(_: str) -> None:
    """Nobody listens."""


def promote(stage: Stage, tag: str = "prm_1") -> ApplyRequest:
    request = stage.request(tag)
    stage.target.prepare(request, quiet)
    assert stage.target.apply(request, quiet) == stage.now()
    return request


def predicted(stage: Stage) -> str:
    request = stage.request()
    return fingerprint(predict(request.base.entries(), request.changes))


def test_a6_identity_is_stable_and_changes_when_the_system_is_recreated(stage: Stage) -> None:
    first = stage.target.identify()
    assert first == stage.target.identify()
    promote(stage)
    assert stage.target.identify() == first
    stage.replace()
    assert stage.target.identify() != first


def test_a_system_that_is_not_there_is_refused_with_a_cure(stage: Stage) -> None:
    stage.remove()
    with pytest.raises(InputError) as caught:
        stage.target.identify()
    assert caught.value.hint
    with pytest.raises(InputError):
        stage.target.check(stage.request().base)


def test_e2_a_lease_excludes_every_other_holder(stage: Stage) -> None:
    with stage.target.lease(), pytest.raises(Locked, match=str(os.getpid())), stage.target.lease():
        pass
    with stage.target.lease():
        pass


def test_e2_a_lease_excludes_other_processes_and_ends_with_its_process(stage: Stage) -> None:
    spec = stage.target.spec.model_dump_json()
    code = (
        "import sys; from sandbox.spec import TargetSpec; from sandbox.targets import open_target\n"
        "with open_target(TargetSpec.model_validate_json(sys.argv[1])).lease():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, spec]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match=str(holder.pid)), stage.target.lease():
            pass
        holder.kill()
        holder.wait()
        with stage.target.lease():
            pass


def test_capture_gives_the_very_state_that_check_compares_with(stage: Stage, tmp_path: Path) -> None:
    captured = stage.target.capture(BaseStore(tmp_path / "bases"))
    assert captured.fingerprint == stage.now() == stage.request().base.fingerprint
    assert stage.target.check(captured).changes == ()


def test_b3_check_sees_what_somebody_else_wrote(stage: Stage) -> None:
    base = stage.request().base
    assert stage.target.check(base).changes == ()
    path = stage.write_elsewhere(b"theirs")
    drift = stage.target.check(base)
    assert path in [change.path for change in drift.changes]
    assert drift.fingerprint == stage.now() != base.fingerprint


def test_a2_apply_gives_the_predicted_state(stage: Stage) -> None:
    promote(stage)
    assert stage.now() == predicted(stage)


def test_prepare_changes_nothing_that_anybody_sees(stage: Stage) -> None:
    stage.target.prepare(stage.request(), quiet)
    assert stage.now() == stage.request().base.fingerprint
    assert stage.target.check(stage.request().base).changes == ()


def test_f2_t34_restore_gives_the_base_and_can_be_repeated(stage: Stage) -> None:
    request = promote(stage)
    for _ in range(2):
        result = stage.target.restore(request.point, quiet)
        assert result == type(result)(request.base.fingerprint, clean=True, kept_aside=(), foreign=())
        assert stage.now() == request.base.fingerprint


def test_restore_before_anything_was_applied_changes_nothing(stage: Stage) -> None:
    request = stage.request()
    assert stage.target.restore(request.point, quiet).clean
    stage.target.prepare(request, quiet)
    assert stage.target.restore(request.point, quiet).clean
    assert stage.now() == request.base.fingerprint


def test_a_committed_promotion_can_be_taken_back_after_it_was_settled(stage: Stage) -> None:
    request = promote(stage)
    for _ in range(2):
        stage.target.settle(request.point)
    assert stage.now() == predicted(stage)
    assert stage.target.restore(request.point, quiet).clean
    assert stage.now() == request.base.fingerprint


def test_after_a_restore_the_same_change_can_be_promoted_again(stage: Stage) -> None:
    first = promote(stage)
    stage.target.restore(first.point, quiet)
    stage.target.settle(first.point)
    promote(stage, "prm_2")
    assert stage.now() == predicted(stage)


def test_e4_a_write_before_prepare_is_drift_and_nothing_is_changed(stage: Stage) -> None:
    stage.write_on_changed_path(b"theirs")
    before = stage.now()
    with pytest.raises(Drifted):
        stage.target.prepare(stage.request(), quiet)
    assert stage.now() == before


def test_e4_a_write_between_prepare_and_apply_is_drift_and_stays(stage: Stage) -> None:
    request = stage.request()
    stage.target.prepare(request, quiet)
    path = stage.write_on_changed_path(b"theirs")
    theirs = stage.now()
    with pytest.raises(Drifted):
        stage.target.apply(request, quiet)
    result = stage.target.restore(request.point, quiet)
    assert (result.clean, result.kept_aside, result.foreign) == (True, (), (path,))
    assert stage.now() == theirs


def test_f3_restore_keeps_what_others_wrote_on_changed_paths(stage: Stage) -> None:
    request = promote(stage)
    path = stage.write_on_changed_path(b"theirs")
    result = stage.target.restore(request.point, quiet)
    assert result.clean
    assert [(where, kept.read_bytes()) for where, kept in result.kept_aside] == [(path, b"theirs")]
    assert stage.now() == request.base.fingerprint
    assert stage.target.restore(request.point, quiet) == result


def test_f3_what_others_wrote_since_where_a_change_was_made_is_named_and_nothing_else(stage: Stage) -> None:
    request = promote(stage)
    assert stage.target.written_since(request.base, request.changes) == []
    stage.write_elsewhere(b"theirs")
    assert stage.target.written_since(request.base, request.changes) == []
    path = stage.write_on_changed_path(b"theirs")
    before = stage.now()
    assert stage.target.written_since(request.base, request.changes) == [path]
    assert stage.now() == before


def test_how_long_it_takes_to_read_grows_with_the_entries_and_changes_nothing(stage: Stage) -> None:
    before = stage.now()
    few, many = stage.target.reading_seconds(10), stage.target.reading_seconds(1_000_000)
    assert 0 < few < many < 1000  # a walk takes microseconds for an entry, not a millisecond
    assert stage.now() == before
    stage.remove()
    with pytest.raises(InputError):
        stage.target.reading_seconds(10)


def test_f3_restore_leaves_what_others_wrote_elsewhere(stage: Stage) -> None:
    request = promote(stage)
    path = stage.write_elsewhere(b"theirs")
    result = stage.target.restore(request.point, quiet)
    assert result.clean
    assert path in result.foreign
    assert result.fingerprint == stage.now() != request.base.fingerprint


def test_a_rehearsal_goes_through_the_same_and_leaves_the_real_system_alone(stage: Stage, tmp_path: Path) -> None:
    request = stage.request()
    copy = stage.target.rehearsal(request.base, request.changes, tmp_path / "scratch" / "rehearsal")
    assert copy.check(request.base).changes == ()
    for number in (1, 2):
        play = replace(request, point=tmp_path / "scratch" / f"point-{number}")
        copy.prepare(play, quiet)
        assert copy.apply(play, quiet) == predicted(stage)
        assert copy.restore(play.point, quiet).fingerprint == request.base.fingerprint
        copy.settle(play.point)
    assert stage.now() == request.base.fingerprint


def test_f6_the_manual_steps_put_everything_back(stage: Stage) -> None:
    request = promote(stage)
    script = "set -e\n" + "\n".join(stage.target.manual_steps(request.point))
    for _ in range(2):
        subprocess.run(["sh"], input=script.encode("ascii"), check=True)
        assert stage.now() == request.base.fingerprint


def test_f6_a_target_that_a_person_put_back_is_seen_to_be_as_before(stage: Stage) -> None:
    request = promote(stage)
    before = stage.now()
    assert not stage.target.standing(request.point).clean
    assert stage.now() == before, "looking changes nothing"
    steps = stage.target.manual_steps(request.point)
    subprocess.run(["sh"], input="\n".join(("set -e", *steps[:-1])).encode("ascii"), check=True)
    assert not stage.target.standing(request.point).clean, "not before the last step"
    subprocess.run(["sh"], input="\n".join((steps[0], steps[-1])).encode("ascii"), check=True)
    found = stage.target.standing(request.point)
    assert (found.clean, found.fingerprint) == (True, request.base.fingerprint)
    stage.write_on_changed_path(b"theirs")
    assert not stage.target.standing(request.point).clean


def test_f6_there_are_no_manual_steps_where_nothing_was_changed(stage: Stage) -> None:
    request = stage.request()
    stage.target.prepare(request, quiet)
    assert stage.target.manual_steps(request.point) == ()
