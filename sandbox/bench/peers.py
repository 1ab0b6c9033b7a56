"""Other tools on the course: what somebody would write who has no such product, and tools that can be installed.

Owns which there are and how they are found. Each is given the same limits and walls as ours, as far as it has
them. Whatever it makes is removed at the end. None is ever installed from here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from sandbox.bench.contender import Contender
from sandbox.bench.content import Content
from sandbox.bench.outcome import NotMeasured
from sandbox.errors import InputError


class ByHand(Contender, Protocol):
    says: str
    """How it is used, for a person."""
    by_hand: bool
    """Whether it is made of system tools for this benchmark, so that nobody would call it a tool."""

    def forget(self) -> None:
        """Remove what a round left."""


class Absent(Exception):
    """A tool can't be had here; the text says why."""


def enter(
    stack: ExitStack, against: str | None, folder: Path, content: Content, say: Callable[[str], None]
) -> tuple[list[ByHand], tuple[NotMeasured, ...]]:
    """The named tools, ready for the course, and those that can't be had. Raises InputError for an unknown one."""
    names = dict.fromkeys(name.strip() for name in (against or "").split(",") if name.strip())
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise InputError(f"Nothing is known of {unknown[0]!r}.", f"--against takes: {', '.join(KNOWN)}.")
    ready: list[ByHand] = []
    absent: list[NotMeasured] = []
    for name in names:
        say(f"Making {name} ready.")
        try:
            ready.append(KNOWN[name](stack, folder, content, say))
        except Absent as error:
            absent.append(NotMeasured(what=name, why=str(error)))
    return ready, tuple(absent)


def _docker(stack: ExitStack, _folder: Path, content: Content, say: Callable[[str], None]) -> ByHand:
    from sandbox.bench.docker_by_hand import DockerByHand  # here, because the SDK takes long to load

    return stack.enter_context(DockerByHand.ready(content, say))


def _bwrap(stack: ExitStack, folder: Path, content: Content, _say: Callable[[str], None]) -> ByHand:
    if not shutil.which("bwrap"):
        raise Absent("bubblewrap is not installed (Debian: bubblewrap)")
    from sandbox.bench.bwrap_by_hand import BwrapByHand

    return stack.enter_context(BwrapByHand.ready(folder, content))


def _podman(stack: ExitStack, folder: Path, content: Content, say: Callable[[str], None]) -> ByHand:
    if not shutil.which("podman"):
        raise Absent("podman is not installed (Debian: podman)")
    from sandbox.bench.podman_by_hand import PodmanByHand

    return stack.enter_context(PodmanByHand.ready(folder, content, say))


def _guest(name: str) -> Callable[[ExitStack, Path, Content, Callable[[str], None]], ByHand]:
    def ready(stack: ExitStack, folder: Path, content: Content, say: Callable[[str], None]) -> ByHand:
        from sandbox.bench.guests import Guest

        return stack.enter_context(Guest.ready(name, folder, content, say))

    return ready


def _oci(
    name: str, program: str, package: str, says: str, *options: str
) -> Callable[[ExitStack, Path, Content, Callable[[str], None]], ByHand]:
    def ready(stack: ExitStack, folder: Path, content: Content, say: Callable[[str], None]) -> ByHand:
        if not shutil.which(program):
            raise Absent(f"{program} is not installed (Debian: {package})")
        from sandbox.bench.oci_by_hand import OciByHand

        made = OciByHand.ready(folder, content, say, name=name, says=says, command=(program, *options))
        return stack.enter_context(made)

    return ready


def _never(why: str) -> Callable[[ExitStack, Path, Content, Callable[[str], None]], ByHand]:
    def ready(_stack: ExitStack, _folder: Path, _content: Content, _say: Callable[[str], None]) -> ByHand:
        raise Absent(why)

    return ready


KNOWN: dict[str, Callable[[ExitStack, Path, Content, Callable[[str], None]], ByHand]] = {
    "docker-sdk": _docker,
    "bwrap": _bwrap,
    "runc": _oci("runc", "runc", "runc", "an OCI runtime by its command, on an overlay mounted by hand"),
    "podman": _podman,
    "nitrobox": _guest("nitrobox"),
    "agentdocker-lite": _guest("agentdocker-lite"),
    "gvisor": _oci(
        "gvisor",
        "runsc",
        "runsc",
        "runsc by its command (ptrace), on an overlay mounted by hand; its checkpoints, of processes, are not tried",
        "--platform=ptrace",
        "--network=none",
    ),
    "swe-rex": _never("its server is reached through a network into its container, and sandboxes here have none"),
    "try": _never("binpash/try is neither in Debian nor on PyPI, and nothing is fetched from elsewhere"),
}
