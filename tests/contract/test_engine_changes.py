"""The changes of a tree: exact in a live sandbox, in a snapshot of it, after a rollback and in a fork."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.engines.base import ChangesRequest
from sandbox.errors import InputError
from tests.contract.differing import Difference, differences, expected
from tests.engines import Boxes, Registry
from tests.trees import plain_tree

pytestmark = pytest.mark.timeout(240)

CASES = {
    "modify": "echo more >> README",
    "modify keeping size and time": "touch -r README $T/t; printf 'two\\none\\n' > README; touch -r $T/t README",
    "truncate": ": > data/ledger.bin",
    "delete a file": "rm README",
    "delete a tree": "rm -rf app",
    "add": "echo new > new; mkdir -p a/b/c; echo deep > a/b/c/deep; : > a/empty",
    "add an empty directory": "mkdir app/none",
    "mode": "chmod 600 README; chmod 4755 app/run.sh; chmod 1777 empty",
    "owner": "chown 1234:5678 README app; chown -h 7:8 current",
    "retarget a link": "ln -sfn data/ledger.bin current",
    "dangling link": "ln -s /etc/passwd secrets; ln -s nowhere/at/all app/dangling",
    "file to directory": "rm README; mkdir README; echo x > README/inside",
    "directory to file": "rm -rf app; echo file > app",
    "directory to link": "rm -rf app; ln -s data app",
    "link to directory": "rm current; mkdir current; echo x > current/x",
    "file to link": "rm README; ln -s app/main.py README",
    "link to file": "rm current; echo plain > current",
    "recreate equal": "cp -a . $T/copy; rm -rf app data empty README current; cp -a $T/copy/. .",
    "recreate with one line": "cp -a . $T/copy; rm -rf ./*; cp -a $T/copy/. .; echo fix >> app/main.py",
    "recreate smaller": "cp app/main.py $T/keep; rm -rf app; mkdir app; cp $T/keep app/main.py",
    "remove and recreate in turn": "for i in 1 2 3; do rm -rf app; mkdir app; echo $i > app/n; done; rm -rf app/n",
    "rename a file": "mv README READ.ME",
    "rename a directory": "mv app application",
    "rename over": "mv app/main.py README",
    "swap directories": "mv app x; mv data app; mv x data",
    "move out and back": "mv app $T/app; echo gone > note; mv $T/app app",
    "move into": "mv data app/templates/data",
    "only touched": "touch README app data/ledger.bin; chmod 644 README; chown 0:0 README",
    "written with what it had": "cat README > $T/r; cat $T/r > README",
    "two names of one file": "ln README second; ln app/main.py app/templates/third",
    "pipe": "mkfifo app/pipe",
    "odd names": "python3 -c \"import os; [open(n, 'wb').close() for n in (b'a\\xff', b'n\\nl', b'x' * 255)]\"",
    "deleted odd names": "python3 -c \"import os; open(b'\\xfe', 'w'); os.remove(b'\\xfe'); os.remove('README')\"",
    "many files": "mkdir many; cd many; for i in $(seq 600); do echo $i > f$i; done",
    "a large file": "head -c 30000000 /dev/urandom > large; printf x | dd of=data/ledger.bin seek=99 bs=1 conv=notrunc",
    "a file with a hole": "truncate -s 5000000 hole; printf x >> hole",
    "an unreadable file": "chmod 000 README data",
}
NO_CHANGE = {"recreate equal", "only touched", "written with what it had"}
"""Cases that come to no difference at all."""

WHOLE = {
    "delete everything": "rm -rf /workspace/* /workspace/.[!.]*",
    "mode of the top": "chmod 711 /workspace",
    "recreate the workspace": "cp -a app /tmp; cd /; rm -rf /workspace; mkdir /workspace; cp -a /tmp/app /workspace",
    "not the workspace": "echo x > /usr/x; rm -rf /usr/share; mkdir /workspace2; echo y > /workspace2/y",
}
"""Cases that need a sandbox of their own."""


@dataclass(frozen=True)
class Gallery:
    """One sandbox in which every case happened, each in a project of its own, and what it came to."""

    wanted: dict[bytes, Difference]
    found: dict[str, dict[bytes, Difference]]


def gallery_tree(root: Path) -> None:
    for case in CASES:
        (root / case).mkdir()
        plain_tree(root / case)


def happen(boxes: Boxes) -> Gallery:
    box = boxes.create(boxes.tree(gallery_tree))
    for case, script in CASES.items():
        box.sh(f"T=$(mktemp -d); {script}", cwd=f"/workspace/{case}")
    wanted = expected(box)
    found = {"live": differences(box)}
    snapshot = box.snapshot()
    found["in a snapshot"] = differences(box, snapshot)
    box.out("cd /; rm -rf /workspace; echo later > /later")
    found["in a snapshot, when the sandbox has gone on"] = differences(box, snapshot)
    box.rollback(snapshot)
    found["after a rollback, seen inside"] = expected(box)
    found["after a rollback"] = differences(box)
    fork = boxes.fork(snapshot, box)
    found["in a fork, seen inside"] = expected(fork)
    found["in a fork"] = differences(fork)
    boxes.close()
    return Gallery(wanted, found)


@pytest.fixture
def gallery(place: tuple[str, str], boxes: Boxes, registry: Registry) -> Gallery:
    return registry.once(("gallery", *place), lambda: happen(boxes))


def of_case(case: str, differences: dict[bytes, Difference]) -> dict[bytes, Difference]:
    top = case.encode()
    return {path: found for path, found in differences.items() if path == top or path.startswith(top + b"/")}


@pytest.mark.parametrize("case", sorted(CASES))
def test_changes_are_exact_wherever_they_are_read(gallery: Gallery, case: str) -> None:
    wanted = of_case(case, gallery.wanted)
    assert (wanted == {}) == (case in NO_CHANGE)
    for where, found in gallery.found.items():
        assert of_case(case, found) == wanted, where


def test_t28_a_reader_that_gives_up_midway_leaves_the_sandbox_free(boxes: Boxes) -> None:
    box = boxes.create()
    box.out("for n in 1 2 3 4; do head -c 8M /dev/zero > zeros-$n; done; ln zeros-4 zzz")

    def gives_up(path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:
        raise InputError(f"No more after {path!r}.")

    for origin in (box.id, box.snapshot()):
        with pytest.raises(InputError, match="No more"):
            list(box.engine.changes(ChangesRequest(origin, box.placements[0], gives_up)))
    assert box.out("echo alive", timeout_s=20) == b"alive\n"


def test_nothing_else_is_reported(gallery: Gallery) -> None:
    tops = {case.encode() for case in CASES}
    for where, found in gallery.found.items():
        assert {path for path in found if path.split(b"/")[0] not in tops} == set(), where


@pytest.mark.every_image
@pytest.mark.parametrize("case", sorted(WHOLE))
def test_changes_of_the_whole_workspace_are_exact(boxes: Boxes, case: str) -> None:
    box = boxes.create()
    box.sh(WHOLE[case])
    wanted = expected(box)
    assert (wanted == {}) == (case == "not the workspace")
    assert differences(box) == wanted
    snapshot = box.snapshot()
    assert differences(box, snapshot) == wanted
    assert differences(boxes.fork(snapshot, box)) == wanted
