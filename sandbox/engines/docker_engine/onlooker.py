"""What was written in a sandbox since it was made, seen by a container of ours that looks in from beside it.

Owns the onlooker: made from the sandbox's original image, so that nothing in it is the agent's, and run while the
sandbox is frozen. It reads inodes through process 1 and trusts one thing in them: the time of their last change
(ctime), which nobody in a sandbox can set. On an overlay whatever is written in the sandbox was copied up before, with
every directory above it, and has a ctime of then; so what is not newer than the base layer is the base layer's own,
and so is all that is below it, unread. Must not be asked where an engine stores files in another way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from sandbox.engines.base import Tree
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import CAPABILITIES, Box, Containers
from sandbox.engines.docker_engine.removals import Removals
from sandbox.engines.docker_engine.streams import ExecStream, Frames
from sandbox.errors import EngineError
from sandbox.trees.entry import ROOT

LEAST_ENTRIES = 500
LEAST_BYTES = 32 << 20
"""Of a tree below both the whole of it is read sooner than another container is started."""

_TICKS = 100
"""In a second, of the kernel's start times; the same on every Linux."""
_SOON_S = 0.05
"""A sandbox starts later after its base than this; the kernel's clock for files lags by less."""
_ANSWER_S = 600
_LIST_END = b"\0\0"

_SCRIPT = r"""
export LC_ALL=C
at=/proc/1/root
IFS=/
for name in $1; do
  [ -n "$name" ] || continue
  at="$at/$name"
  [ -d "$at" ] && [ ! -L "$at" ] || exit 3
done
unset IFS
[ ! -L "$1" ] && [ -z "$(ls -A "$1" 2> /dev/null)" ] || exit 3
cd "$at" && [ "$(stat -f -c %t .)" = 794c7630 ] && tar --version > /dev/null || exit 3
read -r boot _ < /proc/uptime
read -r line < /proc/1/stat
printf '%s %s %s\0' "$boot" "$(date +%s.%N)" "${line##*) }"
find . -xdev ! -newerct "@$2" -prune -printf '%C@ %P\0' || exit 3
printf '\0'
find . -xdev \( ! -newerct "@$2" -prune \) -o -print0 |
  tar --create --file=- --null --no-unquote --no-recursion --files-from=- --format=posix --numeric-owner \
    --pax-option=delete=atime,delete=ctime --xattrs --xattrs-include=security.capability &&
  printf whole
"""
"""Nothing but programs of the image proper, which is also looked at: what it has at that path itself is older than any
base. First come the clocks, then the paths that are the base's, then an archive of the others. It ends with 3 where it
can't tell."""
_WHOLE = b"whole"


class View(NamedTuple):
    """What there is to see of a placement."""

    untouched: frozenset[bytes]
    """Paths that are as in the base, with all that is below them."""
    others: Iterable[bytes]
    """An archive of every other path, each without what is below it; in no order."""


class Onlooker:
    """Looks into the sandboxes of one home."""

    def __init__(self, connection: Connection, containers: Containers, removals: Removals) -> None:
        self._connection = connection
        self._containers = containers
        self._removals = removals
        self.least_entries = LEAST_ENTRIES

    def is_worth_it(self, tree: Tree) -> bool:
        """Whether looking costs less than reading the whole tree."""
        size = 0
        for count, entry in enumerate(itertools.islice(tree.entries(), self.least_entries + 1)):
            size += entry.size
            if count >= self.least_entries or size > LEAST_BYTES:
                return True
        return False

    @contextmanager
    def look(self, sandbox: str, box: Box, base: str, path: str) -> Iterator[View | None]:
        """What a frozen sandbox has at `path`, made from the base image; None where that can't be told this way."""
        made = self._connection.image(base)
        if made is None or not box.running or not self._connection.copies_up:
            yield None
            return
        since = datetime.fromisoformat(made["Created"][:19] + "+00:00").timestamp()
        cut = f"{since:.0f}.{_fraction(made['Created'])}"
        command = ["sh", "-c", _SCRIPT, "sh", path, cut]
        # Looking through process 1 takes all that it may itself; with more, nobody in there may look at the onlooker.
        capabilities = [*CAPABILITIES, "DAC_READ_SEARCH"]
        api = self._connection.api

        def remove(container: str) -> None:
            self._removals.begin(sandbox, lambda: self._containers.remove(container))

        with (
            self._containers.beside("onlooker", box, command, capabilities, remove) as onlooker,
            ExecStream.attached(api, onlooker) as stream,
        ):
            api.start(onlooker)
            pieces = _printed(stream)
            found = _untouched(pieces, float(cut))
            if found is None:
                yield None
                return
            untouched, begun = found
            yield View(untouched, _to_the_end(itertools.chain([begun], pieces)))


def _fraction(time: str) -> str:
    """The digits after the second of an RFC 3339 time; none counts as the second's beginning."""
    rest = time[20:] if time[19:20] == "." else ""
    return rest[: len(rest) - len(rest.lstrip("0123456789"))] or "0"


def _printed(stream: ExecStream) -> Iterator[bytes]:
    """The container's standard output, piece by piece."""
    frames = Frames()
    while data := stream.receive(_ANSWER_S):
        for name, piece in frames.feed(data):
            if name == "stdout":
                yield piece


def _to_the_end(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same. Raises EngineError where it breaks off before the onlooker said that this is all."""
    last = b""
    for piece in pieces:
        last = (last + piece)[-len(_WHOLE) :]
        yield piece
    if last != _WHOLE:
        raise EngineError("The sandbox's files could not all be read.", "Try again; `sandbox recover` tidies up.")


def _untouched(pieces: Iterator[bytes], since: float) -> tuple[frozenset[bytes], bytes] | None:
    """The paths of the base, and what came of the archive with them; None where they are not to be believed."""
    said = bytearray()
    for piece in pieces:
        said += piece
        if _LIST_END in said:
            break
    listed, ended, begun = bytes(said).partition(_LIST_END)
    clocks, *lines = listed.split(b"\0")
    if not ended or not _is_steady(clocks, since):
        return None
    paths = set()
    for line in lines:
        changed, _, path = line.partition(b" ")
        if not changed.partition(b".")[2].strip(b"0"):
            return None  # a file system that keeps whole seconds: what was written in the same one looks untouched
        paths.add(path or ROOT)
    return frozenset(paths), begun


def _is_steady(clocks: bytes, since: float) -> bool:
    """Whether the sandbox, by today's clock, started after its base was made: else the clock was put back since, and
    what is new looks old."""
    boot, now, *process = clocks.split()
    started = float(process[19]) / _TICKS  # the 22nd field of stat; two were before these
    return float(now) - float(boot) + started > since + _SOON_S
