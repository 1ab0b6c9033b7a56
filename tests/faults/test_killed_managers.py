"""kill -9 of the manager at every durable step of a command: the next command ends what it left (E5, D14).

The steps are not listed here: `*:kill:N` counts every one that the command takes, so a new step is in the matrix as
soon as it exists; and a point in the code that no act reaches is named.
"""

from __future__ import annotations

import ast
import fcntl
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import sandbox
from tests.faults.acts import ACTS, ONE, Act, Stage, furnished, proposed, signed
from tests.flows.house import House
from tests.soak.census import unfinished

pytestmark = pytest.mark.timeout(900)

SOURCES = Path(sandbox.__file__).parent


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_e5_killed_at_any_step_the_next_command_ends_it(house: House, act: Act) -> None:
    stage = Stage(house, act)
    steps = stage.steps()
    assert steps
    for number, step in enumerate(steps, 1):
        stage.play(f"*:kill:{number}").expect(-signal.SIGKILL)
        try:
            stage.settle()
            if number % 5 == 0 or number == len(steps):
                stage.vouch()
        except AssertionError as error:
            raise AssertionError(f"killed at step {number}, {step}: {error}") from error
    assert stage.facts.get("ends", {True, False}) == {True, False}, "some end committed, some restored"


def test_e5_every_fault_point_of_the_code_is_in_the_matrix(house: House) -> None:
    reached: set[str] = set()
    for number, act in enumerate(ACTS.values()):
        another = furnished(house.root / f"house-{number}", house.engine, house.image)
        reached.update(Stage(another, act).steps())
    points = {point: where for point, where in fault_points() if not point.startswith("docker.")}
    assert len(points) > 60
    missed = {where: point for point, where in points.items() if not any(matches(point, one) for one in reached)}
    assert missed == {}, "no act of tests/faults/acts.py reaches these"


def matches(point: str, name: str) -> bool:
    return re.fullmatch(re.escape(point).replace(r"\*", r"\w+"), name) is not None


def fault_points() -> Iterator[tuple[str, str]]:
    """Every point in the code, with where it is; `*` stands for what is filled in at run time."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield from ((point, f"{path.relative_to(SOURCES)}:{node.lineno}") for point in _points(node))


def _points(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    named = [keyword.value for keyword in call.keywords if keyword.arg == "event"]
    if name in ("reached", "note") and call.args:
        named.append(call.args[0])
    for value in named:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in value.values)
    if name == "on_step" and isinstance(call.args[0], ast.Constant):
        yield f"*.{call.args[0].value}"


KILLER = """#!/bin/sh
for word; do [ "$word" = {verb} ] && kill -9 $PPID; done
exec {real} "$@"
"""


@pytest.mark.parametrize("verb", ["sign", "verify"])
def test_e5_killed_while_ssh_keygen_is_at_work_nothing_of_it_stays(house: House, verb: str) -> None:
    change = proposed(*ONE)(house)["change"]
    key, digest = str(house.key("alice")), change["digest"][:12]
    words = ("approve", change["id"], "--as", "alice", "--key", key, "--digest", digest)
    keygen = house.root / "bin" / "ssh-keygen"
    keygen.parent.mkdir()
    keygen.write_text(KILLER.format(verb=verb, real=shutil.which("ssh-keygen")))
    keygen.chmod(0o755)
    house(*words, env={"PATH": f"{keygen.parent}:{os.environ['PATH']}"}).expect(-signal.SIGKILL)
    house("recover").expect(0)
    assert unfinished(house.home, Path(house.env["TMPDIR"])) == []
    assert list((house.home / "scratch").iterdir()) == []
    house(*words).expect(0)


def test_a_second_manager_at_the_same_time_is_kept_out(house: House) -> None:
    """The lease is on the target itself: another home on this machine is kept out, too."""
    change = signed(*ONE)(house)["change"]
    handle = os.open(house.root / "production" / "app", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert house.promote(change).expect(6).json["error"]["kind"] == "locked"
    finally:
        os.close(handle)
    house.promote(change).expect(0)
