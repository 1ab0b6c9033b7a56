"""Fault points: where tests make a real process die, hang or fail at a named durable step.

Armed from the environment only (`SANDBOX_FAULT=NAME:ACTION[:N]`, several separated by commas), at the Nth time that
NAME is reached (default 1): `kill` ends the process with SIGKILL, `interrupt` sends it a Ctrl-C, `stop` lets it stand
still until somebody sends it SIGCONT, `error` raises. The name `*` stands for every point, so that N counts the durable
steps of a whole command. `SANDBOX_FAULT_LOG=FILE` beside it notes there what is reached. In production the variable is
unset, and reaching a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

EVERY = "*"
_SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "stop": signal.SIGSTOP}
_reached: Counter[str] = Counter()


class FaultInjected(Exception):
    """An armed `error` fault; only tests meet it."""


def reached(name: str) -> None:
    """The step `name` is durable (or about to be taken); does nothing unless a fault is armed for it."""
    armed = os.environ.get("SANDBOX_FAULT")
    if not armed:
        return
    _reached.update((name, EVERY))
    if log := os.environ.get("SANDBOX_FAULT_LOG"):
        with open(log, "a") as file:
            file.write(f"{name}\n")
    for spec in armed.split(","):
        point, action, *rest = spec.split(":")
        if point not in (name, EVERY) or _reached[point] != int(rest[0] if rest else 1):
            continue
        if action not in _SIGNALS:
            raise FaultInjected(f"fault armed at {name}")
        os.kill(os.getpid(), _SIGNALS[action])
