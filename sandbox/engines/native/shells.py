"""An interactive command on the caller's own terminal, through a keeper.

Owns carrying bytes between the caller's streams and the sandbox's. The caller's own handles never enter the sandbox:
through /proc/self/fd a file behind them could be opened anew there.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.ways_in import ThroughKeeper
from sandbox.errors import EngineError

_CHUNK = 1 << 16
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def run(way_in: ThroughKeeper, process: dict[str, Any], group: Group) -> int:
    """Join our streams to `process`, started in `group`; its exit code. Raises EngineError."""
    if process["terminal"]:
        return _on_terminal(way_in, process, group)
    streams = [os.pipe(), os.pipe(), os.pipe()]
    theirs = (streams[0][0], streams[1][1], streams[2][1])
    try:
        asked = way_in.ask(process, group, theirs)
    finally:
        for handle in theirs:
            os.close(handle)
    (_, feeding), (out, _), (err, _) = streams
    return _carry(asked, {_STDIN: feeding, out: _STDOUT, err: _STDERR})


def _on_terminal(way_in: ThroughKeeper, process: dict[str, Any], group: Group) -> int:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            asked = way_in.ask(process, group, (theirs.fileno(),))
        _, handles, _, _ = socket.recv_fds(ours, 64, 1)
    if not handles:
        return _carry(asked, {})
    outer = handles[0]
    with _raw(outer):
        return _carry(asked, {_STDIN: outer, outer: _STDOUT})


@contextmanager
def _raw(outer: int) -> Iterator[None]:
    """Let our terminal pass everything on, and the sandbox's have its size."""

    def resize(*_: object) -> None:
        with suppress(OSError):
            fcntl.ioctl(outer, termios.TIOCSWINSZ, fcntl.ioctl(_STDIN, termios.TIOCGWINSZ, bytes(8)))

    resize()
    before, handler = termios.tcgetattr(_STDIN), signal.signal(signal.SIGWINCH, resize)
    try:
        # Not the default, which throws away what was typed already.
        tty.setraw(_STDIN, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def _carry(asked: socket.socket, ways: dict[int, int]) -> int:
    """Carry bytes from each handle to the one that it is paired with, until the command has ended."""
    told = b""
    status = asked.fileno()
    poll = select.poll()
    for handle in (status, *ways):
        poll.register(handle, select.POLLIN)
    open_ways = dict(ways)
    while True:
        ready = [handle for handle, _ in poll.poll()]
        for handle in [handle for handle in ready if handle != status]:
            if not _move(handle, open_ways[handle]):
                poll.unregister(handle)
                target = open_ways.pop(handle)
                if handle == _STDIN and target not in ways:
                    os.close(target)  # the command sees the end of its input
        if ready == [status]:
            news = asked.recv(4096)
            told += news
            if not news:
                break
    for handle in {*ways, *ways.values()} - {_STDIN, _STDOUT, _STDERR}:
        with suppress(OSError):
            os.close(handle)
    asked.close()
    if b"exit " not in told or b"fail " in told:
        raise EngineError(f"The shell did not start, or was lost: {told.decode(errors='replace').strip()}")
    return int(told.split()[-1])


def _move(source: int, target: int) -> bool:
    try:
        data = os.read(source, _CHUNK)
        while data:
            data = data[os.write(target, data) :]
            if not data:
                return True
    except OSError:  # how a terminal says that nobody is at its other end, and a pipe that nobody reads
        return False
    return False
