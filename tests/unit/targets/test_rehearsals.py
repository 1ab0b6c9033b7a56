"""A rehearsal on a captured base: what it copies, what it answers for, and that the base stays as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sandbox import durable
from sandbox.spec import TargetSpec
from sandbox.targets.base import ApplyRequest, Target
from sandbox.targets.directory import DirectoryTarget
from sandbox.targets.rehearsing import NEIGHBOURS
from sandbox.trees.bases import BaseStore, StoredBase
from sandbox.trees.changes import compare, predict
from sandbox.trees.entry import Change
from sandbox.trees.manifest import fingerprint
from sandbox.trees.patterns import Patterns
from sandbox.trees.scan import scan
from tests.unit.targets.worlds import Blobs, change_everything, everything

NOTHING = Patterns([])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root shares files: needs root")
def test_i4_a_rehearsal_shares_what_it_leaves_alone_and_never_writes_to_the_base(tmp_path: Path) -> None:
    real, wanted = tmp_path / "real", tmp_path / "wanted"
    for root in (real, wanted):
        root.mkdir()
        everything(root)
    (real / "left alone").write_bytes(b"big")
    (wanted / "left alone").write_bytes(b"big")
    change_everything(wanted)
    base = BaseStore(tmp_path / "bases").capture(real, NOTHING, key="real")
    after = list(scan(wanted, NOTHING))
    changes = tuple(compare(base.entries(), after))
    contents = {
        entry.content: (wanted / os.fsdecode(entry.path)).read_bytes() for entry in after if entry.kind == "file"
    }
    assert all(hashlib.sha256(content).digest() == digest for digest, content in contents.items())
    blobs = Blobs(tmp_path / "blobs", contents)
    before = list(scan(base.tree.root, NOTHING))

    target = DirectoryTarget(TargetSpec(name="t", kind="directory", path=str(real)))
    copy = target.rehearsal(base, changes, tmp_path / "scratch")
    shared = os.stat(tmp_path / "scratch" / "target" / "left alone")
    assert shared.st_ino == os.stat(base.tree.root / "left alone").st_ino
    for number in (1, 2):
        request = ApplyRequest(base, changes, blobs, tmp_path / f"point-{number}", "rehearsal")
        copy.prepare(request, lambda _: None)
        assert copy.apply(request, lambda _: None) == fingerprint(predict(base.entries(), changes))
        assert copy.restore(request.point, lambda _: None).fingerprint == base.fingerprint
        copy.settle(request.point)
    assert list(scan(base.tree.root, NOTHING)) == before


def _large(tmp_path: Path) -> tuple[StoredBase, tuple[Change, ...], Blobs, DirectoryTarget]:
    """A tree of many directories, in one of which a file changes."""
    real, wanted = tmp_path / "real", tmp_path / "wanted"
    for root in (real, wanted):
        for name in ("far/off", "here/sub", "here/deep/down"):
            (root / name).mkdir(parents=True)
        for number in range(3 * NEIGHBOURS):
            for name in ("far", "far/off", "here"):
                (root / name / f"{number}").write_text(f"{number}")
        (root / "here" / "deep" / "file").write_text("before")
    (wanted / "here" / "deep" / "file").write_text("after")
    base = BaseStore(tmp_path / "bases").capture(real, NOTHING, key="real")
    changes = tuple(compare(base.entries(), scan(wanted, NOTHING)))
    target = DirectoryTarget(TargetSpec(name="t", kind="directory", path=str(real)))
    return base, changes, Blobs(tmp_path / "blobs", {hashlib.sha256(b"after").digest(): b"after"}), target


def test_d5_a_rehearsal_costs_what_changes_and_answers_for_the_whole_tree(tmp_path: Path) -> None:
    base, changes, blobs, target = _large(tmp_path)
    copy = target.rehearsal(base, changes, tmp_path / "scratch")
    there = {str(path.relative_to(copy.spec.path)) for path in Path(copy.spec.path).rglob("*")}
    assert there == {"here", "here/deep", "here/deep/down", "here/deep/file"}
    request = ApplyRequest(base, changes, blobs, tmp_path / "point", "rehearsal")
    copy.prepare(request, lambda _: None)
    assert copy.apply(request, lambda _: None) == base.predicted(changes) == manifest_after(base, changes)
    assert copy.restore(request.point, lambda _: None).fingerprint == base.fingerprint


def _flushes(target: Target, request: ApplyRequest, flushed: list[str]) -> dict[str, list[str]]:
    """What each step of a promotion and its restore flushes."""
    steps: dict[str, Callable[[], object]] = {
        "prepare": lambda: target.prepare(request, lambda _: None),
        "apply": lambda: target.apply(request, lambda _: None),
        "restore": lambda: target.restore(request.point, lambda _: None),
        "settle": lambda: target.settle(request.point),
    }
    seen: dict[str, list[str]] = {}
    for name, act in steps.items():
        act()
        seen[name], flushed[:] = [*flushed], []
    return seen


def test_e3_a_promotion_flushes_what_it_does_and_its_rehearsal_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, changes, blobs, target = _large(tmp_path)
    copy = target.rehearsal(base, changes, tmp_path / "scratch")
    flushed: list[str] = []

    def watch(module: ModuleType, name: str) -> None:
        really = getattr(module, name)

        def noted(handle: int) -> None:
            flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
            really(handle)

        monkeypatch.setattr(module, name, noted)

    watch(os, "fsync")
    watch(durable, "sync_file_system")
    rehearsed = _flushes(copy, ApplyRequest(base, changes, blobs, tmp_path / "rehearsed", "prm_1"), flushed)
    assert not any(rehearsed.values())
    real = _flushes(target, ApplyRequest(base, changes, blobs, tmp_path / "real point", "prm_1"), flushed)
    home = f"{tmp_path}/real/here/deep"
    assert all(real.values())
    assert f"{tmp_path}/real point/content" in real["prepare"]
    assert home in real["apply"]
    assert home in real["restore"]


def test_d5_the_copy_holds_some_of_what_lies_beside_a_change(tmp_path: Path) -> None:
    base, _, _, target = _large(tmp_path)
    one = base.find(b"here/7")
    assert one is not None
    copy = target.rehearsal(base, [Change(b"here/7", one, None)], tmp_path / "scratch")
    beside = {path.name for path in Path(copy.spec.path, "here").iterdir()}
    assert "7" in beside
    assert len(beside) == NEIGHBOURS + 1


@pytest.mark.parametrize("act", ["remove", "write", "add"])
def test_d5_a_rehearsal_notices_what_happens_beside_the_change(tmp_path: Path, act: str) -> None:
    base, changes, blobs, target = _large(tmp_path)
    copy = target.rehearsal(base, changes, tmp_path / "scratch")
    beside = Path(copy.spec.path, "here", "deep")

    def meddle(step: str) -> None:
        if step == "flush":
            if act == "remove":
                (beside / "down").rmdir()
            elif act == "write":
                (beside / "down").chmod(0o700)
            else:
                (beside / "more").write_text("more")

    request = ApplyRequest(base, changes, blobs, tmp_path / "point", "rehearsal")
    copy.prepare(request, lambda _: None)
    assert copy.apply(request, meddle) != base.predicted(changes)
    assert copy.restore(request.point, lambda _: None).fingerprint != base.fingerprint


def manifest_after(base: StoredBase, changes: tuple[Change, ...]) -> str:
    return fingerprint(predict(base.entries(), changes))
