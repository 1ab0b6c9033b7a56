"""A promotion that dies at any step leaves a target that restore brings back (E5, D14)."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.processes import WARM
from tests.unit.targets.killed import phase
from tests.unit.targets.worlds import World, change_everything, everything, world


@pytest.fixture
def big(tmp_path: Path) -> World:
    return world(tmp_path, everything, change_everything)


def run(big: World, name: str, fault: str = "", log: str = "") -> int | None:
    """Run a phase in a process of its own; its exit code."""
    process = WARM.Process(target=phase, args=(big, name, fault, log))
    process.start()
    process.join(60)
    return process.exitcode


def steps(big: World, name: str) -> list[str]:
    """Every step of a phase, as `STEP:kill:N`."""
    log = big.scratch / f"steps-{name}"
    assert run(big, name, log=str(log)) == 0
    counted: Counter[str] = Counter()
    faults = []
    for step in log.read_text().split():
        counted[step] += 1
        faults.append(f"{step}:kill:{counted[step]}")
    return faults


def assert_as_before(big: World) -> None:
    result = big.target().restore(big.point, lambda _: None)
    assert (result.clean, result.kept_aside, result.foreign) == (True, (), ())
    assert big.now() == result.fingerprint == big.base.fingerprint
    assert not list(big.root.glob(".sandbox-*"))


@pytest.mark.parametrize("name", ["prepare", "apply"])
def test_e5_killed_at_any_step_of_prepare_and_apply_restore_gives_the_base(big: World, name: str) -> None:
    faults = steps(big, name)
    assert len(faults) >= 3
    big.reset(everything)
    for fault in faults:
        assert run(big, name, fault) == -signal.SIGKILL, fault
        assert_as_before(big)
        shutil.rmtree(big.point, ignore_errors=True)


def test_e5_killed_at_any_step_of_restore_a_second_restore_gives_the_base(big: World) -> None:
    assert run(big, "apply") == 0
    faults = steps(big, "restore")
    assert len(faults) >= 10
    shutil.rmtree(big.point, ignore_errors=True)
    for fault in faults:
        assert run(big, "apply") == 0
        assert big.now() == big.wanted.fingerprint
        assert run(big, "restore", fault) == -signal.SIGKILL, fault
        assert_as_before(big)
        shutil.rmtree(big.point, ignore_errors=True)


def test_f3_killed_at_any_step_of_restore_no_third_party_write_is_lost(big: World) -> None:
    assert run(big, "apply") == 0
    faults = steps(big, "restore")
    shutil.rmtree(big.point, ignore_errors=True)
    for fault in faults:
        assert run(big, "apply") == 0
        (big.root / "edit/text").write_bytes(b"theirs")
        (big.root / "file-to-dir/x/foreign").write_bytes(b"theirs too")
        assert run(big, "restore", fault) == -signal.SIGKILL, fault
        result = big.target().restore(big.point, lambda _: None)
        assert result.clean
        assert {path: kept.read_bytes() for path, kept in result.kept_aside} == {
            b"edit/text": b"theirs",
            b"file-to-dir/x/foreign": b"theirs too",
        }, fault
        assert big.now() == big.base.fingerprint
        shutil.rmtree(big.point, ignore_errors=True)
