"""The two-way connection of a running exec: bytes in, two streams out.

Owns the hijacked socket and the framing on it. Must not know what runs at the other end.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import Any, Protocol, Self

import docker

_FRAME = struct.Struct(">BxxxL")
_STREAMS = {1: "stdout", 2: "stderr"}
_PIECE = 1 << 18
_NOT_YET = (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Duplex(Protocol):
    """What a socket, a TLS socket and an SSH channel have in common."""

    def send(self, data: memoryview, /) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class ExecStream:
    """The connection of one started exec, or of a container. Leave it as a context manager to close it."""

    @classmethod
    def started(cls, api: docker.APIClient, exec_id: str, *, tty: bool = False) -> Self:
        """Start an exec that was made."""
        return cls(api.exec_start(exec_id, tty=tty, socket=True))

    @classmethod
    def attached(cls, api: docker.APIClient, container: str) -> Self:
        """The output of a container that is about to be started."""
        return cls(api.attach_socket(container, {"stdout": 1, "stderr": 1, "stream": 1}))

    def __init__(self, taken: Any) -> None:
        self._keep = taken  # the response behind it closes the socket when it is collected
        self._socket: Duplex = getattr(taken, "_sock", taken)
        self._socket.settimeout(0)
        self._early = _read_ahead(taken)
        self._socket.settimeout(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        response = getattr(self._keep, "_response", None)
        for thing in (self._socket, response):
            if thing is not None:
                with contextlib.suppress(OSError):
                    thing.close()

    def receive(self, wait_s: float) -> bytes | None:
        """The next bytes; empty at the end, None where nothing came in time."""
        if self._early:
            early, self._early = self._early, b""
            return early
        self._socket.settimeout(wait_s)
        try:
            return self._socket.recv(_PIECE)
        except _NOT_YET:
            return None
        except ConnectionError:
            return b""

    def push(self, content: bytes, stop: threading.Event | None = None) -> None:
        """All of it, unless `stop` is set meanwhile. Raises OSError where the other end has closed."""
        left = memoryview(content)
        while left and not (stop and stop.is_set()):
            try:
                left = left[self._socket.send(left[:_PIECE]) :]
            except _NOT_YET:  # the patience that the reader has set; here there is no hurry
                select.select([], [self.descriptor], [], 0.1)

    def end_input(self) -> None:
        """Nothing more comes; output goes on. Raises OSError where the other end has closed."""
        if hasattr(self._socket, "shutdown_write"):
            self._socket.shutdown_write()  # an SSH channel
        elif isinstance(self._socket, socket.socket):
            self._socket.shutdown(socket.SHUT_WR)

    def feed(self, content: bytes, stop: threading.Event) -> None:
        """All of the input and its end. A command that does not read it is no failure, as with `| head`."""
        with contextlib.suppress(OSError):
            self.push(content, stop)
            self.end_input()

    @property
    def descriptor(self) -> int:
        """For waiting on it together with a terminal."""
        return int(self._keep.fileno())


def _read_ahead(taken: Any) -> bytes:
    """What arrived together with the answer's head and lies in its buffer, which the raw socket skips."""
    response = getattr(taken, "_response", None)
    buffer = getattr(getattr(getattr(response, "raw", None), "_fp", None), "fp", None)
    if buffer is None or not hasattr(buffer, "peek"):
        return b""
    try:
        waiting = len(buffer.peek(1))  # does not block: the socket has no patience yet
        return bytes(buffer.read1(waiting)) if waiting else b""
    except _NOT_YET:
        return b""


class Frames:
    """Takes the multiplexed bytes apart; holds back only a frame's head that is not complete."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._stream = "stdout"

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """The pieces of each stream in these bytes, in order."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                yield self._stream, piece
                continue
            need = _FRAME.size - len(self._head)
            self._head += data[at : at + need]
            at += need
            if len(self._head) == _FRAME.size:
                number, self._left = _FRAME.unpack(self._head)
                self._stream = _STREAMS.get(number, "stdout")
                self._head = b""
