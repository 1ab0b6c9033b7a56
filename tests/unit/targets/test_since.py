"""What somebody else wrote since a promotion, in every way to write to what it made or to what leads there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.targets.worlds import World, change_everything, everything, put, world

Act = Callable[[Path], object]


def _replaced_by_a_link(root: Path) -> None:
    (root / "edit").rename(root / "elsewhere")
    (root / "edit").symlink_to("elsewhere")


WAYS: dict[str, tuple[Act, set[bytes]]] = {
    "content": (lambda root: put(root, "edit/text", b"theirs"), {b"edit/text"}),
    "size alone": (lambda root: put(root, "edit/again", b"x"), {b"edit/again"}),
    "mode": (lambda root: (root / "edit/mode").chmod(0o666), {b"edit/mode"}),
    "removed": (lambda root: (root / "link").unlink(), {b"link"}),
    "other kind": (lambda root: ((root / "link").unlink(), (root / "link").mkdir()), {b"link"}),
    "back where it was deleted": (lambda root: put(root, "gone/c", b"c"), {b"gone", b"gone/c"}),
    "more in a new directory": (lambda root: put(root, "file-to-dir/x/z", b"z"), {b"file-to-dir/x/z"}),
    "a tree in a new directory": (lambda root: put(root, "file-to-dir/t/z", b"z"), {b"file-to-dir/t"}),
    "new directory removed": (
        lambda root: shutil.rmtree(root / "file-to-dir"),
        {b"file-to-dir", b"file-to-dir/x", b"file-to-dir/x/y"},
    ),
    "attribute": (lambda root: os.setxattr(root / "attributed", "user.note", b"t"), {b"attributed"}),
    "mode of what leads there": (lambda root: (root / "edit").chmod(0o700), {b"edit"}),
    "a link in place of what leads there": (
        _replaced_by_a_link,
        {b"edit", b"edit/text", b"edit/again", b"edit/mode"},
    ),
    "beside": (lambda root: put(root, "edit/theirs", b"x"), set()),
    "elsewhere": (lambda root: put(root, "keep/untouched", b"x"), set()),
    "in a directory whose mode was changed": (lambda root: put(root, "closed/theirs", b"x"), set()),
    "ignored": (lambda root: put(root, "file-to-dir/a.log", b"x"), set()),
    "times alone": (lambda root: os.utime(root / "edit/text", (1, 1)), set()),
}


@pytest.fixture
def promoted(tmp_path: Path) -> World:
    it = world(tmp_path, everything, change_everything, ignore=("*.log",))
    target, request = it.target(), it.request()
    target.prepare(request, lambda _: None)
    target.apply(request, lambda _: None)
    target.settle(request.point)
    return it


@pytest.mark.parametrize("way", sorted(WAYS))
def test_f3_what_somebody_wrote_since_is_found_where_a_restore_would_touch_it(promoted: World, way: str) -> None:
    act, named = WAYS[way]
    assert promoted.target().written_since(promoted.base, promoted.changes) == []
    act(promoted.root)
    assert set(promoted.target().written_since(promoted.base, promoted.changes)) == named
