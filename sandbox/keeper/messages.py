"""What a manager and a keeper say to each other: one JSON document at a time, with open handles beside it.

Owns the form on the wire. Both ends trust each other: the socket lies in a directory that only the manager's account
can enter.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEAD = struct.Struct("!I")
_MOST_HANDLES = 8


def send(to: socket.socket, words: dict[str, Any], handles: tuple[int, ...] = ()) -> None:
    """Say something; the handles stay open here."""
    body = json.dumps(words).encode()
    data = _HEAD.pack(len(body)) + body
    sent = socket.send_fds(to, [data], handles)
    if sent < len(data):  # nothing more to say to somebody who may have hung up, being content
        to.sendall(data[sent:])


def receive(source: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What the other end said, and the handles, which are ours now; None where it has hung up."""
    data, handles, _, _ = socket.recv_fds(source, _HEAD.size, _MOST_HANDLES)
    while data and len(data) < _HEAD.size:
        data += source.recv(_HEAD.size - len(data)) or _hung_up()
    if not data:
        return None
    (size,) = _HEAD.unpack(data)
    body = bytearray()
    while len(body) < size:
        body += source.recv(min(size - len(body), 1 << 20)) or _hung_up()
    words: dict[str, Any] = json.loads(bytes(body))
    return words, handles


def _hung_up() -> bytes:
    raise ConnectionResetError("the other end hung up in the middle of a message")
