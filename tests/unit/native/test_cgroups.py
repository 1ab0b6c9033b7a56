"""A group that is gone, or goes in the middle of a question, has nobody left to kill."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from sandbox.engines.native import cgroups
from sandbox.engines.native.cgroups import Group


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group(cgroups.path_of(f"test-{secrets.token_hex(6)}", "one"), beside=cgroups.hybrid())
    made.tracking.mkdir(parents=True)
    yield made
    made.remove()
    for directory in (made.tracking, made.tracking.parent):
        if directory.exists():
            directory.rmdir()


def test_the_processes_of_a_group_that_is_gone_are_killed(group: Group) -> None:
    group.tracking.rmdir()
    group.kill()


def test_a_group_that_goes_while_it_is_told_to_die_is_dead(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is open already, so the kernel says that there is no such device."""
    written = os.write

    def late(handle: int, data: bytes) -> int:
        group.tracking.rmdir()
        return written(handle, data)

    monkeypatch.setattr(os, "write", late)
    group.kill()
    assert not group.exists()
