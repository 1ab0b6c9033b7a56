"""A manager that is not root: promotes what is its own, says so where it can't, rehearses all the same."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.errors import InputError
from sandbox.trees.changes import predict
from sandbox.trees.manifest import fingerprint
from tests.unit.targets.worlds import change_everything, everything, put, world

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which needs root")

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.unit.targets.worlds"])
USER = 64321


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of the other user's, which it can reach."""
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(home, USER, USER)
    yield home
    shutil.rmtree(home)


def as_user(home: Path, act: str) -> None:
    """Run one of the functions below as the other user."""
    process = SERVER.Process(target=_as_user, args=(home, act))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def _as_user(home: Path, act: str) -> None:
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    globals()[act](home)


def quiet(_: str) -> None:
    """Nobody listens."""


def promotes_and_restores(home: Path) -> None:
    it = world(home, everything, change_everything)
    it.target().prepare(it.request(), quiet)
    assert it.target().apply(it.request(), quiet) == it.wanted.fingerprint == it.now()
    result = it.target().restore(it.point, quiet)
    assert (result.clean, result.kept_aside, it.now()) == (True, (), it.base.fingerprint)


def refuses_foreign_owners(home: Path) -> None:
    it = world(home, everything, change_everything)
    change = next(each for each in it.changes if each.path == b"edit/text")
    assert change.after is not None
    theirs = (change._replace(after=change.after._replace(uid=0)),)
    with pytest.raises(InputError, match="belongs to 0:"):
        it.target().prepare(replace(it.request(), changes=theirs), quiet)
    assert not it.point.exists()


def refuses_where_it_may_not_write(home: Path) -> None:
    it = world(home, everything, lambda root: put(root, "edit/text", b"new"))
    (it.root / "edit").chmod(0o555)
    with pytest.raises(InputError, match="may not write in 'edit'"):
        it.target().prepare(it.request(), quiet)
    (it.root / "edit").chmod(0o755)


def rehearses_foreign_owners(home: Path) -> None:
    it = world(home, everything, change_everything)
    foreign = {b"keep/untouched", b"edit/text", b"gone/c"}
    it.base.found = [each._replace(uid=0, gid=7) if each.path in foreign else each for each in it.base.found]
    it.base.fingerprint = fingerprint(it.base.found)
    before = {each.path: each for each in it.base.found}
    changes = tuple(each._replace(before=before.get(each.path)) for each in it.changes)
    request = replace(it.request(), changes=changes)
    copy = it.target().rehearsal(it.base, it.changes, home / "rehearsal")
    assert copy.check(it.base).fingerprint == it.base.fingerprint
    copy.prepare(request, quiet)
    assert copy.apply(request, quiet) == fingerprint(predict(it.base.entries(), changes))
    assert copy.restore(request.point, quiet).fingerprint == it.base.fingerprint


@pytest.mark.parametrize(
    "act",
    [
        "promotes_and_restores",
        "refuses_foreign_owners",
        "refuses_where_it_may_not_write",
        "rehearses_foreign_owners",
    ],
)
def test_a_manager_that_is_not_root(home: Path, act: str) -> None:
    as_user(home, act)
