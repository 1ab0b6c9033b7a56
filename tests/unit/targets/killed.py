"""The process that a test kills: runs one phase of a promotion and dies at a named step."""

from __future__ import annotations

import os

from sandbox import faults
from tests.unit.targets.worlds import World


def phase(world: World, name: str, fault: str = "", log: str = "") -> None:
    """Run `prepare`, `apply`, `restore` or `settle`; with `log`, note the steps there; with `fault`, die at one."""
    os.environ["SANDBOX_FAULT"] = fault
    target = world.target()

    def on_step(step: str) -> None:
        if log:
            with open(log, "a") as file:
                file.write(f"{step}\n")
        faults.reached(step)

    if name == "prepare":
        target.prepare(world.request(), on_step)
    elif name == "apply":
        target.prepare(world.request(), lambda _: None)
        target.apply(world.request(), on_step)
    elif name == "restore":
        target.restore(world.point, on_step)
