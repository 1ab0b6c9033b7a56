"""A rehearsal on a captured base: what the change leaves alone is shared with it, and the base stays as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sandbox.spec import TargetSpec
from sandbox.targets.base import ApplyRequest
from sandbox.targets.directory import DirectoryTarget
from sandbox.trees.bases import BaseStore
from sandbox.trees.changes import compare, predict
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
