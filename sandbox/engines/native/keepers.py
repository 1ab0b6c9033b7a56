"""The manager's side of keepers: whether this machine can have them, and asking one to run a command.

Owns that conversation. Having keepers made is `spares`'; what a keeper does is in `sandbox.keeper`.
"""

from __future__ import annotations

import os
import platform
import socket
from functools import cache
from pathlib import Path
from typing import Any

from sandbox.engines.native import cgroups, seccomp
from sandbox.keeper import filtering, keeping, messages, syscalls

NAME = "keeper"
"""Stands in a sandbox's record where the name of an OCI runtime stands otherwise."""
_LEAST_KERNEL = (5, 14)
"""cgroup.kill; the other calls are older."""


@cache
def usable() -> bool:
    """Whether this machine can: its kernel, libseccomp, and control groups of version 2 beside the ones for limits."""
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdecimal())
    return (
        release >= _LEAST_KERNEL
        and syscalls.known_machine(platform.machine())
        and seccomp.profile(platform.machine()) is not None
        and filtering.library() is not None
        and cgroups.hybrid()
    )


@cache
def program_filter() -> str:
    """The system call filter of every sandbox, as keepers take it."""
    profile = seccomp.profile(platform.machine())
    return filtering.program(profile).hex() if profile is not None else ""


def ask(directory: Path, process: dict[str, Any], group: str, handles: tuple[int, ...]) -> socket.socket:
    """Have the keeper whose socket is in `directory` start a process; the socket on which it tells how that goes.

    The process gets a group of its own of that name, below the sandbox's; the keeper makes and removes it.
    Raises ConnectionError where no keeper lives there any more.
    """
    asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Through a handle, since the address of a socket may not be longer than 107 bytes.
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            asked.connect(f"/proc/self/fd/{place}/{keeping.SOCKET}")
        finally:
            os.close(place)
        messages.send(asked, {"process": process, "group": group}, handles)
    except FileNotFoundError as error:
        asked.close()
        raise ConnectionRefusedError from error
    except BaseException:
        asked.close()
        raise
    return asked
