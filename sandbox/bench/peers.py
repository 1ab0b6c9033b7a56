"""Other tools on the course, by hand: what somebody would write who has no such product.

Owns which there are and how they are used. Each is given the same limits and walls as ours, as far as it has
them. Whatever it makes is removed at the end.
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

    def forget(self) -> None:
        """Remove what a round left."""


class Absent(Exception):
    """A tool can't be had here; the text says why."""


def enter(
    stack: ExitStack, against: str | None, folder: Path, content: Content, say: Callable[[str], None]
) -> tuple[list[ByHand], tuple[NotMeasured, ...]]:
    """The named tools, ready for the course, and those that can't be had. Raises InputError for an unknown one."""
    known = {"docker-sdk": _docker, "bwrap": _bwrap}
    names = dict.fromkeys(name.strip() for name in (against or "").split(",") if name.strip())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"Nothing is known of {unknown[0]!r}.", f"--against takes: {', '.join(known)}.")
    ready: list[ByHand] = []
    absent: list[NotMeasured] = []
    for name in names:
        try:
            ready.append(known[name](stack, folder, content, say))
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
