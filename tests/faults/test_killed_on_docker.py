"""kill -9 of the manager at the steps that the docker engine takes of its own (E5): the next command ends what it left.

All else of the matrix in `test_killed_managers` is the manager's, the same on any engine.
"""

from __future__ import annotations

import signal

import pytest

from tests.faults.acts import ACTS, Stage
from tests.flows.house import House

pytestmark = pytest.mark.timeout(900)

OWN = ("docker.", "engine.")


@pytest.mark.parametrize("name", ["create", "snapshot", "rollback", "fork", "destroy"])
def test_e5_killed_at_any_step_of_docker_the_next_command_ends_it(docker_house: House, name: str) -> None:
    stage = Stage(docker_house, ACTS[name])
    steps = stage.steps()
    for number, step in enumerate(steps, 1):
        if step.startswith(OWN):
            stage.play(f"*:kill:{number}").expect(-signal.SIGKILL)
            try:
                stage.settle()
                stage.vouch()
            except AssertionError as error:
                raise AssertionError(f"killed at step {number}, {step}: {error}") from error
    assert any(step.startswith(OWN) for step in steps)
