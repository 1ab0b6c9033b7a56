"""Whether a target is well: its `after_apply` commands and health checks, run on the manager's host.

Owns the meaning of healthy: the first good answer within `grace_s`, then nothing but good answers through
`bake_s`. No answer is a bad answer (D3). The commands come from the target's configuration, never from a change.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sandbox.errors import Restored
from sandbox.spec import TargetSpec

INTERVAL_S = 0.25
"""Between two rounds of health checks."""
COMMAND_TIMEOUT_S = 300.0
"""For each `after_apply` command."""


class Unhealthy(Restored):
    """A health check or an `after_apply` command failed."""

    kind = "unhealthy"


def after_apply(spec: TargetSpec) -> None:
    """Run the commands that make a change effective (reload a service). Raises Unhealthy."""
    for command in spec.after_apply:
        problem = _run(command, COMMAND_TIMEOUT_S)
        if problem:
            raise Unhealthy(f"{spec.name}: after_apply `{shlex.join(command)}` {problem}.")


def bake(
    specs: Sequence[TargetSpec],
    between: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once every target came up within its grace and stayed healthy through its bake. Raises Unhealthy.

    `between` is called in every round; what it raises ends the bake.
    """
    for spec in specs:
        await_first(spec, sleep)
    well_since = time.monotonic()
    while True:
        left = [spec for spec in specs if spec.health and time.monotonic() - well_since < spec.bake_s]
        if not left:
            return
        sleep(INTERVAL_S)
        between()
        for spec in left:
            problem = probe(spec)
            if problem:
                raise Unhealthy(f"{spec.name}: {problem}, {time.monotonic() - well_since:.1f} s into its bake.")


def await_first(spec: TargetSpec, sleep: Callable[[float], None] = time.sleep) -> None:
    """Return at the first healthy answer. Raises Unhealthy where none came within the grace."""
    started = time.monotonic()
    while True:
        problem = probe(spec)
        if not problem:
            return
        if time.monotonic() - started > spec.grace_s:
            raise Unhealthy(f"{spec.name}: {problem}, and did not come up within {spec.grace_s:g} s.")
        sleep(INTERVAL_S)


def probe(spec: TargetSpec) -> str:
    """Why the target is not well now; empty where all its health checks pass (or it has none)."""
    for one in spec.health:
        problem = _run(one.run, one.timeout_s)
        if problem:
            return f"health check `{shlex.join(one.run)}` {problem}"
    return ""


def _run(command: Sequence[str], timeout_s: float) -> str:
    # Output goes to a file: a service that the command starts may hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            # At the root: whoever promotes may stand in the target, where an interpreter would find modules to load.
            started = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            return f"can't be run: {error.strerror}"
        try:
            code = started.wait(timeout_s)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return f"gave no answer within {timeout_s:g} s"
            raise
        if code == 0:
            return ""
        output.seek(max(0, output.seek(0, os.SEEK_END) - 400))
        said = output.read().decode("utf-8", "backslashreplace").strip().splitlines()
        return f"ended with exit code {code}" + (f": {said[-1][:200]}" if said else "")
