"""The look into a sandbox: it answers, it says the same as an archive of all, and it knows what it can't tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.clock import fresh_id
from sandbox.engines.base import CreateRequest, Placement
from sandbox.engines.docker_engine import DockerEngine, candidates
from sandbox.engines.docker_engine.onlooker import _to_the_end, _untouched
from sandbox.errors import EngineError
from sandbox.trees.entry import ROOT, Entry
from tests import host
from tests.engines import LIMITS, Box, Boxes
from tests.trees import odd_tree

pytestmark = pytest.mark.timeout(240)

EDITS = (
    "true",
    'at=$(stat -c %y data/l*); printf ! | dd of=data/ledger.bin conv=notrunc status=none; touch -d "$at" data/l*',
    "mv README other; mv app/run.sh README; mv other app/run.sh",
    "cp -p app/main.py same; mv same app/main.py; ln data/ledger.bin data/second; touch -- -rf",
    "rm -r app; ln -s data app; rm -r data; mkdir data; echo new > data/ledger.bin",
    "mkdir -p a/b/c; mkfifo a/b/pipe; head -c 3000000 /dev/zero > a/b/c/large; chmod 4711 a/b/c/large; chown 5:6 a/b",
    "rm -rf ./* ./.[!.]*; chmod 700 .; echo alone > left",
)


@contextmanager
def no_archive_of_all() -> Iterator[None]:
    """Nothing meanwhile is answered by reading all of a placement."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(candidates, "differing")
        yield


def as_archive(box: Box) -> dict[bytes, Entry | None]:
    """The same state as a snapshot has it, which is read as an archive."""
    return box.changes(box.snapshot())


def test_what_is_looked_at_is_what_an_archive_of_all_has(boxes: Boxes) -> None:
    box = boxes.create(boxes.tree(odd_tree))
    for edit in EDITS:
        box.out(edit)
        with no_archive_of_all():
            seen = box.changes()
        assert seen == as_archive(box), edit
    assert seen, "there was something to see"


def test_a_rolled_back_sandbox_and_a_fork_show_what_their_snapshot_had(boxes: Boxes) -> None:
    box = boxes.create()
    box.out(EDITS[1] + "; rm README; echo 2 > app/main.py")
    snapshot = box.snapshot()
    then = box.changes(snapshot)
    assert {b"README", b"app/main.py", b"data/ledger.bin"} <= then.keys()
    box.out("rm -rf app; echo later > README")
    box.rollback(snapshot)
    fork = boxes.fork(snapshot, box)
    with no_archive_of_all():
        assert box.changes() == then
        assert fork.changes() == then


@pytest.mark.parametrize("trick", ["ln -s /etc /workspace", "ln -s usr /workspace", "echo > /workspace", "true"])
def test_a_placement_that_is_no_directory_any_more_is_not_looked_through(boxes: Boxes, trick: str) -> None:
    box = boxes.create()
    box.out(f"rm -rf /workspace; {trick}", cwd="/")
    assert box.changes() == as_archive(box)
    assert box.changes()[ROOT] != next(iter(box.placements[0].tree.entries()))


def test_files_that_the_image_has_at_that_path_are_seen(engine: DockerEngine, boxes: Boxes) -> None:
    """They are as old as the base, and none of its."""
    sandbox, placements = fresh_id("sbx"), (Placement("/etc/apt", boxes.tree()),)
    boxes.made.append(sandbox)
    engine.create(CreateRequest(sandbox, "base", placements, LIMITS))
    box = Box(engine, sandbox, placements)
    found = box.changes()
    assert b"trusted.gpg.d" in found
    assert found == as_archive(box)


def test_the_agent_is_frozen_while_it_is_looked_at_and_nothing_stays(engine: DockerEngine, boxes: Boxes) -> None:
    box = boxes.create()
    box.out("sh -c 'while :; do date +%s%N > now; mv now then; done' > /dev/null 2>&1 &")
    for _ in range(3):
        with no_archive_of_all():
            assert b"app/main.py" not in box.changes()
    engine._removals.finish(box.id)
    assert [line for line in host.containers_of(engine._names.home) if "onlooker" in line] == []


CLOCKS = b"1000.00 50000.000000000 S 0 1 1 0 -1 4194560 972 0 0 0 2 0 0 0 20 0 1 0 %d 1044480 143"
"""Up for 1000 s, and it is 50000 now: a process that started after 900 s did so at 49900."""


@pytest.mark.parametrize(
    ("since", "started", "line", "found"),
    [
        (49_800.0, 90_000, b"49790.5 app", {b"app"}),
        (49_899.9, 90_000, b"49790.5 ", {ROOT}),
        (49_899.96, 90_000, b"49790.5 app", None),  # hardly after its base was made: the clock was put back
        (60_000.0, 90_000, b"49790.5 app", None),
        (49_800.0, 90_000, b"49790.0000000000 app", None),  # a file system of whole seconds
    ],
)
def test_a_clock_that_was_put_back_or_is_coarse_is_not_believed(
    since: float, started: int, line: bytes, found: set[bytes] | None
) -> None:
    said = _untouched(iter([CLOCKS % started + b"\0", line + b"\0\0arch", b"ive"]), since)
    assert (None if said is None else set(said[0])) == found
    assert said is None or said[1] == b"arch"
    assert _untouched(iter([CLOCKS % started + b"\0" + line]), since) is None, "it broke off"


def test_an_archive_that_breaks_off_is_an_error() -> None:
    assert b"".join(_to_the_end([b"archivew", b"ho", b"le"])) == b"archivewhole"
    with pytest.raises(EngineError, match="all be read"):
        list(_to_the_end([b"archive"]))
