"""The control groups that a keeper makes and enters, before there is a sandbox for them.

Owns that order. Which groups, and what is written to their files, it is told.
"""

from __future__ import annotations

import os
from typing import Any

_TRIES = 100
_JOIN = "cgroup.procs"


def settle(groups: list[dict[str, Any]], tracking: str) -> int:
    """Make the groups with their limits and enter them; a handle on `tracking`, which is there and not entered.

    All are entered at once: the kernel waits for a grace period of RCU (4 to 25 ms) at the first, not at the others.
    """
    for group in groups:
        _make(group["directory"])
        for file, text in group["files"]:
            write(f"{group['directory']}/{file}", text)
    for group in groups:
        write(f"{group['directory']}/{_JOIN}", "0")
    return os.open(tracking, os.O_RDONLY | os.O_DIRECTORY)


def _make(directory: str) -> None:
    for again in reversed(range(_TRIES)):
        try:
            os.makedirs(directory)
        except FileNotFoundError:
            # Whoever ended the last sandbox of the home has just removed what is above.
            if not again:
                raise
        else:
            return


def write(path: str, text: str) -> None:
    """Write to a file of the kernel, in one call."""
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
